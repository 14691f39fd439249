// SPDX-License-Identifier: MIT OR Apache-2.0
//! The memory of one ring where both ends are in one thread: for tests and the simulation.

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};

use super::layout::CAPACITY;
use super::RingMemory;

#[derive(Debug)]
struct Shared {
    produced: Cell<u32>,
    consumed: Cell<u32>,
    waiting: Cell<bool>,
    data: RefCell<Vec<u8>>,
}

/// One ring's memory; every clone sees the same.
#[derive(Clone, Debug)]
pub struct PlainMemory(Rc<Shared>);

impl Default for PlainMemory {
    fn default() -> Self {
        Self(Rc::new(Shared {
            produced: Cell::new(0),
            consumed: Cell::new(0),
            waiting: Cell::new(false),
            data: RefCell::new(alloc::vec![0; CAPACITY as usize]),
        }))
    }
}

impl PlainMemory {
    /// What an end can do that lies: moves the index of the producer.
    pub fn move_produced(&self, by: u32) {
        self.0.produced.set(self.0.produced.get().wrapping_add(by));
    }

    /// Of the consumer.
    pub fn move_consumed(&self, by: u32) {
        self.0.consumed.set(self.0.consumed.get().wrapping_add(by));
    }

    /// Writes any bytes anywhere.
    pub fn scribble(&self, offset: u32, bytes: &[u8]) {
        let mut data = self.0.data.borrow_mut();
        for (at, byte) in (offset..).zip(bytes) {
            if let Some(place) = data.get_mut((at % CAPACITY) as usize) {
                *place = *byte;
            }
        }
    }
}

impl RingMemory for PlainMemory {
    fn load_produced(&self) -> u32 {
        self.0.produced.get()
    }
    fn store_produced(&self, value: u32) {
        self.0.produced.set(value);
    }
    fn load_consumed(&self) -> u32 {
        self.0.consumed.get()
    }
    fn store_consumed(&self, value: u32) {
        self.0.consumed.set(value);
    }
    fn load_waiting(&self) -> bool {
        self.0.waiting.get()
    }
    fn store_waiting(&self, waits: bool) {
        self.0.waiting.set(waits);
    }
    fn read(&self, offset: u32, bytes: &mut [u8]) {
        let offset = offset as usize;
        if let Some(from) = self.0.data.borrow().get(offset..offset.saturating_add(bytes.len())) {
            bytes.copy_from_slice(from);
        }
    }
    fn write(&self, offset: u32, bytes: &[u8]) {
        let offset = offset as usize;
        if let Some(to) = self.0.data.borrow_mut().get_mut(offset..offset.saturating_add(bytes.len())) {
            to.copy_from_slice(bytes);
        }
    }
}

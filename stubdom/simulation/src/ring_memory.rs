// SPDX-License-Identifier: MIT OR Apache-2.0
//! The memory of one ring, in plain cells that both ends see.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use xenlend_protocol::ring::layout::CAPACITY;
use xenlend_protocol::ring::RingMemory;

#[derive(Debug)]
struct Shared {
    produced: Cell<u32>,
    consumed: Cell<u32>,
    waiting: Cell<bool>,
    data: RefCell<Vec<u8>>,
}

/// One ring's memory, seen from one end.
#[derive(Clone, Debug)]
pub struct Memory(Rc<Shared>);

impl Default for Memory {
    fn default() -> Self {
        let data = RefCell::new(vec![0; CAPACITY as usize]);
        Self(Rc::new(Shared {
            produced: Cell::new(0),
            consumed: Cell::new(0),
            waiting: Cell::new(false),
            data,
        }))
    }
}

impl Memory {
    /// What a peer can do that lies: moves the index of one end.
    pub fn spoil(&self, producer: bool, by: u32) {
        let index = if producer { &self.0.produced } else { &self.0.consumed };
        index.set(index.get().wrapping_add(by));
    }

    /// As [`Self::spoil`]: overwrites a byte.
    pub fn scribble(&self, offset: u32, byte: u8) {
        if let Some(place) = self.0.data.borrow_mut().get_mut(offset as usize) {
            *place = byte;
        }
    }
}

impl RingMemory for Memory {
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
        bytes.copy_from_slice(&self.0.data.borrow()[offset..offset + bytes.len()]);
    }

    fn write(&self, offset: u32, bytes: &[u8]) {
        let offset = offset as usize;
        self.0.data.borrow_mut()[offset..offset + bytes.len()].copy_from_slice(bytes);
    }
}

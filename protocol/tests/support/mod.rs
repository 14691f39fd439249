// SPDX-License-Identifier: MIT OR Apache-2.0
//! A ring in plain memory that counts how often each shared field is read.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::cell::{Cell, RefCell};

use xenlend_protocol::frame::AperturePage;
use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::message::ToBroker;
use xenlend_protocol::ring::layout::CAPACITY;
use xenlend_protocol::ring::RingMemory;

/// Memory of one ring, for one thread.
pub struct ArrayRing {
    pub produced: Cell<u32>,
    pub consumed: Cell<u32>,
    pub waiting: Cell<bool>,
    pub data: RefCell<[u8; CAPACITY as usize]>,
    pub produced_loads: Cell<u32>,
    pub consumed_loads: Cell<u32>,
    /// How often each byte of the data area was read.
    pub data_reads: RefCell<[u32; CAPACITY as usize]>,
    /// Added to the loaded index after each load: an index that changes at every read.
    pub drift: Cell<u32>,
}

impl Default for ArrayRing {
    fn default() -> Self {
        Self {
            produced: Cell::new(0),
            consumed: Cell::new(0),
            waiting: Cell::new(false),
            data: RefCell::new([0; CAPACITY as usize]),
            produced_loads: Cell::new(0),
            consumed_loads: Cell::new(0),
            data_reads: RefCell::new([0; CAPACITY as usize]),
            drift: Cell::new(0),
        }
    }
}

impl ArrayRing {
    pub fn forget_counts(&self) {
        self.produced_loads.set(0);
        self.consumed_loads.set(0);
        *self.data_reads.borrow_mut() = [0; CAPACITY as usize];
    }

    /// Puts bytes into the data area and publishes an index, as a hostile producer may.
    pub fn forge(&self, bytes: &[u8], produced: u32) {
        self.data.borrow_mut()[..bytes.len()].copy_from_slice(bytes);
        self.produced.set(produced);
    }
}

impl RingMemory for ArrayRing {
    fn load_produced(&self) -> u32 {
        self.produced_loads.set(self.produced_loads.get() + 1);
        let value = self.produced.get();
        self.produced.set(value.wrapping_add(self.drift.get()));
        value
    }
    fn store_produced(&self, value: u32) {
        self.produced.set(value);
    }
    fn load_consumed(&self) -> u32 {
        self.consumed_loads.set(self.consumed_loads.get() + 1);
        let value = self.consumed.get();
        self.consumed.set(value.wrapping_add(self.drift.get()));
        value
    }
    fn store_consumed(&self, value: u32) {
        self.consumed.set(value);
    }
    fn load_waiting(&self) -> bool {
        self.waiting.get()
    }
    fn store_waiting(&self, waits: bool) {
        self.waiting.set(waits);
    }
    fn read(&self, offset: u32, bytes: &mut [u8]) {
        assert_eq!((offset % 8, bytes.len() % 8), (0, 0));
        let start = offset as usize;
        bytes.copy_from_slice(&self.data.borrow()[start..start + bytes.len()]);
        for count in &mut self.data_reads.borrow_mut()[start..start + bytes.len()] {
            *count += 1;
        }
    }
    fn write(&self, offset: u32, bytes: &[u8]) {
        assert_eq!((offset % 8, bytes.len() % 8), (0, 0));
        let start = offset as usize;
        self.data.borrow_mut()[start..start + bytes.len()].copy_from_slice(bytes);
    }
}

/// An `Invalidate` of the largest encoding.
pub fn largest_invalidate(sequence: u64) -> ToBroker {
    ToBroker::Invalidate {
        sequence: u64::MAX - sequence,
        lease: LeaseId { index: u16::MAX, generation: u32::MAX },
        first: AperturePage(u32::MAX),
        count: u32::MAX,
    }
}

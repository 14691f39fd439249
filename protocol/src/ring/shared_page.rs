// SPDX-License-Identifier: MIT OR Apache-2.0
//! The one place that touches memory which the other end can write.
//!
//! Every access is atomic, so that a hostile writer can make a value wrong but never
//! the program's behaviour undefined.
#![allow(unsafe_code)]

use core::sync::atomic::{fence, AtomicU32, AtomicU64, Ordering};

use super::layout::{
    CAPACITY, CONSUMED_OFFSET, FIRST_RING_OFFSET, PRODUCED_OFFSET, SECOND_RING_OFFSET, WAITING_OFFSET,
};
use super::RingMemory;

const WORD_BYTES: usize = 8;

/// Which ring of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Lender produces, broker consumes.
    ToBroker,
    /// Broker produces, lender consumes.
    ToLender,
    /// The borrower's link: broker produces, borrower consumes.
    ToBorrower,
    /// The borrower's link: borrower produces, broker consumes.
    FromBorrower,
}

/// One ring of a link, over pages that are mapped.
#[derive(Debug)]
pub struct SharedRing {
    control: *mut u8,
    data: *mut u8,
}

// SAFETY: the pointers name mapped memory that is only ever accessed atomically; which
// thread does it makes no difference.
unsafe impl Send for SharedRing {}

impl SharedRing {
    /// One ring over the control page and the data page of its direction.
    ///
    /// # Safety
    /// Both pointers are aligned to a page and stay valid for reads and writes of 4096
    /// bytes while the value lives, and all other code of this program accesses those
    /// pages through values of this type only.
    #[must_use]
    pub unsafe fn new(control: *mut u8, data: *mut u8, direction: Direction) -> Self {
        let offset = match direction {
            Direction::ToBroker | Direction::ToBorrower => FIRST_RING_OFFSET,
            Direction::ToLender | Direction::FromBorrower => SECOND_RING_OFFSET,
        };
        Self { control: control.wrapping_add(offset), data }
    }

    fn field(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: the caller of `new` vouches for the page; the offsets of the layout are
        // inside it and multiples of 64, so the field is valid and aligned. The other end
        // changes it at any time, which an atomic allows.
        unsafe { AtomicU32::from_ptr(self.control.wrapping_add(offset).cast()) }
    }

    fn word(&self, offset: usize) -> &AtomicU64 {
        let inside = offset & (CAPACITY as usize).wrapping_sub(WORD_BYTES);
        // SAFETY: the mask keeps the offset below the data page's size and a multiple of 8;
        // the caller of `new` vouches for the page. The other end changes it at any time,
        // which an atomic allows.
        unsafe { AtomicU64::from_ptr(self.data.wrapping_add(inside).cast()) }
    }
}

impl RingMemory for SharedRing {
    fn load_produced(&self) -> u32 {
        self.field(PRODUCED_OFFSET).load(Ordering::Acquire)
    }

    fn store_produced(&self, value: u32) {
        self.field(PRODUCED_OFFSET).store(value, Ordering::Release);
    }

    fn load_consumed(&self) -> u32 {
        self.field(CONSUMED_OFFSET).load(Ordering::Acquire)
    }

    fn store_consumed(&self, value: u32) {
        self.field(CONSUMED_OFFSET).store(value, Ordering::Release);
    }

    fn load_waiting(&self) -> bool {
        fence(Ordering::SeqCst);
        self.field(WAITING_OFFSET).load(Ordering::Relaxed) != 0
    }

    fn store_waiting(&self, waits: bool) {
        self.field(WAITING_OFFSET).store(u32::from(waits), Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    fn read(&self, offset: u32, bytes: &mut [u8]) {
        let mut at = offset as usize;
        for word in bytes.chunks_exact_mut(WORD_BYTES) {
            word.copy_from_slice(&self.word(at).load(Ordering::Relaxed).to_le_bytes());
            at = at.wrapping_add(WORD_BYTES);
        }
    }

    fn write(&self, offset: u32, bytes: &[u8]) {
        let mut at = offset as usize;
        for word in bytes.chunks_exact(WORD_BYTES) {
            let mut value = [0; WORD_BYTES];
            value.copy_from_slice(word);
            self.word(at).store(u64::from_le_bytes(value), Ordering::Relaxed);
            at = at.wrapping_add(WORD_BYTES);
        }
    }
}

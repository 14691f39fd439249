// SPDX-License-Identifier: MIT OR Apache-2.0
//! The one place that touches memory which the other end can write.
//!
//! Every access is atomic, so that a hostile writer can make a value wrong but never
//! the program's behaviour undefined.
#![allow(unsafe_code)]

use core::sync::atomic::{AtomicU32, AtomicU64};

use super::atomics::{AtomicRing, Cells, Field};
use super::layout::{
    CAPACITY, CONSUMED_OFFSET, FIRST_RING_OFFSET, PRODUCED_OFFSET, SECOND_RING_OFFSET, WAITING_OFFSET,
};

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

/// The pages of one ring of a link.
#[derive(Debug)]
pub struct SharedPages {
    control: *mut u8,
    data: *mut u8,
}

// SAFETY: the pointers name mapped memory that is only ever accessed atomically; which
// thread does it makes no difference.
unsafe impl Send for SharedPages {}

/// One ring of a link, over pages that are mapped.
pub type SharedRing = AtomicRing<SharedPages>;

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
        Self::over(SharedPages { control: control.wrapping_add(offset), data })
    }
}

impl Cells for SharedPages {
    type Field = AtomicU32;
    type Word = AtomicU64;

    fn field(&self, field: Field) -> &AtomicU32 {
        let offset = match field {
            Field::Produced => PRODUCED_OFFSET,
            Field::Waiting => WAITING_OFFSET,
            Field::Consumed => CONSUMED_OFFSET,
        };
        // SAFETY: the caller of `SharedRing::new` vouches for the page; the offsets of the
        // layout are inside it and multiples of 64, so the field is valid and aligned. The
        // other end changes it at any time, which an atomic allows.
        unsafe { AtomicU32::from_ptr(self.control.wrapping_add(offset).cast()) }
    }

    fn word(&self, offset: usize) -> &AtomicU64 {
        let inside = offset & (CAPACITY as usize).wrapping_sub(WORD_BYTES);
        // SAFETY: the mask keeps the offset below the data page's size and a multiple of 8;
        // the caller of `SharedRing::new` vouches for the page. The other end changes it at
        // any time, which an atomic allows.
        unsafe { AtomicU64::from_ptr(self.data.wrapping_add(inside).cast()) }
    }
}

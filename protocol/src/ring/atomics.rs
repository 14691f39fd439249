// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which access to a ring's memory has which order: everything about the memory model,
//! for any kind of atomics, so that a model checker runs the very same code.

use core::sync::atomic::{fence, AtomicU32, AtomicU64, Ordering};

use super::layout::CAPACITY;
use super::RingMemory;

/// What is moved at once between the data area and a message.
const WORD_BYTES: usize = 8;

/// A value that the other end reads and writes at any time.
pub trait Atomic<T> {
    /// One load.
    fn load(&self, order: Ordering) -> T;
    /// One store.
    fn store(&self, value: T, order: Ordering);
}

impl Atomic<u32> for AtomicU32 {
    fn load(&self, order: Ordering) -> u32 {
        self.load(order)
    }

    fn store(&self, value: u32, order: Ordering) {
        self.store(value, order);
    }
}

impl Atomic<u64> for AtomicU64 {
    fn load(&self, order: Ordering) -> u64 {
        self.load(order)
    }

    fn store(&self, value: u64, order: Ordering) {
        self.store(value, order);
    }
}

/// A field of a ring in the control page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// Bytes produced so far.
    Produced,
    /// Not 0 while the producer waits for room.
    Waiting,
    /// Bytes consumed so far.
    Consumed,
}

/// The atomics that one ring consists of.
pub trait Cells {
    /// Bytes of the data area; see [`RingMemory::CAPACITY`].
    const CAPACITY: u32 = CAPACITY;
    /// What a field of the control page is.
    type Field: Atomic<u32>;
    /// Eight bytes of the data area, little endian.
    type Word: Atomic<u64>;

    /// A field of the control page.
    fn field(&self, field: Field) -> &Self::Field;
    /// The word at an offset in the data area: a multiple of 8, below [`Self::CAPACITY`].
    fn word(&self, offset: usize) -> &Self::Word;
    /// A fence of the strongest order.
    fn full_fence(&self) {
        fence(Ordering::SeqCst);
    }
}

/// The memory of one direction of a link, over its atomics.
#[derive(Debug)]
pub struct AtomicRing<C>(C);

impl<C> AtomicRing<C> {
    /// A ring over these.
    pub fn over(cells: C) -> Self {
        Self(cells)
    }
}

impl<C: Cells> RingMemory for AtomicRing<C> {
    const CAPACITY: u32 = C::CAPACITY;

    fn load_produced(&self) -> u32 {
        self.0.field(Field::Produced).load(Ordering::Acquire)
    }

    fn store_produced(&self, value: u32) {
        self.0.field(Field::Produced).store(value, Ordering::Release);
    }

    fn load_consumed(&self) -> u32 {
        self.0.field(Field::Consumed).load(Ordering::Acquire)
    }

    fn store_consumed(&self, value: u32) {
        self.0.field(Field::Consumed).store(value, Ordering::Release);
    }

    fn load_waiting(&self) -> bool {
        self.0.full_fence();
        self.0.field(Field::Waiting).load(Ordering::Relaxed) != 0
    }

    fn store_waiting(&self, waits: bool) {
        self.0.field(Field::Waiting).store(u32::from(waits), Ordering::Relaxed);
        self.0.full_fence();
    }

    fn read(&self, offset: u32, bytes: &mut [u8]) {
        let mut at = offset as usize;
        for word in bytes.chunks_exact_mut(WORD_BYTES) {
            word.copy_from_slice(&self.0.word(at).load(Ordering::Relaxed).to_le_bytes());
            at = at.wrapping_add(WORD_BYTES);
        }
    }

    fn write(&self, offset: u32, bytes: &[u8]) {
        let mut at = offset as usize;
        for word in bytes.chunks_exact(WORD_BYTES) {
            let mut value = [0; WORD_BYTES];
            value.copy_from_slice(word);
            self.0.word(at).store(u64::from_le_bytes(value), Ordering::Relaxed);
            at = at.wrapping_add(WORD_BYTES);
        }
    }
}

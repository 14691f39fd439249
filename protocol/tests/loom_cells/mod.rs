// SPDX-License-Identifier: MIT OR Apache-2.0
//! The atomics of a ring as loom's, and the ways to weaken them.
//!
//! Words of the data area are cells and not atomics: between ends that keep the contract the
//! indices alone order them, so that any access which they do not order is one that loom reports.

use std::sync::atomic::Ordering;
use std::sync::Arc;

use loom::cell::Cell;
use loom::sync::atomic::{fence, AtomicU32};
use xenlend_protocol::ring::atomics::{Atomic, AtomicRing, Cells, Field};
use xenlend_protocol::ring::{Consumer, Producer};

/// What is weaker than in the production code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weakness {
    None,
    /// No fence between the producer's announcement and its second look.
    ProducerWithoutFence,
    /// No fence between the consumer's index and its look whether the producer waits.
    ConsumerWithoutFence,
    ProducedRelaxed,
    ConsumedRelaxed,
}

pub struct LoomField {
    value: AtomicU32,
    relaxed: bool,
}

impl Atomic<u32> for LoomField {
    fn load(&self, order: Ordering) -> u32 {
        self.value.load(order)
    }

    fn store(&self, value: u32, order: Ordering) {
        self.value.store(value, if self.relaxed { Ordering::Relaxed } else { order });
    }
}

pub struct LoomWord(Cell<u64>);

impl Atomic<u64> for LoomWord {
    fn load(&self, _: Ordering) -> u64 {
        self.0.get()
    }

    fn store(&self, value: u64, _: Ordering) {
        self.0.set(value);
    }
}

struct Shared {
    produced: LoomField,
    waiting: LoomField,
    consumed: LoomField,
    words: Vec<LoomWord>,
}

// SAFETY: loom runs one thread at a time, and ends the model with a report when two threads access a
// cell without an order between them.
unsafe impl Sync for Shared {}
// SAFETY: as above.
unsafe impl Send for Shared {}

/// One end's view of a ring with `C` bytes of data.
pub struct LoomCells<const C: u32> {
    shared: Arc<Shared>,
    fences: bool,
}

impl<const C: u32> Cells for LoomCells<C> {
    const CAPACITY: u32 = C;
    type Field = LoomField;
    type Word = LoomWord;

    fn field(&self, field: Field) -> &LoomField {
        match field {
            Field::Produced => &self.shared.produced,
            Field::Waiting => &self.shared.waiting,
            Field::Consumed => &self.shared.consumed,
        }
    }

    fn word(&self, offset: usize) -> &LoomWord {
        assert_eq!(offset % 8, 0);
        &self.shared.words[offset / 8]
    }

    fn full_fence(&self) {
        if self.fences {
            fence(Ordering::SeqCst);
        }
    }
}

/// Both ends of an empty ring.
pub fn ring<const C: u32>(
    weakness: Weakness,
) -> (Producer<AtomicRing<LoomCells<C>>>, Consumer<AtomicRing<LoomCells<C>>>) {
    let field = |relaxed| LoomField { value: AtomicU32::new(0), relaxed };
    let shared = Arc::new(Shared {
        produced: field(weakness == Weakness::ProducedRelaxed),
        waiting: field(false),
        consumed: field(weakness == Weakness::ConsumedRelaxed),
        words: (0..C / 8).map(|_| LoomWord(Cell::new(0))).collect(),
    });
    let cells = |without| AtomicRing::over(LoomCells { shared: shared.clone(), fences: weakness != without });
    (
        Producer::new(cells(Weakness::ProducerWithoutFence)),
        Consumer::new(cells(Weakness::ConsumerWithoutFence)),
    )
}

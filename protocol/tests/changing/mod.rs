// SPDX-License-Identifier: MIT OR Apache-2.0
//! The atomics of a ring that change at every read, as the other end may change them: no two loads of
//! one of them agree, but that a consumer may not have got through another frame. Every access is counted.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::atomic::Ordering;

use xenlend_protocol::ring::atomics::{Atomic, Cells, Field};
use xenlend_protocol::ring::layout::CAPACITY;

/// What happened to the memory since it was last forgotten. Words go by their offset.
#[derive(Debug, Default)]
pub struct Accesses {
    pub produced_loads: u32,
    pub consumed_loads: u32,
    pub waiting_loads: u32,
    /// How often each word was loaded.
    pub word_loads: BTreeMap<usize, u32>,
    /// How often each word was stored.
    pub word_stores: BTreeMap<usize, u32>,
    /// The values stored into the fields.
    pub produced_stores: Vec<u32>,
    pub consumed_stores: Vec<u32>,
    pub waiting_stores: Vec<u32>,
    /// The words loaded, in order.
    pub words: Vec<u64>,
}

/// What all cells of one ring share: where values come from, and where accesses are written down.
#[derive(Debug, Default)]
pub struct Source {
    choices: Vec<u64>,
    next: Cell<u64>,
    /// What the end that is tested has stored last: the values near it are those that get furthest.
    own_index: Cell<u32>,
    /// Where the frames of the end that is tested end, that the other end has yet to pass.
    frame_ends: RefCell<VecDeque<u32>>,
    /// Bytes that an honest other end has got through since it last passed one.
    credit: Cell<u32>,
    pub accesses: RefCell<Accesses>,
}

impl Source {
    /// One of the choices, and a number that it never came with before.
    fn choose(&self) -> (u64, u64) {
        let turn = self.next.get();
        self.next.set(turn + 1);
        (self.choices[turn as usize % self.choices.len()], turn)
    }

    /// An honest consumer's index after so many bytes more: it moves by whole frames.
    fn consume(&self, last: u32, bytes: u32) -> u32 {
        self.credit.set(self.credit.get() + bytes);
        let (mut ends, mut index) = (self.frame_ends.borrow_mut(), last);
        while let Some(end) = ends.front().copied().filter(|end| end.wrapping_sub(index) <= self.credit.get())
        {
            self.credit.set(self.credit.get() - end.wrapping_sub(index));
            ends.pop_front();
            index = end;
        }
        index
    }

    /// Forgets the accesses so far and gives them.
    pub fn take(&self) -> Accesses {
        self.accesses.take()
    }
}

pub struct ChangingField {
    source: Rc<Source>,
    field: Field,
    last: Cell<Option<u32>>,
}

impl Atomic<u32> for ChangingField {
    fn load(&self, _: Ordering) -> u32 {
        let (choice, _) = self.source.choose();
        let (own, before) = (self.source.own_index.get(), self.last.get());
        let last = before.unwrap_or(0);
        // An honest end's index goes on from where it was, to as far as it may.
        let step = (8 + (choice >> 32) as u32 % 0x100) & !7;
        let limit = if self.field == Field::Produced { own.wrapping_add(CAPACITY) } else { own };
        let honest = match self.field {
            Field::Consumed => self.source.consume(last, step),
            _ => last.wrapping_add(step.min(limit.wrapping_sub(last))),
        };
        let value = match (self.field, choice % 8) {
            (Field::Waiting, _) => (choice >> 32) as u32,
            (_, 0) => choice as u32,
            _ => honest,
        };
        let stands_still = self.field == Field::Consumed && value == honest;
        let value = if before == Some(value) && !stands_still { value ^ 8 } else { value };
        self.last.set(Some(value));
        let mut accesses = self.source.accesses.borrow_mut();
        match self.field {
            Field::Produced => accesses.produced_loads += 1,
            Field::Consumed => accesses.consumed_loads += 1,
            Field::Waiting => accesses.waiting_loads += 1,
        }
        value
    }

    fn store(&self, value: u32, _: Ordering) {
        let mut accesses = self.source.accesses.borrow_mut();
        match self.field {
            Field::Produced => accesses.produced_stores.push(value),
            Field::Consumed => accesses.consumed_stores.push(value),
            Field::Waiting => accesses.waiting_stores.push(value),
        }
        if self.field != Field::Waiting {
            self.source.own_index.set(value);
        }
        if self.field == Field::Produced {
            self.source.frame_ends.borrow_mut().push_back(value);
        }
    }
}

pub struct ChangingWord {
    source: Rc<Source>,
    offset: usize,
}

impl Atomic<u64> for ChangingWord {
    fn load(&self, _: Ordering) -> u64 {
        let (choice, turn) = self.source.choose();
        // The lower half is the header where a frame starts; the upper half is never the same.
        let value = match choice % 8 {
            0 => (choice >> 32) | (turn.wrapping_mul(0x0100_0193) << 32),
            1 => (choice >> 32 & 0x1ff) | (turn.wrapping_mul(0x0100_0193) << 32),
            // Forced: two bytes. The padding changes.
            2..5 => 2 | 5 << 32 | (turn & 0x7f) << 40 | (turn >> 7 & 0xffff) << 48,
            // Invalidated, all removed: four bytes.
            _ => 4 | 5 << 32 | (turn & 0x7f) << 40 | (turn >> 7 & 0x7f) << 56,
        };
        let mut accesses = self.source.accesses.borrow_mut();
        *accesses.word_loads.entry(self.offset).or_default() += 1;
        accesses.words.push(value);
        value
    }

    fn store(&self, _: u64, _: Ordering) {
        *self.source.accesses.borrow_mut().word_stores.entry(self.offset).or_default() += 1;
    }
}

/// The memory of one ring.
pub struct Changing {
    fields: [ChangingField; 3],
    words: Vec<ChangingWord>,
}

impl Changing {
    /// With a source of its own, which the test keeps.
    pub fn new(choices: Vec<u64>) -> (Self, Rc<Source>) {
        let source = Rc::new(Source { choices, ..Source::default() });
        let fields = [Field::Produced, Field::Waiting, Field::Consumed].map(|field| ChangingField {
            source: source.clone(),
            field,
            last: Cell::new(None),
        });
        let words = (0..CAPACITY as usize)
            .step_by(8)
            .map(|offset| ChangingWord { source: source.clone(), offset })
            .collect();
        (Self { fields, words }, source)
    }
}

impl Cells for Changing {
    type Field = ChangingField;
    type Word = ChangingWord;

    fn field(&self, field: Field) -> &ChangingField {
        let [produced, waiting, consumed] = &self.fields;
        match field {
            Field::Produced => produced,
            Field::Waiting => waiting,
            Field::Consumed => consumed,
        }
    }

    /// Panics for an offset that is not in the data area.
    fn word(&self, offset: usize) -> &ChangingWord {
        assert_eq!(offset % 8, 0);
        &self.words[offset / 8]
    }
}

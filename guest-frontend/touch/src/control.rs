// SPDX-License-Identifier: MIT OR Apache-2.0
//! The control area: lent memory that nobody moves, through which the two sides tell each other what
//! they have done.
//!
//! Every word has one writer at a time, so plain loads and stores do. Layout, in bytes:
//! page 0: words of the lender; page 1: words of the borrower; page 2: published generations, written
//! by whose turn it is; page 3: two rows of turns, one written by each side.

use crate::memory::{publish_barrier, Memory, PAGE_BYTES};
use crate::picture::BANDS;

/// Bytes of the control area.
pub const CONTROL_BYTES: usize = 4 * PAGE_BYTES;
/// Buffers that one control area serves.
pub const MAX_BUFFERS: usize = 16;

const STOP: usize = 0;
const BORROWER: usize = PAGE_BYTES;
const PUBLISHED: usize = 2 * PAGE_BYTES;
const TURNS: usize = 3 * PAGE_BYTES;

/// The two sides that take turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The program in the guest.
    Borrower,
    /// The program in dom0.
    Lender,
}

/// What the borrower counts in the control area, so that it is known even if the borrower is stuck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// 1 once it has started.
    Started,
    /// Reads that gave what somebody else had written there: poison.
    Poison,
    /// Reads that gave an older value than the one written last.
    LostWrites,
    /// Reads that gave anything else that was never there.
    Wrong,
    /// Accesses made.
    Accesses,
}

/// The control area of one pair.
#[derive(Clone, Copy, Debug)]
pub struct Control(Memory);

impl Control {
    /// The control area in the first [`CONTROL_BYTES`] of this memory.
    pub fn new(memory: Memory) -> Self {
        Self(memory.part(0, CONTROL_BYTES))
    }

    /// Whether the lender has asked everybody to stop.
    pub fn stopped(&self) -> bool {
        self.0.read_u32(STOP) != 0
    }

    /// The lender asks everybody to stop, or takes that back.
    pub fn set_stopped(&self, stopped: bool) {
        self.0.write_u32(STOP, u32::from(stopped));
    }

    /// One of the borrower's counts; one writer (thread) for each `thread`.
    pub fn count(&self, thread: usize, count: Count) -> u64 {
        self.0.read_u64(count_offset(thread, count))
    }

    /// Sets one of the borrower's counts.
    pub fn set_count(&self, thread: usize, count: Count, value: u64) {
        self.0.write_u64(count_offset(thread, count), value);
    }

    /// The generation last published for a band.
    pub fn published(&self, buffer: usize, band: usize) -> u32 {
        self.0.read_u32(published_offset(buffer, band))
    }

    /// Publishes a band's new generation, after everything written before.
    pub fn publish(&self, buffer: usize, band: usize, generation: u32) {
        publish_barrier();
        self.0.write_u32(published_offset(buffer, band), generation);
    }

    /// Turns that a side has finished on a buffer.
    fn turns(&self, side: Side, buffer: usize) -> u32 {
        self.0.read_u32(turn_offset(side, buffer))
    }

    /// Whether it is this side's turn on a buffer. The borrower has the first.
    pub fn has_turn(&self, side: Side, buffer: usize) -> bool {
        let (borrower, lender) = (self.turns(Side::Borrower, buffer), self.turns(Side::Lender, buffer));
        match side {
            Side::Borrower => borrower == lender,
            Side::Lender => borrower == lender.wrapping_add(1),
        }
    }

    /// Ends this side's turn on a buffer, after everything written before.
    pub fn end_turn(&self, side: Side, buffer: usize) {
        publish_barrier();
        self.0.write_u32(turn_offset(side, buffer), self.turns(side, buffer).wrapping_add(1));
    }
}

fn count_offset(thread: usize, count: Count) -> usize {
    assert!(thread < 8, "eight threads at most");
    BORROWER + thread * 64 + count as usize * 8
}

fn published_offset(buffer: usize, band: usize) -> usize {
    assert!(buffer < MAX_BUFFERS && band < BANDS, "no such band");
    PUBLISHED + (buffer * BANDS + band) * 4
}

fn turn_offset(side: Side, buffer: usize) -> usize {
    assert!(buffer < MAX_BUFFERS, "no such buffer");
    let row = match side {
        Side::Borrower => 0,
        Side::Lender => PAGE_BYTES / 2,
    };
    TURNS + row + buffer * 4
}

#[cfg(test)]
mod tests {
    use super::{Control, Count, Side, CONTROL_BYTES, MAX_BUFFERS};
    use crate::memory::test_memory;
    use crate::picture::BANDS;

    #[test]
    fn the_sides_have_turns_one_after_the_other() {
        let control = Control::new(test_memory(CONTROL_BYTES));
        for _ in 0..3 {
            for (side, other) in [(Side::Borrower, Side::Lender), (Side::Lender, Side::Borrower)] {
                assert!(control.has_turn(side, 7) && !control.has_turn(other, 7));
                control.end_turn(side, 7);
            }
        }
        assert!(control.has_turn(Side::Borrower, 6), "buffers are independent");
    }

    #[test]
    fn words_do_not_overlap() {
        let control = Control::new(test_memory(CONTROL_BYTES));
        control.publish(MAX_BUFFERS - 1, BANDS - 1, 5);
        control.end_turn(Side::Lender, MAX_BUFFERS - 1);
        control.set_count(7, Count::Accesses, 9);
        control.set_stopped(true);
        assert_eq!(control.published(MAX_BUFFERS - 1, BANDS - 1), 5);
        assert_eq!(control.count(7, Count::Accesses), 9);
        assert_eq!(control.count(7, Count::Poison), 0);
        assert_eq!(control.published(0, 0), 0);
        assert!(control.stopped());
        assert!(control.has_turn(Side::Borrower, 0));
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! One side of the game that borrower and lender play on lent buffers: judge what the last writer
//! published, draw the next generation, publish it, give the turn away.

use crate::control::{Control, Side};
use crate::line::{compose, judge, LineId, Verdict, LINE_BYTES};
use crate::memory::Memory;
use crate::picture::{pixels, BANDS, BAND_LINES, BUFFER_BYTES, NONCE_BANDS};
use crate::random::Random;

/// What a side has seen so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Bytes read and judged.
    pub bytes_checked: u64,
    /// Lines that were torn or held anything that was never published.
    pub integrity_errors: u64,
    /// Lines that were whole but older than published.
    pub stale_reads: u64,
    /// Bytes written.
    pub bytes_drawn: u64,
    /// Turns taken.
    pub turns: u64,
}

/// One side's state.
#[derive(Debug)]
pub struct Player {
    side: Side,
    control: Control,
    buffers: Vec<Memory>,
    seed: u64,
    nonce: Option<u64>,
    random: Random,
    tally: Tally,
    first_trouble: Option<String>,
}

impl Player {
    /// A side that plays on `buffers` buffers one after the other in `memory`. The nonce is known to
    /// the borrower alone, and so the lender never draws the bands that show it.
    pub fn new(
        side: Side,
        control: Control,
        memory: Memory,
        buffers: usize,
        seed: u64,
        nonce: Option<u64>,
    ) -> Self {
        let buffers = (0..buffers).map(|index| memory.part(index * BUFFER_BYTES, BUFFER_BYTES)).collect();
        let random = Random::new(seed ^ side as u64);
        Self { side, control, buffers, seed, nonce, random, tally: Tally::default(), first_trouble: None }
    }

    /// Number of buffers.
    pub fn buffers(&self) -> usize {
        self.buffers.len()
    }

    /// What this side has seen so far.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// The first thing that was wrong, for a person.
    pub fn first_trouble(&self) -> Option<&str> {
        self.first_trouble.as_deref()
    }

    /// Judges one band against what was published for it.
    pub fn check_band(&mut self, buffer: usize, band: usize) {
        let published = self.control.published(buffer, band);
        if published == 0 {
            return;
        }
        for line in band * BAND_LINES..(band + 1) * BAND_LINES {
            let id = LineId { buffer: buffer as u8, line: line as u16 };
            let words = self.buffers[buffer].read_line(line * LINE_BYTES);
            let verdict = judge(&words, id, published, self.seed);
            match verdict {
                Verdict::Good => {}
                Verdict::Stale { .. } => self.tally.stale_reads += 1,
                Verdict::Broken => self.tally.integrity_errors += 1,
            }
            if verdict != Verdict::Good && self.first_trouble.is_none() {
                self.first_trouble = Some(format!(
                    "{:?} read buffer {buffer} line {line}, published {published}: {verdict:?} {words:016x?}",
                    self.side
                ));
            }
        }
        self.tally.bytes_checked += (BAND_LINES * LINE_BYTES) as u64;
    }

    fn draw_band(&mut self, buffer: usize, band: usize) {
        let generation = self.control.published(buffer, band).wrapping_add(1);
        for line in band * BAND_LINES..(band + 1) * BAND_LINES {
            let id = LineId { buffer: buffer as u8, line: line as u16 };
            let shown = pixels(id.buffer, line, generation, self.nonce);
            self.buffers[buffer].write_line(line * LINE_BYTES, &compose(id, generation, &shown, self.seed));
        }
        self.control.publish(buffer, band, generation);
        self.tally.bytes_drawn += (BAND_LINES * LINE_BYTES) as u64;
    }

    /// Whether it is this side's turn on a buffer.
    pub fn has_turn(&self, buffer: usize) -> bool {
        self.control.has_turn(self.side, buffer)
    }

    /// Takes the turn on a buffer, if it is this side's: judges `bands` bands from a random one on,
    /// then redraws as many. The borrower draws the whole picture once, and its first band in every
    /// turn; the lender draws nothing where the number is.
    pub fn take_turn(&mut self, buffer: usize, bands: usize) -> bool {
        if !self.has_turn(buffer) {
            return false;
        }
        let bands = bands.min(BANDS);
        let start = self.random.below(BANDS);
        let chosen = move || (start..start + bands).map(|band| band % BANDS);
        chosen().for_each(|band| self.check_band(buffer, band));
        match self.side {
            Side::Borrower if self.control.published(buffer, 0) == 0 => {
                (0..BANDS).for_each(|band| self.draw_band(buffer, band));
            }
            Side::Borrower => {
                self.check_band(buffer, 0);
                self.draw_band(buffer, 0);
                chosen().filter(|band| *band != 0).for_each(|band| self.draw_band(buffer, band));
            }
            Side::Lender => {
                chosen().filter(|band| *band >= NONCE_BANDS).for_each(|band| self.draw_band(buffer, band));
            }
        }
        self.tally.turns += 1;
        self.control.end_turn(self.side, buffer);
        true
    }

    /// Judges every band of the buffers whose turn is this side's.
    pub fn check_own(&mut self) {
        for buffer in 0..self.buffers() {
            if self.has_turn(buffer) {
                (0..BANDS).for_each(|band| self.check_band(buffer, band));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Player, Tally};
    use crate::control::{Control, Side, CONTROL_BYTES};
    use crate::memory::{test_memory, Memory};
    use crate::picture::{BANDS, BUFFER_BYTES};

    fn pair() -> (Memory, Player, Player) {
        let control = Control::new(test_memory(CONTROL_BYTES));
        let memory = test_memory(2 * BUFFER_BYTES);
        let guest = Player::new(Side::Borrower, control, memory, 2, 7, Some(99));
        let dom0 = Player::new(Side::Lender, control, memory, 2, 7, None);
        (memory, guest, dom0)
    }

    #[test]
    fn an_honest_game_finds_nothing() {
        let (_, mut guest, mut dom0) = pair();
        for _ in 0..3 {
            assert!(guest.take_turn(1, BANDS) && !guest.take_turn(1, BANDS));
            assert!(dom0.take_turn(1, BANDS) && !dom0.take_turn(1, BANDS));
        }
        for tally in [guest.tally(), dom0.tally()] {
            assert_eq!((tally.integrity_errors, tally.stale_reads, tally.turns), (0, 0, 3));
            assert!(tally.bytes_checked >= 2 * BUFFER_BYTES as u64);
        }
    }

    #[test]
    fn one_flipped_bit_is_one_integrity_error() {
        let (memory, mut guest, mut dom0) = pair();
        guest.take_turn(0, BANDS);
        memory.write_u8(1_000_003, memory.read_u8(1_000_003) ^ 0x10);
        dom0.take_turn(0, BANDS);
        assert_eq!(
            Tally { integrity_errors: 1, ..Tally::default() }.integrity_errors,
            dom0.tally().integrity_errors
        );
        assert!(dom0.first_trouble().is_some());
    }

    #[test]
    fn a_page_of_the_last_generation_is_64_stale_reads() {
        let (memory, mut guest, mut dom0) = pair();
        guest.take_turn(0, BANDS);
        let old = memory.read_bytes(4096 * 300, 4096);
        dom0.take_turn(0, BANDS);
        guest.take_turn(0, BANDS);
        memory.write_bytes(4096 * 300, &old);
        dom0.take_turn(0, BANDS);
        assert_eq!((dom0.tally().stale_reads, dom0.tally().integrity_errors), (64, 0));
    }
}

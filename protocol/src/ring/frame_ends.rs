// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the frames of a ring end: one bit for each 8 bytes of the data area.

use super::layout::{ALIGNMENT, CAPACITY};

const BITS: u32 = u64::BITS;
const WORDS: usize = (CAPACITY / ALIGNMENT / BITS) as usize;

/// The ends of all frames in a ring of at most [`CAPACITY`] bytes. A bit is set for the last 8 bytes of a
/// frame; those of frames that were consumed stay until others take their place.
#[derive(Debug, Default)]
pub struct FrameEnds {
    words: [u64; WORDS],
}

impl FrameEnds {
    /// A frame of `bytes` was put at `index`, both multiples of 8, into a ring of `capacity` bytes.
    pub fn record(&mut self, index: u32, bytes: u32, capacity: u32) {
        for step in (0..bytes).step_by(ALIGNMENT as usize) {
            let is_last = step.saturating_add(ALIGNMENT) >= bytes;
            let (word, bit) = place(index.wrapping_add(step), capacity);
            if let Some(word) = self.words.get_mut(word) {
                *word = if is_last { *word | bit } else { *word & !bit };
            }
        }
    }

    /// Whether a frame that is in the ring ends right before `index`.
    pub fn is_end(&self, index: u32, capacity: u32) -> bool {
        let (word, bit) = place(index.wrapping_sub(ALIGNMENT), capacity);
        self.words.get(word).is_some_and(|word| word & bit != 0)
    }
}

fn place(index: u32, capacity: u32) -> (usize, u64) {
    let unit = (index & capacity.wrapping_sub(1)) / ALIGNMENT;
    ((unit / BITS) as usize, 1 << (unit % BITS))
}

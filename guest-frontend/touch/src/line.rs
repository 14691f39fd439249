// SPDX-License-Identifier: MIT OR Apache-2.0
//! A line: 64 bytes that carry a picture and prove themselves.
//!
//! A line is 16 pixels of 32 bits, blue, green, red and one byte that no display looks at. Those 16
//! unused bytes are the proof: magic, buffer, line number, generation and a checksum over all of it.
//! So a buffer can be shown and judged at the same time.

/// Bytes of a line.
pub const LINE_BYTES: usize = 64;

/// 64-bit words of a line, little endian, two pixels each.
pub type Words = [u64; 8];

/// The bytes of a word that a display shows.
pub const PIXEL_MASK: u64 = 0x00FF_FFFF_00FF_FFFF;

const MAGIC: u8 = 0xA7;
const MIX: u64 = 0x9E37_79B9_7F4A_7C15;

/// Which line of which buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineId {
    /// Buffer number.
    pub buffer: u8,
    /// Line number in the buffer, counted in lines of [`LINE_BYTES`].
    pub line: u16,
}

impl LineId {
    /// The id of the line at this index of an area longer than one buffer's 65,536 lines.
    pub fn at(index: usize) -> Self {
        Self { buffer: (index >> 16) as u8, line: index as u16 }
    }
}

/// What a reader makes of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Whole, and of the generation that was published last.
    Good,
    /// Whole, but of an older generation than the one that was published last.
    Stale {
        /// The generation found.
        found: u32,
    },
    /// Torn, of another place, from the future, or no line at all.
    Broken,
}

fn meta(low: u8, high: u8) -> u64 {
    (u64::from(low) << 24) | (u64::from(high) << 56)
}

fn checksum(words: &Words, seed: u64) -> u64 {
    let mut sum = seed ^ MIX;
    for (index, word) in words.iter().enumerate() {
        // The last four words hold the checksum itself in their unused bytes.
        let value = if index < 4 { *word } else { *word & PIXEL_MASK };
        sum = (sum ^ value).wrapping_mul(MIX);
        sum ^= sum >> 29;
    }
    sum
}

/// Makes a line of these pixels. `seed` is the run's own, so that nothing left over passes.
pub fn compose(id: LineId, generation: u32, pixels: &Words, seed: u64) -> Words {
    let mut words = pixels.map(|word| word & PIXEL_MASK);
    let [line_low, line_high] = id.line.to_le_bytes();
    let [g0, g1, g2, g3] = generation.to_le_bytes();
    words[0] |= meta(MAGIC, id.buffer);
    words[1] |= meta(line_low, line_high);
    words[2] |= meta(g0, g1);
    words[3] |= meta(g2, g3);
    let sum = checksum(&words, seed).to_le_bytes();
    for (word, pair) in words[4..].iter_mut().zip(sum.chunks_exact(2)) {
        *word |= meta(pair[0], pair[1]);
    }
    words
}

/// The generation that a line claims.
pub fn claimed_generation(words: &Words) -> u32 {
    let byte = |word: u64, shift: u32| (word >> shift) as u8;
    u32::from_le_bytes([byte(words[2], 24), byte(words[2], 56), byte(words[3], 24), byte(words[3], 56)])
}

/// Judges a line that was read, against the generation that its last writer published.
pub fn judge(words: &Words, id: LineId, published: u32, seed: u64) -> Verdict {
    let found = claimed_generation(words);
    let pixels = words.map(|word| word & PIXEL_MASK);
    if compose(id, found, &pixels, seed) != *words || found > published {
        Verdict::Broken
    } else if found < published {
        Verdict::Stale { found }
    } else {
        Verdict::Good
    }
}

#[cfg(test)]
mod tests {
    use super::{compose, judge, LineId, Verdict, Words};

    const ID: LineId = LineId { buffer: 3, line: 4711 };
    const PIXELS: Words = [0x1122_3344_5566_7788, 2, 3, 4, 5, 6, 7, 0x00AB_CDEF_00FE_DCBA];

    #[test]
    fn a_line_of_the_published_generation_is_good() {
        assert_eq!(judge(&compose(ID, 9, &PIXELS, 1), ID, 9, 1), Verdict::Good);
    }

    #[test]
    fn an_older_line_is_stale_and_a_newer_one_broken() {
        let words = compose(ID, 9, &PIXELS, 1);
        assert_eq!(judge(&words, ID, 10, 1), Verdict::Stale { found: 9 });
        assert_eq!(judge(&words, ID, 8, 1), Verdict::Broken);
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        let good = compose(ID, 9, &PIXELS, 1);
        for bit in 0..512 {
            let mut words = good;
            words[bit / 64] ^= 1 << (bit % 64);
            assert_eq!(judge(&words, ID, 9, 1), Verdict::Broken, "bit {bit}");
        }
    }

    #[test]
    fn a_line_of_another_place_or_another_run_is_broken() {
        let words = compose(ID, 9, &PIXELS, 1);
        assert_eq!(judge(&words, LineId { line: 1, ..ID }, 9, 1), Verdict::Broken);
        assert_eq!(judge(&words, LineId { buffer: 1, ..ID }, 9, 1), Verdict::Broken);
        assert_eq!(judge(&words, ID, 9, 2), Verdict::Broken);
    }

    #[test]
    fn halves_of_two_generations_are_broken() {
        let old = compose(ID, 9, &PIXELS, 1);
        let new = compose(ID, 10, &PIXELS, 1);
        let mut torn = new;
        torn[4..].copy_from_slice(&old[4..]);
        assert_eq!(judge(&torn, ID, 10, 1), Verdict::Broken);
    }

    #[test]
    fn zeros_and_ones_are_no_line() {
        assert_eq!(judge(&[0; 8], ID, 0, 1), Verdict::Broken);
        assert_eq!(judge(&[u64::MAX; 8], ID, u32::MAX, 1), Verdict::Broken);
    }
}

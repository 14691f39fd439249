// SPDX-License-Identifier: MIT OR Apache-2.0
//! What hunted pages hold: a word for each hunting thread, and a background that never changes.

use crate::memory::{Memory, PAGE_BYTES};

/// The first word, of 8 bytes, that belongs to the background.
pub const FIRST_BACKGROUND: usize = 64;

/// The word that a hunting thread writes; threads have words in different cache lines.
///
/// # Panics
/// When there are more than eight threads.
pub fn own_word(thread: usize) -> usize {
    assert!(thread * 8 < FIRST_BACKGROUND, "eight threads at most");
    thread * 8
}

/// What a background word holds.
pub fn background(page: usize, word: usize) -> u64 {
    0x00B0_0000_0000_0001 | (page as u64) << 20 | (word as u64) << 4
}

/// Writes the background of every page, and zeros into the threads' words.
pub fn prepare(memory: Memory) {
    for page in 0..memory.bytes() / PAGE_BYTES {
        for word in 0..PAGE_BYTES / 8 {
            let value = if word < FIRST_BACKGROUND { 0 } else { background(page, word) };
            memory.write_u64(page * PAGE_BYTES + word * 8, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::background;

    #[test]
    fn background_words_differ_and_look_like_no_poison() {
        assert_ne!(background(1, 64), background(2, 64));
        assert_ne!(background(1, 64), background(1, 65));
        for poison in [0_u64, 0xAA, 0xFF, 0x6B, 0xDB] {
            assert_ne!(background(0xAAA, 0xAA), poison * 0x0101_0101_0101_0101);
        }
    }
}

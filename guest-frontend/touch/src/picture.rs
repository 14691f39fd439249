// SPDX-License-Identifier: MIT OR Apache-2.0
//! The moving picture: what each line of each generation of a buffer shows.

use crate::line::Words;
use crate::nonce;

/// Pixels of a row, shown or not.
pub const WIDTH: usize = 1024;
/// Rows of a buffer; the display shows the first 768.
pub const HEIGHT: usize = 1024;
/// Bytes of a buffer.
pub const BUFFER_BYTES: usize = WIDTH * HEIGHT * 4;
/// Lines of a row of pixels.
pub const LINES_PER_ROW: usize = WIDTH / 16;
/// Rows of a band: what is published and judged as one.
pub const BAND_ROWS: usize = 16;
/// Bands of a buffer.
pub const BANDS: usize = HEIGHT / BAND_ROWS;
/// Lines of a band.
pub const BAND_LINES: usize = BAND_ROWS * LINES_PER_ROW;
/// Bands that the number takes.
pub const NONCE_BANDS: usize = nonce::HEIGHT / BAND_ROWS;

const SQUARE: usize = 96;

/// Where a point that bounces between 0 and `limit` is after `steps`.
fn bounce(steps: usize, limit: usize) -> usize {
    let phase = steps % (2 * limit);
    phase.min(2 * limit - phase)
}

/// The pixels of line `line` in generation `generation` of a buffer. `nonce` is drawn where it is
/// known; who does not know it must not draw the bands of it.
pub fn pixels(buffer: u8, line: usize, generation: u32, nonce: Option<u64>) -> Words {
    let (row, x) = (line / LINES_PER_ROW, line % LINES_PER_ROW * 16);
    let step = generation as usize;
    if let (Some(nonce), true) = (nonce, row < nonce::HEIGHT) {
        // 16 pixels never cross a cell's border.
        let colour = u64::from(nonce::colour(nonce, x, row));
        return [colour | colour << 32; 8];
    }
    let (left, top) = (
        bounce(step * 24 + usize::from(buffer) * 80, WIDTH - SQUARE),
        nonce::HEIGHT + bounce(step * 16 + usize::from(buffer) * 40, 768 - nonce::HEIGHT - SQUARE),
    );
    let green = ((row + step * 4) & 255) as u64;
    let red = (u64::from(buffer) * 19) & 255;
    let square_rows = row.wrapping_sub(top) < SQUARE;
    let mut words = [0; 8];
    for (index, word) in words.iter_mut().enumerate() {
        let pixel = |x: usize| {
            if square_rows && x.wrapping_sub(left) < SQUARE {
                0xFF_FF_FF
            } else {
                red << 16 | green << 8 | ((x / 4 + step * 8) & 255) as u64
            }
        };
        *word = pixel(x + index * 2) | pixel(x + index * 2 + 1) << 32;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::{bounce, pixels, BANDS, BAND_LINES, BUFFER_BYTES};
    use crate::line::{LINE_BYTES, PIXEL_MASK};
    use crate::nonce;

    #[test]
    fn the_bands_cover_the_buffer() {
        assert_eq!(BANDS * BAND_LINES * LINE_BYTES, BUFFER_BYTES);
        const { assert!(BANDS * BAND_LINES <= 1 << 16, "a line number has 16 bits") };
    }

    #[test]
    fn the_square_stays_inside_and_moves() {
        assert!((0..10_000).all(|step| bounce(step * 24, 928) <= 928));
        assert_ne!(pixels(0, 20_000, 1, None), pixels(0, 20_000, 2, None));
    }

    #[test]
    fn the_number_can_be_read_from_the_picture() {
        let picture = |x: usize, y: usize| {
            let words = pixels(5, y * 64 + x / 16, 77, Some(0xFEED_0123_4567_89AB));
            (words[x % 16 / 2] >> (x % 2 * 32)) as u32 & 0xFF_FF_FF
        };
        assert_eq!(nonce::decode(picture), Ok(0xFEED_0123_4567_89AB));
    }

    #[test]
    fn only_shown_bytes_are_used() {
        for line in [0, 100, 30_000, 65_535] {
            assert!(pixels(255, line, u32::MAX / 64, Some(1)).iter().all(|word| word & !PIXEL_MASK == 0));
        }
    }
}

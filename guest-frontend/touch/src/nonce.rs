// SPDX-License-Identifier: MIT OR Apache-2.0
//! A number drawn as coloured blocks, and read back from a picture.
//!
//! Four rows of 32 cells at the top of the picture, each cell a square of [`CELL`] pixels: a finder
//! row, the number's high 32 bits, its low 32 bits, and the finder row inverted. The finder rows say
//! whether this is such a picture at all.

/// Side of a cell in pixels.
pub const CELL: usize = 32;
/// Cells of a row.
pub const COLUMNS: usize = 32;
/// Rows of cells.
pub const ROWS: usize = 4;
/// Pixel rows that the number takes.
pub const HEIGHT: usize = ROWS * CELL;

/// Colours as 0xRRGGBB: clear bit, set bit, and the two finder colours.
const COLOURS: [u32; 4] = [0x10_20_90, 0xF0_D0_20, 0xE0_10_C0, 0x10_C0_30];

fn class(nonce: u64, row: usize, column: usize) -> usize {
    let bit = |word: u32| usize::from(word >> (COLUMNS - 1 - column) & 1 != 0);
    match row {
        0 => 2 + column % 2,
        1 => bit((nonce >> 32) as u32),
        2 => bit(nonce as u32),
        _ => 3 - column % 2,
    }
}

/// The colour, 0xRRGGBB, of a pixel of the number; x < 1024, y < [`HEIGHT`].
pub fn colour(nonce: u64, x: usize, y: usize) -> u32 {
    COLOURS[class(nonce, y / CELL, x / CELL)]
}

fn nearest(colour: u32) -> usize {
    let channels = |value: u32| [value >> 16 & 255, value >> 8 & 255, value & 255];
    let distance = |other: u32| -> u32 {
        channels(colour).iter().zip(channels(other)).map(|(a, b)| a.abs_diff(b) * a.abs_diff(b)).sum()
    };
    (0..COLOURS.len()).min_by_key(|index| distance(COLOURS[*index])).unwrap_or(0)
}

/// Reads the number from a picture; `pixel` gives the colour at (x, y) as 0xRRGGBB.
///
/// # Errors
/// The first cell that is not what such a picture has there, as text.
pub fn decode(pixel: impl Fn(usize, usize) -> u32) -> Result<u64, String> {
    // Five places of each cell have to agree, so that half a picture is not taken for one.
    let cell = |row: usize, column: usize| -> Result<usize, String> {
        let mut found = None;
        for (dx, dy) in [(16, 16), (4, 4), (27, 4), (4, 27), (27, 27)] {
            let class = nearest(pixel(column * CELL + dx, row * CELL + dy));
            if *found.get_or_insert(class) != class {
                return Err(format!("cell {column} of row {row} is not of one colour"));
            }
        }
        Ok(found.unwrap_or(0))
    };
    let mut nonce = 0;
    for row in 0..ROWS {
        for column in 0..COLUMNS {
            let found = cell(row, column)?;
            if row == 1 || row == 2 {
                if found > 1 {
                    return Err(format!("cell {column} of row {row} is no bit"));
                }
                nonce = nonce << 1 | found as u64;
            } else if found != class(0, row, column) {
                return Err(format!("cell {column} of row {row} is no finder mark"));
            }
        }
    }
    Ok(nonce)
}

#[cfg(test)]
mod tests {
    use super::{colour, decode};

    #[test]
    fn a_drawn_number_is_read_back() {
        for nonce in [0, 1, u64::MAX, 0x8000_0000_0000_0001, 0x0123_4567_89AB_CDEF] {
            assert_eq!(decode(|x, y| colour(nonce, x, y)), Ok(nonce));
        }
    }

    #[test]
    fn small_errors_of_colour_do_not_matter() {
        assert_eq!(decode(|x, y| colour(42, x, y) ^ 0x03_03_03), Ok(42));
    }

    #[test]
    fn black_and_shifted_pictures_hold_no_number() {
        assert!(decode(|_, _| 0).is_err());
        assert!(decode(|x, y| colour(42, (x + 32) % 1024, y)).is_err());
        assert!(decode(|x, y| colour(42, (x + 10) % 1024, y)).is_err());
    }
}

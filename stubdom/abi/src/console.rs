// SPDX-License-Identifier: MIT OR Apache-2.0
//! The console ring (`public/io/console.h`).

/// Bytes of the ring that the domain writes.
pub const OUT_BYTES: u32 = 2048;
/// Bytes of the ring that the domain reads.
pub const IN_BYTES: u32 = 1024;

/// `struct xencons_interface`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct ConsoleRing {
    /// Input.
    pub input: [u8; IN_BYTES as usize],
    /// Output.
    pub output: [u8; OUT_BYTES as usize],
    /// Bytes that the domain has taken, free-running.
    pub in_cons: u32,
    /// Bytes that the console daemon has put.
    pub in_prod: u32,
    /// Bytes that the console daemon has taken.
    pub out_cons: u32,
    /// Bytes that the domain has put.
    pub out_prod: u32,
}

/// Free bytes of the output ring; an index pair that cannot be leaves none.
pub const fn free_output(out_cons: u32, out_prod: u32) -> u32 {
    OUT_BYTES.saturating_sub(out_prod.wrapping_sub(out_cons))
}

const _: () = assert!(core::mem::size_of::<ConsoleRing>() == 3088);

#[cfg(test)]
mod tests {
    use super::free_output;

    #[test]
    fn impossible_indices_leave_no_room() {
        assert_eq!(free_output(0, 0), 2048);
        assert_eq!(free_output(u32::MAX, 2047), 0);
        assert_eq!(free_output(u32::MAX, 1), 2046);
        assert_eq!(free_output(5, 4), 0);
    }
}

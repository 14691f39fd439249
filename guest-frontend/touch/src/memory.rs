// SPDX-License-Identifier: MIT OR Apache-2.0
//! A piece of memory that others change too: every access is volatile, checked against its size (a
//! program that misses it panics) and aligned.

#![allow(clippy::cast_ptr_alignment, reason = "`check` has checked it")]
#![allow(clippy::missing_panics_doc, reason = "said once, above")]

use std::sync::atomic::{fence, Ordering};

use crate::line::{Words, LINE_BYTES};

/// Bytes of a page.
pub const PAGE_BYTES: usize = 4096;

/// A mapped piece of shared memory. Copies name the same memory.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    base: *mut u8,
    bytes: usize,
}

// SAFETY: the memory is shared with other domains anyway: all accesses are volatile, and who may write
// what when is agreed in `control.rs`.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// Names `bytes` bytes from `base`.
    ///
    /// # Safety
    /// They must stay mapped, readable and writable as long as any copy is used, and no Rust reference
    /// may point into them. `base` must be page aligned.
    pub unsafe fn new(base: *mut u8, bytes: usize) -> Self {
        assert_eq!(base as usize % PAGE_BYTES, 0, "not page aligned");
        Self { base, bytes }
    }

    /// Its size in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// A part of it. Panics if it is not inside, or not page aligned.
    #[must_use]
    pub fn part(&self, offset: usize, bytes: usize) -> Self {
        self.check(offset, bytes, PAGE_BYTES);
        // SAFETY: inside this one, so the caller of `new` has promised it.
        unsafe { Self::new(self.base.add(offset), bytes) }
    }

    /// The address of a byte. Panics if the `bytes` from there are not inside.
    pub fn pointer(&self, offset: usize, bytes: usize) -> *mut u8 {
        self.check(offset, bytes, 1);
        // SAFETY: inside the mapping.
        unsafe { self.base.add(offset) }
    }

    fn check(&self, offset: usize, bytes: usize, alignment: usize) {
        let end = offset.checked_add(bytes).expect("offset wraps");
        assert!(end <= self.bytes, "{offset:#x}+{bytes:#x} is outside {:#x} bytes", self.bytes);
        assert_eq!(offset % alignment, 0, "{offset:#x} is not a multiple of {alignment}");
    }

    /// Reads a byte.
    pub fn read_u8(&self, offset: usize) -> u8 {
        self.check(offset, 1, 1);
        // SAFETY: inside the mapping; volatile because others write it.
        unsafe { self.base.add(offset).read_volatile() }
    }

    /// Writes a byte.
    pub fn write_u8(&self, offset: usize, value: u8) {
        self.check(offset, 1, 1);
        // SAFETY: inside the mapping; volatile because others read it.
        unsafe { self.base.add(offset).write_volatile(value) }
    }

    /// Reads a 32-bit word at a multiple of 4.
    pub fn read_u32(&self, offset: usize) -> u32 {
        self.check(offset, 4, 4);
        // SAFETY: inside the mapping and aligned; volatile because others write it.
        unsafe { self.base.add(offset).cast::<u32>().read_volatile() }
    }

    /// Writes a 32-bit word at a multiple of 4.
    pub fn write_u32(&self, offset: usize, value: u32) {
        self.check(offset, 4, 4);
        // SAFETY: inside the mapping and aligned; volatile because others read it.
        unsafe { self.base.add(offset).cast::<u32>().write_volatile(value) }
    }

    /// Reads a 64-bit word at a multiple of 8.
    pub fn read_u64(&self, offset: usize) -> u64 {
        self.check(offset, 8, 8);
        // SAFETY: inside the mapping and aligned; volatile because others write it.
        unsafe { self.base.add(offset).cast::<u64>().read_volatile() }
    }

    /// Writes a 64-bit word at a multiple of 8.
    pub fn write_u64(&self, offset: usize, value: u64) {
        self.check(offset, 8, 8);
        // SAFETY: inside the mapping and aligned; volatile because others read it.
        unsafe { self.base.add(offset).cast::<u64>().write_volatile(value) }
    }

    /// Reads the line at a multiple of [`LINE_BYTES`].
    pub fn read_line(&self, offset: usize) -> Words {
        self.check(offset, LINE_BYTES, LINE_BYTES);
        let mut words = [0; 8];
        for (index, word) in words.iter_mut().enumerate() {
            // SAFETY: inside the mapping and aligned; volatile because others write it.
            *word = unsafe { self.base.add(offset).cast::<u64>().add(index).read_volatile() };
        }
        words
    }

    /// Writes the line at a multiple of [`LINE_BYTES`].
    pub fn write_line(&self, offset: usize, words: &Words) {
        self.check(offset, LINE_BYTES, LINE_BYTES);
        for (index, word) in words.iter().enumerate() {
            // SAFETY: inside the mapping and aligned; volatile because others read it.
            unsafe { self.base.add(offset).cast::<u64>().add(index).write_volatile(*word) };
        }
    }

    /// Copies bytes out.
    pub fn read_bytes(&self, offset: usize, bytes: usize) -> Vec<u8> {
        (offset..offset + bytes).map(|at| self.read_u8(at)).collect()
    }

    /// Copies bytes in.
    pub fn write_bytes(&self, offset: usize, bytes: &[u8]) {
        for (index, byte) in bytes.iter().enumerate() {
            self.write_u8(offset + index, *byte);
        }
    }
}

/// Everything written before is seen by whoever sees what is written after, also through
/// write-combining buffers.
pub fn publish_barrier() {
    fence(Ordering::SeqCst);
}

#[cfg(test)]
pub(crate) fn test_memory(bytes: usize) -> Memory {
    let layout = std::alloc::Layout::from_size_align(bytes, PAGE_BYTES).unwrap();
    // SAFETY: the size is not 0; never freed, so it stays valid for good.
    unsafe { Memory::new(std::alloc::alloc_zeroed(layout), bytes) }
}

#[cfg(test)]
mod tests {
    use super::test_memory;

    #[test]
    fn what_is_written_is_read_back_at_every_width() {
        let memory = test_memory(8192);
        memory.write_u64(8, 0x1122_3344_5566_7788);
        assert_eq!(memory.read_u32(8), 0x5566_7788);
        assert_eq!(memory.read_u8(15), 0x11);
        memory.part(4096, 4096).write_bytes(0, &[1, 2, 3]);
        assert_eq!(memory.read_bytes(4095, 4), [0, 1, 2, 3]);
    }

    #[test]
    #[should_panic(expected = "outside")]
    fn an_access_across_the_end_is_refused() {
        test_memory(4096).read_line(4096);
    }

    #[test]
    #[should_panic(expected = "multiple of 8")]
    fn an_unaligned_word_is_refused() {
        test_memory(4096).read_u64(4);
    }
}

// SPDX-License-Identifier: MIT OR GPL-2.0 WITH Linux-syscall-note
//! A mapped piece of a lease. Every access is volatile and checked against its size: a program that
//! misses it panics. A lease that has ended raises SIGBUS.
#![allow(clippy::missing_panics_doc, reason = "said once, above")]

use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;

use rustix::mm::{mmap, munmap, MapFlags, ProtFlags};

mod sealed {
    pub trait Sealed {}
    impl Sealed for u8 {}
    impl Sealed for u16 {}
    impl Sealed for u32 {}
    impl Sealed for u64 {}
}

/// What one access of the processor can read or write: any bits are a value of it.
pub trait Word: Copy + sealed::Sealed {}
impl Word for u8 {}
impl Word for u16 {}
impl Word for u32 {}
impl Word for u64 {}

/// The mapping; unmapped when dropped.
#[derive(Debug)]
pub struct Mapping {
    base: NonNull<u8>,
    bytes: usize,
    writable: bool,
}

// SAFETY: the memory is shared with other domains anyway; all accesses are volatile.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    pub(crate) fn new(fd: BorrowedFd<'_>, offset: u64, bytes: usize, writable: bool) -> io::Result<Self> {
        let protection = if writable { ProtFlags::READ | ProtFlags::WRITE } else { ProtFlags::READ };
        // SAFETY: a new mapping at an address that the kernel chooses.
        let base = unsafe { mmap(std::ptr::null_mut(), bytes, protection, MapFlags::SHARED, fd, offset) }?;
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { base, bytes, writable })
    }

    /// Its size in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Its first byte, for accesses that this type does not have: valid for volatile and atomic ones while
    /// the mapping lives, and never for a reference.
    pub fn as_ptr(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    /// Reads a word at a multiple of its size.
    pub fn read<T: Word>(&self, offset: usize) -> T {
        // SAFETY: inside the mapping and aligned; volatile because others write it.
        unsafe { self.cell::<T>(offset).read_volatile() }
    }

    /// Writes a word at a multiple of its size. Panics if the mapping is read-only.
    pub fn write<T: Word>(&self, offset: usize, value: T) {
        assert!(self.writable, "a read-only mapping");
        // SAFETY: inside the mapping and aligned; volatile because others read it.
        unsafe { self.cell::<T>(offset).write_volatile(value) }
    }

    fn cell<T: Word>(&self, offset: usize) -> *mut T {
        let end = offset.checked_add(size_of::<T>()).expect("offset wraps");
        assert!(end <= self.bytes, "{offset:#x} is outside {:#x} bytes", self.bytes);
        assert_eq!(offset % size_of::<T>(), 0, "{offset:#x} is not aligned");
        self.base.as_ptr().wrapping_add(offset).cast()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this size, and not used again. What could fail is a wrong address.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}

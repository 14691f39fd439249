// SPDX-License-Identifier: MIT OR Apache-2.0
//! Windows in this process's address space: reserved once, and whatever is mapped into them later
//! shows in the borrower at once.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use anyhow::{Context, Result};
use xenlend_touch::memory::Memory;

/// Windows start at multiples of this, as 2 MiB entries want it.
const ALIGNMENT: usize = 2 << 20;

/// A piece of this process's address space. It is never given back: the process's end does that.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    address: usize,
    bytes: usize,
}

/// What is mapped into a window.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    /// Memory of this process alone.
    Anonymous,
    /// A file, shared, from this offset.
    File(BorrowedFd<'a>, u64),
    /// The same, to be read only.
    ReadOnlyFile(BorrowedFd<'a>, u64),
}

fn failed(address: *mut libc::c_void) -> Result<usize> {
    if address == libc::MAP_FAILED {
        return Err(io::Error::last_os_error()).context("mmap");
    }
    Ok(address as usize)
}

impl Window {
    /// Reserves address space; nothing is there yet.
    pub fn reserve(bytes: usize) -> Result<Self> {
        // SAFETY: a new mapping at an address that the kernel chooses.
        let address = failed(unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes + ALIGNMENT,
                libc::PROT_NONE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        })?;
        Ok(Self { address: address.next_multiple_of(ALIGNMENT), bytes })
    }

    /// Its address.
    pub fn address(&self) -> u64 {
        self.address as u64
    }

    /// Its size in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Its memory, as far as something is mapped there: elsewhere an access ends this process.
    pub fn memory(&self) -> Memory {
        // SAFETY: the address space stays this window's, and no reference is made to it.
        unsafe { Memory::new(self.address as *mut u8, self.bytes) }
    }

    fn place(&self, offset: usize, bytes: usize) -> *mut libc::c_void {
        assert!(offset.checked_add(bytes).is_some_and(|end| end <= self.bytes), "outside the window");
        (self.address + offset) as *mut libc::c_void
    }

    /// Maps something into a part, over whatever was there.
    pub fn map(&self, offset: usize, bytes: usize, content: Content<'_>) -> Result<()> {
        let (protection, flags, fd, start) = match content {
            Content::Anonymous => (
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            ),
            Content::File(fd, start) => {
                (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED, fd.as_raw_fd(), start)
            }
            Content::ReadOnlyFile(fd, start) => (libc::PROT_READ, libc::MAP_SHARED, fd.as_raw_fd(), start),
        };
        // SAFETY: replaces mappings inside the window only, to which no reference exists.
        failed(unsafe {
            libc::mmap(
                self.place(offset, bytes),
                bytes,
                protection,
                flags | libc::MAP_FIXED,
                fd,
                start as libc::off_t,
            )
        })?;
        Ok(())
    }

    /// Removes what is mapped in a part.
    pub fn unmap(&self, offset: usize, bytes: usize) -> Result<()> {
        // SAFETY: inside the window, to which no reference exists.
        check(unsafe { libc::munmap(self.place(offset, bytes), bytes) }, "munmap")
    }

    /// Changes what this process may do with a part.
    pub fn protect(&self, offset: usize, bytes: usize, protection: libc::c_int) -> Result<()> {
        // SAFETY: inside the window, to which no reference exists.
        check(unsafe { libc::mprotect(self.place(offset, bytes), bytes, protection) }, "mprotect")
    }

    /// Has a part of a file's mapping written to the file, and waits for it.
    pub fn write_back(&self, offset: usize, bytes: usize) -> Result<()> {
        // SAFETY: inside the window.
        check(unsafe { libc::msync(self.place(offset, bytes), bytes, libc::MS_SYNC) }, "msync")
    }

    /// Moves what is mapped in the first `bytes` bytes to another window, which takes its place.
    pub fn move_away(&self, bytes: usize) -> Result<Self> {
        let to = Self::reserve(bytes)?;
        // SAFETY: both ranges are windows, to which no reference exists.
        failed(unsafe {
            libc::mremap(
                self.place(0, bytes),
                bytes,
                bytes,
                libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED,
                to.address as *mut libc::c_void,
            )
        })?;
        Ok(to)
    }

    /// Drops the page table entries of a part; a file's contents stay.
    pub fn drop_entries(&self, offset: usize, bytes: usize) -> Result<()> {
        // SAFETY: inside the window, to which no reference exists.
        check(unsafe { libc::madvise(self.place(offset, bytes), bytes, libc::MADV_DONTNEED) }, "madvise")
    }
}

/// A new file of so many bytes that exists in memory alone.
pub fn memory_file(bytes: usize) -> Result<std::fs::File> {
    use std::os::fd::FromRawFd;
    // SAFETY: the name is a C string.
    let fd = unsafe { libc::memfd_create(c"xenlend".as_ptr(), libc::MFD_CLOEXEC) };
    check(fd, "memfd_create")?;
    // SAFETY: just made, and nobody else's.
    let file = unsafe { std::fs::File::from_raw_fd(fd) };
    file.set_len(bytes as u64)?;
    Ok(file)
}

/// A new file of so many bytes that only whoever maps it sees: `memfd_secret(2)`.
pub fn secret_file(bytes: usize) -> Result<std::fs::File> {
    use std::os::fd::FromRawFd;
    // SAFETY: a new descriptor; no memory is named.
    let fd = unsafe { libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC) };
    check(fd as i32, "memfd_secret (kernels before 6.5 want secretmem.enable=1 on their command line)")?;
    // SAFETY: just made, and nobody else's.
    let file = unsafe { std::fs::File::from_raw_fd(fd as i32) };
    file.set_len(bytes as u64)?;
    Ok(file)
}

/// Frees the memory of a part of a file; it reads as zeros afterwards.
pub fn punch_hole(file: &std::fs::File, offset: u64, bytes: u64) -> Result<()> {
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    // SAFETY: no memory is named.
    check(
        unsafe { libc::fallocate(file.as_raw_fd(), mode, offset as libc::off_t, bytes as libc::off_t) },
        "fallocate",
    )
}

/// `struct ioctl_gntdev_map_grant_ref` of one grant.
#[repr(C)]
struct MapGrant {
    count: u32,
    padding: u32,
    offset: u64,
    domain: u32,
    reference: u32,
}

/// `IOCTL_GNTDEV_MAP_GRANT_REF`
const MAP_GRANT: libc::c_ulong = (24 << 16) | ((b'G' as libc::c_ulong) << 8);

/// Names a page that a domain has granted; gives the offset at which it is to be mapped.
pub fn name_grant(file: &std::fs::File, domain: u16, reference: u32) -> Result<u64> {
    let mut call = MapGrant { count: 1, padding: 0, offset: 0, domain: domain.into(), reference };
    // SAFETY: the driver reads and writes one structure of this size.
    check(unsafe { libc::ioctl(file.as_raw_fd(), MAP_GRANT, &raw mut call) }, "IOCTL_GNTDEV_MAP_GRANT_REF")?;
    Ok(call.offset)
}

#[repr(C)]
struct MapBatch {
    count: u32,
    domain: u16,
    address: u64,
    frames: *const u64,
    errors: *mut i32,
}

/// `IOCTL_PRIVCMD_MMAPBATCH_V2`.
const MAP_BATCH: libc::c_ulong = ((size_of::<MapBatch>() as u64) << 16) | (b'P' as u64) << 8 | 4;

/// Fills the first page of a window, mapped from privcmd, with a frame of another domain.
pub fn map_foreign(privcmd: &std::fs::File, window: Window, domain: u16, gfn: u64) -> Result<()> {
    let mut error = 0;
    let batch = MapBatch {
        count: 1,
        domain,
        address: window.address(),
        frames: &raw const gfn,
        errors: &raw mut error,
    };
    // SAFETY: one frame number is read and one error written; the page is inside the window, to which
    // no reference exists.
    let status = unsafe { libc::ioctl(privcmd.as_raw_fd(), MAP_BATCH, &raw const batch) };
    check(status, "IOCTL_PRIVCMD_MMAPBATCH_V2")?;
    if error != 0 {
        return Err(io::Error::from_raw_os_error(-error)).context("the frame cannot be mapped");
    }
    Ok(())
}

/// Turns a C result into Rust's.
pub fn check(status: libc::c_int, what: &'static str) -> Result<()> {
    if status < 0 {
        return Err(io::Error::last_os_error()).context(what);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::{memory_file, punch_hole, Content, Window};

    #[test]
    fn a_window_shows_what_is_mapped_into_it_later() {
        let window = Window::reserve(3 * 4096).unwrap();
        assert_eq!(window.address() % (2 << 20), 0);
        let file = memory_file(8192).unwrap();
        window.map(4096, 8192, Content::File(file.as_fd(), 0)).unwrap();
        window.memory().write_u64(4096, 42);
        window.drop_entries(4096, 8192).unwrap();
        assert_eq!(window.memory().read_u64(4096), 42, "a file's contents stay");
        punch_hole(&file, 0, 4096).unwrap();
        assert_eq!(window.memory().read_u64(4096), 0);
        window.map(4096, 4096, Content::Anonymous).unwrap();
        window.memory().write_u64(4096, 43);
        window.drop_entries(4096, 4096).unwrap();
        assert_eq!(window.memory().read_u64(4096), 0, "anonymous contents do not");
    }

    #[test]
    fn contents_move_with_their_mapping() {
        let window = Window::reserve(4096).unwrap();
        window.map(0, 4096, Content::Anonymous).unwrap();
        window.memory().write_u64(0, 7);
        let moved = window.move_away(4096).unwrap();
        assert_ne!(moved.address(), window.address());
        assert_eq!(moved.memory().read_u64(0), 7);
    }
}

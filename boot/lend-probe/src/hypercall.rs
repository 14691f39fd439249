// SPDX-License-Identifier: MIT OR Apache-2.0
//! Hypercalls of a toolstack through Linux's `/dev/xen/privcmd`: domctls and memory operations, of Xen 4.19 to 4.21.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr;

use anyhow::{ensure, Context, Result};

const PAGE: usize = 4096;
const MEMORY_OP: u64 = 12;
const DOMCTL: u64 = 36;
/// `XEN_DOMCTL_INTERFACE_VERSION`
const INTERFACE: u32 = 0x17;
/// `sizeof(struct xen_domctl)`
const DOMCTL_BYTES: usize = 144;
const POPULATE_PHYSMAP: u64 = 6;
/// Where a memory operation's list is in the page of arguments.
const LIST: usize = 64;

#[repr(C)]
struct Call {
    operation: u64,
    arguments: [u64; 5],
}

#[repr(C)]
struct MapBatch {
    count: u32,
    domain: u16,
    address: u64,
    frames: *const u64,
    errors: *mut i32,
}

const HYPERCALL: libc::c_ulong = (size_of::<Call>() as libc::c_ulong) << 16 | (b'P' as libc::c_ulong) << 8;
const MAP_BATCH: libc::c_ulong =
    (size_of::<MapBatch>() as libc::c_ulong) << 16 | (b'P' as libc::c_ulong) << 8 | 4;

/// The right to make them, with a page for their arguments.
#[derive(Debug)]
pub struct Hypercalls {
    privcmd: File,
    _buffers: File,
    page: *mut u8,
}

fn open(path: &str) -> Result<File> {
    File::options().read(true).write(true).open(path).with_context(|| path.to_owned())
}

/// A new page from a device; it stays mapped until the process ends.
fn map(device: &File) -> Result<*mut u8> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping at an address that the kernel chooses.
    let address =
        unsafe { libc::mmap(ptr::null_mut(), PAGE, protection, libc::MAP_SHARED, device.as_raw_fd(), 0) };
    if address == libc::MAP_FAILED {
        return Err(io::Error::last_os_error()).context("mmap");
    }
    Ok(address.cast())
}

impl Hypercalls {
    /// Opens the devices.
    pub fn open() -> Result<Self> {
        let (privcmd, buffers) = (open("/dev/xen/privcmd")?, open("/dev/xen/hypercall")?);
        let page = map(&buffers)?;
        Ok(Self { privcmd, _buffers: buffers, page })
    }

    /// The arguments are at the front of the page, and what Xen makes of them comes back.
    fn call(&mut self, bytes: &mut [u8], operation: u64, arguments: [u64; 5]) -> io::Result<i64> {
        assert!(bytes.len() <= PAGE);
        // SAFETY: inside the page, which nothing else refers to.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.page, bytes.len()) };
        let call = Call { operation, arguments };
        // SAFETY: Xen reads and writes the page of arguments alone, as far as the callers' structures go.
        let result = unsafe { libc::ioctl(self.privcmd.as_raw_fd(), HYPERCALL, &raw const call) };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: as above; Xen is done with it.
        unsafe { ptr::copy_nonoverlapping(self.page, bytes.as_mut_ptr(), bytes.len()) };
        Ok(result.into())
    }

    /// A domctl whose payload is these words; gives the domain that it was about.
    pub fn domctl(&mut self, command: u32, domain: u16, payload: &[u32]) -> io::Result<u16> {
        let words = [command, INTERFACE, domain.into(), 0];
        let mut bytes: Vec<u8> = words.iter().chain(payload).flat_map(|word| word.to_le_bytes()).collect();
        bytes.resize(DOMCTL_BYTES, 0);
        let page = self.page as u64;
        self.call(&mut bytes, DOMCTL, [page, 0, 0, 0, 0])?;
        Ok(u16::from_le_bytes([bytes[8], bytes[9]]))
    }

    /// Gives a domain new pages at these frames.
    pub fn populate(&mut self, domain: u16, frames: &[u64]) -> Result<()> {
        let (page, nr) = (self.page as u64, frames.len() as u64);
        let mut words = vec![page + LIST as u64, nr, 0, domain.into()];
        words.resize(LIST / size_of::<u64>(), 0);
        words.extend(frames);
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let done = self.call(&mut bytes, MEMORY_OP, [POPULATE_PHYSMAP, page, 0, 0, 0]);
        let done = done.context("populate_physmap")?;
        ensure!(done == frames.len() as i64, "only {done} of {nr} pages were populated");
        Ok(())
    }

    /// Maps a page of a domain. It stays mapped until the process ends.
    pub fn map_foreign(&self, domain: u16, frame: u64) -> Result<Page> {
        let address = map(&self.privcmd)?;
        let mut error = 0;
        let (frames, errors) = (&raw const frame, &raw mut error);
        let batch = MapBatch { count: 1, domain, address: address as u64, frames, errors };
        // SAFETY: one frame's number is read and one error written; the mapping is a new one.
        if unsafe { libc::ioctl(self.privcmd.as_raw_fd(), MAP_BATCH, &raw const batch) } < 0 {
            return Err(io::Error::last_os_error()).context("map a foreign page");
        }
        ensure!(error == 0, "frame {frame:#x} cannot be mapped: {error}");
        Ok(Page(address.cast()))
    }
}

/// A page of another domain.
#[derive(Debug)]
pub struct Page(*mut u64);

impl Page {
    const WORDS: usize = PAGE / size_of::<u64>();

    /// Its words.
    pub fn read(&self) -> Vec<u64> {
        // SAFETY: inside the mapping; a device may write it, which volatile allows for.
        (0..Self::WORDS).map(|word| unsafe { self.0.add(word).read_volatile() }).collect()
    }

    /// Writes them.
    pub fn fill(&self, content: impl Fn(usize) -> u64) {
        for word in 0..Self::WORDS {
            // SAFETY: as above.
            unsafe { self.0.add(word).write_volatile(content(word)) };
        }
    }
}

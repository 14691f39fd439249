// SPDX-License-Identifier: MIT OR Apache-2.0
//! dom0's own pages, with their machine frames: from the test driver `ownframes`.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr;

use anyhow::{Context, Result};

const CREATE: libc::c_ulong = 0x4008_6F40;
const VERIFY: libc::c_ulong = 0x8020_6F43;

/// A run of pages; it is never moved.
#[derive(Debug)]
pub struct Frames {
    /// The first one's machine frame.
    pub mfn: u64,
    address: *mut u64,
    bytes: usize,
    _device: File,
}

impl Frames {
    /// One page, or 512 that are aligned to 2 MiB in the machine.
    pub fn create(pages: u32) -> Result<Self> {
        let device = File::options().read(true).write(true).open("/dev/ownframes")?;
        let (request, mut answer) = ([pages, u32::from(pages > 1)], [0_u64; 4]);
        let bytes = pages as usize * 4096;
        // SAFETY: the driver reads two numbers, then writes four; the mapping is a new one.
        let address = unsafe {
            let fd = device.as_raw_fd();
            if libc::ioctl(fd, CREATE, request.as_ptr()) < 0
                || libc::ioctl(fd, VERIFY, answer.as_mut_ptr()) < 0
            {
                return Err(io::Error::last_os_error()).context("ownframes");
            }
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            libc::mmap(ptr::null_mut(), bytes, protection, libc::MAP_SHARED, fd, 0)
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error()).context("mmap");
        }
        Ok(Self { mfn: answer[3], address: address.cast(), bytes, _device: device })
    }

    /// The eight bytes at an offset.
    pub fn read(&self, offset: usize) -> u64 {
        assert!(offset + 8 <= self.bytes && offset % 8 == 0);
        // SAFETY: inside the mapping and aligned; others may write it, which volatile allows for.
        unsafe { self.address.add(offset / 8).read_volatile() }
    }

    /// Writes them.
    pub fn write(&self, offset: usize, value: u64) {
        assert!(offset + 8 <= self.bytes && offset % 8 == 0);
        // SAFETY: as above.
        unsafe { self.address.add(offset / 8).write_volatile(value) }
    }
}

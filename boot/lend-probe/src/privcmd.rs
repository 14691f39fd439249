// SPDX-License-Identifier: MIT OR Apache-2.0
//! Linux's devices for a toolstack: `/dev/xen/privcmd` (operations, resources) and `/dev/xen/evtchn`.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use anyhow::{Context, Result};
use rustix::event::{poll, PollFd, PollFlags};

const PAGE: usize = 4096;

const fn number(kind: u8, command: u32, bytes: usize) -> libc::c_ulong {
    ((bytes as u32) << 16 | (kind as u32) << 8 | command) as libc::c_ulong
}

#[repr(C)]
struct DmOp {
    domain: u16,
    buffers: u16,
    list: *const Buffer,
}

#[repr(C)]
struct Buffer {
    address: *mut libc::c_void,
    bytes: usize,
}

#[repr(C)]
struct Resource {
    domain: u16,
    kind: u32,
    id: u32,
    index: u32,
    frames: u64,
    address: u64,
}

const DM_OP: libc::c_ulong = number(b'P', 5, size_of::<DmOp>());
const MMAP_RESOURCE: libc::c_ulong = number(b'P', 7, size_of::<Resource>());
const BIND_INTERDOMAIN: libc::c_ulong = number(b'E', 1, 8);
const NOTIFY: libc::c_ulong = number(b'E', 4, 4);

/// The right to make hypercalls.
#[derive(Debug)]
pub struct Privcmd(File);

/// What an operation came to: 0, or an error number.
fn outcome(result: libc::c_int) -> i32 {
    if result < 0 {
        io::Error::last_os_error().raw_os_error().unwrap_or(i32::MAX)
    } else {
        0
    }
}

impl Privcmd {
    /// Opens the device.
    pub fn open() -> Result<Self> {
        let file = File::options().read(true).write(true).open("/dev/xen/privcmd");
        Ok(Self(file.context("/dev/xen/privcmd")?))
    }

    /// A `dm_op` on a domain: the operation itself, and a list if it takes one. Returns the error number.
    pub fn dm_op(&self, domain: u16, op: &mut [u8], list: &mut [u8]) -> i32 {
        let buffers = [
            Buffer { address: op.as_mut_ptr().cast(), bytes: op.len() },
            Buffer { address: list.as_mut_ptr().cast(), bytes: list.len() },
        ];
        let count = if list.is_empty() { 1 } else { 2 };
        let request = DmOp { domain, buffers: count, list: buffers.as_ptr() };
        // SAFETY: both buffers are this function's alone while the call lasts, with their right sizes.
        outcome(unsafe { libc::ioctl(self.0.as_raw_fd(), DM_OP, &raw const request) })
    }

    /// Maps the page of an ioreq server of this domain's own. It stays mapped until the process ends.
    pub fn map_ioreq_page(&self, domain: u16, server: u16) -> Result<*mut u8> {
        // SAFETY: a new mapping at an address that the kernel chooses.
        let address = unsafe {
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            libc::mmap(ptr::null_mut(), PAGE, protection, libc::MAP_SHARED, self.0.as_raw_fd(), 0)
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error()).context("mmap");
        }
        let (kind, index) = (0, 1);
        let request = Resource { domain, kind, id: server.into(), index, frames: 1, address: address as u64 };
        // SAFETY: the kernel fills the mapping just made, which nothing refers to yet.
        match outcome(unsafe { libc::ioctl(self.0.as_raw_fd(), MMAP_RESOURCE, &raw const request) }) {
            0 => Ok(address.cast()),
            error => Err(io::Error::from_raw_os_error(error)).context("map the ioreq page"),
        }
    }
}

/// One event channel to another domain.
#[derive(Debug)]
pub struct Channel {
    device: File,
    port: u32,
}

impl Channel {
    /// Binds to a port that the other domain has for this one.
    pub fn bind(domain: u16, remote: u32) -> Result<Self> {
        let device = File::options().read(true).write(true).open("/dev/xen/evtchn")?;
        let request = [u32::from(domain), remote];
        // SAFETY: the driver reads two numbers.
        let port = unsafe { libc::ioctl(device.as_raw_fd(), BIND_INTERDOMAIN, request.as_ptr()) };
        let port = u32::try_from(port).context("bind a port")?;
        Ok(Self { device, port })
    }

    /// Waits for an event, which is true, or until the other descriptor can be read.
    pub fn wait_unless(&self, other: BorrowedFd<'_>) -> Result<bool> {
        let mut waits = [PollFd::new(&self.device, PollFlags::IN), PollFd::new(&other, PollFlags::IN)];
        poll(&mut waits, None)?;
        if waits[0].revents().is_empty() {
            return Ok(false);
        }
        let mut port = [0; 4];
        (&self.device).read_exact(&mut port)?;
        (&self.device).write_all(&port)?;
        Ok(true)
    }

    /// Sends one.
    pub fn notify(&self) -> Result<()> {
        // SAFETY: the driver reads one number.
        match outcome(unsafe { libc::ioctl(self.device.as_raw_fd(), NOTIFY, &raw const self.port) }) {
            0 => Ok(()),
            error => Err(io::Error::from_raw_os_error(error)).context("notify"),
        }
    }
}

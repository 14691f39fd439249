// SPDX-License-Identifier: MIT OR Apache-2.0
//! The test driver that owns its frames: `modules/ownframes/ownframes.h`.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use anyhow::{Context, Result};

use crate::mapping::check;

/// What the driver fills frames with that it has taken away.
pub const POISON: u8 = 0xDB;

#[repr(C)]
#[derive(Clone, Copy)]
struct Pair {
    first: u32,
    second: u32,
}

/// What the driver found in the frames that it took away.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Frames taken away so far.
    pub taken: u64,
    /// Of them, frames in which somebody wrote afterwards.
    pub dirty: u64,
    /// Pages faulted in so far.
    pub faults: u64,
    /// Machine frame of the first page now.
    pub mfn: u64,
}

const fn number(direction: u32, command: u32, bytes: usize) -> libc::c_ulong {
    (direction << 30 | (bytes as u32) << 16 | (b'o' as u32) << 8 | command) as libc::c_ulong
}

const CREATE: libc::c_ulong = number(1, 0x40, size_of::<Pair>());
const ZAP: libc::c_ulong = number(1, 0x41, size_of::<Pair>());
const WAIT: libc::c_ulong = number(1, 0x42, size_of::<Pair>());
const VERIFY: libc::c_ulong = number(2, 0x43, size_of::<Verified>());

/// One object of the driver's.
#[derive(Debug)]
pub struct OwnFrames(File);

impl OwnFrames {
    /// Makes an object of so many pages; `contiguous` ones come and go 2 MiB at a time. With
    /// `notify_writes` the first fault makes a page readable only, and a second one writable.
    pub fn create(pages: u32, contiguous: bool, notify_writes: bool) -> Result<Self> {
        let file = File::options()
            .read(true)
            .write(true)
            .open("/dev/ownframes")
            .context("/dev/ownframes (is the module loaded?)")?;
        let this = Self(file);
        this.call(
            CREATE,
            Pair { first: pages, second: u32::from(contiguous) | u32::from(notify_writes) << 1 },
            "OWNFRAMES_CREATE",
        )?;
        Ok(this)
    }

    fn call(&self, request: libc::c_ulong, pair: Pair, what: &'static str) -> Result<()> {
        // SAFETY: the driver reads one pair of this size.
        check(unsafe { libc::ioctl(self.0.as_raw_fd(), request, &raw const pair) }, what)
    }

    /// Moves pages to other frames.
    pub fn zap(&self, first: u32, count: u32) -> Result<()> {
        self.call(ZAP, Pair { first, second: count }, "OWNFRAMES_ZAP")
    }

    /// Waits until a page has been faulted in again.
    pub fn wait(&self, page: u32) -> Result<()> {
        self.call(WAIT, Pair { first: page, second: 0 }, "OWNFRAMES_WAIT")
    }

    /// Looks at all frames that are away.
    pub fn verify(&self) -> Result<Verified> {
        let mut verified = Verified::default();
        // SAFETY: the driver writes one structure of this size.
        check(unsafe { libc::ioctl(self.0.as_raw_fd(), VERIFY, &raw mut verified) }, "OWNFRAMES_VERIFY")?;
        Ok(verified)
    }
}

impl AsFd for OwnFrames {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

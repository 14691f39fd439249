// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mapping the aperture through the borrower's driver: piece by piece, one for each lease.

use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use anyhow::{bail, Context, Result};
use xenlend_guest::{Device, Lease, State, DEVICE_PATH};

use crate::memory::Memory;

/// Bytes of an entry that maps 2 MiB: a mapping is aligned to it as its offset is.
const LARGE: u64 = 2 << 20;

/// Whether the driver is loaded.
pub fn is_loaded() -> bool {
    Path::new(DEVICE_PATH).exists()
}

/// Opens the driver and waits until it is connected.
///
/// # Errors
/// It cannot be opened, or its link is over.
pub fn connected() -> Result<Device> {
    let device = Device::open().context(DEVICE_PATH)?;
    loop {
        match device.info()?.state {
            State::Connected => return Ok(device),
            State::None | State::Connecting => device.wait()?,
            other => bail!("the driver's link is {other:?}"),
        }
        // What happened matters less than how things are now.
        device.events()?;
    }
}

/// The leases that cover a range, in order; waits until there are enough. A lender that has just lent
/// something may be ahead of the driver.
fn covering(device: &Device, offset: u64, bytes: u64) -> Result<Vec<Lease>> {
    loop {
        device.events()?;
        let mut leases = device.leases()?;
        leases.sort_unstable_by_key(|lease| lease.offset);
        let end = offset + bytes;
        leases.retain(|lease| lease.offset < end && lease.offset + lease.bytes > offset);
        let mut covered = offset;
        for lease in &leases {
            if lease.offset <= covered {
                covered = lease.offset + lease.bytes;
            }
        }
        if covered >= end {
            return Ok(leases);
        }
        device.wait()?;
    }
}

/// Maps a part of the aperture, page aligned, for good.
///
/// # Errors
/// The kernel refuses.
pub fn map(offset: u64, bytes: u64) -> Result<Memory> {
    let device = connected()?;
    let leases = covering(&device, offset, bytes)?;
    // SAFETY: a new mapping at an address that the kernel chooses; nothing is behind it yet.
    let reserved = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            (bytes + LARGE) as usize,
            libc::PROT_NONE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
            0,
        )
    };
    if reserved == libc::MAP_FAILED {
        return Err(std::io::Error::last_os_error()).context("no room in the address space");
    }
    let skew = (offset % LARGE + LARGE - reserved as u64 % LARGE) % LARGE;
    let base = reserved.wrapping_byte_add(skew as usize);
    for lease in leases {
        let first = lease.offset.max(offset);
        let end = (lease.offset + lease.bytes).min(offset + bytes);
        let protection = if lease.is_writable { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
        // SAFETY: replaces a part of what was reserved above.
        let address = unsafe {
            libc::mmap(
                base.wrapping_byte_add((first - offset) as usize),
                (end - first) as usize,
                protection,
                libc::MAP_SHARED | libc::MAP_FIXED,
                device.as_fd().as_raw_fd(),
                first as libc::off_t,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(std::io::Error::last_os_error())
                .with_context(|| format!("cannot map {first:#x} to {end:#x} of {DEVICE_PATH}"));
        }
    }
    // SAFETY: just mapped, never unmapped, and no reference is made to it.
    Ok(unsafe { Memory::new(base.cast(), bytes as usize) })
}

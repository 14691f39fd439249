// SPDX-License-Identifier: MIT OR GPL-2.0 WITH Linux-syscall-note
//! The ioctl calls themselves.

use std::io;
use std::os::fd::AsFd;

use rustix::ioctl::{ioctl, Getter, Setter, Updater};

use crate::layout::{self, Counters, RawInfo, RawLease, RawLeases, RawPrefault};

/// `XENLEND_GUEST_INFO`
pub(crate) fn info(fd: impl AsFd) -> io::Result<RawInfo> {
    // SAFETY: the number encodes exactly `RawInfo`, plain integers that the kernel writes.
    Ok(unsafe { ioctl(fd, Getter::<{ layout::INFO }, RawInfo>::new()) }?)
}

/// `XENLEND_GUEST_GET_LEASES`: fills in as many as there is room for, and says how many there are.
pub(crate) fn leases(fd: impl AsFd, room: &mut [RawLease]) -> io::Result<usize> {
    let capacity = u32::try_from(room.len()).unwrap_or(u32::MAX);
    let lease_bytes = size_of::<RawLease>() as u32;
    let leases = room.as_mut_ptr() as u64;
    let mut request = RawLeases { leases, capacity, lease_bytes, ..RawLeases::default() };
    // SAFETY: the number encodes exactly `RawLeases`; the kernel writes at most `capacity` leases, plain
    // integers, to where `room` has space for them.
    unsafe { ioctl(fd, Updater::<{ layout::GET_LEASES }, RawLeases>::new(&mut request)) }?;
    Ok(request.count as usize)
}

/// `XENLEND_GUEST_PREFAULT`
pub(crate) fn prefault(fd: impl AsFd, request: RawPrefault) -> io::Result<()> {
    // SAFETY: the number encodes exactly `RawPrefault`, which the kernel only reads.
    Ok(unsafe { ioctl(fd, Setter::<{ layout::PREFAULT }, RawPrefault>::new(request)) }?)
}

/// `XENLEND_GUEST_COUNTERS`
pub(crate) fn counters(fd: impl AsFd) -> io::Result<Counters> {
    // SAFETY: the number encodes exactly `Counters`, plain integers that the kernel writes.
    Ok(unsafe { ioctl(fd, Getter::<{ layout::COUNTERS }, Counters>::new()) }?)
}

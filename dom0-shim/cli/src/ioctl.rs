// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ioctl calls themselves. Beside them only `descriptor.rs` has unsafe code, which passes on the one
//! request whose promise is the caller's.

use std::io;
use std::os::fd::AsFd;

use rustix::ioctl::{ioctl, Setter, Updater};

use crate::layout::{
    AllowBar, Attach, AttachFrontend, Bind, Capability, Detach, DetachFrontend, RawRegion, RawRegion2,
    RawRegionInfo, RawResolve, Status, Version, Xen,
};
use crate::number;

/// `XENLEND_ATTACH`; fills in the ring references and the event channel.
pub(crate) fn attach(fd: impl AsFd, request: &mut Attach) -> io::Result<()> {
    // SAFETY: the number encodes exactly `Attach`, plain integers that the kernel reads and writes.
    Ok(unsafe { ioctl(fd, Updater::<{ number::ATTACH }, Attach>::new(request)) }?)
}

/// `XENLEND_XEN`; fills in the flags.
pub(crate) fn xen(fd: impl AsFd, request: &mut Xen) -> io::Result<()> {
    // SAFETY: the number encodes exactly `Xen`, plain integers that the kernel reads and writes.
    Ok(unsafe { ioctl(fd, Updater::<{ number::XEN }, Xen>::new(request)) }?)
}

/// `XENLEND_VERSION`; fills in everything.
pub(crate) fn version(fd: impl AsFd, request: &mut Version) -> io::Result<()> {
    // SAFETY: the number encodes exactly `Version`, plain integers that the kernel reads and writes.
    Ok(unsafe { ioctl(fd, Updater::<{ number::VERSION }, Version>::new(request)) }?)
}

/// `XENLEND_CAPABILITY`; fills in the value.
pub(crate) fn capability(fd: impl AsFd, request: &mut Capability) -> io::Result<()> {
    // SAFETY: the number encodes exactly `Capability`, plain integers that the kernel reads and writes.
    Ok(unsafe { ioctl(fd, Updater::<{ number::CAPABILITY }, Capability>::new(request)) }?)
}

/// `XENLEND_DETACH`.
pub(crate) fn detach(fd: impl AsFd, request: Detach) -> io::Result<()> {
    // SAFETY: the number encodes exactly `Detach`, plain integers that the kernel only reads.
    Ok(unsafe { ioctl(fd, Setter::<{ number::DETACH }, Detach>::new(request)) }?)
}

/// `XENLEND_ALLOW_BAR`; fills in the number of frames.
pub(crate) fn allow_bar(fd: impl AsFd, request: &mut AllowBar) -> io::Result<()> {
    // SAFETY: the number encodes exactly `AllowBar`, plain integers that the kernel reads and writes.
    Ok(unsafe { ioctl(fd, Updater::<{ number::ALLOW_BAR }, AllowBar>::new(request)) }?)
}

/// `XENLEND_BIND`.
pub(crate) fn bind(fd: impl AsFd, request: Bind) -> io::Result<()> {
    // SAFETY: the number encodes exactly `Bind`, plain integers that the kernel only reads.
    Ok(unsafe { ioctl(fd, Setter::<{ number::BIND }, Bind>::new(request)) }?)
}

/// `XENLEND_STATUS`; fills in everything.
pub(crate) fn status(fd: impl AsFd, request: &mut Status) -> io::Result<()> {
    // SAFETY: the number encodes exactly `Status`, plain integers that the kernel reads and writes.
    Ok(unsafe { ioctl(fd, Updater::<{ number::STATUS }, Status>::new(request)) }?)
}

/// `XENLEND_ATTACH_FRONTEND`; fills in the failure.
pub(crate) fn attach_frontend(fd: impl AsFd, request: &mut AttachFrontend) -> io::Result<()> {
    // SAFETY: the number encodes exactly `AttachFrontend`, plain integers that the kernel reads and writes.
    Ok(unsafe { ioctl(fd, Updater::<{ number::ATTACH_FRONTEND }, AttachFrontend>::new(request)) }?)
}

/// `XENLEND_DETACH_FRONTEND`.
pub(crate) fn detach_frontend(fd: impl AsFd, request: DetachFrontend) -> io::Result<()> {
    // SAFETY: the number encodes exactly `DetachFrontend`, plain integers that the kernel only reads.
    Ok(unsafe { ioctl(fd, Setter::<{ number::DETACH_FRONTEND }, DetachFrontend>::new(request)) }?)
}

/// `XENLEND_SET_USER_MEMORY_REGION2`.
///
/// # Safety
/// The borrower reads and writes the memory that the request names, at any time, until the
/// region is deleted: no Rust reference to it may exist meanwhile.
pub(crate) unsafe fn set_region(fd: impl AsFd, request: RawRegion2) -> io::Result<()> {
    // SAFETY: the number encodes exactly `RawRegion2`, which the kernel only reads; the memory that
    // it names is the caller's promise.
    Ok(unsafe { ioctl(fd, Setter::<{ number::SET_USER_MEMORY_REGION2 }, RawRegion2>::new(request)) }?)
}

/// `XENLEND_SET_USER_MEMORY_REGION` of size 0: deletes a region.
pub(crate) fn delete_region(fd: impl AsFd, slot: u32) -> io::Result<()> {
    let request = RawRegion { slot, ..RawRegion::default() };
    // SAFETY: the number encodes exactly `RawRegion`, which the kernel only reads; size 0 deletes, so that no
    // memory is lent by this call.
    Ok(unsafe { ioctl(fd, Setter::<{ number::SET_USER_MEMORY_REGION }, RawRegion>::new(request)) }?)
}

/// `XENLEND_RESOLVE`.
pub(crate) fn resolve(fd: impl AsFd, request: RawResolve) -> io::Result<()> {
    // SAFETY: the number encodes exactly `RawResolve`, plain integers that the kernel only reads.
    Ok(unsafe { ioctl(fd, Setter::<{ number::RESOLVE }, RawResolve>::new(request)) }?)
}

/// `XENLEND_GET_REGION`; fills in everything but the borrower.
pub(crate) fn region(fd: impl AsFd, request: &mut RawRegionInfo) -> io::Result<()> {
    // SAFETY: the number encodes exactly `RawRegionInfo`, plain integers that the kernel reads and writes.
    Ok(unsafe { ioctl(fd, Updater::<{ number::GET_REGION }, RawRegionInfo>::new(request)) }?)
}

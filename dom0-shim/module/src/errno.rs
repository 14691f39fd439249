// SPDX-License-Identifier: MIT OR Apache-2.0
//! Error numbers of Linux, which are those of Xen as far as they occur here.

use core::ffi::{c_int, c_long};

/// A positive error number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub u16);

/// Not permitted.
pub const EPERM: Errno = Errno(1);
/// No such entry.
pub const ENOENT: Errno = Errno(2);
/// No such domain (Xen).
pub const ESRCH: Errno = Errno(3);
/// Interrupted by a signal.
pub const EINTR: Errno = Errno(4);
/// Input or output error.
pub const EIO: Errno = Errno(5);
/// No such device or address.
pub const ENXIO: Errno = Errno(6);
/// A structure has in it what nobody here knows.
pub const E2BIG: Errno = Errno(7);
/// Try again.
pub const EAGAIN: Errno = Errno(11);
/// Out of memory.
pub const ENOMEM: Errno = Errno(12);
/// Permission denied; Xen: another interface version.
pub const EACCES: Errno = Errno(13);
/// Bad address.
pub const EFAULT: Errno = Errno(14);
/// Busy.
pub const EBUSY: Errno = Errno(16);
/// Exists.
pub const EEXIST: Errno = Errno(17);
/// Between devices.
pub const EXDEV: Errno = Errno(18);
/// No such device.
pub const ENODEV: Errno = Errno(19);
/// Invalid argument.
pub const EINVAL: Errno = Errno(22);
/// Too large.
pub const EFBIG: Errno = Errno(27);
/// No such request.
pub const ENOTTY: Errno = Errno(25);
/// No space left.
pub const ENOSPC: Errno = Errno(28);
/// No such call.
pub const ENOSYS: Errno = Errno(38);
/// Bytes that are no text.
pub const EILSEQ: Errno = Errno(84);
/// The link is gone.
pub const ENOLINK: Errno = Errno(67);
/// Protocol error.
pub const EPROTO: Errno = Errno(71);
/// Not supported.
pub const EOPNOTSUPP: Errno = Errno(95);
/// Not bound.
pub const ENOTCONN: Errno = Errno(107);
/// The other side refused.
pub const EREMOTEIO: Errno = Errno(121);
/// Time is up.
pub const ETIMEDOUT: Errno = Errno(110);

impl Errno {
    /// From a negative number of the kernel.
    pub fn from_kernel(error: c_int) -> Self {
        Self(error.unsigned_abs() as u16)
    }

    /// From a negative number of Xen.
    pub fn from_xen(error: i64) -> Self {
        Self(error.unsigned_abs() as u16)
    }

    /// To a negative number of the kernel.
    pub fn to_kernel(self) -> c_long {
        -c_long::from(self.0)
    }
}

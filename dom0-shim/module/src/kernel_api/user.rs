// SPDX-License-Identifier: MIT OR Apache-2.0
//! The calling process.

use core::ffi::{c_ulong, c_void};

use super::ffi;
use crate::errno::{Errno, EFAULT};

/// Whether the caller may administer the machine (`CAP_SYS_ADMIN`).
pub fn is_administrator() -> bool {
    // SAFETY: asks about the current task.
    unsafe { ffi::xenlend_user_is_administrator() }
}

/// Copies from the calling process, as many bytes as there is room for.
pub fn read_into(from: c_ulong, bytes: &mut [u8]) -> Result<(), Errno> {
    // SAFETY: `bytes` is valid for its length; the glue checks the address of the process.
    match unsafe { ffi::xenlend_user_read(bytes.as_mut_ptr().cast::<c_void>(), from, bytes.len()) } {
        0 => Ok(()),
        _ => Err(EFAULT),
    }
}

/// Copies from the calling process.
pub fn read<const N: usize>(from: c_ulong) -> Result<[u8; N], Errno> {
    let mut bytes = [0; N];
    // SAFETY: `bytes` is valid for N bytes; the glue checks the address of the process.
    match unsafe { ffi::xenlend_user_read(bytes.as_mut_ptr().cast::<c_void>(), from, N) } {
        0 => Ok(bytes),
        _ => Err(EFAULT),
    }
}

/// Copies to the calling process.
pub fn write(to: c_ulong, bytes: &[u8]) -> Result<(), Errno> {
    // SAFETY: `bytes` is valid for its length; the glue checks the address of the process.
    match unsafe { ffi::xenlend_user_write(to, bytes.as_ptr().cast::<c_void>(), bytes.len()) } {
        0 => Ok(()),
        _ => Err(EFAULT),
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Hypercalls.

use core::ffi::c_void;

use xenlend_shim_core::domctl::{Domctl, HYPERCALL};

use super::ffi;

/// Whether this kernel runs under Xen at all.
pub fn is_domain() -> bool {
    // SAFETY: reads a variable that is constant after boot.
    unsafe { ffi::xenlend_xen_is_domain() }
}

/// Whether this kernel is PV and may control other domains.
pub fn is_pv_control_domain() -> bool {
    // SAFETY: reads variables that are constant after boot.
    unsafe { ffi::xenlend_xen_is_pv_control_domain() }
}

/// Xen's major and minor version.
pub fn version() -> (u32, u32) {
    // SAFETY: a hypercall without arguments in memory.
    let version = unsafe { ffi::xenlend_xen_version() };
    (version >> 16, version & 0xffff)
}

/// Width of a physical address.
pub fn physical_address_bits() -> u32 {
    // SAFETY: reads a variable that is constant after boot.
    unsafe { ffi::xenlend_xen_physical_address_bits() }
}

/// Makes the call; the answer is in the buffer. Gives Xen's result: a negative error
/// number, or what the call says.
pub fn domctl(call: &mut Domctl) -> i64 {
    // SAFETY: the buffer is larger than `struct xen_domctl` and none of the calls that the core
    // makes has a pointer in it. Any address of the kernel will do for a PV domain.
    unsafe { ffi::xenlend_xen_call(HYPERCALL, call.words.as_mut_ptr().cast::<c_void>()) }
}

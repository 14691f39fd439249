// SPDX-License-Identifier: MIT OR Apache-2.0
//! Hypercalls.

use core::ffi::{c_ulong, c_void};

use xenlend_shim_core::dm_op::{self, DmOp};
use xenlend_shim_core::domctl::{Domctl, HYPERCALL};

use super::ffi;

/// Whether this kernel runs under Xen at all.
pub fn is_domain() -> bool {
    // SAFETY: reads a variable that is constant after boot.
    unsafe { ffi::xenlend_xen_is_domain() }
}

/// Whether this kernel may control other domains.
pub fn is_control_domain() -> bool {
    // SAFETY: reads variables that are constant after boot.
    unsafe { ffi::xenlend_xen_is_control_domain() }
}

/// Whether its frames are the machine's.
pub fn is_pv_domain() -> bool {
    // SAFETY: reads a variable that is constant after boot.
    unsafe { ffi::xenlend_xen_is_pv_domain() }
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
    // makes has a pointer in it. Any address of the kernel will do.
    unsafe { ffi::xenlend_xen_call(HYPERCALL, call.words.as_mut_ptr().cast::<c_void>()) }
}

/// Makes the call; the answers are in the buffers. Gives Xen's result: 0 or a negative error number.
pub fn device_model_operation(call: &mut DmOp) -> i64 {
    let mut buffers = [
        ffi::DmOpBuffer {
            address: call.words.as_mut_ptr().cast::<c_void>(),
            bytes: size_of_val(&call.words) as c_ulong,
        },
        ffi::DmOpBuffer {
            address: call.list.as_mut_ptr().cast::<c_void>(),
            bytes: (call.list_words.min(dm_op::LIST_WORDS) * size_of::<u64>()) as c_ulong,
        },
    ];
    let count = if call.list_words == 0 { 1 } else { 2 };
    // SAFETY: both buffers are as long as they say, and live as long as the call; Xen writes into the first only
    // what belongs to the operation, which fits. Any address of the kernel will do.
    unsafe { ffi::xenlend_xen_dm_op(call.borrower, count, buffers.as_mut_ptr()) }
}

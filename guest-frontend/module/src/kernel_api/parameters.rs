// SPDX-License-Identifier: MIT OR Apache-2.0
//! The module's parameters.

use super::ffi;

/// Whether programs' entries of pages that were taken away are dropped. If not, the second stage alone
/// keeps programs from them.
pub fn zaps() -> bool {
    // SAFETY: reads a parameter that is constant after loading.
    unsafe { ffi::xenlend_module_zaps() }
}

/// Whether pages are brought in before they are touched.
pub fn prefaults() -> bool {
    // SAFETY: as above.
    unsafe { ffi::xenlend_module_prefaults() }
}

/// How much address space is reserved for an aperture, in bytes; may be anything.
pub fn aperture_bytes() -> u64 {
    // SAFETY: as above.
    unsafe { ffi::xenlend_module_aperture_bytes() }
}

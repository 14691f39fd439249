// SPDX-License-Identifier: MIT OR Apache-2.0
//! Taking pages out of programs' page tables.

use xenlend_front_core::page_set::Pages;
use xenlend_front_core::uapi::page_bytes;

use super::ffi;

/// Takes pages of the aperture out of every page table. May sleep; not under the driver's mutex.
pub fn zap(pages: Pages) {
    let (offset, bytes) = page_bytes(pages);
    if bytes > 0 {
        // SAFETY: the address space exists while the module is loaded.
        unsafe { ffi::xenlend_mapping_zap(offset, bytes) };
    }
}

/// Takes everything out.
pub fn zap_all() {
    // SAFETY: as above; 0 bytes are all from there on.
    unsafe { ffi::xenlend_mapping_zap(0, 0) };
}

/// Whether any program has anything mapped.
pub fn is_anything_mapped() -> bool {
    // SAFETY: as above.
    unsafe { ffi::xenlend_mapping_is_mapped() }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The declarations of `dom0-shim/glue/glue.h`, in its order.

use core::ffi::{c_int, c_long, c_ulong, c_void};

pub use super::ffi_common::*;

/// `struct xenlend_vma`
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Vma {
    pub start: c_ulong,
    pub end: c_ulong,
    pub readable: u32,
    pub writable: u32,
    pub pfn_mapped: u32,
    pub secret: u32,
}

/// `struct xenlend_frame`
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Frame {
    pub pfn: u64,
    pub p2m_entry: u64,
    pub m2p_pfn: u64,
    pub is_translated: u32,
    pub has_page: u32,
    pub is_special: u32,
    pub is_zero_page: u32,
    pub is_device_memory: u32,
    pub padding: u32,
}

/// `struct xen_dm_op_buf`
#[repr(C)]
pub struct DmOpBuffer {
    pub address: *mut c_void,
    pub bytes: c_ulong,
}

/// `struct xenlend_msix`
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Msix {
    pub table_offset: u64,
    pub table_bytes: u64,
    pub pending_offset: u64,
    pub pending_bytes: u64,
}

extern "C" {
    pub fn xenlend_module_get();
    pub fn xenlend_module_put();
    pub fn xenlend_module_adds_unpaused() -> bool;

    pub fn xenlend_clock_ns() -> u64;

    pub fn xenlend_xen_is_control_domain() -> bool;
    pub fn xenlend_xen_is_pv_domain() -> bool;
    pub fn xenlend_xen_is_domain() -> bool;
    pub fn xenlend_xen_version() -> u32;
    pub fn xenlend_xen_physical_address_bits() -> u32;
    pub fn xenlend_xen_call(call: u32, argument: *mut c_void) -> c_long;
    pub fn xenlend_xen_dm_op(domain: u16, count: u32, buffers: *mut DmOpBuffer) -> c_long;

    pub fn xenlend_region_new(link: *mut c_void) -> *mut c_void;
    pub fn xenlend_region_arm(region: *mut c_void, start: c_ulong, bytes: c_ulong) -> c_int;
    pub fn xenlend_region_name(region: *mut c_void, lease: u64);
    pub fn xenlend_region_retire(region: *mut c_void);
    pub fn xenlend_region_get(region: *mut c_void);
    pub fn xenlend_region_put(region: *mut c_void);
    pub fn xenlend_region_set_sequence(region: *mut c_void, sequence: c_ulong);
    pub fn xenlend_region_read_begin(region: *mut c_void) -> c_ulong;
    pub fn xenlend_region_current_process() -> u64;
    pub fn xenlend_region_user_limit() -> u64;
    pub fn xenlend_region_is_killed(region: *mut c_void) -> bool;

    pub fn xenlend_address_space_enter(region: *mut c_void) -> bool;
    pub fn xenlend_address_space_leave(region: *mut c_void);
    pub fn xenlend_address_space_read(to: *mut c_void, from: c_ulong, bytes: usize, single: bool) -> c_int;
    pub fn xenlend_address_space_write(to: c_ulong, from: *const c_void, bytes: usize, single: bool)
        -> c_int;

    pub fn xenlend_mapping_lock(region: *mut c_void);
    pub fn xenlend_mapping_unlock(region: *mut c_void);
    pub fn xenlend_mapping_vma(region: *mut c_void, address: c_ulong, vma: *mut Vma) -> bool;
    pub fn xenlend_mapping_fault(region: *mut c_void, address: c_ulong, write: bool) -> c_int;
    pub fn xenlend_mapping_try_fault(region: *mut c_void, address: c_ulong, write: bool) -> c_int;
    pub fn xenlend_mapping_pfn(
        region: *mut c_void,
        address: c_ulong,
        pfn: *mut u64,
        writable: *mut u32,
    ) -> c_int;
    pub fn xenlend_mapping_range(
        region: *mut c_void,
        sequence: c_ulong,
        start: c_ulong,
        end: c_ulong,
        pfns: *mut c_ulong,
    ) -> c_int;
    pub fn xenlend_mapping_page(
        region: *mut c_void,
        address: c_ulong,
        pfn: *mut u64,
        writable: *mut u32,
    ) -> c_int;
    pub fn xenlend_mapping_mark_written(pfn: u64);
    pub fn xenlend_mapping_frame(pfn: u64, frame: *mut Frame);

    pub fn xenlend_zeros_new(mfn: *mut u64) -> bool;
    pub fn xenlend_zeros_free(mfn: u64);

    pub fn xenlend_worker_start(post: *mut c_void, borrower: u16) -> *mut c_void;
    pub fn xenlend_worker_start_waiter(errand: *mut c_void, borrower: u16) -> *mut c_void;
    pub fn xenlend_worker_interrupt(worker: *mut c_void);
    pub fn xenlend_worker_put(worker: *mut c_void);
    pub fn xenlend_worker_resume();

    pub fn xenlend_pci_find(segment: u32, bus: u32, devfn: u32) -> *mut c_void;
    pub fn xenlend_pci_get(device: *mut c_void);
    pub fn xenlend_pci_put(device: *mut c_void);
    pub fn xenlend_pci_place(device: *mut c_void, number: u32, address: *mut u64, bytes: *mut u64) -> bool;
    pub fn xenlend_pci_msix(device: *mut c_void, number: u32, msix: *mut Msix) -> c_int;
}

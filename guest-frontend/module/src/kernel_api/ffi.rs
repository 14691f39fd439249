// SPDX-License-Identifier: MIT OR Apache-2.0
//! The declarations of `guest-frontend/glue/glue.h`, in its order.

use core::ffi::{c_char, c_int, c_void};

pub use super::ffi_common::*;

/// `struct xenlend_fault`
#[repr(C)]
pub struct RawFault {
    pub fault: *mut c_void,
    pub name: u64,
    pub page: u64,
    pub first: u64,
    pub end: u64,
    pub may_wait: u32,
    pub is_retry: u32,
    pub must_not_wait: u32,
    pub heeds_signals: u32,
    pub slot: u32,
}

/// `struct xenlend_map`
#[repr(C)]
pub struct RawMap {
    pub first: u64,
    pub pages: u64,
    pub is_shared: u32,
    pub writes: u32,
    pub executes: u32,
    pub may_write: u32,
    pub name: u64,
    pub kind: u32,
}

extern "C" {
    pub fn xenlend_module_zaps() -> bool;
    pub fn xenlend_module_prefaults() -> bool;
    pub fn xenlend_module_aperture_bytes() -> u64;

    pub fn xenlend_mapping_zap(offset: u64, bytes: u64);
    pub fn xenlend_mapping_is_mapped() -> bool;
    pub fn xenlend_fault_has_table(fault: *mut c_void) -> bool;
    pub fn xenlend_fault_make_table(fault: *mut c_void) -> c_int;
    pub fn xenlend_fault_insert(fault: *mut c_void, page: u64, frame: u64) -> u32;
    pub fn xenlend_fault_insert_typed(fault: *mut c_void, page: u64, frame: u64) -> u32;
    pub fn xenlend_fault_insert_huge(fault: *mut c_void, frame: u64) -> u32;
    pub fn xenlend_fault_unlock(fault: *mut c_void) -> *mut c_void;
    pub fn xenlend_fault_forget(kept: *mut c_void);

    pub fn xenlend_aperture_address_bits() -> u32;
    pub fn xenlend_aperture_reserve(bytes: u64, lowest: u64, highest: u64, address: *mut u64) -> c_int;
    pub fn xenlend_aperture_give_back();
    pub fn xenlend_aperture_has_ram(address: u64, bytes: u64) -> bool;
    pub fn xenlend_aperture_claim(address: u64, bytes: u64) -> c_int;
    pub fn xenlend_aperture_release(address: u64, bytes: u64);
    pub fn xenlend_aperture_combine(address: u64, bytes: u64) -> c_int;
    pub fn xenlend_aperture_uncombine(address: u64, bytes: u64);

    pub fn xenlend_work_queue();
    pub fn xenlend_work_cancel();

    pub fn xenlend_bus_offer(first_frame: u64, pages: u64) -> c_int;
    pub fn xenlend_bus_is_offered() -> bool;
    pub fn xenlend_bus_withdraw();
    pub fn xenlend_bus_keep(device: *mut c_void);
    pub fn xenlend_bus_forget(device: *mut c_void);
    pub fn xenlend_bus_state(device: *mut c_void) -> u32;
    pub fn xenlend_bus_otherend(device: *mut c_void) -> *mut c_char;
    pub fn xenlend_bus_free_otherend(otherend: *mut c_char);
    pub fn xenlend_bus_names_another(device: *mut c_void, otherend: *const c_char) -> bool;
    pub fn xenlend_bus_rebind(device: *mut c_void);
    pub fn xenlend_bus_backend(device: *mut c_void) -> u16;
    pub fn xenlend_bus_read(device: *mut c_void, name: *const c_char, value: *mut u64) -> c_int;
    pub fn xenlend_bus_write(device: *mut c_void, name: *const c_char, value: u64, hex: bool) -> c_int;
    pub fn xenlend_bus_switch(device: *mut c_void, state: u32) -> c_int;
    pub fn xenlend_bus_fail(device: *mut c_void, error: c_int, text: *const c_char);
    pub fn xenlend_bus_exists(device: *mut c_void) -> bool;
    pub fn xenlend_bus_await_backend(device: *mut c_void, ms: u32) -> bool;
    pub fn xenlend_bus_poll_backend(device: *mut c_void, ms: u32) -> bool;
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The declarations of `dom0-shim/glue/common.h`, in its order: what both modules use.

use core::ffi::{c_int, c_ulong, c_void};

extern "C" {
    pub fn xenlend_log(level: c_int, text: *const u8, length: usize);
    #[cfg(target_os = "none")]
    pub fn xenlend_panic(text: *const u8, length: usize) -> !;

    pub fn xenlend_spinlock_new() -> *mut c_void;
    pub fn xenlend_spinlock_free(lock: *mut c_void);
    pub fn xenlend_spinlock_lock(lock: *mut c_void) -> c_ulong;
    pub fn xenlend_spinlock_unlock(lock: *mut c_void, flags: c_ulong);
    pub fn xenlend_mutex_new() -> *mut c_void;
    pub fn xenlend_mutex_free(mutex: *mut c_void);
    pub fn xenlend_mutex_lock(mutex: *mut c_void);
    pub fn xenlend_mutex_lock_killable(mutex: *mut c_void) -> c_int;
    pub fn xenlend_mutex_unlock(mutex: *mut c_void);

    pub fn xenlend_wait_new() -> *mut c_void;
    pub fn xenlend_wait_free(wait: *mut c_void);
    pub fn xenlend_wait_count(wait: *mut c_void) -> c_ulong;
    pub fn xenlend_wait_wake(wait: *mut c_void);
    pub fn xenlend_wait_for(wait: *mut c_void, seen: c_ulong, ms: u32, mode: c_int) -> c_int;
    pub fn xenlend_wait_poll(wait: *mut c_void, file: *mut c_void, table: *mut c_void);

    pub fn xenlend_memory_new(bytes: usize) -> *mut c_void;
    pub fn xenlend_memory_free(memory: *mut c_void);

    pub fn xenlend_user_read(to: *mut c_void, from: c_ulong, bytes: usize) -> c_int;
    pub fn xenlend_user_write(to: c_ulong, from: *const c_void, bytes: usize) -> c_int;
    pub fn xenlend_user_is_administrator() -> bool;

    pub fn xenlend_event_channel_new(remote: u16) -> c_int;
    pub fn xenlend_event_channel_close(port: u32);
    pub fn xenlend_event_channel_bind(port: u32) -> c_int;
    pub fn xenlend_event_channel_handle_irq(irq: c_int, link: *mut c_void) -> c_int;
    pub fn xenlend_event_channel_put(port: u32);
    pub fn xenlend_event_channel_unbind(irq: c_int, link: *mut c_void);
    pub fn xenlend_event_channel_notify(port: u32);

    pub fn xenlend_grant_new(remote: u16, reference: *mut u32) -> *mut c_void;
    pub fn xenlend_grant_end(page: *mut c_void, reference: u32);
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The border to the C glue: the only files with `unsafe`. Everything that leaves here is safe.

pub mod address_space;
pub mod event_channel;
mod exports;
mod ffi;
mod ffi_common;
pub mod grant;
pub mod lock;
pub mod log;
pub mod memory;
pub mod module;
pub mod pci;
pub mod region;
pub mod shared;
#[allow(dead_code, reason = "the borrower's module uses the rest")]
pub mod user;
pub mod wait;
pub mod worker;
pub mod xen;
pub mod zeros;

pub use exports::Core;

use xenlend_shim_core::storage::Storage;

/// Milliseconds of monotonic time.
pub fn now_ms() -> u64 {
    now_ns() / 1_000_000
}

/// Nanoseconds of monotonic time.
pub fn now_ns() -> u64 {
    // SAFETY: reads a clock.
    unsafe { ffi::xenlend_clock_ns() }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Xen's public interface, as far as xenlend uses it: hypercall numbers, structures, shared pages
//! and the xenstore wire. Facts only: nothing here performs a call or touches memory. Which Xen is
//! supported is in `version.rs`, what makes one lend-aware in `lend.rs`, and nowhere else.
//!
//! Written from Xen's public headers (`xen/include/public`, stable-4.20), with what the crate
//! `xen-sys` has taken from there (boot/decisions/0003-xen-sys.md). `tests/xen_headers.rs` compares
//! every size, offset and number with the headers themselves.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

#[cfg(feature = "layouts")]
pub mod console;
#[cfg(feature = "layouts")]
pub mod dm_op;
pub mod domctl;
pub mod errno;
#[cfg(feature = "layouts")]
pub mod event_channel;
#[cfg(feature = "layouts")]
pub mod grant_table;
#[cfg(feature = "layouts")]
pub mod hvm;
#[cfg(feature = "layouts")]
pub mod hypercall;
#[cfg(feature = "layouts")]
pub mod ioreq;
pub mod lend;
#[cfg(feature = "layouts")]
pub mod memory;
#[cfg(feature = "layouts")]
pub mod sched;
#[cfg(feature = "layouts")]
pub mod shared_info;
#[cfg(feature = "layouts")]
pub mod start_info;
pub mod version;
#[cfg(feature = "layouts")]
pub mod xenstore;

/// A domain's number (`domid_t`).
pub type DomainId = u16;
/// The calling domain itself, where a call takes a domain.
pub const DOMID_SELF: DomainId = 0x7ff0;
/// No domain, where a call takes one.
pub const DOMID_INVALID: DomainId = 0x7ff4;
/// Bytes in one frame.
pub const PAGE_SIZE: u64 = 4096;

// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the borrower's kernel driver decides, without the kernel.
//!
//! Everything here is called under a mutex that the module holds, never blocks, never
//! allocates, and knows no clock. The borrower trusts the lender with what it reads in a
//! lease, and with nothing else: whatever the broker sends, the worst that comes of it is the
//! end of the link. Read `guest-frontend/DESIGN.md` first.
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

pub mod aperture;
pub mod bus;
pub mod counters;
pub mod events;
pub mod frontend;
pub mod lease;
pub mod link;
pub mod page_set;
pub mod prefault;
pub mod storage;
pub mod uapi;

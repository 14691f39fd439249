// SPDX-License-Identifier: MIT OR Apache-2.0
//! The wire between lender, broker and borrower.
#![cfg_attr(not(test), no_std)]
#![deny(unsafe_code)]
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

#[cfg(feature = "plain-memory")]
extern crate alloc;

pub mod codec;
pub mod extent;
pub mod frame;
pub mod frontend;
pub mod joining;
pub mod label;
pub mod lease_id;
pub mod message;
pub mod refusal;
pub mod ring;

// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the lender's kernel module decides, without the kernel.
//!
//! Everything here is called under a lock that the module holds, never blocks, never
//! allocates, and knows neither a clock nor a hypercall: those are told to it. Read
//! `dom0-shim/DESIGN.md` first.
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

pub mod bars;
pub mod call;
pub mod counters;
pub mod crew;
pub mod dm_op;
pub mod domctl;
pub mod events;
pub mod frames;
pub mod given_up;
pub mod histogram;
pub mod in_flight;
pub mod invalidation;
pub mod kind;
pub mod lendable;
pub mod link;
pub mod mirror;
pub mod patience;
pub mod permission;
pub mod permits;
pub mod regions;
pub mod removal;
pub mod request_queue;
pub mod storage;
pub mod uapi;
pub mod window;

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The broker's decisions: no unsafe, no clock, no statics.
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
pub mod borrower_link;
pub mod broker;
pub mod capabilities;
pub mod counters;
pub mod fault;
pub mod hypervisor;
pub mod invalidation_history;
pub mod ioreq;
pub mod lease;
mod lease_news;
pub mod lease_registry;
mod lender_messages;
pub mod lending_table;
mod notices;
mod outbox;
mod present;
mod quarantine;
mod revocation;
pub mod revocation_work;
mod vcpu_faults;
pub mod vcpu_slot;
mod wanted;

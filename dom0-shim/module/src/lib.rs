// SPDX-License-Identifier: MIT OR Apache-2.0
//! The lender's kernel module: effects around the decisions of `xenlend-shim-core`.
//!
//! `dom0-shim/DESIGN.md` has the order of the locks and says what may be waited for where.
// With std elsewhere, so that the lints run on any host.
#![cfg_attr(target_os = "none", no_std)]
#![deny(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod access;
mod attach;
mod bars;
mod crew;
mod descriptor;
mod errno;
mod force;
mod frames;
mod frontend;
mod hypervisor;
mod leases;
mod link;
mod links;
mod lookup;
mod page_in;
mod permissions;
mod power;
mod revoke;
mod structure;
mod visits;
mod waiter;
mod worker;

#[allow(unsafe_code)]
#[macro_use]
mod kernel_api;

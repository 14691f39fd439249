// SPDX-License-Identifier: MIT OR Apache-2.0
//! The borrower's kernel module: effects around the decisions of `xenlend-front-core`.
//!
//! `guest-frontend/DESIGN.md` has the order of the locks and says what may be waited for where.
//! Files that do not differ from the lender's module are that module's own.
// With std elsewhere, so that the lints run on any host.
#![cfg_attr(target_os = "none", no_std)]
#![deny(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod bus;
mod descriptor;
mod driver;
#[allow(dead_code, reason = "the lender's module uses the rest")]
#[path = "../../../dom0-shim/module/src/errno.rs"]
mod errno;
mod fault;
mod link;
mod space;
mod work;

#[allow(unsafe_code)]
#[macro_use]
mod kernel_api;

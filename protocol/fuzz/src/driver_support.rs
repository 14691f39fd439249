// SPDX-License-Identifier: MIT OR Apache-2.0
//! The other end of the driver's link, of its core's own tests.
#![allow(missing_docs, dead_code, clippy::all)]

#[path = "../../../guest-frontend/core/tests/support/mod.rs"]
mod support;
pub use support::*;

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The other end of the lender's link, of its core's own tests.
#![allow(missing_docs, dead_code, clippy::all)]

#[path = "../../../dom0-shim/core/tests/support/mod.rs"]
mod support;
pub use support::*;

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Errors that tell what is wrong, why it matters, and what to do.

use anyhow::{anyhow, Error};

/// An error in the three parts that a reader needs.
pub fn trouble(what: &str, why: &str, remedy: &str) -> Error {
    anyhow!("{what}\n  why it matters: {why}\n  what to do: {remedy}")
}

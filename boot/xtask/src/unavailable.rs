// SPDX-License-Identifier: MIT OR Apache-2.0
//! Something that the mirror does not have: what needs it is skipped, for nothing of it has failed.

use std::fmt;

/// What is missing, as an error.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unavailable {
    /// In one line, with what to do: why something was skipped.
    pub reason: String,
    /// In full, for who asked for just this.
    pub details: String,
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.details)
    }
}

impl std::error::Error for Unavailable {}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The seed of a scenario: machines that were restored from one snapshot all begin alike, and this makes them differ.

use std::io::Read;

use anyhow::{Context, Result};

/// Draws one that nobody could know before.
///
/// # Errors
/// This machine has no random numbers.
pub fn draw() -> Result<u32> {
    let mut bytes = [0; 4];
    let mut source = std::fs::File::open("/dev/urandom").context("/dev/urandom")?;
    source.read_exact(&mut bytes).context("/dev/urandom")?;
    Ok(u32::from_le_bytes(bytes))
}

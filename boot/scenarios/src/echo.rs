// SPDX-License-Identifier: MIT OR Apache-2.0
//! `lender echo`: answers a guest's events, each with one; the other end of `xenlend-touch ping`.

use std::io::{stdout, Write};

use anyhow::{Context, Result};
use xenlend_touch::event_channel::EventChannel;

/// Prints the port to bind to, and answers so many events.
pub fn run(domain: &str, rounds: &str) -> Result<()> {
    let domain = domain.parse().with_context(|| format!("{domain:?} is no domain"))?;
    let rounds: u32 = rounds.parse().with_context(|| format!("{rounds:?} is no number"))?;
    let channel = EventChannel::offer(domain)?;
    println!("{}", channel.port());
    stdout().flush()?;
    for _ in 0..rounds {
        channel.wait()?;
        channel.notify()?;
    }
    Ok(())
}

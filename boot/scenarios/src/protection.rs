// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the lender's process may do with its own memory, changed while it is lent.

use std::io::Write;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, ValueEnum};
use xenlend_touch::memory::PAGE_BYTES;

use crate::lender::Lender;

/// Protections, by name.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Protection {
    /// Nothing
    None,
    /// Reading
    Read,
    /// Reading and writing
    Write,
}

impl Protection {
    /// What mprotect(2) takes.
    pub fn bits(self) -> libc::c_int {
        match self {
            Self::None => libc::PROT_NONE,
            Self::Read => libc::PROT_READ,
            Self::Write => libc::PROT_READ | libc::PROT_WRITE,
        }
    }
}

#[derive(Debug, Args)]
pub struct Flicker {
    area: String,
    /// Go on while this file exists
    while_exists: PathBuf,
    /// Milliseconds for which the area may be written in between
    #[arg(long, default_value_t = 300)]
    writable_ms: u64,
}

impl Flicker {
    /// Makes the area read-only for a millisecond, again and again.
    pub fn run(&self, lender: &Lender, out: &mut impl Write) -> Result<()> {
        let window = lender.area(&self.area)?.window();
        let mut times = 0_u64;
        while self.while_exists.exists() {
            window.protect(0, window.bytes(), Protection::Read.bits())?;
            thread::sleep(Duration::from_millis(1));
            window.protect(0, window.bytes(), Protection::Write.bits())?;
            thread::sleep(Duration::from_millis(self.writable_ms));
            times += 1;
        }
        writeln!(out, "times={times}")?;
        Ok(())
    }
}

/// The sum of the words at the start of each page.
pub fn sum_words(lender: &Lender, area: &str, out: &mut impl Write) -> Result<()> {
    let memory = lender.memory(area)?;
    let words = (0..memory.bytes() / PAGE_BYTES).map(|page| memory.read_u64(page * PAGE_BYTES));
    writeln!(out, "sum={:016x}", words.fold(0, u64::wrapping_add))?;
    Ok(())
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Threads of the lender's process that get in the way of whoever looks into its memory. They end
//! with it.

use std::thread;

use clap::ValueEnum;

use crate::mapping::Window;

/// What a thread does.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Disturbance {
    /// Writes into the first page once, which may take long
    Write,
    /// Changes the protection once: waits for whoever is in a fault there, with the lock on all
    /// that is mapped
    Protect,
    /// Drops all page-table entries for ever
    Drop,
    /// Has everything written to its file, and waits for that
    Sync,
}

impl Disturbance {
    /// Starts the thread.
    pub fn begin(self, window: Window) {
        thread::spawn(move || match self {
            Self::Write => window.memory().write_u8(0, 0x5A),
            // Nobody is told of an error: what counts is the way there.
            Self::Protect => {
                let protection = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
                drop(window.protect(0, window.bytes(), protection));
            }
            Self::Drop => while window.drop_entries(0, window.bytes()).is_ok() {},
            Self::Sync => drop(window.write_back(0, window.bytes())),
        });
    }
}

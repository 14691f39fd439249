// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writes a word of its own into each page, round after round, and judges what it reads: a write
//! that vanished shows.

use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread;

use anyhow::{bail, Result};
use clap::Args;
use xenlend_touch::aperture::{parse_number, Aperture};
use xenlend_touch::memory::{Memory, PAGE_BYTES};

/// Goes on until its standard input ends.
#[derive(Args)]
pub struct Words {
    #[arg(value_parser = parse_number)]
    offset: u64,
    /// Pages, with a word at the start of each
    pages: u64,
}

/// What was read and should not have been.
#[derive(Default)]
struct Wrong {
    count: u64,
    first: Option<String>,
}

impl Words {
    pub fn run(&self, aperture: Aperture) -> Result<()> {
        let memory = aperture.map(self.offset, self.pages * PAGE_BYTES as u64)?;
        let is_over = await_end();
        let (mut wrong, mut round) = (Wrong::default(), 0);
        while round == 0 || !is_over.load(Ordering::Relaxed) {
            round += 1;
            for page in 0..self.pages {
                if round > 1 {
                    wrong.judge(&memory, round - 1, page);
                }
                memory.write_u64(page as usize * PAGE_BYTES, word(round, page));
                wrong.judge(&memory, round, page);
            }
        }
        let sum =
            (0..self.pages).fold(0, |sum: u64, page| sum.wrapping_add(wrong.judge(&memory, round, page)));
        println!("rounds={round} wrong={} sum={sum:016x}", wrong.count);
        wrong.first.map_or(Ok(()), |first| bail!(first))
    }
}

fn word(round: u64, page: u64) -> u64 {
    round << 32 | page
}

/// Turns true when standard input ends.
fn await_end() -> Arc<AtomicBool> {
    let is_over = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&is_over);
    thread::spawn(move || {
        // An error is an end, too.
        let _ = io::stdin().lock().read_to_end(&mut Vec::new());
        told.store(true, Ordering::Relaxed);
    });
    is_over
}

impl Wrong {
    /// Gives what is in a page.
    fn judge(&mut self, memory: &Memory, round: u64, page: u64) -> u64 {
        let (read, expected) = (memory.read_u64(page as usize * PAGE_BYTES), word(round, page));
        if read != expected {
            self.count += 1;
            self.first.get_or_insert_with(|| {
                format!("round {round}, page {page}: {read:#x} and not {expected:#x}")
            });
        }
        read
    }
}

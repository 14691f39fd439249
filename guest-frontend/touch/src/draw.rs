// SPDX-License-Identifier: MIT OR Apache-2.0
//! The borrower's half of the main job: draws moving pictures with a number in them, and judges what
//! it reads.

use std::path::PathBuf;
use std::{fs, thread};

use anyhow::{bail, Context, Result};
use clap::Args;
use xenlend_touch::aperture::{parse_number, Aperture};
use xenlend_touch::control::{Control, Count, Side, CONTROL_BYTES};
use xenlend_touch::picture::BUFFER_BYTES;
use xenlend_touch::player::Player;

#[derive(Args)]
pub struct Draw {
    /// Where the first buffer is
    #[arg(value_parser = parse_number)]
    offset: u64,
    /// Number of buffers
    buffers: usize,
    /// Where the control area is
    #[arg(value_parser = parse_number)]
    control: u64,
    /// The number to draw, in hex: known to this program alone
    #[arg(long, value_parser = parse_hex, required_unless_present = "nonce_file")]
    nonce: Option<u64>,
    /// The file that has it
    #[arg(long, conflicts_with = "nonce")]
    nonce_file: Option<PathBuf>,
    /// The run's seed
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Bands judged and redrawn in each turn, of 64
    #[arg(long, default_value_t = 8)]
    bands: usize,
}

fn parse_hex(text: &str) -> Result<u64, std::num::ParseIntError> {
    u64::from_str_radix(text, 16)
}

impl Draw {
    fn nonce(&self) -> Result<u64> {
        let Some(path) = &self.nonce_file else { return self.nonce.context("no number to draw") };
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        parse_hex(text.trim()).with_context(|| format!("{} is no number", path.display()))
    }

    pub fn run(&self, aperture: Aperture) -> Result<()> {
        let control = Control::new(aperture.map(self.control, CONTROL_BYTES as u64)?);
        let memory = aperture.map(self.offset, (self.buffers * BUFFER_BYTES) as u64)?;
        let nonce = self.nonce()?;
        let mut player = Player::new(Side::Borrower, control, memory, self.buffers, self.seed, Some(nonce));
        control.set_count(0, Count::Started, 1);
        while !control.stopped() {
            let mut idle = true;
            for buffer in 0..player.buffers() {
                if control.stopped() {
                    break;
                }
                idle &= !player.take_turn(buffer, self.bands);
            }
            if idle {
                // All buffers are with dom0, which cannot send this program an event.
                thread::yield_now();
            }
        }
        player.check_own();
        let tally = player.tally();
        println!(
            "bytes_checked={} integrity_errors={} stale_reads={} bytes_drawn={} turns={}",
            tally.bytes_checked, tally.integrity_errors, tally.stale_reads, tally.bytes_drawn, tally.turns
        );
        match player.first_trouble() {
            None => Ok(()),
            Some(trouble) => bail!("{trouble}"),
        }
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The lender's half of the main job: flips the display between the lent buffers, so that the driver
//! moves them all the time, and takes its turns on their contents.

use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{ensure, Context, Result};
use clap::Args;
use xenlend_touch::control::Side;
use xenlend_touch::picture::{BANDS, BUFFER_BYTES};
use xenlend_touch::player::Player;

use crate::lender::Lender;

#[derive(Debug, Args)]
pub struct Play {
    /// The buffers' area
    area: String,
    /// The control area
    control: String,
    /// Go on for so long
    #[arg(long, default_value_t = 0)]
    seconds: u64,
    /// Go on until so many migrations, to VRAM and to RAM together, have been counted since the start
    #[arg(long, default_value_t = 0)]
    migrations: u64,
    /// Go on while this file exists
    #[arg(long)]
    while_exists: Option<PathBuf>,
    /// Bands judged and redrawn in each of the lender's turns, of 64
    #[arg(long, default_value_t = 8)]
    bands: usize,
    /// The run's seed
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Flip one bit of one byte of a buffer, to show that it is noticed
    #[arg(long)]
    flip_byte: bool,
}

/// Takes turns until told to stop.
fn take_turns(player: &mut Player, bands: usize, stop: &AtomicBool, spoil: impl Fn(usize)) {
    let mut spoilt = false;
    while !stop.load(Ordering::SeqCst) {
        let mut idle = true;
        for buffer in 0..player.buffers() {
            if player.has_turn(buffer) && !spoilt {
                spoil(buffer);
                spoilt = true;
            }
            idle &= !player.take_turn(buffer, bands);
        }
        if idle {
            // All buffers are with the guest, which cannot send this program an event.
            thread::sleep(Duration::from_millis(1));
        }
    }
}

fn is_out_of_memory(error: &anyhow::Error) -> bool {
    let error = error.root_cause().downcast_ref::<std::io::Error>();
    error.and_then(std::io::Error::raw_os_error) == Some(libc::ENOMEM)
}

impl Play {
    /// Plays, and reports as `name=value` words. Problems are reported, not failed on: the guest's
    /// program has to be stopped and asked as well.
    pub fn run(&self, lender: &Lender, out: &mut impl Write) -> Result<()> {
        let control = lender.control(&self.control)?;
        let memory = lender.memory(&self.area)?;
        let (card, buffers) = lender.area(&self.area)?.buffers()?;
        ensure!(buffers.iter().all(|buffer| buffer.bytes == BUFFER_BYTES), "buffers are not 4 MiB");
        let before = lender.counters()?;
        let mut player = Player::new(Side::Lender, control, memory, buffers.len(), self.seed, None);
        let (start, stop) = (Instant::now(), AtomicBool::new(false));
        let (mut flips, mut refused) = (0_u64, 0_u64);
        let spoil = |buffer: usize| {
            if self.flip_byte {
                // In a band that the lender never draws.
                let at = buffer * BUFFER_BYTES + 12_345;
                memory.write_u8(at, memory.read_u8(at) ^ 0x10);
            }
        };
        thread::scope(|scope| {
            scope.spawn(|| take_turns(&mut player, self.bands, &stop, spoil));
            let result = (|| loop {
                for buffer in buffers {
                    match card.show(*buffer) {
                        Ok(()) => flips += 1,
                        // dom0 is out of memory, which is no reason to stop.
                        Err(error) if is_out_of_memory(&error) => refused += 1,
                        Err(error) => return Err(error),
                    }
                }
                let now = lender.counters()?;
                let migrations = now.migrations_to_vram + now.migrations_to_ram
                    - before.migrations_to_vram
                    - before.migrations_to_ram;
                let wanted = self.while_exists.as_ref().is_some_and(|path| path.exists());
                let long_enough = start.elapsed() >= Duration::from_secs(self.seconds);
                if migrations >= self.migrations && long_enough && !wanted {
                    return anyhow::Ok(());
                }
            })();
            stop.store(true, Ordering::SeqCst);
            result
        })?;
        let seconds = start.elapsed().as_secs_f64();
        control.set_stopped(true);
        let tally = player.tally();
        writeln!(
            out,
            "seconds={seconds:.3} flips={flips} refused_flips={refused} bytes_checked={} integrity_errors={} stale_reads={} turns={}",
            tally.bytes_checked, tally.integrity_errors, tally.stale_reads, tally.turns
        )?;
        if let Some(trouble) = player.first_trouble() {
            writeln!(out, "trouble {trouble}")?;
        }
        Ok(())
    }
}

#[derive(Debug, Args)]
pub struct Show {
    /// The buffers' area
    area: String,
    /// Number of the buffer
    buffer: usize,
}

impl Show {
    /// Shows one buffer on the display.
    pub fn run(&self, lender: &Lender) -> Result<()> {
        let (card, buffers) = lender.area(&self.area)?.buffers()?;
        card.show(*buffers.get(self.buffer).context("no such buffer")?)
    }
}

#[derive(Debug, Args)]
pub struct CheckAll {
    /// The buffers' area
    area: String,
    /// The control area
    control: String,
    /// The run's seed
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

impl CheckAll {
    /// Judges every band of every buffer, whoever wrote it: for when the guest has stopped.
    pub fn run(&self, lender: &Lender, out: &mut impl Write) -> Result<()> {
        let (control, memory) = (lender.control(&self.control)?, lender.memory(&self.area)?);
        let buffers = memory.bytes() / BUFFER_BYTES;
        let mut player = Player::new(Side::Lender, control, memory, buffers, self.seed, None);
        for buffer in 0..buffers {
            (0..BANDS).for_each(|band| player.check_band(buffer, band));
        }
        let tally = player.tally();
        writeln!(
            out,
            "bytes_checked={} integrity_errors={} stale_reads={}",
            tally.bytes_checked, tally.integrity_errors, tally.stale_reads
        )?;
        if let Some(trouble) = player.first_trouble() {
            writeln!(out, "trouble {trouble}")?;
        }
        Ok(())
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! How long it takes: a touch of a page that is away, and an event to dom0 and back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use anyhow::{ensure, Result};
use clap::Args;
use xenlend_touch::aperture::{parse_number, Aperture};
use xenlend_touch::event_channel::EventChannel;
use xenlend_touch::memory::{Memory, PAGE_BYTES};
use xenlend_touch::times::Times;

use crate::pin::pin_to_vcpu;
use crate::steer::ask_lender;

#[derive(Args)]
pub struct Latency {
    /// The page
    #[arg(value_parser = parse_number)]
    offset: u64,
    /// What the lender's program does to take it away
    revoke: String,
    /// How often
    #[arg(long, default_value_t = 1000)]
    rounds: u32,
    /// Another vCPU works on the page all the time: it brings it in by itself, and no touch is timed
    #[arg(long)]
    busy: bool,
}

impl Latency {
    pub fn run(&self, aperture: Aperture) -> Result<()> {
        let memory = aperture.map(self.offset, PAGE_BYTES as u64)?;
        if self.busy {
            self.disturb(&memory)
        } else {
            self.touch(&memory)
        }
    }

    fn touch(&self, memory: &Memory) -> Result<()> {
        pin_to_vcpu(0)?;
        let mut times = Times::default();
        for _ in 0..self.rounds {
            ask_lender(&self.revoke)?;
            let start = Instant::now();
            memory.read_u64(0);
            times.record(start.elapsed());
        }
        println!("{}", times.words("fault"));
        Ok(())
    }

    /// Each revocation finds the page in use.
    fn disturb(&self, memory: &Memory) -> Result<()> {
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let worker = scope.spawn(|| {
                let pinned = pin_to_vcpu(1);
                while pinned.is_ok() && !stop.load(Ordering::SeqCst) {
                    memory.write_u64(8, memory.read_u64(8).wrapping_add(1));
                }
                pinned
            });
            let result = (0..self.rounds).try_for_each(|_| {
                memory.read_u64(0);
                ask_lender(&self.revoke)
            });
            stop.store(true, Ordering::SeqCst);
            worker.join().expect("the worker panicked").and(result)
        })?;
        ensure!(memory.read_u64(8) > 0, "the other vCPU did nothing");
        Ok(())
    }
}

#[derive(Args)]
pub struct Ping {
    /// The port that dom0's program has offered
    port: u32,
    /// How often
    #[arg(long, default_value_t = 1000)]
    rounds: u32,
}

impl Ping {
    pub fn run(&self) -> Result<()> {
        let channel = EventChannel::accept(0, self.port)?;
        let mut times = Times::default();
        for _ in 0..self.rounds {
            let start = Instant::now();
            channel.notify()?;
            channel.wait()?;
            times.record(start.elapsed());
        }
        println!("{}", times.words("ping"));
        Ok(())
    }
}

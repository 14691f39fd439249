// SPDX-License-Identifier: MIT OR Apache-2.0
//! Locked increments of counters in pages that the lender moves between bursts. Where the pages are brought in
//! before each burst the sums are exact: they are there until the lender moves them again, which it does when it
//! is asked to. Where they are not, Xen completes the first increments by hand, as a read and a write with other
//! increments in between: some get lost, and here they are counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Barrier;
use std::thread;

use anyhow::{bail, Result};
use clap::{Args, ValueEnum};
use xenlend_guest::{Device, PrefaultStatus};
use xenlend_touch::aperture::{parse_number, Aperture};
use xenlend_touch::driven::connected;
use xenlend_touch::memory::PAGE_BYTES;

use crate::pin::pin_to_vcpu;
use crate::steer::ask_lender;

/// What is done to the pages before each burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Before {
    /// The driver brings them in
    Prefault,
    /// Nothing: the increments meet absent pages
    Nothing,
}

#[derive(Args)]
pub struct CountMoving {
    /// Where the counters' pages are, one counter in each
    #[arg(value_parser = parse_number)]
    offset: u64,
    /// How many pages
    pages: usize,
    /// The command for the lender's program that moves them, contents kept
    revoke: String,
    #[arg(long, value_enum)]
    before: Before,
    /// Moves, each with a burst after it
    #[arg(long)]
    moves: usize,
    /// Increments of each counter by each of two vCPUs in a burst
    #[arg(long, default_value_t = 50)]
    increments: u64,
}

fn bring_in(device: &Device, offset: u64, bytes: u64) -> Result<()> {
    match device.prefault_and_wait(offset, bytes, offset)? {
        PrefaultStatus::Present => Ok(()),
        other => bail!("the pages are {other:?}"),
    }
}

impl CountMoving {
    pub fn run(&self, aperture: Aperture) -> Result<()> {
        let bytes = self.pages * PAGE_BYTES;
        let memory = aperture.map(self.offset, bytes as u64)?;
        let device = (self.before == Before::Prefault).then(connected).transpose()?;
        let counters: Vec<&AtomicU64> = (0..self.pages)
            .map(|page| {
                memory.write_u64(page * PAGE_BYTES, 0);
                // SAFETY: mapped for good, aligned, and from here on only touched through this atomic.
                unsafe { AtomicU64::from_ptr(memory.pointer(page * PAGE_BYTES, 8).cast()) }
            })
            .collect();
        if let Some(device) = &device {
            bring_in(device, self.offset, bytes as u64)?;
        }
        let barrier = Barrier::new(2);
        let burst = || {
            barrier.wait();
            for _ in 0..self.increments {
                for counter in &counters {
                    counter.fetch_add(1, Ordering::SeqCst);
                }
            }
            barrier.wait();
        };
        // A thread that fails does so before or after all bursts: the other would wait for ever.
        let mut moved = Ok(());
        pin_to_vcpu(0)?;
        thread::scope(|scope| {
            scope.spawn(|| {
                pin_to_vcpu(1).expect("there is no second vCPU");
                (0..self.moves).for_each(|_| burst());
            });
            for _ in 0..self.moves {
                if moved.is_ok() {
                    moved = ask_lender(&self.revoke);
                }
                if let (Ok(()), Some(device)) = (&moved, &device) {
                    // At once: nobody waits until the driver has heard that they are gone.
                    moved = bring_in(device, self.offset, bytes as u64);
                }
                burst();
            }
        });
        moved?;
        let expected = self.moves as u64 * self.increments * 2;
        let found: Vec<u64> = counters.iter().map(|counter| counter.load(Ordering::SeqCst)).collect();
        let lost: u64 = found.iter().map(|found| expected.saturating_sub(*found)).sum();
        println!("increments={} lost={lost} counters={found:?}", expected * self.pages as u64);
        if found.iter().any(|found| *found > expected) {
            bail!("a counter is beyond {expected}: increments out of nowhere");
        }
        if self.before == Before::Prefault && lost != 0 {
            bail!("{lost} increments of pages that were there got lost");
        }
        Ok(())
    }
}

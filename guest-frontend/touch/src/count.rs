// SPDX-License-Identifier: MIT OR Apache-2.0
//! Locked increments of one counter in a page that stays: the sum is exact or the page is not shared.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use anyhow::{bail, Result};
use clap::Args;
use xenlend_touch::aperture::{parse_number, Aperture};
use xenlend_touch::memory::PAGE_BYTES;

use crate::pin::pin_to_vcpu;

#[derive(Args)]
pub struct Count {
    /// The counter's page
    #[arg(value_parser = parse_number)]
    offset: u64,
    /// Threads, each on a vCPU of its own
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Increments by each thread
    #[arg(long, default_value_t = 1_000_000)]
    increments: u64,
}

impl Count {
    pub fn run(&self, aperture: Aperture) -> Result<()> {
        let memory = aperture.map(self.offset, PAGE_BYTES as u64)?;
        // A plain access brings the page in: a locked instruction on an absent page is not atomic.
        memory.write_u64(0, 0);
        memory.read_u64(0);
        // SAFETY: mapped, aligned, and from here on only touched through this atomic.
        let counter = unsafe { AtomicU64::from_ptr(memory.pointer(0, 8).cast()) };
        thread::scope(|scope| {
            let threads: Vec<_> = (0..self.threads)
                .map(|vcpu| {
                    scope.spawn(move || {
                        pin_to_vcpu(vcpu)?;
                        for _ in 0..self.increments {
                            counter.fetch_add(1, Ordering::SeqCst);
                        }
                        anyhow::Ok(())
                    })
                })
                .collect();
            threads.into_iter().try_for_each(|thread| thread.join().expect("a counting thread panicked"))
        })?;
        let (found, expected) = (counter.load(Ordering::SeqCst), self.increments * self.threads as u64);
        println!("sum={found} expected={expected}");
        if found != expected {
            bail!("{} increments were lost", expected.wrapping_sub(found));
        }
        Ok(())
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Locked increments of one counter: in a page that stays, the sum is exact or the page is not shared; in one
//! that is taken away meanwhile, exact on a Xen that runs the instruction again.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::{array, thread};

use anyhow::{bail, Result};
use clap::Args;
use xenlend_touch::aperture::{parse_number, Aperture};
use xenlend_touch::memory::PAGE_BYTES;

use crate::pin::pin_to_vcpu;
use crate::steer::ask_lender;

/// Threads that count while the page is taken away.
const REVOKED_THREADS: usize = 2;

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
    /// Instead: two threads count while the lender's program does this, which takes the page away
    #[arg(long)]
    revoke: Option<String>,
    /// How often
    #[arg(long, default_value_t = 5000)]
    rounds: u32,
}

impl Count {
    pub fn run(&self, aperture: Aperture) -> Result<()> {
        let memory = aperture.map(self.offset, PAGE_BYTES as u64)?;
        // A plain access brings the page in: a locked instruction on an absent page is not atomic.
        memory.write_u64(0, 0);
        memory.read_u64(0);
        // SAFETY: mapped, aligned, and from here on only touched through this atomic.
        let counter = unsafe { AtomicU64::from_ptr(memory.pointer(0, 8).cast()) };
        if let Some(revoke) = &self.revoke {
            return judge(counter, count_through(counter, revoke, self.rounds)?);
        }
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
        judge(counter, self.increments * self.threads as u64)
    }
}

fn judge(counter: &AtomicU64, expected: u64) -> Result<()> {
    let found = counter.load(Ordering::SeqCst);
    println!("sum={found} expected={expected}");
    if found != expected {
        bail!("{} increments were lost", expected.wrapping_sub(found));
    }
    Ok(())
}

/// Counts on two vCPUs while the page goes again and again; both have to come on after each time. Gives how
/// often they have counted.
fn count_through(counter: &AtomicU64, revoke: &str, rounds: u32) -> Result<u64> {
    let tallies: [AtomicU64; REVOKED_THREADS] = array::from_fn(|_| AtomicU64::new(0));
    let stop = AtomicBool::new(false);
    let counted = || array::from_fn::<u64, REVOKED_THREADS, _>(|vcpu| tallies[vcpu].load(Ordering::SeqCst));
    thread::scope(|scope| {
        for (vcpu, tally) in tallies.iter().enumerate() {
            let stop = &stop;
            scope.spawn(move || {
                pin_to_vcpu(vcpu).expect("a vCPU for each thread");
                while !stop.load(Ordering::SeqCst) {
                    counter.fetch_add(1, Ordering::SeqCst);
                    tally.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        let result = (0..rounds).try_for_each(|_| {
            let before = counted();
            ask_lender(revoke)?;
            while counted().iter().zip(before).any(|(now, before)| *now == before) {
                thread::yield_now();
            }
            anyhow::Ok(())
        });
        stop.store(true, Ordering::SeqCst);
        result
    })?;
    Ok(counted().iter().sum())
}

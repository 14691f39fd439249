// SPDX-License-Identifier: MIT OR Apache-2.0
//! What one task gets done while another waits for a page, against what it gets done while the other sleeps
//! for as long: the same if waiting costs nobody else the processor.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use xenlend_touch::aperture::{parse_number, Aperture};
use xenlend_touch::memory::PAGE_BYTES;

use crate::pin::pin_to_vcpu;

#[derive(Args)]
pub struct Share {
    /// The first page to wait for; none of them is present
    #[arg(value_parser = parse_number)]
    offset: u64,
    /// Pages, each waited for once
    waits: usize,
}

/// Works on this vCPU until the other task is through: the work done, and the other's time.
fn work_during(other: impl FnOnce() + Send) -> Result<(u64, Duration)> {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let other = scope.spawn(|| {
            let pinned = pin_to_vcpu(0);
            let start = Instant::now();
            other();
            let time = start.elapsed();
            done.store(true, Ordering::SeqCst);
            pinned.map(|()| time)
        });
        pin_to_vcpu(0)?;
        let mut work = 0_u64;
        while !done.load(Ordering::SeqCst) {
            work += 1;
        }
        Ok((work, other.join().expect("the other task panicked")?))
    })
}

impl Share {
    pub fn run(&self, aperture: Aperture) -> Result<()> {
        let memory = aperture.map(self.offset, (self.waits * PAGE_BYTES) as u64)?;
        let (mut waiting, mut sleeping, mut waited) = (0, 0, Duration::ZERO);
        // By turns, so that whatever else slows the machine down slows both.
        for page in 0..self.waits {
            let (work, time) = work_during(|| {
                memory.read_u64(page * PAGE_BYTES);
            })?;
            waiting += work;
            waited += time;
            sleeping += work_during(|| thread::sleep(time))?.0;
        }
        println!("waited_ms={}", waited.as_millis());
        println!("work_waiting={waiting}");
        println!("work_sleeping={sleeping}");
        Ok(())
    }
}

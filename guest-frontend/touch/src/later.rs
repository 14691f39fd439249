// SPDX-License-Identifier: MIT OR Apache-2.0
//! A `rep stos` outstanding on one vCPU while another asks for the same page. On stock Xen, mapping
//! the page at that moment would kill this guest: the broker has to say Later, and both must finish.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::{hint, thread};

use anyhow::{bail, Result};
use clap::Args;
use xenlend_touch::aperture::{parse_number, Aperture};
use xenlend_touch::memory::PAGE_BYTES;

use crate::pin::pin_to_vcpu;
use crate::steer::ask_lender;
use crate::stos::Shape;

#[derive(Args)]
pub struct Later {
    /// Where the pages are: one, or two for a border
    #[arg(value_parser = parse_number)]
    offset: u64,
    /// The command for the lender's program that takes it away
    revoke: String,
    /// How often
    #[arg(long, default_value_t = 50)]
    rounds: usize,
    /// What is stored
    #[arg(long, value_enum, default_value_t = Shape::Page)]
    shape: Shape,
}

/// Lets two threads start a round together: each counts itself in and waits for the other.
struct Gate(AtomicUsize);

impl Gate {
    fn pass(&self, round: usize) {
        self.0.fetch_add(1, Ordering::SeqCst);
        while self.0.load(Ordering::SeqCst) < 2 * round {
            hint::spin_loop();
        }
    }
}

impl Later {
    pub fn run(&self, aperture: Aperture) -> Result<()> {
        let shape = self.shape;
        let memory = shape.map(aperture, self.offset)?;
        let (first, elements, size) = shape.extent();
        let (start, end) = (Gate(AtomicUsize::new(0)), Gate(AtomicUsize::new(0)));
        let rounds = self.rounds;
        shape.store(memory, 0);
        thread::scope(|scope| {
            let reader = scope.spawn(|| {
                pin_to_vcpu(1)?;
                for round in 1..=rounds {
                    start.pass(round);
                    // Half-way through: the value may be the old one or the new one, and nothing else.
                    let found = usize::from(memory.read_u8(PAGE_BYTES - 1));
                    end.pass(round);
                    if found != round % 251 && found != (round - 1) % 251 {
                        bail!("round {round} read {found}");
                    }
                }
                Ok(())
            });
            pin_to_vcpu(0)?;
            for round in 1..=rounds {
                let revoked = ask_lender(&self.revoke);
                start.pass(round);
                shape.store(memory, (round % 251) as u8);
                end.pass(round);
                revoked?;
                let mut stored = first..first + elements * size;
                if let Some(at) = stored.find(|at| usize::from(memory.read_u8(*at)) != round % 251) {
                    bail!("round {round}: byte {at:#x} is {:#x}", memory.read_u8(at));
                }
            }
            reader.join().expect("the reading thread panicked")
        })?;
        println!("rounds={rounds}");
        Ok(())
    }
}

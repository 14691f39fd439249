// SPDX-License-Identifier: MIT OR Apache-2.0
//! Touches pages with a process for each, and says of each how it ended as soon as it has.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;

use anyhow::{ensure, Context, Result};
use clap::Args;
use xenlend_touch::aperture::{parse_number, Aperture};
use xenlend_touch::memory::PAGE_BYTES;

use crate::pin::{pin_to_vcpu, run_on_vcpu};

#[derive(Args)]
pub struct Many {
    #[arg(value_parser = parse_number)]
    offset: u64,
    /// Pages, with a process for each
    pages: u64,
    /// Generation to expect in each
    generation: u32,
    /// Keep each process on one vCPU: those of even pages on the second, all others on the first
    #[arg(long)]
    pin: bool,
}

/// A process and what it says.
struct Toucher {
    process: Child,
    output: BufReader<ChildStdout>,
}

impl Many {
    pub fn run(&self, _: Aperture) -> Result<()> {
        if self.pin {
            pin_to_vcpu(0)?;
        }
        let mut touchers = (0..self.pages).map(|page| self.start(page)).collect::<Result<Vec<_>>>()?;
        // All are there before the first touches: a vCPU that stands still starts nothing.
        for toucher in &mut touchers {
            let mut line = String::new();
            toucher.output.read_line(&mut line)?;
            ensure!(line == "ready\n", "a process for a page says {line:?}");
        }
        println!("touching={}", self.pages);
        for toucher in &mut touchers {
            drop(toucher.process.stdin.take());
        }
        let waiters = touchers.into_iter().enumerate().map(|(page, Toucher { mut process, output })| {
            thread::spawn(move || {
                let end = match process.wait() {
                    Ok(status) if status.success() => "came".to_owned(),
                    Ok(status) => status.to_string(),
                    Err(error) => error.to_string(),
                };
                // Not before: it has something to say at its end.
                drop(output);
                let mut out = std::io::stdout().lock();
                // Whoever listened may have gone.
                let _ = writeln!(out, "page {page}: {end}").and_then(|()| out.flush());
            })
        });
        for waiter in waiters.collect::<Vec<_>>() {
            let _ = waiter.join();
        }
        Ok(())
    }

    fn start(&self, page: u64) -> Result<Toucher> {
        let offset = self.offset + page * PAGE_BYTES as u64;
        let mut command = Command::new(env::current_exe().context("this program's path")?);
        if self.pin {
            run_on_vcpu(&mut command, (page + 1) as usize % 2);
        }
        command.arg("check").arg(offset.to_string()).args(["4096", &self.generation.to_string(), "--gate"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().context("a process for a page")?;
        let output = process.stdout.take().context("its output")?;
        Ok(Toucher { process, output: BufReader::new(output) })
    }
}

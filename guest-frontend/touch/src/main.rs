// SPDX-License-Identifier: MIT OR Apache-2.0
//! The borrower's program of the scenarios. Each subcommand does one thing to lent memory and fails
//! (exit status 1) when what it saw was wrong.

mod count;
mod count_moving;
mod draw;
mod driver;
mod fault;
mod fill;
mod hunt;
mod instructions;
mod latency;
mod later;
mod many;
mod odd;
mod pin;
mod retried;
mod share;
mod steer;
mod stos;
mod straddle;
mod types;
mod words;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use xenlend_touch::aperture::{parse_number, Aperture, Way};

/// Offsets and sizes are bytes of the aperture: decimal, or 0x, with an optional K, M or G.
#[derive(Parser)]
struct Arguments {
    /// Where the aperture is, instead of what the kernel's command line says: BASE:SIZE
    #[arg(long)]
    aperture: Option<String>,
    /// Map it through /dev/mem, even if the driver is there
    #[arg(long)]
    dev_mem: bool,
    #[command(subcommand)]
    job: Job,
}

#[derive(Subcommand)]
enum Job {
    /// Prints the aperture's base and size
    Where,
    /// Prints bytes as hex
    Peek(fill::Peek),
    /// Writes bytes given as hex
    Poke(fill::Poke),
    /// Writes lines of one generation
    Fill(fill::Lines),
    /// Judges lines against one generation
    Check(fill::Lines),
    /// Reads memory, checks nothing, and prints its sum
    Read(fill::Read),
    /// Checks that every byte has one value
    Same(fill::Same),
    /// Judges pages that are spread over much memory
    Spread(fill::Spread),
    /// Counts what one task gets done while another waits for pages
    Share(share::Share),
    /// Writes a word of its own into each page, round after round, and judges what it reads
    Words(words::Words),
    /// Touches pages with a process for each, and says of each how it ended
    Many(many::Many),
    /// Draws moving pictures and judges what it reads, until the lender says stop
    Draw(draw::Draw),
    /// Reads and writes as fast as it can, looking for poison and lost writes, until the lender says stop
    Hunt(hunt::Hunt),
    /// Increments one counter from several threads with locked instructions
    Count(count::Count),
    /// Increments counters in pages that move between bursts, with locked instructions on two vCPUs
    CountMoving(count_moving::CountMoving),
    /// Runs memory instructions on pages that were revoked a moment ago, against a model in RAM
    Instructions(instructions::Instructions),
    /// Times touches of a page that is away, or keeps one busy while it is taken away
    Latency(latency::Latency),
    /// Times events to dom0 and back
    Ping(latency::Ping),
    /// Runs instructions over and over on two vCPUs while their pages come and go: for a Xen that runs them again
    Retried(retried::Retried),
    /// Leaves a `rep stos` outstanding on one vCPU while another asks for the same page
    Later(later::Later),
    /// Stores with `rep stos`
    Stos(stos::Stos),
    /// Prints what the driver says: link, leases, counters
    Driver,
    /// Has the driver bring pages in, and waits for it
    Prefault(driver::Prefault),
    /// Prints the driver's events until one of this kind has come
    Events(driver::Events),
    /// Touches a page as fast as it can until it is gone, which must end in SIGBUS
    UntilBus(driver::UntilBus),
    /// Reads from an absent page on into one that faults, while the vCPU is being sent interrupts
    Straddle(straddle::Straddle),
    /// Makes one access that has to end in SIGSEGV or SIGBUS at its address
    Fault(fault::Fault),
    /// Does to a mapping what programs seldom do, each with its result
    Odd(odd::Odd),
    /// Maps a lease as each type that there is
    Types(types::Types),
}

fn aperture(text: Option<&str>, dev_mem: bool) -> Result<Aperture> {
    let way = if dev_mem { Way::DevMem } else { Way::of_this_guest() };
    let Some(text) = text else { return Ok(Aperture { way, ..Aperture::of_this_guest()? }) };
    let (base, bytes) = text.split_once(':').context("--aperture wants BASE:SIZE")?;
    Ok(Aperture { base: parse_number(base)?, bytes: parse_number(bytes)?, way })
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let aperture = aperture(arguments.aperture.as_deref(), arguments.dev_mem)?;
    match arguments.job {
        Job::Where => {
            println!("{:#x} {:#x}", aperture.base, aperture.bytes);
            Ok(())
        }
        Job::Peek(job) => job.run(aperture),
        Job::Poke(job) => job.run(aperture),
        Job::Fill(job) => job.fill(aperture),
        Job::Check(job) => job.check(aperture),
        Job::Read(job) => job.run(aperture),
        Job::Same(job) => job.run(aperture),
        Job::Spread(job) => job.run(aperture),
        Job::Share(job) => job.run(aperture),
        Job::Words(job) => job.run(aperture),
        Job::Many(job) => job.run(aperture),
        Job::Draw(job) => job.run(aperture),
        Job::Hunt(job) => job.run(aperture),
        Job::Count(job) => job.run(aperture),
        Job::CountMoving(job) => job.run(aperture),
        Job::Instructions(job) => job.run(aperture),
        Job::Latency(job) => job.run(aperture),
        Job::Ping(job) => job.run(),
        Job::Retried(job) => job.run(aperture),
        Job::Later(job) => job.run(aperture),
        Job::Stos(job) => job.run(aperture),
        Job::Driver => driver::print(),
        Job::Prefault(job) => job.run(),
        Job::Events(job) => job.run(),
        Job::UntilBus(job) => job.run(aperture),
        Job::Straddle(job) => job.run(aperture),
        Job::Fault(job) => job.run(aperture),
        Job::Odd(job) => job.run(aperture),
        Job::Types(job) => job.run(),
    }
}

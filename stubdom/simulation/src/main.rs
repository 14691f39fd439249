// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command line: histories of seeds, or one history again.

use std::process::ExitCode;

use clap::Parser;
use xenlend_simulation::config::{parse_kind, Choice, Mode};
use xenlend_simulation::fault::Fault;
use xenlend_simulation::history::{from_text, to_text, Event};
use xenlend_simulation::run::{explore, replay};
use xenlend_simulation::shrink::shrink;
use xenlend_xen_abi::lend::XenKind;

/// Simulates lender, broker and borrower over a fake Xen, and looks for what must not be.
#[derive(Parser)]
struct Arguments {
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Steps of each history at most.
    #[arg(long, default_value_t = 1000)]
    steps: usize,
    /// Number of seeds.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Who misbehaves: calm, rough, lying-broker, lying-lender or lying-borrower. Without it the seed says.
    #[arg(long, value_parser = |name: &str| Mode::parse(name).ok_or("no such mode"))]
    mode: Option<Mode>,
    /// The kind of Xen: stock or lend-aware. Without it the seed says.
    #[arg(long, value_parser = |name: &str| parse_kind(name).ok_or("no such kind of Xen"))]
    xen: Option<XenKind>,
    /// A bug to switch on.
    #[arg(long, value_parser = |name: &str| Fault::parse(name).ok_or_else(|| format!("none of {}", names())))]
    fault: Option<Fault>,
    /// A history to replay instead, as printed.
    #[arg(long)]
    replay: Option<String>,
}

fn names() -> String {
    Fault::ALL.map(Fault::name).join(", ")
}

fn main() -> ExitCode {
    let Arguments { seed, steps, seeds, mode, xen: kind, fault, replay: text } = Arguments::parse();
    let choice = Choice { mode, kind, fault };
    if let Some(text) = text {
        let history = match from_text(&text) {
            Ok(history) => history,
            Err(error) => {
                eprintln!("{error}");
                return ExitCode::from(2);
            }
        };
        return tell(seed, history, choice);
    }
    let explored = explore(seed..seed.saturating_add(seeds), steps, choice);
    println!("{} steps in {} histories", explored.steps, explored.histories);
    print!("{}\n{}", explored.coverage, explored.pages);
    let Some(found) = explored.found else { return ExitCode::SUCCESS };
    println!("seed {} fails after {} steps: {:?}", found.seed, found.violation.step, found.violation.wrong);
    let shortest = shrink(&found, choice);
    println!("the shortest history found has {} steps:", shortest.len());
    let options = choice.options();
    let text = to_text(&shortest);
    let code = tell(found.seed, shortest, choice);
    println!("cargo run -p xenlend-simulation -- --seed {}{options} --replay {text}", found.seed);
    code
}

fn tell(seed: u64, history: Vec<Event>, choice: Choice) -> ExitCode {
    let outcome = replay(seed, history, choice, true);
    outcome.trace.iter().for_each(|line| println!("  {line}"));
    match outcome.violation {
        Some(violation) => {
            println!("{:?}: {}", violation.wrong, violation.text);
            ExitCode::FAILURE
        }
        None => ExitCode::SUCCESS,
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask test`: formats and lints, host tests, and the scenarios on real Xen.

use std::collections::VecDeque;
use std::num::NonZero;
use std::sync::mpsc::channel;
use std::time::Instant;

use anyhow::Result;

use crate::boot::{Boot, Scenario};
use crate::build_root::BuildRoot;
use crate::host_checks::{check_host, check_sources};
use crate::hypervisor::Flavour;
use crate::parts::Parts;
use crate::scenario_run::{self, Outcome, Verdict};
use crate::tally::Tally;
use crate::test_choice::{Forms, Kinds};
use crate::test_demo::Demo;
use crate::test_queue::Queue;
use crate::workspace::Workspace;
use crate::{lab_up, preflight, test_skips};

/// How often a boot is run again when the emulator may have spoiled it.
const REPEATS: u32 = 4;

/// The command's options.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Run only the scenarios whose boot or name contains this
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// The Xen of the scenarios: Debian's own, the patched one, or both
    #[arg(long, value_enum, default_value_t)]
    xen: Kinds,
    /// The borrower's driver in the guests of boots that have both forms
    #[arg(long, value_enum, default_value_t)]
    driver: Forms,
    /// Also run what is left out because it is not known to pass every time
    #[arg(long)]
    all: bool,
    /// Do not run the checks on the host
    #[arg(long)]
    no_host: bool,
    /// Do not run the scenarios in the lab
    #[arg(long, conflicts_with = "no_host")]
    no_lab: bool,
    #[command(flatten)]
    parts: Parts,
}

/// Does it; the exit status is 0 when everything passed.
///
/// # Errors
/// A machine that cannot have a lab.
pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<i32> {
    let mut tally = Tally::default();
    preflight::prepare()?;
    if arguments.xen == Kinds::Lend {
        // Asked for by name: not to be skipped, whatever else would be found out first.
        workspace.xen_source.ensure(workspace, &BuildRoot::ensure(workspace)?)?;
    }
    if !arguments.no_host && arguments.only.is_none() {
        // Most of the lints need nothing of the build root, which comes over the network.
        let root = std::thread::scope(|scope| {
            let root = scope.spawn(|| BuildRoot::ensure(workspace));
            check_sources(workspace, &mut tally)?;
            root.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })?;
        check_host(workspace, &root, &mut tally)?;
    }
    if !arguments.no_lab {
        check_lab(workspace, arguments, &mut tally)?;
        check_demo(workspace, arguments, &mut tally);
    }
    println!("{tally}");
    Ok(tally.status())
}

/// The scenarios, as many boots at a time as this machine has processors for.
fn check_lab(workspace: &Workspace, arguments: &Arguments, tally: &mut Tally) -> Result<()> {
    let boots = arguments.xen.of(&arguments.driver.boots());
    let chosen: VecDeque<(&Boot, Vec<Scenario>)> = boots
        .iter()
        .map(|boot| {
            let wanted = |scenario: &&Scenario| {
                let named = arguments.only.as_ref().is_none_or(|only| {
                    scenario.name.contains(only.as_str()) || boot.name.contains(only.as_str())
                });
                named && boot.shows(scenario)
            };
            (boot, boot.scenarios.iter().filter(wanted).copied().collect())
        })
        .filter(|(_, scenarios): &(&Boot, Vec<Scenario>)| !scenarios.is_empty())
        .collect();
    let (chosen, open): (VecDeque<_>, VecDeque<_>) = chosen
        .into_iter()
        .partition(|(boot, _)| boot.open.is_none() || arguments.all || arguments.only.is_some());
    for (boot, scenarios) in open {
        let why = boot.open.unwrap_or_default();
        for scenario in scenarios {
            tally.skip(&boot.title(scenario.name), why);
        }
    }
    // Built once, here: a failing build is no scenario's fault.
    let (root, _) = lab_up::prepare(workspace, &arguments.parts)?;
    let ensure = |flavour: Flavour| flavour.ensure(workspace, &root).map(drop);
    let chosen = test_skips::that_can_run(chosen, ensure, tally)?;
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    let queue = Queue::new(chosen, processors);
    let (send, results) = channel();
    std::thread::scope(|scope| {
        for _ in 0..processors {
            let (queue, send) = (&queue, send.clone());
            scope.spawn(move || {
                while let Some((boot, scenarios, taken)) = queue.next() {
                    // The receiver outlives all senders.
                    let _ = send.send(check_boot(workspace, boot, &scenarios, &arguments.parts));
                    queue.give_back(taken);
                }
            });
        }
        drop(send);
        for result in results {
            for (name, seconds, verdict) in &result.verdicts {
                tally.count(name, *seconds, verdict);
            }
            for note in &result.notes {
                println!("      {note}");
            }
        }
    });
    Ok(())
}

/// The demo, as it is and with a flipped byte, side by side.
fn check_demo(workspace: &Workspace, arguments: &Arguments, tally: &mut Tally) {
    let wanted = |demo: &Demo| arguments.only.as_ref().is_none_or(|only| demo.name().contains(only.as_str()));
    let (send, results) = channel();
    std::thread::scope(|scope| {
        for demo in Demo::ALL.into_iter().filter(wanted) {
            let send = send.clone();
            scope.spawn(move || {
                let start = Instant::now();
                let verdict = demo.run(workspace, &arguments.parts);
                // The receiver outlives all senders.
                let _ = send.send((demo.name(), start.elapsed().as_secs_f64(), verdict));
            });
        }
        drop(send);
        for (name, seconds, verdict) in results {
            tally.count(name, seconds, &verdict);
        }
    });
}

/// What came of one boot.
struct BootResult {
    verdicts: Vec<(String, f64, Verdict)>,
    notes: Vec<String>,
}

/// One boot's scenarios. A boot in which a scenario failed and the emulator reported faults of its own
/// proves nothing: it is run again, and that is said.
fn check_boot(workspace: &Workspace, boot: &Boot, chosen: &[Scenario], parts: &Parts) -> BootResult {
    let folder = scenario_run::folder_of(workspace, boot);
    let mut notes = Vec::new();
    let mut attempt = 0;
    let outcomes = loop {
        let mut outcomes: Vec<Outcome> = Vec::new();
        let run = scenario_run::run(workspace, boot, chosen, parts, &folder, |outcome| {
            outcomes.push(outcome.clone());
        });
        if let Err(error) = run {
            let verdict = Verdict::Failed(format!("the lab: {error:#}"));
            let fail = |scenario: &Scenario| (boot.title(scenario.name), 0.0, verdict.clone());
            return BootResult { verdicts: chosen.iter().map(fail).collect(), notes };
        }
        let failed = outcomes.iter().any(|outcome| outcome.verdict != Verdict::Passed);
        let faults = scenario_run::emulator_faults(&folder);
        if !failed || faults.is_empty() || attempt == REPEATS {
            if failed {
                notes.push(format!("logs of {} are in {}", boot.name, folder.display()));
            } else if let Err(error) = crate::digest::remove(&folder) {
                notes.push(format!("{error:#}"));
            }
            break outcomes;
        }
        attempt += 1;
        let kept = folder.with_file_name(format!("{}.void{attempt}", boot.name));
        let moved = crate::digest::remove(&kept).and_then(|()| Ok(std::fs::rename(&folder, &kept)?));
        let where_to = moved.map_or_else(|error| format!("{error:#}"), |()| kept.display().to_string());
        notes.push(format!(
            "{} met faults of the emulator ({faults:?}), was void and ran again (its logs: {where_to})",
            boot.name
        ));
    };
    let verdict =
        |outcome: &Outcome| (boot.title(outcome.name), outcome.time.as_secs_f64(), outcome.verdict.clone());
    BootResult { verdicts: outcomes.iter().map(verdict).collect(), notes }
}

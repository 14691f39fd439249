// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs the chosen scenarios of a test, as many at a time as this machine has processors: each on a fresh copy of a
//! saved machine, or, where that cannot be, those of a boot one after the other in a boot of their own.

use std::collections::{BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::num::NonZero;
use std::path::Path;
use std::sync::mpsc::{channel, Sender};

use anyhow::Result;

use crate::boot::Boot;
use crate::lab_machine::Lab;
use crate::parts::Parts;
use crate::scenario_run::{self, Outcome, Run, Verdict};
use crate::seed;
use crate::snapshots::Snapshots;
use crate::test_queue::{Queue, Taken, Work};
use crate::test_skips::Entry;

/// How often something is run again when the emulator may have spoiled it.
const REPEATS: u32 = 4;

/// What the user may choose.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Options {
    /// Boot for every list of scenarios, and run them there one after the other
    #[arg(long)]
    no_snapshots: bool,
    /// The seed of the scenarios, to repeat a failure [default: another one for each]
    #[arg(long, value_name = "N")]
    seed: Option<u32>,
}

/// What came of some work.
struct Results<'a> {
    verdicts: Vec<(&'a Boot, String, f64, Verdict)>,
    notes: Vec<String>,
}

/// Everything that the lanes share.
struct Lanes<'a> {
    lab: &'a Lab<'a>,
    snapshots: Snapshots<'a>,
    parts: &'a Parts,
    options: &'a Options,
    queue: Queue<'a>,
}

/// Runs what was chosen, and tells of each scenario: its boot, its title, the seconds it took, its verdict.
///
/// # Errors
/// A hypervisor that cannot be built.
pub fn run<'a>(
    lab: &'a Lab<'a>,
    chosen: VecDeque<Entry<'a>>,
    parts: &'a Parts,
    options: &'a Options,
    mut tell: impl FnMut(&Boot, &str, f64, &Verdict),
) -> Result<()> {
    let snapshots = Snapshots::of(lab);
    let mut waiting = VecDeque::new();
    let mut made = BTreeSet::new();
    for (boot, scenarios) in chosen {
        if options.no_snapshots || boot.whole.is_some() {
            waiting.push_back(Work { boot, scenarios, key: None });
            continue;
        }
        let key = snapshots.key(&scenario_run::plan(lab, boot, parts)?)?;
        made.extend(snapshots.has(&key).then(|| key.clone()));
        let apart = |scenario| Work { boot, scenarios: vec![scenario], key: Some(key.clone()) };
        waiting.extend(scenarios.into_iter().map(apart));
    }
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    let queue = Queue::new(waiting, made, processors);
    let lanes = Lanes { lab, snapshots, parts, options, queue };
    let (send, results) = channel();
    std::thread::scope(|scope| {
        for _ in 0..processors {
            let (lanes, send) = (&lanes, send.clone());
            scope.spawn(move || {
                while let Some(taken) = lanes.queue.next() {
                    lanes.carry_out(&taken, &send);
                    lanes.queue.give_back(taken.processors);
                }
            });
        }
        drop(send);
        for Results { verdicts, notes } in results {
            for (boot, name, seconds, verdict) in &verdicts {
                tell(boot, name, *seconds, verdict);
            }
            for note in &notes {
                println!("      {note}");
            }
        }
    });
    Ok(())
}

impl<'a> Lanes<'a> {
    /// Does some work, and before that makes the machine that it and others begin with.
    fn carry_out(&self, taken: &Taken<'a>, send: &Sender<Results<'a>>) {
        let Taken { work, makes, .. } = taken;
        if let (Some(key), true) = (&work.key, *makes) {
            if let Err(error) = self.make(work) {
                let verdict = Verdict::Failed(format!("the lab: {error:#}"));
                let mut lost = self.queue.give_up(key);
                lost.insert(0, work.clone());
                let verdicts = lost.iter().flat_map(|work| all(work, &verdict)).collect();
                // The receiver outlives all senders.
                let _ = send.send(Results { verdicts, notes: Vec::new() });
                return;
            }
            self.queue.made(key);
        }
        let results = self.repeat(work).unwrap_or_else(|error| {
            let verdict = Verdict::Failed(format!("the lab: {error:#}"));
            Results { verdicts: all(work, &verdict), notes: Vec::new() }
        });
        let _ = send.send(results);
    }

    /// Makes the saved machine of some work.
    fn make(&self, work: &Work<'_>) -> Result<()> {
        let plan = scenario_run::plan(self.lab, work.boot, self.parts)?;
        self.snapshots.obtain(&plan, &folder_of(self.lab, work)).map(drop)
    }

    /// Runs some work. If a scenario failed and the emulator reported faults of its own, that proves nothing: it is run
    /// again, and that is said.
    fn repeat(&self, work: &Work<'a>) -> Result<Results<'a>> {
        let boot = work.boot;
        let folder = folder_of(self.lab, work);
        let name = work.name();
        let seed = self.options.seed.map_or_else(seed::draw, Ok)?;
        let mut notes = Vec::new();
        let mut attempt = 0;
        let outcomes = loop {
            let mut outcomes: Vec<Outcome> = Vec::new();
            let run = Run { boot, scenarios: &work.scenarios, restored: work.key.is_some(), seed };
            scenario_run::run(self.lab, &run, self.parts, &folder, |outcome| outcomes.push(outcome.clone()))?;
            let failed = outcomes.iter().any(|outcome| outcome.verdict != Verdict::Passed);
            let faults = scenario_run::emulator_faults(&folder);
            if !failed || faults.is_empty() || attempt == REPEATS {
                if failed {
                    notes.push(format!("logs of {name} are in {}; its seed was {seed}", folder.display()));
                } else {
                    forget(&folder)?;
                }
                break outcomes;
            }
            attempt += 1;
            let kept = folder.with_extension(format!("void{attempt}"));
            let moved = crate::digest::remove(&kept).and_then(|()| Ok(std::fs::rename(&folder, &kept)?));
            let mut note = format!("{name} met faults of the emulator ({faults:?}), was void and ran again");
            match moved {
                Ok(()) => write!(note, " (its logs: {})", kept.display())?,
                Err(error) => write!(note, " ({error:#})")?,
            }
            notes.push(note);
        };
        let verdict =
            |one: &Outcome| (boot, boot.title(one.name), one.time.as_secs_f64(), one.verdict.clone());
        Ok(Results { verdicts: outcomes.iter().map(verdict).collect(), notes })
    }
}

impl Work<'_> {
    /// How it is called in notes.
    fn name(&self) -> String {
        match (&self.key, self.scenarios.as_slice()) {
            (Some(_), [one]) => self.boot.title(one.name),
            _ => self.boot.name.to_owned(),
        }
    }
}

/// The folder of some work's logs.
fn folder_of(lab: &Lab<'_>, work: &Work<'_>) -> std::path::PathBuf {
    let folder = scenario_run::folder_of(lab.workspace, work.boot);
    match (&work.key, work.scenarios.as_slice()) {
        (Some(_), [one]) => folder.join(one.name),
        _ => folder,
    }
}

/// The same verdict for all scenarios of some work.
fn all<'a>(work: &Work<'a>, verdict: &Verdict) -> Vec<(&'a Boot, String, f64, Verdict)> {
    let boot = work.boot;
    work.scenarios.iter().map(|one| (boot, boot.title(one.name), 0.0, verdict.clone())).collect()
}

/// Removes the logs of what passed.
fn forget(folder: &Path) -> Result<()> {
    crate::digest::remove(folder)?;
    if let Some(above) = folder.parent() {
        // It stays as long as there is something else in it.
        let _ = std::fs::remove_dir(above);
    }
    Ok(())
}

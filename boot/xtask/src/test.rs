// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask test`: formats and lints, host tests, and the scenarios on real Xen.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsString;
use std::num::NonZero;
use std::process::Command;
use std::sync::mpsc::channel;
use std::time::Instant;

use anyhow::Result;
use clap::ValueEnum;

use crate::boot::{Boot, Driver, Scenario};
use crate::build_root::BuildRoot;
use crate::command::run as run_command;
use crate::hypervisor::Flavour;
use crate::parts::Parts;
use crate::progress::step;
use crate::scenario_run::{self, Outcome, Verdict};
use crate::scenarios::BOOTS;
use crate::test_demo::Demo;
use crate::test_queue::Queue;
use crate::workspace::Workspace;
use crate::{fuzz, lab_up, preflight, unikernel};

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

/// The kinds of Xen to run on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Kinds {
    /// Debian's own
    Stock,
    /// With the patches of boot/xen
    Lend,
    /// One after the other
    #[default]
    Both,
}

/// The forms of boots to run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Forms {
    /// As they are listed: without it, but for the boots that are about it
    None,
    /// With it
    With,
    /// With it, but its zaps and prefaults switched off
    Unzapped,
    /// All three, one after the other
    #[default]
    All,
}

impl Forms {
    /// The boots: each form has a name of its own.
    fn boots(self) -> Vec<Boot> {
        let with = |driver: Option<Driver>| {
            BOOTS.iter().flat_map(move |boot| {
                let wanted =
                    boot.forms.iter().filter(move |form| driver.is_none_or(|one| form.driver == one));
                wanted.map(|form| boot.in_form(form))
            })
        };
        match self {
            Self::None => BOOTS.to_vec(),
            Self::With => with(Some(Driver::With)).collect(),
            Self::Unzapped => with(Some(Driver::Unzapped)).collect(),
            Self::All => BOOTS.iter().copied().chain(with(None)).collect(),
        }
    }
}

impl Kinds {
    /// Those of the boots that are for this Xen: with the patched one they have names of their own.
    fn of(self, boots: &[Boot]) -> Vec<Boot> {
        let lend =
            boots.iter().filter_map(|boot| Some(Boot { name: boot.on_lend?, xen: Flavour::Lend, ..*boot }));
        match self {
            Self::Stock => boots.to_vec(),
            Self::Lend => lend.collect(),
            Self::Both => boots.iter().copied().chain(lend).collect(),
        }
    }
}

/// What was run, and how much of it failed.
#[derive(Default)]
struct Tally {
    passed: u32,
    failed: u32,
}

impl Tally {
    /// Prints one line and counts it.
    fn count(&mut self, name: &str, seconds: f64, verdict: &Verdict) {
        match verdict {
            Verdict::Passed => {
                self.passed += 1;
                println!("ok    {seconds:7.1} s  {name}");
            }
            Verdict::Failed(why) => {
                self.failed += 1;
                println!("FAIL  {seconds:7.1} s  {name}: {why}");
            }
        }
    }
}

/// Does it; the exit status is 0 when everything passed.
///
/// # Errors
/// A machine that cannot have a lab.
pub fn run(arguments: &Arguments) -> Result<i32> {
    let workspace = Workspace::locate()?;
    let mut tally = Tally::default();
    preflight::prepare()?;
    if !arguments.no_host && arguments.only.is_none() {
        // Most of the lints need nothing of the build root, which comes over the network.
        let root = std::thread::scope(|scope| {
            let root = scope.spawn(|| BuildRoot::ensure(&workspace));
            check_sources(&workspace, &mut tally)?;
            root.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })?;
        check_host(&workspace, &root, &mut tally)?;
    }
    if !arguments.no_lab {
        check_lab(&workspace, arguments, &mut tally)?;
        check_demo(&workspace, arguments, &mut tally);
    }
    println!("{} passed, {} failed", tally.passed, tally.failed);
    Ok(i32::from(tally.failed > 0 || tally.passed == 0))
}

/// Cargo in the workspace.
fn cargo(workspace: &Workspace, arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    command.current_dir(&workspace.root).args(arguments);
    command
}

/// Runs one check of the host.
fn check(name: &str, command: &mut Command, tally: &mut Tally) -> Result<()> {
    let start = Instant::now();
    let output = step(&format!("Checking: {name}"), || run_command(command))?;
    let verdict = if output.status.success() {
        Verdict::Passed
    } else {
        print!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        Verdict::Failed(output.status.to_string())
    };
    tally.count(name, start.elapsed().as_secs_f64(), &verdict);
    Ok(())
}

/// Formats and lints.
fn check_sources(workspace: &Workspace, tally: &mut Tally) -> Result<()> {
    let mut lint_unikernel = unikernel::cargo(workspace, "clippy");
    lint_unikernel.args(["--quiet", "--release", "--all-features", "--", "-Dwarnings"]);
    let (module, driver) = ("dom0-shim/module/Cargo.toml", "guest-frontend/module/Cargo.toml");
    // Workspaces of their own, which must not leave their own target folders in the sources.
    let lint_apart = |manifest: &str| {
        let mut command =
            cargo(workspace, &["clippy", "--quiet", "--locked", "--manifest-path", manifest, "--target-dir"]);
        command.arg(workspace.target.join("module")).args(["--", "-Dwarnings"]);
        command
    };
    let mut lint_fuzz = fuzz::cargo(workspace, "clippy");
    lint_fuzz.args(["--all-targets", "--", "-Dwarnings"]);
    let checks = [
        ("format", cargo(workspace, &["fmt", "--all", "--check"])),
        ("lints", cargo(workspace, &["clippy", "--quiet", "--all-targets", "--", "-Dwarnings"])),
        ("lints of the broker", lint_unikernel),
        ("format of the module", cargo(workspace, &["fmt", "--manifest-path", module, "--check"])),
        ("lints of the module", lint_apart(module)),
        ("format of the driver", cargo(workspace, &["fmt", "--manifest-path", driver, "--check"])),
        ("lints of the driver", lint_apart(driver)),
        (
            "format of the fuzz targets",
            cargo(workspace, &["fmt", "--manifest-path", fuzz::MANIFEST, "--check"]),
        ),
        ("lints of the fuzz targets", lint_fuzz),
    ];
    checks.into_iter().try_for_each(|(name, mut command)| check(name, &mut command, tally))
}

/// The tests that need no Xen, a short run of the fuzz targets, and the build of the patched hypervisor.
fn check_host(workspace: &Workspace, root: &BuildRoot, tally: &mut Tally) -> Result<()> {
    let mut tests = cargo(
        workspace,
        &["test", "--quiet", "--no-fail-fast", "--features", "xenlend-xen-abi/header-check"],
    );
    // They compare our structures with Xen's headers, which the build root has.
    tests.env("XENLEND_XEN_HEADERS", root.join("usr/include/xen"));
    check("host tests", &mut tests, tally)?;
    let start = Instant::now();
    let verdict = fuzz::check(workspace).unwrap_or_else(|error| Verdict::Failed(format!("{error:#}")));
    tally.count("fuzz targets", start.elapsed().as_secs_f64(), &verdict);
    let start = Instant::now();
    let verdict = match Flavour::Lend.ensure(workspace, root) {
        Ok(_) => Verdict::Passed,
        Err(error) => Verdict::Failed(format!("{error:#}")),
    };
    tally.count("build of the patched Xen", start.elapsed().as_secs_f64(), &verdict);
    Ok(())
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
            println!("skip             {}: {why}", title(boot, scenario.name));
        }
    }
    // Built once, here: a failing build is no scenario's fault.
    let (root, _) = lab_up::prepare(workspace, &arguments.parts)?;
    let flavours: BTreeSet<Flavour> = chosen.iter().map(|(boot, _)| boot.xen).collect();
    for flavour in flavours {
        flavour.ensure(workspace, &root)?;
    }
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
            let fail = |scenario: &Scenario| (title(boot, scenario.name), 0.0, verdict.clone());
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
        |outcome: &Outcome| (title(boot, outcome.name), outcome.time.as_secs_f64(), outcome.verdict.clone());
    BootResult { verdicts: outcomes.iter().map(verdict).collect(), notes }
}

/// How a scenario is called in the output.
fn title(boot: &Boot, scenario: &str) -> String {
    format!("{}: {scenario}", boot.name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Boot, Driver, Flavour, Forms, Kinds};
    use crate::boot::{InForm, On};
    use crate::scenarios::BOOTS;

    fn names(boots: &[Boot]) -> Vec<&'static str> {
        boots.iter().map(|boot| boot.name).collect()
    }

    #[test]
    fn each_kind_has_boots_of_its_own_names() {
        let listed = Forms::None.boots();
        let (stock, lend) = (Kinds::Stock.of(&listed), Kinds::Lend.of(&listed));
        assert!(names(&stock).contains(&"lending") && names(&lend).contains(&"lending@lend"));
        assert!(lend.iter().all(|boot| boot.xen == Flavour::Lend && boot.name.ends_with("@lend")));
        assert!(!stock.iter().any(|boot| boot.name.ends_with("@lend")));
        assert_eq!(names(&Kinds::Both.of(&listed)), [names(&stock), names(&lend)].concat());
    }

    #[test]
    fn each_form_has_boots_of_its_own_names() {
        let (with, unzapped) = (Forms::With.boots(), Forms::Unzapped.boots());
        assert!(names(&with).contains(&"lending+driver") && names(&unzapped).contains(&"lending+unzapped"));
        assert!(with.iter().all(|boot| boot.driver == Driver::With && boot.name.ends_with("+driver")));
        assert!(unzapped
            .iter()
            .all(|boot| boot.driver == Driver::Unzapped && boot.name.ends_with("+unzapped")));
        let all = names(&Forms::All.boots());
        assert_eq!(all.len(), BOOTS.len() + with.len() + unzapped.len());
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "every name is somebody's own");
    }

    #[test]
    fn every_form_of_first_light_shows_what_is_not_about_another() {
        for boot in Kinds::Both.of(&Forms::All.boots()) {
            for scenario in boot.scenarios {
                let on = match scenario.on {
                    On::Any => true,
                    On::Stock(way) => !way.is_empty() && !boot.name.ends_with("@lend"),
                };
                let form = match scenario.form {
                    InForm::Any => true,
                    InForm::NoDriver(why) => !why.is_empty() && !boot.name.contains('+'),
                    InForm::NoZaps(why) => !why.is_empty() && !boot.name.ends_with("+driver"),
                    InForm::Zapping(why) => !why.is_empty() && boot.name.ends_with("+driver"),
                    InForm::Unzapped(why) => !why.is_empty() && boot.name.ends_with("+unzapped"),
                };
                assert_eq!(boot.shows(scenario), on && form, "{} {}", boot.name, scenario.name);
            }
        }
    }

    #[test]
    fn guests_with_the_driver_and_two_vcpus_lose_no_interrupts() {
        let lines = |boot: &Boot| boot.guest_config().iter().filter(|line| line.contains("cpuid")).count();
        for boot in Forms::All.boots() {
            let expected = boot.driver != Driver::None && boot.vcpus > 1;
            assert_eq!(lines(&boot), usize::from(expected), "{}", boot.name);
            assert_eq!(lines(&Boot { xen: Flavour::Lend, ..boot }), 0, "{}", boot.name);
        }
    }
}

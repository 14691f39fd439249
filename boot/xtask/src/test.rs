// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask test`: formats and lints, host tests, and the scenarios on real Xen.

use std::ffi::OsString;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::build_root::BuildRoot;
use crate::command::run as run_command;
use crate::parts::Parts;
use crate::progress::step;
use crate::scenario_run::{self, Outcome, Verdict};
use crate::scenarios::{Boot, Scenario, BOOTS};
use crate::workspace::Workspace;
use crate::{preflight, unikernel};

/// How often a boot is run again when the emulator may have spoiled it.
const REPEATS: u32 = 2;

/// The command's options.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Run only the scenarios whose boot or name contains this
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Do not run the checks on the host
    #[arg(long)]
    no_host: bool,
    /// Do not run the scenarios in the lab
    #[arg(long, conflicts_with = "no_host")]
    no_lab: bool,
    #[command(flatten)]
    parts: Parts,
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
    // The host's tests compare our structures with Xen's headers, which the build root has.
    preflight::prepare()?;
    let root = BuildRoot::ensure(&workspace)?;
    if !arguments.no_host && arguments.only.is_none() {
        check_host(&workspace, &root, &mut tally)?;
    }
    if !arguments.no_lab {
        for boot in BOOTS {
            let chosen: Vec<Scenario> = boot
                .scenarios
                .iter()
                .filter(|scenario| {
                    arguments.only.as_ref().is_none_or(|only| {
                        scenario.name.contains(only.as_str()) || boot.name.contains(only.as_str())
                    })
                })
                .copied()
                .collect();
            if !chosen.is_empty() {
                check_boot(&workspace, boot, &chosen, &arguments.parts, &mut tally)?;
            }
        }
    }
    println!("{} passed, {} failed", tally.passed, tally.failed);
    Ok(i32::from(tally.failed > 0 || tally.passed == 0))
}

/// Formats, lints and the tests that need no Xen.
fn check_host(workspace: &Workspace, root: &BuildRoot, tally: &mut Tally) -> Result<()> {
    let cargo = |arguments: &[&str]| {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
        command.current_dir(&workspace.root).args(arguments);
        command.env("XENLEND_XEN_HEADERS", root.join("usr/include/xen"));
        command
    };
    let mut lint_unikernel = unikernel::cargo(workspace, "clippy");
    lint_unikernel.args(["--quiet", "--release", "--all-features", "--", "-Dwarnings"]);
    let module = "dom0-shim/module/Cargo.toml";
    let mut checks = vec![
        ("format", cargo(&["fmt", "--all", "--check"])),
        ("lints", cargo(&["clippy", "--quiet", "--all-targets", "--", "-Dwarnings"])),
        ("lints of the broker", lint_unikernel),
        ("host tests", cargo(&["test", "--quiet"])),
    ];
    if workspace.root.join(module).exists() {
        checks.push(("format of the module", cargo(&["fmt", "--manifest-path", module, "--check"])));
    }
    for (name, mut command) in checks {
        let start = Instant::now();
        let output = step(&format!("Checking: {name}"), || run_command(&mut command))?;
        let verdict = if output.status.success() {
            Verdict::Passed
        } else {
            print!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            Verdict::Failed(output.status.to_string())
        };
        tally.count(name, start.elapsed().as_secs_f64(), &verdict);
    }
    Ok(())
}

/// One boot's scenarios. A boot in which a scenario failed and the emulator reported faults of its own
/// proves nothing: it is run again, and that is said.
fn check_boot(
    workspace: &Workspace,
    boot: &Boot,
    chosen: &[Scenario],
    parts: &Parts,
    tally: &mut Tally,
) -> Result<()> {
    let folder = scenario_run::folder_of(workspace, boot);
    for attempt in 0..=REPEATS {
        let mut outcomes: Vec<Outcome> = Vec::new();
        scenario_run::run(workspace, boot, chosen, parts, &folder, |outcome| {
            outcomes.push(outcome.clone());
        })
        .with_context(|| format!("the lab of {}", boot.name))?;
        let failed = outcomes.iter().any(|outcome| outcome.verdict != Verdict::Passed);
        let faults = scenario_run::emulator_faults(&folder);
        if failed && !faults.is_empty() && attempt < REPEATS {
            println!(
                "void             the boot {} met faults of the emulator ({faults:?}): once more",
                boot.name
            );
            continue;
        }
        for outcome in &outcomes {
            let name = format!("{}: {}", boot.name, outcome.name);
            tally.count(&name, outcome.time.as_secs_f64(), &outcome.verdict);
        }
        if failed {
            println!("      logs of {} are in {}", boot.name, folder.display());
        } else {
            crate::digest::remove(&folder)?;
        }
        return Ok(());
    }
    Ok(())
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs scenarios in one machine: all in one script, whose marks say how each went.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::boot::{Boot, Driver, Scenario};
use crate::lab_machine::{Lab, Plan};
use crate::lab_run::{self, Arguments};
use crate::parts::Parts;
use crate::report::Report;
use crate::workspace::Workspace;

/// What a mark in the script's output begins with; scenarios print other things.
const MARK: &str = "@scenario ";

/// Where the scenarios' scripts are in dom0.
const SCRIPTS: &str = "/usr/lib/xenlend-scenarios";

/// How a scenario went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It showed what it is named for.
    Passed,
    /// It did not, for this reason.
    Failed(String),
}

/// A scenario's result.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The scenario.
    pub name: &'static str,
    /// How it went.
    pub verdict: Verdict,
    /// How long it took.
    pub time: Duration,
}

/// Scenarios to be run.
pub struct Run<'a> {
    /// What is booted.
    pub boot: &'a Boot,
    /// What runs in it.
    pub scenarios: &'a [Scenario],
    /// Whether it goes on from a saved machine instead of a boot; one scenario alone does.
    pub restored: bool,
    /// Makes machines differ that begin alike.
    pub seed: u32,
}

/// The machine that a boot wants.
///
/// # Errors
/// Its hypervisor cannot be built.
pub fn plan(lab: &Lab<'_>, boot: &Boot, parts: &Parts) -> Result<Plan> {
    lab_run::plan(lab, &arguments(boot, parts), &[])
}

/// A boot as the lab's command takes it, but for script and folder.
fn arguments(boot: &Boot, parts: &Parts) -> Arguments {
    Arguments {
        script: PathBuf::new(),
        guests: boot.guests,
        vcpus: boot.vcpus,
        pcpus: boot.pcpus,
        guest_memory: boot.guest_memory_mib,
        dom0_file: Vec::new(),
        guest_file: Vec::new(),
        timeout: boot.timeout_s,
        out: None,
        xen: boot.xen,
        no_broker: !boot.broker,
        xen_cmdline: boot.xen_cmdline.to_owned(),
        dom0_cmdline: boot.dom0_cmdline.to_owned(),
        guest_cmdline: boot.driver.guest_cmdline().to_owned(),
        frontend: boot.driver != Driver::None,
        aperture: boot.aperture.to_owned(),
        guest_config: boot.guest_config(),
        device: boot.devices.iter().map(|&device| device.to_owned()).collect(),
        from_snapshot: false,
        quiet: true,
        parts: parts.clone(),
    }
}

/// Runs scenarios; tells each outcome as soon as it is known.
///
/// # Errors
/// A lab that cannot be started.
pub fn run(
    lab: &Lab<'_>,
    run: &Run<'_>,
    parts: &Parts,
    folder: &Path,
    mut tell: impl FnMut(&Outcome),
) -> Result<()> {
    let &Run { boot, scenarios: chosen, restored, .. } = run;
    crate::digest::remove(folder)?;
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let script = folder.join("script.sh");
    std::fs::write(&script, script_of(run)).with_context(|| script.display().to_string())?;
    let scripts = lab.workspace.root.join("boot/scenarios/scripts");
    let arguments = Arguments {
        script,
        dom0_file: vec![format!("{}:{SCRIPTS}", scripts.display())],
        out: Some(folder.to_owned()),
        from_snapshot: restored,
        ..arguments(boot, parts)
    };
    let files = lab_run::files_of(&arguments)?;
    let marks = RefCell::new(Marks::default());
    let start = Instant::now();
    let outcome = lab_run::carry_out_in(lab, &arguments, &files, &mut |data| {
        for (name, status, milliseconds) in marks.borrow_mut().read(data) {
            let Some(scenario) = chosen.iter().find(|scenario| scenario.name == name) else { continue };
            if boot.panic.is_some() {
                continue;
            }
            let verdict = match status {
                0 => Verdict::Passed,
                status => Verdict::Failed(format!("status {status}")),
            };
            tell(&Outcome { name: scenario.name, verdict, time: Duration::from_millis(milliseconds) });
        }
    })?;
    if let Some(words) = boot.panic {
        let verdict = judge_panic(folder, words)?;
        for scenario in chosen {
            tell(&Outcome { name: scenario.name, verdict: verdict.clone(), time: start.elapsed() });
        }
        return Ok(());
    }
    let marks = marks.into_inner();
    let why = outcome.trouble.unwrap_or_else(|| format!("the run ended with status {}", outcome.status));
    for scenario in chosen.iter().filter(|scenario| !marks.seen.contains_key(scenario.name)) {
        let verdict = Verdict::Failed(format!("it did not come to its end: {why}"));
        tell(&Outcome { name: scenario.name, verdict, time: Duration::ZERO });
    }
    Ok(())
}

/// Whether Xen has panicked with these words.
fn judge_panic(folder: &Path, words: &str) -> Result<Verdict> {
    let serial = folder.join("logs/serial.log");
    let said = std::fs::read(&serial).with_context(|| serial.display().to_string())?;
    let said = String::from_utf8_lossy(&said);
    match said.lines().find(|line| line.contains(words)) {
        Some(_) if said.contains("Panic on CPU") => Ok(Verdict::Passed),
        Some(_) => Ok(Verdict::Failed("Xen went on".to_owned())),
        None => Ok(Verdict::Failed(format!("Xen did not say {words:?}"))),
    }
}

/// What the emulator may have spoiled in a boot, from its report; nothing if there is none.
pub fn emulator_faults(folder: &Path) -> BTreeMap<String, u64> {
    let read = || -> Option<BTreeMap<String, u64>> {
        let report = std::fs::read(folder.join(Report::FILE)).ok()?;
        let report: serde_json::Value = serde_json::from_slice(&report).ok()?;
        serde_json::from_value(report.get("emulator_faults")?.clone()).ok()
    };
    read().unwrap_or_default().into_iter().filter(|(_, count)| *count > 0).collect()
}

/// The folder of a boot's logs.
pub fn folder_of(workspace: &Workspace, boot: &Boot) -> PathBuf {
    workspace.lab().join("test").join(boot.name)
}

/// The script of a run. Saved machines go on all alike, so the seed decides how many pages of dom0's memory are taken
/// before anything else is, and what its random numbers are.
fn script_of(run: &Run<'_>) -> String {
    let &Run { boot, scenarios, restored, seed } = run;
    let kind = if boot.xen.is_lend_aware() { "lend" } else { "stock" };
    let mut script = format!("export XEN_KIND={kind} DRIVER={} SEED={seed}\n", boot.driver.word());
    script.push_str(
        "echo \"seed $SEED\"\n\
         dd if=/dev/zero of=/dev/shm/ballast bs=4096 count=$((SEED % 1024)) 2>/dev/null\n\
         echo \"$SEED\" >/dev/urandom\n",
    );
    script.push_str(
        "export OUT_ROOT=$OUT\n\
         now() { read -r up _ </proc/uptime; echo \"${up%.*}${up#*.}0\"; }\n\
         scenario() {\n\
         name=$1 file=$2\n\
         shift 2\n",
    );
    // The folder of a run that has one scenario alone is that scenario's.
    let _ = writeln!(script, "export OUT=$OUT_ROOT{}", if restored { "" } else { "/$name" });
    script.push_str(
        "mkdir -p \"$OUT\"\n\
         start=$(now)\n\
         (cd \"$OUT\" && sh -eu \"$file\" \"$@\") >\"$OUT/output.log\" 2>&1\n\
         status=$?\n",
    );
    let _ = writeln!(script, "echo \"{MARK}$name $status $(($(now) - start))\"\n}}");
    for Scenario { name, script: file, arguments, .. } in scenarios {
        let arguments: Vec<String> = arguments.iter().map(|argument| format!(" '{argument}'")).collect();
        let _ = writeln!(script, "scenario {name} {SCRIPTS}/{file}{}", arguments.concat());
    }
    script
}

/// Finds the marks in what the script prints, which comes in pieces.
#[derive(Default)]
struct Marks {
    rest: Vec<u8>,
    seen: BTreeMap<String, i32>,
}

impl Marks {
    /// The marks that are complete now: name, status, milliseconds.
    fn read(&mut self, data: &[u8]) -> Vec<(String, i32, u64)> {
        self.rest.extend_from_slice(data);
        let mut found = Vec::new();
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line).into_owned();
            let Some(mark) = line.strip_prefix(MARK) else { continue };
            let mut words = mark.split_whitespace();
            let parsed = (|| {
                Some((words.next()?.to_owned(), words.next()?.parse().ok()?, words.next()?.parse().ok()?))
            })();
            if let Some((name, status, milliseconds)) = parsed {
                self.seen.insert(name.clone(), status);
                found.push((name, status, milliseconds));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::{script_of, Boot, Driver, Marks, Run};
    use crate::boot::{show, PLAIN};
    use crate::hypervisor::Flavour;

    #[test]
    fn marks_are_found_whatever_pieces_they_come_in() {
        let mut marks = Marks::default();
        let mut found = Vec::new();
        for piece in ["noise\n@scen", "ario one 0 12", "30\nmore noise @scenario no\n", "@scenario two 7 4\n"]
        {
            found.extend(marks.read(piece.as_bytes()));
        }
        assert_eq!(found, [("one".to_owned(), 0, 1230), ("two".to_owned(), 7, 4)]);
        assert_eq!(marks.seen.len(), 2);
    }

    #[test]
    fn every_scenario_is_called_with_its_arguments() {
        let scenarios = [show("a_thing_holds", "x/y.sh", &["1", "two words"])];
        let boot = Boot { xen: Flavour::Lend, driver: Driver::Unzapped, ..PLAIN };
        let script = script_of(&Run { boot: &boot, scenarios: &scenarios, restored: false, seed: 7 });
        assert!(script.starts_with("export XEN_KIND=lend DRIVER=unzapped SEED=7\n"));
        assert!(script.contains("scenario a_thing_holds /usr/lib/xenlend-scenarios/x/y.sh '1' 'two words'\n"));
    }
}

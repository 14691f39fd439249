// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writes a run's `lab.json`.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::lab_machine::{Lab, Plan};
use crate::session::Outcome;

/// What Xen says when the emulator, not the product, may have failed, each under its name in the
/// report.
const FAULTS: &[(&str, &str)] = &[
    ("triple_faults", "Triple fault"),
    ("unexpected_exits", "nexpected VMEXIT"),
    ("failed_entries", "Failed vm entry"),
    ("emulation_failures", "emulation failed"),
    // Xen's own clock was not looked after for minutes: see boot/decisions/0010-lab-emulation.md.
    ("standstills", "Platform timer appears to have unexpectedly wrapped"),
];

/// What a guest's kernel says then: it was interrupted where it has interrupts masked. No processor does that, and
/// no driver runs on that stack: see boot/decisions/0010-lab-emulation.md.
const GUEST_FAULTS: &[(&str, &str)] =
    &[("interrupts_that_came_twice", "BUG: ENTRY_TRAMPOLINE stack guard page was hit")];

/// How often Xen and the guests' kernels have said each of them.
fn faults_in(xen: &str, guests: &str) -> BTreeMap<&'static str, usize> {
    let counted = |faults: &'static [(&str, &str)], said: &str| {
        faults.iter().map(|(name, text)| (*name, said.matches(text).count())).collect::<Vec<_>>()
    };
    counted(FAULTS, xen).into_iter().chain(counted(GUEST_FAULTS, guests)).collect()
}

/// Everything that the guests' consoles have said.
fn guest_consoles(logs: &Path) -> String {
    let is_guest = |name: &str| name.starts_with("console-g");
    let files = std::fs::read_dir(logs).into_iter().flatten().flatten();
    files
        .filter(|file| file.file_name().to_str().is_some_and(is_guest))
        .filter_map(|file| std::fs::read(file.path()).ok())
        .map(|said| String::from_utf8_lossy(&said).into_owned())
        .collect()
}

/// The report.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The script's exit status, or 124 for a timeout, 125 for a lab that failed.
    pub exit_status: i32,
    /// Why the lab failed, if it did.
    pub trouble: Option<String>,
    /// From power-on to the end, in seconds; from the restore where a saved machine went on.
    pub seconds: f64,
    /// When each point was reached, in milliseconds since power-on or restore.
    pub boot_ms: BTreeMap<String, u64>,
    /// The emulator's processor time at those points, in milliseconds.
    pub boot_cpu_ms: BTreeMap<String, u64>,
    /// What Xen and guests reported that may be the emulator's fault, counted.
    pub emulator_faults: BTreeMap<&'static str, usize>,
    /// What ran.
    pub versions: BTreeMap<&'static str, String>,
    /// The key of the saved machine that went on, if one did.
    pub snapshot: Option<String>,
}

impl Report {
    /// Its name in a run's folder.
    pub const FILE: &str = "lab.json";

    /// Puts it together from the run and its logs.
    pub fn of(
        outcome: &Outcome,
        seconds: Duration,
        folder: &Path,
        lab: &Lab<'_>,
        plan: &Plan,
        snapshot: Option<String>,
    ) -> Self {
        let logs = folder.join("logs");
        let read = |name: &str| {
            std::fs::read(logs.join(name)).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        };
        // The serial line has all that Xen ever said; its own buffer forgets, and scripts clear it.
        let said = read("serial.log").or_else(|_| read("xl-dmesg.log")).unwrap_or_default();
        Self {
            exit_status: outcome.status,
            trouble: outcome.trouble.clone(),
            seconds: seconds.as_secs_f64(),
            boot_ms: outcome
                .stages
                .iter()
                .map(|stage| (stage.name.clone(), stage.at.as_millis() as u64))
                .collect(),
            boot_cpu_ms: outcome
                .stages
                .iter()
                .map(|stage| (stage.name.clone(), stage.cpu.as_millis() as u64))
                .collect(),
            emulator_faults: faults_in(&said, &guest_consoles(&logs)),
            versions: BTreeMap::from([
                ("xen", plan.xen_version.clone()),
                ("kernel", lab.root.kernel.clone()),
                ("qemu", lab.qemu.clone()),
            ]),
            snapshot,
        }
    }

    /// What the emulator may have spoiled.
    pub fn faults(&self) -> BTreeMap<&'static str, usize> {
        self.emulator_faults.iter().filter(|(_, count)| **count > 0).map(|(name, n)| (*name, *n)).collect()
    }

    /// Writes it.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let path = folder.join(Self::FILE);
        let text = serde_json::to_string_pretty(self).context("the report")?;
        std::fs::write(&path, text + "\n").with_context(|| path.display().to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::{faults_in, guest_consoles};

    /// Lines as Xen 4.20 prints them.
    const SAID: &str = "\
(XEN) Freed 656kB init memory
(XEN) Platform timer appears to have unexpectedly wrapped 10 or more times.
(XEN) d3v0 Triple fault - invoking HVM shutdown action 1
(XEN) domain_crash called from arch/x86/hvm/svm/svm.c:1234
";

    /// Lines as Linux 6.12 prints them.
    const GUEST_SAID: &str = "\
[   36.238120] BUG: ENTRY_TRAMPOLINE stack guard page was hit at 0000000026ddaf05 (stack is 00000000b7f4cd4f..00000000b630a3cd)
[   36.270063] Oops: stack guard page: 0000 [#1] PREEMPT SMP NOPTI
";

    #[test]
    fn what_the_emulator_may_have_done_is_counted_and_nothing_else() {
        let found: Vec<_> = faults_in(SAID, GUEST_SAID).into_iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(found, [("interrupts_that_came_twice", 1), ("standstills", 1), ("triple_faults", 1)]);
        let harmless = "BUG: TASK stack guard page was hit at 0 (stack is 0..0)";
        assert!(faults_in("(XEN) Platform timer is 62.500MHz HPET", harmless).values().all(|n| *n == 0));
    }

    #[test]
    fn only_guests_consoles_are_looked_at() {
        let logs = std::env::temp_dir().join(format!("xenlend-report-{}", std::process::id()));
        std::fs::create_dir_all(&logs).unwrap();
        for (name, said) in
            [("console-g1.log", "one "), ("console-g12.log", "two "), ("console-xenlend-g1.log", "x")]
        {
            std::fs::write(logs.join(name), said).unwrap();
        }
        let said = guest_consoles(&logs);
        assert!(said.len() == 8 && said.contains("one ") && said.contains("two "), "{said}");
        std::fs::remove_dir_all(&logs).unwrap();
    }
}

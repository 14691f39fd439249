// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writes a run's `lab.json`.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::build_root::BuildRoot;
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

/// How often Xen has said each of them.
fn faults_in(said: &str) -> BTreeMap<&'static str, usize> {
    FAULTS.iter().map(|(name, text)| (*name, said.matches(text).count())).collect()
}

/// The report.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The script's exit status, or 124 for a timeout, 125 for a lab that failed.
    pub exit_status: i32,
    /// Why the lab failed, if it did.
    pub trouble: Option<String>,
    /// From power-on to the end, in seconds.
    pub seconds: f64,
    /// When each point of the boot was reached, in milliseconds since power-on.
    pub boot_ms: BTreeMap<String, u64>,
    /// The emulator's processor time at those points, in milliseconds.
    pub boot_cpu_ms: BTreeMap<String, u64>,
    /// What Xen reported that may be the emulator's fault, counted.
    pub emulator_faults: BTreeMap<&'static str, usize>,
    /// What ran.
    pub versions: BTreeMap<&'static str, String>,
}

impl Report {
    /// Its name in a run's folder.
    pub const FILE: &str = "lab.json";

    /// Puts it together from the run and its logs.
    pub fn of(
        outcome: &Outcome,
        seconds: Duration,
        folder: &Path,
        root: &BuildRoot,
        xen: String,
        qemu: String,
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
            emulator_faults: faults_in(&said),
            versions: BTreeMap::from([("xen", xen), ("kernel", root.kernel.clone()), ("qemu", qemu)]),
        }
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
    use super::faults_in;

    /// Lines as Xen 4.20 prints them.
    const SAID: &str = "\
(XEN) Freed 656kB init memory
(XEN) Platform timer appears to have unexpectedly wrapped 10 or more times.
(XEN) d3v0 Triple fault - invoking HVM shutdown action 1
(XEN) domain_crash called from arch/x86/hvm/svm/svm.c:1234
";

    #[test]
    fn what_the_emulator_may_have_done_is_counted_and_nothing_else() {
        let found: Vec<_> = faults_in(SAID).into_iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(found, [("standstills", 1), ("triple_faults", 1)]);
        assert!(faults_in("(XEN) Platform timer is 62.500MHz HPET").values().all(|count| *count == 0));
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask test`: the checks of the host, and the scenarios on real Xen: a core of them, or all.

use std::collections::BTreeMap;
use std::sync::mpsc::channel;
use std::time::Instant;

use anyhow::Result;

use crate::boot::Boot;
use crate::build_root::{BuildRoot, HYPERVISOR};
use crate::hypervisor::Flavour;
use crate::lab_machine::Lab;
use crate::parts::Parts;
use crate::results::Results;
use crate::tally::Tally;
use crate::test_choice::{Extent, Forms, Kinds, Which};
use crate::test_demo::Demo;
use crate::workspace::Workspace;
use crate::{host_checks, lanes, preflight, test_choice, test_skips};

/// The command's options.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Run only the scenarios whose boot or name contains this: of all, not just of the core
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// The Xen of the scenarios: stock, lend-aware, or both
    #[arg(long, value_enum, default_value_t)]
    xen: Kinds,
    /// The borrower's driver in the guests of boots that have both forms; but for `all`, all scenarios run
    #[arg(long, value_enum, default_value_t)]
    driver: Forms,
    #[command(flatten)]
    extent: Extent,
    /// Write what came of each scenario into boot/scenarios/results.tsv; --full does so, too
    #[arg(long)]
    record: bool,
    /// Do not run the checks on the host
    #[arg(long)]
    no_host: bool,
    /// Do not run the scenarios in the lab
    #[arg(long, conflicts_with = "no_host")]
    no_lab: bool,
    #[command(flatten)]
    lanes: lanes::Options,
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
        check_host(workspace, arguments.extent.full, &mut tally)?;
    }
    if !arguments.no_lab {
        let root = BuildRoot::ensure(workspace)?;
        let record = (arguments.record || arguments.extent.full) && !arguments.extent.debug;
        let mut results = if record { Some(Results::begin(workspace, &root.kernel)?) } else { None };
        check_lab(workspace, arguments, &mut tally, results.as_mut())?;
        check_demo(workspace, &root, arguments, &mut tally, results.as_mut());
        if let Some(results) = results {
            results.write()?;
        }
    }
    println!("{tally}");
    Ok(tally.status())
}

/// What `cargo xtask check` does, and what needs the build root.
fn check_host(workspace: &Workspace, full: bool, tally: &mut Tally) -> Result<()> {
    // Most of it needs nothing of the build root, which comes over the network.
    let root = std::thread::scope(|scope| {
        let root = scope.spawn(|| BuildRoot::ensure(workspace));
        host_checks::licences(workspace, tally);
        host_checks::sources(workspace, tally)?;
        host_checks::documentation(workspace, tally)?;
        root.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    host_checks::tests(workspace, Some(&root), full, tally)?;
    host_checks::fuzz_targets(workspace, full, tally);
    host_checks::older_kernels(workspace, &root, tally);
    host_checks::patched_xen(workspace, &root, tally);
    Ok(())
}

impl Arguments {
    /// Which scenarios run.
    fn which(&self) -> Which<'_> {
        match &self.only {
            Some(text) => Which::Named(text),
            // The core is of all forms.
            None if self.extent.full || self.driver != Forms::All => Which::All,
            None => Which::Core,
        }
    }

    /// The boots that are looked at.
    fn boots(&self) -> Vec<Boot> {
        let boots = self.xen.of(&self.driver.boots());
        if self.extent.debug {
            return test_choice::with_assertions(boots);
        }
        boots
    }
}

/// The scenarios, as many boots at a time as this machine has processors for.
fn check_lab(
    workspace: &Workspace,
    arguments: &Arguments,
    tally: &mut Tally,
    mut record: Option<&mut Results>,
) -> Result<()> {
    let boots = arguments.boots();
    let chosen =
        test_choice::entries(&boots, arguments.which(), arguments.extent.long || arguments.extent.full);
    // Built once, here: a failing build is no scenario's fault.
    let lab = Lab::prepare(workspace, &arguments.parts)?;
    let mut versions = BTreeMap::new();
    let ensure = |flavour: Flavour| {
        versions.insert(flavour, flavour.ensure(workspace, &lab.root)?.version);
        Ok(())
    };
    let chosen = test_skips::that_can_run(chosen, ensure, tally)?;
    lanes::run(&lab, chosen, &arguments.parts, &arguments.lanes, |boot, name, seconds, verdict| {
        tally.count(name, seconds, verdict);
        if let (Some(record), Some(xen)) = (record.as_deref_mut(), versions.get(&boot.xen)) {
            record.note(name, xen, verdict);
        }
    })
}

/// The demo, as it is and with a flipped byte, side by side.
fn check_demo(
    workspace: &Workspace,
    root: &BuildRoot,
    arguments: &Arguments,
    tally: &mut Tally,
    mut record: Option<&mut Results>,
) {
    let wanted = |demo: &Demo| match arguments.which() {
        Which::Core => *demo == Demo::ALL[0],
        Which::All => true,
        Which::Named(text) => demo.name().contains(text),
    };
    let stock = root.version_of(HYPERVISOR).unwrap_or_default();
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
            if let Some(record) = record.as_deref_mut() {
                record.note(name, &stock, &verdict);
            }
        }
    });
}

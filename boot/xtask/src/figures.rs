// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask figures`: what lending costs on both kinds of Xen, counted by Xen itself, side by side.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{ensure, Context, Result};
use serde::Serialize;

use crate::hypervisor::Flavour;
use crate::lab_run::{self, Arguments as RunArguments};
use crate::measured::Measured;
use crate::parts::Parts;
use crate::workspace::Workspace;

/// The command's options.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Where tables and logs go [default: target/lab/figures]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    parts: Parts,
}

/// MiB that the script lends in pages of 4 KiB whose frames are no neighbours.
const APART_MIB: f64 = 16.0;

/// MiB that it lends in pages of 4 KiB whose frames are neighbours.
const BESIDE_MIB: f64 = 8.0;

/// MiB that it lends in entries of 2 MiB.
const LARGE_MIB: f64 = 4.0;

/// Faults that it makes one by one.
const FAULTS: f64 = 1000.0;

/// The kinds of Xen, in the table's order. The first has the patches that mend faults, which change no count.
const KINDS: [(&str, Flavour); 2] = [("stock", Flavour::Counting), ("lend-aware", Flavour::LendCounting)];

/// The figures of one kind of Xen, in the table's order.
#[derive(Debug, Serialize)]
struct Figures {
    xen: &'static str,
    rows: Vec<(&'static str, f64)>,
}

/// Does it.
///
/// # Errors
/// A lab that cannot be built or started, or a script that did not come to its end.
pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let folder = arguments.out.clone().unwrap_or_else(|| workspace.lab().join("figures"));
    let folder = std::path::absolute(folder)?;
    let measured = |(xen, flavour)| -> Result<Figures> {
        let words = measure(workspace, flavour, &arguments.parts, &folder.join(xen))?;
        Ok(Figures { xen, rows: rows(&words)? })
    };
    let figures = KINDS.into_iter().map(measured).collect::<Result<Vec<_>>>()?;
    let json = folder.join("figures.json");
    fs::write(&json, serde_json::to_string_pretty(&figures)? + "\n")
        .with_context(|| json.display().to_string())?;
    print_table(&figures);
    println!("figures {}", json.display());
    Ok(())
}

/// One boot with the script.
fn measure(workspace: &Workspace, xen: Flavour, parts: &Parts, folder: &Path) -> Result<Measured> {
    crate::digest::remove(folder)?;
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let script = folder.join("script.sh");
    let kind = if xen.is_lend_aware() { "lend" } else { "stock" };
    let text = format!(
        "set -o pipefail\nexport XEN_KIND={kind} DRIVER=none\ncd \"$OUT\"\nsh -eu /usr/lib/xenlend-scenarios/figures.sh | tee figures.txt\n"
    );
    fs::write(&script, text).with_context(|| script.display().to_string())?;
    let scripts = workspace.root.join("boot/scenarios/scripts");
    let outcome = lab_run::carry_out(
        workspace,
        &RunArguments {
            script,
            guests: 1,
            vcpus: 2,
            pcpus: 1,
            guest_memory: 256,
            dom0_file: vec![format!("{}:/usr/lib/xenlend-scenarios", scripts.display())],
            guest_file: Vec::new(),
            timeout: 900,
            out: Some(folder.to_owned()),
            xen,
            no_broker: false,
            xen_cmdline: String::new(),
            dom0_cmdline: String::new(),
            guest_cmdline: String::new(),
            frontend: false,
            guest_config: Vec::new(),
            aperture: "256M".to_owned(),
            device: Vec::new(),
            from_snapshot: false,
            quiet: true,
            parts: parts.clone(),
        },
        &mut |data| {
            let _ = std::io::Write::write_all(&mut std::io::stderr().lock(), data);
        },
    )?;
    let why = outcome.trouble.unwrap_or_else(|| format!("the script ended with {}", outcome.status));
    ensure!(
        outcome.status == 0,
        "the figures did not come to their end: {why} (logs in {})",
        folder.display()
    );
    Measured::read(&folder.join("figures.txt"))
}

/// What the script's words mean.
fn rows(words: &Measured) -> Result<Vec<(&'static str, f64)>> {
    let number = |name: &str| -> Result<f64> { Ok(words.number(name)? as f64) };
    let calls = |stage: &str| -> Result<f64> {
        ["memory_ops", "domctls", "dm_ops"]
            .iter()
            .try_fold(0.0, |sum, kind| Ok(sum + number(&format!("{stage}_{kind}"))?))
    };
    let ping = number("ping_ns_p50")?;
    // The guest asks for each revocation, which takes some too.
    let events = (number("faults_event_ops")? - number("talk_event_ops")?) / FAULTS;
    Ok(vec![
        ("4 KiB, frames apart, lent: entries per MiB", number("lend_apart_entries_4kib")? / APART_MIB),
        ("4 KiB, frames apart, lent: hypercalls per MiB", calls("lend_apart")? / APART_MIB),
        ("4 KiB, frames apart, lent: flushes per MiB", number("lend_apart_flushes")? / APART_MIB),
        ("4 KiB, frames apart, read again: hypercalls per MiB", calls("again_apart")? / APART_MIB),
        ("4 KiB, frames apart, revoked: hypercalls per MiB", calls("revoke_apart")? / APART_MIB),
        ("4 KiB, frames apart, revoked: flushes per MiB", number("revoke_apart_flushes")? / APART_MIB),
        ("4 KiB, neighbours, lent: entries per MiB", number("lend_beside_entries_4kib")? / BESIDE_MIB),
        ("4 KiB, neighbours, lent: hypercalls per MiB", calls("lend_beside")? / BESIDE_MIB),
        ("4 KiB, neighbours, lent: flushes per MiB", number("lend_beside_flushes")? / BESIDE_MIB),
        ("4 KiB, neighbours, revoked: hypercalls per MiB", calls("revoke_beside")? / BESIDE_MIB),
        ("4 KiB, neighbours, revoked: flushes per MiB", number("revoke_beside_flushes")? / BESIDE_MIB),
        ("2 MiB, lent: entries per MiB", number("lend_large_entries_2mib")? / LARGE_MIB),
        ("2 MiB, lent: hypercalls per MiB", calls("lend_large")? / LARGE_MIB),
        ("2 MiB, lent: flushes per MiB", number("lend_large_flushes")? / LARGE_MIB),
        ("2 MiB, revoked: hypercalls per MiB", calls("revoke_large")? / LARGE_MIB),
        ("2 MiB, revoked: flushes per MiB", number("revoke_large_flushes")? / LARGE_MIB),
        ("one page faulted in and revoked: hypercalls", calls("faults")? / FAULTS),
        ("one page faulted in and revoked: flushes", number("faults_flushes")? / FAULTS),
        ("one page faulted in and revoked: events, besides Xen's", events),
        ("16 MiB revoked at once: events", number("revoke_apart_event_ops")?),
        ("a fault, to an event and its answer: half of them within", number("fault_ns_p50")? / ping),
        ("a fault, to an event and its answer: 99 % within", number("fault_ns_p99")? / ping),
        ("a revocation, guest idle, to an event and its answer", number("idle_ns_p50")? / ping),
        ("a revocation, guest busy, to an event and its answer", number("busy_ns_p50")? / ping),
        ("99 % of the revocations, guest busy", number("busy_ns_p99")? / ping),
    ])
}

/// The table for people. A ratio is to what an event to another domain and its answer take there.
fn print_table(figures: &[Figures]) {
    let Some(first) = figures.first() else { return };
    print!("{:58}", "");
    for Figures { xen, .. } in figures {
        print!("  {xen:>12}");
    }
    println!();
    for (index, (name, _)) in first.rows.iter().enumerate() {
        print!("{name:58}");
        for Figures { rows, .. } in figures {
            print!("  {:12.2}", rows.get(index).map_or(f64::NAN, |(_, value)| *value));
        }
        println!();
    }
}

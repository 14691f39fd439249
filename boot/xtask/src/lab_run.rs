// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask lab run`: boots the lab, runs a script in its dom0, brings back what it left.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};
use clap::value_parser;
use xenlend_lab::host::{Job, SCRIPT_PATH};

use crate::cpio::Cpio;
use crate::digest::remove;
use crate::hypervisor::Flavour;
use crate::lab_machine::{Lab, Plan};
use crate::live::Live;
use crate::parts::{Part, Parts};
use crate::qemu::{Settings, Start};
use crate::report::Report;
use crate::running::RunFolder;
use crate::session::Outcome;
use crate::snapshots::{copy, Snapshots, LOGS, MEMORY, NO_INITRAMFS, STATE};
use crate::workspace::Workspace;

/// The command's options.
#[derive(Debug, Clone, clap::Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of the command")]
pub struct Arguments {
    /// Shell script to run in dom0
    #[arg(long, value_name = "FILE")]
    pub script: PathBuf,
    /// Number of guests, named g1 to gN
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = value_parser!(u32).range(0..=32))]
    pub guests: u32,
    /// Virtual CPUs of each guest
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u32).range(1..=32))]
    pub vcpus: u32,
    /// CPUs of the emulated machine
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u32).range(1..=8))]
    pub pcpus: u32,
    /// Memory of each guest
    #[arg(long, value_name = "MIB", default_value_t = 256, value_parser = value_parser!(u32).range(128..=8192))]
    pub guest_memory: u32,
    /// Size of the window that each guest leaves free for lent memory: 256M, 4G
    #[arg(long, value_name = "SIZE", default_value = "256M")]
    pub aperture: String,
    /// File or folder of the host to put into dom0
    #[arg(long, value_name = "SRC:DST")]
    pub dom0_file: Vec<String>,
    /// File or folder of the host to put into the guests
    #[arg(long, value_name = "SRC:DST")]
    pub guest_file: Vec<String>,
    /// Seconds from power-on after which the run is ended
    #[arg(long, value_name = "S", default_value_t = 300, value_parser = value_parser!(u64).range(1..=86400))]
    pub timeout: u64,
    /// Where the logs and what the script left in $OUT go [default: target/lab/run]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// The hypervisor to boot
    #[arg(long, value_enum, default_value_t)]
    pub xen: Flavour,
    /// Do not attach brokers to the guests
    #[arg(long)]
    pub no_broker: bool,
    /// Added to Xen's command line
    #[arg(long, value_name = "TEXT", default_value = "", allow_hyphen_values = true)]
    pub xen_cmdline: String,
    /// Added to dom0's command line
    #[arg(long, value_name = "TEXT", default_value = "", allow_hyphen_values = true)]
    pub dom0_cmdline: String,
    /// Added to the guests' command line
    #[arg(long, value_name = "TEXT", default_value = "", allow_hyphen_values = true)]
    pub guest_cmdline: String,
    /// Load the borrower's kernel module in the guests
    #[arg(long)]
    pub frontend: bool,
    /// Line added to the guests' xl files
    #[arg(long, value_name = "LINE")]
    pub guest_config: Vec<String>,
    /// Device added to the emulated machine, as QEMU's -device takes it
    #[arg(long, value_name = "DEVICE")]
    pub device: Vec<String>,
    /// Begin with a saved machine whose guests are up, which the first such run makes; the time limit then counts
    /// from there
    #[arg(long)]
    pub from_snapshot: bool,
    /// Do not show what the script prints
    #[arg(long)]
    pub quiet: bool,
    #[command(flatten)]
    pub parts: Parts,
}

/// Does it, and gives the run's exit status.
///
/// # Errors
/// Wrong arguments, a lab that cannot be built, a machine that does not start.
pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<i32> {
    let outcome = carry_out(workspace, arguments, &mut |data| {
        if !arguments.quiet {
            // A reader that has gone does not end the run: its results are files.
            let mut stdout = std::io::stdout().lock();
            let _ = stdout.write_all(data).and_then(|()| stdout.flush());
        }
    })?;
    if let Some(trouble) = &outcome.trouble {
        eprintln!("lab run: {trouble}");
    }
    Ok(outcome.status)
}

/// Carries one run out in a lab of its own; what the script prints is handed over as it comes.
///
/// # Errors
/// As above.
pub fn carry_out(
    workspace: &Workspace,
    arguments: &Arguments,
    print: &mut dyn FnMut(&[u8]),
) -> Result<Outcome> {
    let files = files_of(arguments)?;
    carry_out_in(&Lab::prepare(workspace, &arguments.parts)?, arguments, &files, print)
}

/// Carries one run out in a lab that is ready.
///
/// # Errors
/// Wrong arguments, or a machine that does not start.
pub fn carry_out_in(
    lab: &Lab<'_>,
    arguments: &Arguments,
    files: &RunFiles,
    print: &mut dyn FnMut(&[u8]),
) -> Result<Outcome> {
    let plan = plan(lab, arguments, &files.guests)?;
    let folder = arguments.out.clone().unwrap_or_else(|| lab.workspace.lab().join("run"));
    let folder = std::path::absolute(&folder)?;
    if arguments.out.is_none() {
        remove(&folder)?;
    }
    let logs = folder.join("logs");
    remove(&logs)?;
    remove(&folder.join(Report::FILE))?;
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let timeout = Duration::from_secs(arguments.timeout);
    let start;
    let (outcome, key) = if arguments.from_snapshot {
        let snapshots = Snapshots::of(lab);
        let saved = snapshots.obtain(&plan, &folder)?;
        copy(&saved.join(LOGS), &logs)?;
        start = Instant::now();
        let run = RunFolder::create()?;
        let memory = saved.join(MEMORY);
        let none = saved.join(NO_INITRAMFS);
        let mut live = Live::start(&plan.machine, run, &none, Start::Resume(&memory), &logs)?;
        let mut session = live.session(&folder, timeout, print);
        let key = snapshots.key(&plan)?;
        if let Err(error) = session.resume(&saved.join(STATE)) {
            snapshots.discard(&key, saved)?;
            return Err(
                error.context(format!("the saved machine {key} is of no use and was removed: try again"))
            );
        }
        // It has opened what it still needs of the files.
        drop(saved);
        (session.run_script(&files.dom0)?, Some(key))
    } else {
        std::fs::create_dir_all(&logs).with_context(|| logs.display().to_string())?;
        let run = RunFolder::create()?;
        let initramfs = run.join("dom0.cpio");
        lab.write_initramfs(&plan, &initramfs)?;
        start = Instant::now();
        let mut live = Live::start(&plan.machine, run, &initramfs, Start::Boot, &logs)?;
        let mut session = live.session(&folder, timeout, print);
        let outcome = match session.until_ready()? {
            None => session.bring_up(&plan.job)?,
            over => over,
        };
        (outcome.map_or_else(|| session.run_script(&files.dom0), Ok)?, None)
    };
    Report::of(&outcome, start.elapsed(), &folder, lab, &plan, key).write(&folder)?;
    Ok(outcome)
}

/// Files of a run that are no part of the images.
pub struct RunFiles {
    /// An archive for dom0, with the script.
    dom0: Vec<u8>,
    /// An archive for the guests; nothing if there are none.
    guests: Vec<u8>,
}

/// Reads what the arguments name.
///
/// # Errors
/// A file that cannot be read, or a part that is wanted and skipped.
pub fn files_of(arguments: &Arguments) -> Result<RunFiles> {
    let script = std::fs::read(&arguments.script)
        .with_context(|| format!("the script {} cannot be read", arguments.script.display()))?;
    let mut dom0 = additions(&arguments.dom0_file)?;
    dom0.file(SCRIPT_PATH, 0o644, &script);
    let guests =
        if arguments.guest_file.is_empty() { Vec::new() } else { additions(&arguments.guest_file)?.finish() };
    if !arguments.no_broker && arguments.guests > 0 {
        for part in [Part::Broker, Part::Cli, Part::Module] {
            if !arguments.parts.has(part) {
                bail!("guests get a broker each, which needs {part:?}: add --no-broker, or do not skip it");
            }
        }
    }
    Ok(RunFiles { dom0: dom0.finish(), guests })
}

/// The machine that the arguments ask for, whose guests have the files of this archive besides.
///
/// # Errors
/// A Xen that cannot be built.
pub fn plan(lab: &Lab<'_>, arguments: &Arguments, guest_files: &[u8]) -> Result<Plan> {
    let job = Job {
        guests: arguments.guests,
        vcpus: arguments.vcpus,
        guest_memory_mib: arguments.guest_memory,
        aperture: arguments.aperture.clone(),
        guest_cmdline: guest_cmdline(arguments),
        guest_config: arguments.guest_config.clone(),
        broker: !arguments.no_broker,
    };
    let settings = Settings {
        cpus: arguments.pcpus,
        guest_memory_mib: arguments.guests * arguments.guest_memory,
        guests: arguments.guests,
        xen_cmdline: arguments.xen_cmdline.clone(),
        dom0_cmdline: arguments.dom0_cmdline.clone(),
        devices: arguments.device.clone(),
    };
    lab.plan(arguments.xen, settings, job, guest_files.to_vec())
}

/// What is added to the guests' command line.
fn guest_cmdline(arguments: &Arguments) -> String {
    let driver = if arguments.frontend { " xenlend.frontend=1" } else { "" };
    format!("{}{driver}", arguments.guest_cmdline)
}

/// An archive of the files that were named on the command line.
fn additions(pairs: &[String]) -> Result<Cpio> {
    let mut archive = Cpio::default();
    for pair in pairs {
        let Some((source, to)) =
            pair.split_once(':').filter(|(source, to)| !source.is_empty() && to.starts_with('/'))
        else {
            bail!("{pair:?} is not SRC:DST with an absolute DST")
        };
        archive
            .host_path(source.as_ref(), to)
            .with_context(|| format!("{source} cannot be taken into the lab"))?;
    }
    Ok(archive)
}

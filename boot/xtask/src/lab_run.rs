// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask lab run`: boots the lab, runs a script in its dom0, brings back what it left.

use std::io::Write as _;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};
use clap::value_parser;
use xenlend_lab::host::{Job, JOB_PATH, SCRIPT_PATH};

use crate::command::succeed;
use crate::cpio::Cpio;
use crate::digest::remove;
use crate::hypervisor::Flavour;
use crate::lab_up;
use crate::parts::{Part, Parts};
use crate::preflight::QEMU;
use crate::qemu::Machine;
use crate::report::Report;
use crate::running::{RunFolder, MONITOR};
use crate::session::{listen, Event, Outcome, Session};
use crate::workspace::Workspace;

/// The command's options.
#[derive(Debug, Clone, clap::Args)]
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

/// Carries one run out; what the script prints is handed over as it comes.
///
/// # Errors
/// As above.
pub fn carry_out(
    workspace: &Workspace,
    arguments: &Arguments,
    print: &mut dyn FnMut(&[u8]),
) -> Result<Outcome> {
    let script = std::fs::read(&arguments.script)
        .with_context(|| format!("the script {} cannot be read", arguments.script.display()))?;
    let mut dom0 = additions(&arguments.dom0_file)?;
    let guest = additions(&arguments.guest_file)?;
    if !arguments.no_broker && arguments.guests > 0 {
        for part in [Part::Broker, Part::Cli, Part::Module] {
            if !arguments.parts.has(part) {
                bail!("guests get a broker each, which needs {part:?}: add --no-broker, or do not skip it");
            }
        }
    }
    let (root, images) = lab_up::prepare(workspace, &arguments.parts)?;
    let xen = arguments.xen.ensure(workspace, &root)?;

    let folder = arguments.out.clone().unwrap_or_else(|| workspace.lab().join("run"));
    let folder = std::path::absolute(&folder)?;
    if arguments.out.is_none() {
        remove(&folder)?;
    }
    let logs = folder.join("logs");
    remove(&logs)?;
    remove(&folder.join(Report::FILE))?;
    std::fs::create_dir_all(&logs).with_context(|| logs.display().to_string())?;

    let job = Job {
        guests: arguments.guests,
        vcpus: arguments.vcpus,
        guest_memory_mib: arguments.guest_memory,
        aperture: arguments.aperture.clone(),
        guest_cmdline: guest_cmdline(arguments),
        guest_config: arguments.guest_config.clone(),
        broker: !arguments.no_broker,
    };
    dom0.file(JOB_PATH, 0o644, &postcard::to_stdvec(&job)?);
    dom0.file(SCRIPT_PATH, 0o644, &script);
    let mut guests = images.guest;
    guests.push(guest.finish());
    dom0.file("/usr/lib/lab/guest.cpio", 0o644, &guests.concat());
    let mut parts = images.dom0;
    parts.push(dom0.finish());

    let run = RunFolder::create()?;
    let initramfs = run.join("dom0.cpio");
    std::fs::write(&initramfs, parts.concat()).with_context(|| initramfs.display().to_string())?;
    drop(parts);
    let link = run.join("link");
    let listener = UnixListener::bind(&link).with_context(|| link.display().to_string())?;
    let machine = Machine {
        xen: &xen.image,
        policy: xen.policy.as_deref(),
        kernel: &images.kernel,
        initramfs: &initramfs,
        cpus: arguments.pcpus,
        guest_memory_mib: arguments.guests * arguments.guest_memory,
        guests: arguments.guests,
        xen_cmdline: &arguments.xen_cmdline,
        dom0_cmdline: &arguments.dom0_cmdline,
        devices: &arguments.device,
        link: &link,
        monitor: run.join(MONITOR),
        heartbeat: run.join("heartbeat"),
    };
    let (events, received) = channel();
    let (ended, end) = channel();
    listen(listener, events.clone());
    let start = Instant::now();
    let mut running = machine.start(&logs.join("serial.log"), &logs.join("qemu.log"), ended)?;
    std::thread::spawn(move || {
        // One word, when the machine has ended; nobody listens when the run was over before.
        if end.recv().is_ok() {
            let _ = events.send(Event::Ended);
        }
    });
    let session = Session {
        folder: &folder,
        monitor: machine.monitor.clone(),
        machine: &mut running,
        start,
        timeout: Duration::from_secs(arguments.timeout),
        print,
    };
    let outcome = session.run(&received)?;
    let qemu = succeed(std::process::Command::new(QEMU).arg("--version"))?;
    let qemu = qemu.lines().next().unwrap_or_default().to_owned();
    Report::of(&outcome, start.elapsed(), &folder, &root, xen.version, qemu).write(&folder)?;
    Ok(outcome)
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

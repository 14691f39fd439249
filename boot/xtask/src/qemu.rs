// SPDX-License-Identifier: MIT OR Apache-2.0
//! Starts and ends the emulated machine. Why each odd option is there is told in boot/lab/README.md.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::Sender;
use std::time::Duration;

use anyhow::{Context, Result};
use xenlend_lab::host::PORT_NAME;

use crate::heartbeat::Heartbeat;
use crate::preflight::QEMU;

/// dom0's memory, in MiB.
pub const DOM0_MIB: u32 = 1024;

/// What Xen itself, its tables and the brokers take, in MiB.
const XEN_MIB: u32 = 320;

/// What a guest takes besides its own memory, in MiB.
const GUEST_EXTRA_MIB: u32 = 48;

/// No machine has less memory, in MiB, so that most have the same and can begin as one saved dom0.
const LEAST_MIB: u32 = 2304;

/// Leaves the kernel's tests of its own cryptography out, which take seconds in the emulator.
const QUICK_BOOT: &str = "cryptomgr.notests initcall_blacklist=jent_mod_init,crypto_kdf108_init";

/// The machine that is wanted.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Xen's image.
    pub xen: PathBuf,
    /// The policy that Xen's Flask is to enforce, if it has Flask.
    pub policy: Option<PathBuf>,
    /// dom0's kernel.
    pub kernel: PathBuf,
    /// What a run may choose.
    pub settings: Settings,
}

/// What a run may choose of its machine.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Emulated CPUs.
    pub cpus: u32,
    /// Memory of all guests, in MiB, and their number.
    pub guest_memory_mib: u32,
    /// Number of guests.
    pub guests: u32,
    /// Added to Xen's command line.
    pub xen_cmdline: String,
    /// Added to dom0's command line.
    pub dom0_cmdline: String,
    /// More devices, as QEMU's -device takes them.
    pub devices: Vec<String>,
}

/// The files of one run of a machine.
#[derive(Debug, Clone)]
pub struct Files {
    /// dom0's initramfs.
    pub initramfs: PathBuf,
    /// Where QEMU finds the socket for the link to dom0's agent.
    pub link: PathBuf,
    /// Where QEMU offers its monitor.
    pub monitor: PathBuf,
    /// Where it offers another, which serves one at a time, for the heartbeat.
    pub heartbeat: PathBuf,
}

/// How a machine comes to life.
#[derive(Debug, Clone, Copy)]
pub enum Start<'a> {
    /// It is switched on.
    Boot,
    /// It is switched on, its memory in this new file, so that it can be saved.
    BootToSave(&'a Path),
    /// It goes on as it was saved, its memory in this file, which it changes; it waits for its state.
    ResumeToSave(&'a Path),
    /// It goes on as it was saved with the memory in this file, which stays as it is; it waits for its state.
    Resume(&'a Path),
}

/// A running machine. It ends when this is dropped.
pub struct Running {
    child: Child,
    serial: ChildStdin,
    _heartbeat: Heartbeat,
}

impl Machine {
    /// Starts it. What the serial line says is added to the file; the end of the machine is told.
    ///
    /// # Errors
    /// QEMU does not start.
    pub fn start(
        &self,
        files: &Files,
        start: Start<'_>,
        serial_log: &Path,
        errors: &Path,
        ended: Sender<()>,
    ) -> Result<Running> {
        let log = File::options().create(true).append(true).open(serial_log);
        let mut log = log.with_context(|| serial_log.display().to_string())?;
        // Should this program die, the kernel ends QEMU with it.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", QEMU]).args(self.arguments(files, start));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(File::create(errors).with_context(|| errors.display().to_string())?);
        let mut child = command.spawn().context("QEMU does not start")?;
        let (Some(serial), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            anyhow::bail!("QEMU has no serial line")
        };
        let heartbeat = Heartbeat::start(files.heartbeat.clone());
        let running = Running { child, serial, _heartbeat: heartbeat };
        std::thread::spawn(move || {
            let mut output = output;
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut buffer) {
                if log.write_all(&buffer[..length]).is_err() {
                    break;
                }
            }
            // Nobody may be waiting for the end any more.
            let _ = ended.send(());
        });
        Ok(running)
    }

    /// Its memory, in MiB.
    pub fn memory_mib(&self) -> u32 {
        let Settings { guest_memory_mib, guests, .. } = self.settings;
        let guests = guest_memory_mib + guests * GUEST_EXTRA_MIB;
        (DOM0_MIB + XEN_MIB + guests).max(LEAST_MIB)
    }

    /// QEMU's command line.
    pub fn arguments(&self, files: &Files, start: Start<'_>) -> Vec<String> {
        let memory = self.memory_mib();
        let settings = &self.settings;
        let cpus = settings.cpus;
        let xen = format!(
            "console=com1 com1=115200,8n1 dom0_mem={DOM0_MIB}M,max:{DOM0_MIB}M dom0_max_vcpus={cpus} asid=0 sched=credit spec-ctrl=eager-fpu \
             guest_loglvl=warning conring_size=1m no-real-mode {}{}",
            if self.policy.is_some() { "flask=enforcing " } else { "" },
            settings.xen_cmdline
        );
        let policy = self
            .policy
            .as_ref()
            .map_or(String::new(), |path| format!(",{}", escaped(&path.display().to_string())));
        let modules = format!(
            "{} console=hvc0 rdinit=/init loglevel=5 {} {},{}{policy}",
            escaped(&self.kernel.display().to_string()),
            escaped(QUICK_BOOT),
            escaped(&settings.dom0_cmdline),
            escaped(&files.initramfs.display().to_string())
        );
        // A PVH dom0's frames are not the machine's: what its devices reach, they reach through the IOMMU.
        let virtio = if settings.xen_cmdline.split_whitespace().any(|word| word.starts_with("dom0=pvh")) {
            ",iommu_platform=on,disable-legacy=on"
        } else {
            ""
        };
        let (kept, share, waits) = match start {
            Start::Boot => (None, "", false),
            Start::BootToSave(path) => (Some(path), "on", false),
            Start::ResumeToSave(path) => (Some(path), "on", true),
            Start::Resume(path) => (Some(path), "off", true),
        };
        let mut arguments: Vec<String> = [
            "-machine",
            if kept.is_some() { "q35,memory-backend=memory" } else { "q35" },
            "-accel",
            "tcg",
            "-nodefaults",
            "-no-reboot",
            "-display",
            "none",
            "-vga",
            "none",
            "-cpu",
            "EPYC,+svm,+npt,-smap,-smep,-monitor,-rdtscp",
            "-device",
            "bochs-display,vgamem=16M",
            "-device",
            &format!("virtio-gpu-pci{virtio}"),
            "-device",
            &format!("virtio-serial-pci{virtio}"),
            "-serial",
            "stdio",
            "-qmp",
            &format!("unix:{},server=on,wait=off", escaped(&files.monitor.display().to_string())),
            "-qmp",
            &format!("unix:{},server=on,wait=off", escaped(&files.heartbeat.display().to_string())),
            // Behind the monitors: when it has connected they are there.
            "-chardev",
            &format!("socket,id=link,path={}", escaped(&files.link.display().to_string())),
            "-device",
            &format!("virtserialport,chardev=link,name={PORT_NAME}"),
            "-smp",
            &cpus.to_string(),
            "-m",
            &format!("{memory}M"),
            "-kernel",
            &self.xen.display().to_string(),
            "-append",
            xen.trim_end(),
            "-initrd",
            &modules,
        ]
        .map(str::to_owned)
        .to_vec();
        if let Some(path) = kept {
            let path = escaped(&path.display().to_string());
            arguments.extend([
                "-object".to_owned(),
                format!("memory-backend-file,id=memory,mem-path={path},size={memory}M,share={share}"),
            ]);
        }
        if waits {
            arguments.extend(["-incoming".to_owned(), "defer".to_owned()]);
        }
        for device in &settings.devices {
            arguments.extend(["-device".to_owned(), device.clone()]);
        }
        arguments
    }
}

/// A comma separates QEMU's options and boot modules, and two of them are a comma.
fn escaped(text: &str) -> String {
    text.replace(',', ",,")
}

impl Running {
    /// Makes Xen print what its domains and CPUs are doing, for a machine that hangs: three times
    /// Ctrl-A turns the serial line's input to Xen, whose keys these are.
    pub fn print_state(&mut self) {
        // A machine that has ended needs no debugging.
        let _ = self.serial.write_all(b"\x01\x01\x010dq");
        let _ = self.serial.flush();
    }

    /// The processor time that it has used.
    pub fn cpu_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        // The name in parentheses may hold anything; user and system time are fields 14 and 15.
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let ticks: u64 =
            after_name.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()).sum();
        Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
    }

    /// Ends it.
    pub fn end(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

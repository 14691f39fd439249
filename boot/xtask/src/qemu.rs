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

/// Leaves the kernel's tests of its own cryptography out, which take seconds in the emulator.
const QUICK_BOOT: &str = "cryptomgr.notests initcall_blacklist=jent_mod_init,crypto_kdf108_init";

/// The machine that is wanted.
pub struct Machine<'a> {
    /// Xen's image.
    pub xen: &'a Path,
    /// The policy that Xen's Flask is to enforce, if it has Flask.
    pub policy: Option<&'a Path>,
    /// dom0's kernel.
    pub kernel: &'a Path,
    /// dom0's initramfs.
    pub initramfs: &'a Path,
    /// Emulated CPUs.
    pub cpus: u32,
    /// Memory of all guests, in MiB, and their number.
    pub guest_memory_mib: u32,
    /// Number of guests.
    pub guests: u32,
    /// Added to Xen's command line.
    pub xen_cmdline: &'a str,
    /// Added to dom0's command line.
    pub dom0_cmdline: &'a str,
    /// More devices, as QEMU's -device takes them.
    pub devices: &'a [String],
    /// Where QEMU finds the socket for the link to dom0's agent.
    pub link: &'a Path,
    /// Where QEMU offers its monitor.
    pub monitor: PathBuf,
    /// Where it offers another, which serves one at a time, for the heartbeat.
    pub heartbeat: PathBuf,
}

/// A running machine. It ends when this is dropped.
pub struct Running {
    child: Child,
    serial: ChildStdin,
    _heartbeat: Heartbeat,
}

impl Machine<'_> {
    /// Starts it. What the serial line says goes to the file; the end of the machine is told.
    ///
    /// # Errors
    /// QEMU does not start.
    pub fn start(&self, serial_log: &Path, errors: &Path, ended: Sender<()>) -> Result<Running> {
        // Should this program die, the kernel ends QEMU with it.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", QEMU]).args(self.arguments());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(File::create(errors).with_context(|| errors.display().to_string())?);
        let mut child = command.spawn().context("QEMU does not start")?;
        let log = File::create(serial_log).with_context(|| serial_log.display().to_string());
        let (Some(serial), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            anyhow::bail!("QEMU has no serial line")
        };
        let heartbeat = Heartbeat::start(self.heartbeat.clone());
        let running = Running { child, serial, _heartbeat: heartbeat };
        let mut log = log?;
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

    /// QEMU's command line.
    fn arguments(&self) -> Vec<String> {
        let memory = DOM0_MIB + XEN_MIB + self.guest_memory_mib + self.guests * GUEST_EXTRA_MIB;
        let cpus = self.cpus;
        let xen = format!(
            "console=com1 com1=115200,8n1 dom0_mem={DOM0_MIB}M,max:{DOM0_MIB}M dom0_max_vcpus={cpus} asid=0 sched=credit spec-ctrl=eager-fpu \
             guest_loglvl=warning conring_size=1m no-real-mode {}{}",
            if self.policy.is_some() { "flask=enforcing " } else { "" },
            self.xen_cmdline
        );
        let policy =
            self.policy.map_or(String::new(), |path| format!(",{}", escaped(&path.display().to_string())));
        let modules = format!(
            "{} console=hvc0 rdinit=/init loglevel=5 {} {},{}{policy}",
            escaped(&self.kernel.display().to_string()),
            escaped(QUICK_BOOT),
            escaped(self.dom0_cmdline),
            escaped(&self.initramfs.display().to_string())
        );
        // A PVH dom0's frames are not the machine's: what its devices reach, they reach through the IOMMU.
        let virtio = if self.xen_cmdline.split_whitespace().any(|word| word.starts_with("dom0=pvh")) {
            ",iommu_platform=on,disable-legacy=on"
        } else {
            ""
        };
        let mut arguments: Vec<String> = [
            "-machine",
            "q35",
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
            "-chardev",
            &format!("socket,id=link,path={}", escaped(&self.link.display().to_string())),
            "-device",
            &format!("virtserialport,chardev=link,name={PORT_NAME}"),
            "-serial",
            "stdio",
            "-qmp",
            &format!("unix:{},server=on,wait=off", escaped(&self.monitor.display().to_string())),
            "-qmp",
            &format!("unix:{},server=on,wait=off", escaped(&self.heartbeat.display().to_string())),
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
        for device in self.devices {
            arguments.extend(["-device".to_owned(), device.clone()]);
        }
        arguments
    }
}

/// A comma separates boot modules, and two of them are a comma.
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

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Brings up Xen's daemons in dom0, then the guests.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{bail, Context, Result};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use xenlend_lab::frame;
use xenlend_lab::guest::{dom0_address, Ready, READY_PORT};
use xenlend_lab::host::Job;

use crate::child::{printed, Children};
use crate::port::Port;

/// Where xenstored listens; the socket is there before it answers.
const XENSTORE_SOCKET: &str = "/run/xenstored/socket";

/// Where every guest leaves a window free for lent memory: at 64 GiB. The kernel's own reservation keeps
/// its drivers out of it.
const APERTURE: &str = "$0x1000000000";

/// How often a guest is created again after the emulator has killed it while it booted.
const BOOT_DEATHS: u32 = 3;

/// Leaves the kernel's tests of its own cryptography out, which take seconds in the emulator.
const QUICK_BOOT: &str = "cryptomgr.notests initcall_blacklist=jent_mod_init,crypto_kdf108_init";

/// Starts what a dom0 needs before it can have guests.
///
/// # Errors
/// A daemon that does not come up.
pub fn start_daemons(children: &Children, port: &Port) -> Result<()> {
    children.succeed(Command::new("xenstored").args(["--pid-file", "/run/xenstored.pid"]))?;
    // There is nothing to wait on that comes before the socket, so this tries until it is there.
    let mut tries = 0;
    while UnixStream::connect(XENSTORE_SOCKET).is_err() {
        tries += 1;
        if tries > 1000 {
            bail!("xenstored does not listen on {XENSTORE_SOCKET}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    children.succeed(&mut Command::new("xen-init-dom0"))?;
    children.succeed(Command::new("xenconsoled").args(["--log=all", "--pid-file=/run/xenconsoled.pid"]))?;
    port.stage("xen daemons");
    Ok(())
}

/// Creates the guests, attaches their brokers and waits until every guest takes commands.
///
/// # Errors
/// Whatever refuses, in its own words.
pub fn start_guests(job: &Job, children: &Children, port: &Port) -> Result<()> {
    if job.guests == 0 {
        return Ok(());
    }
    let listener =
        TcpListener::bind((Ipv4Addr::UNSPECIFIED, READY_PORT)).context("no port for the guests")?;
    // One after the other: kernels that boot beside each other on one processor take longer than in
    // a row, and many of them so long that their watchdogs bark.
    for number in 1..=u8::try_from(job.guests).context("too many guests")? {
        let name = format!("g{number}");
        let path = format!("/etc/xen/{name}.cfg");
        std::fs::write(&path, config(job, number)).with_context(|| path.clone())?;
        let mut died = 0;
        loop {
            let faults = triple_faults();
            children.succeed(Command::new("xl").args(["create", &path]))?;
            port.stage(&format!("{name} created"));
            let attached = if job.broker { attach(&name, job, children, port) } else { Ok(()) };
            match attached.and_then(|()| wait_until_ready(&listener, &name, children)) {
                Ok(()) => break,
                // With two processors the emulator kills a guest in 25 while it boots. That stays in the
                // report; nothing has been lent yet that could have done it.
                Err(error) if died < BOOT_DEATHS && !exists(&name) && triple_faults() > faults => {
                    died += 1;
                    eprintln!("lab-agent: {name} made a triple fault while it booted, and is created again: {error:#}");
                    wait_until_gone(&name, children)?;
                }
                Err(error) => return Err(error),
            }
        }
        port.stage(&format!("{name} ready"));
    }
    Ok(())
}

/// Has a broker attached to a guest.
fn attach(name: &str, job: &Job, children: &Children, port: &Port) -> Result<()> {
    let limit = ["--max-aperture", job.aperture.as_str()];
    children.succeed(Command::new("xenlend").args(["up", name]).args(limit))?;
    port.stage(&format!("{name} broker up"));
    Ok(())
}

/// Triple faults of guests that Xen's log still has.
fn triple_faults() -> usize {
    String::from_utf8_lossy(&printed("xl", &["dmesg"])).matches("Triple fault").count()
}

/// Whether there is a domain of this name that could run.
fn exists(name: &str) -> bool {
    let list = printed("xl", &["list"]);
    String::from_utf8_lossy(&list).lines().any(|line| line.split_whitespace().next() == Some(name))
}

/// Waits until a guest that has died is no more, and neither is its broker: the supervisor ends that.
fn wait_until_gone(name: &str, children: &Children) -> Result<()> {
    let broker = format!("xenlend-{name}");
    while exists(name) || exists(&broker) || exists("(null)") {
        if children.aborted() {
            bail!("the time is over");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    // Whatever the supervisor still had to do, this waits for it, or does it.
    children.succeed(Command::new("xenlend").args(["down", name])).or(Ok(()))
}

/// Waits until the guest has said that it takes commands.
fn wait_until_ready(listener: &TcpListener, wanted: &str, children: &Children) -> Result<()> {
    loop {
        if children.aborted() {
            bail!("the time is over");
        }
        // Wakes now and then for the sake of an abort, or of a guest that dies.
        let mut waits = [PollFd::new(listener, PollFlags::IN)];
        match poll(&mut waits, Some(&Timespec { tv_sec: 1, tv_nsec: 0 })) {
            Ok(0) if !exists(wanted) => bail!("{wanted} died while it booted"),
            Ok(0) | Err(Errno::INTR) => continue,
            Ok(_) => {}
            Err(error) => return Err(error).context("poll"),
        }
        let (mut stream, _) = listener.accept().context("no word from the guests")?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        match frame::receive::<Ready>(&mut stream) {
            Ok(Ready { name }) if name == wanted => return Ok(()),
            Ok(Ready { name }) => eprintln!("lab-agent: {name} was not expected now"),
            // A guest tries again when it was cut short.
            Err(error) => eprintln!("lab-agent: a guest's word was cut: {error}"),
        }
    }
}

/// The guest's xl file.
fn config(job: &Job, number: u8) -> String {
    let mut text = format!(
        "name = \"g{number}\"\n\
         type = \"pvh\"\n\
         kernel = \"/usr/lib/lab/vmlinux\"\n\
         ramdisk = \"/usr/lib/lab/guest.cpio\"\n\
         extra = \"console=hvc0 rdinit=/init iomem=relaxed memmap={size}{APERTURE} loglevel=6 {QUICK_BOOT} lab.guest=g{number} \
         lab.address={guest} {clock} {more}\"\n\
         vcpus = {vcpus}\n\
         memory = {memory}\n\
         maxmem = {memory}\n\
         vif = [ \"ip={dom0},mac=00:16:3e:00:00:{number:02x},script=vif-lab\" ]\n\
         on_poweroff = \"destroy\"\n\
         on_reboot = \"destroy\"\n\
         on_crash = \"destroy\"\n",
        guest = xenlend_lab::guest::guest_address(number),
        size = job.aperture,
        clock = clock_hint(),
        more = job.guest_cmdline,
        vcpus = job.vcpus,
        memory = job.guest_memory_mib,
        dom0 = dom0_address(number),
    );
    for line in &job.guest_config {
        let _ = writeln!(text, "{line}");
    }
    text
}

/// Tells a guest's kernel the speed of the processor's clock, as dom0 knows it: finding out by itself
/// takes it four seconds of reading an emulated timer.
fn clock_hint() -> String {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let mhz = cpus
        .lines()
        .find_map(|line| line.strip_prefix("cpu MHz")?.split(':').nth(1)?.trim().parse::<f64>().ok())
        .filter(|mhz| *mhz >= 100.0);
    mhz.map_or_else(String::new, |mhz| format!("tsc_early_khz={}", (mhz * 1000.0) as u64))
}

/// The folder of the consoles' logs.
pub fn console_logs() -> &'static Path {
    Path::new("/var/log/xen/console")
}

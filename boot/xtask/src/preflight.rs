// SPDX-License-Identifier: MIT OR Apache-2.0
//! Looks whether this machine can have a lab, before anything is built: what is missing is installed
//! or named.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::apt;
use crate::command::succeed;
use crate::trouble::trouble;

/// The emulator.
pub const QEMU: &str = "qemu-system-x86_64";

/// The first QEMU whose emulated SVM is sound.
const QEMU_NEEDED: u32 = 8;

/// Free space that building the cache takes, in bytes.
const SPACE_NEEDED: u64 = 6 << 30;

/// Host programs besides QEMU, each with its package.
const PROGRAMS: &[(&str, &str)] = &[
    ("/usr/sbin/debootstrap", "debootstrap"),
    ("/usr/bin/xz", "xz-utils"),
    ("/usr/bin/zstd", "zstd"),
    ("/usr/bin/unshare", "util-linux"),
    ("/usr/bin/ld", "binutils"),
    ("/usr/bin/cc", "gcc"),
    CXX,
    ("/usr/lib/x86_64-linux-gnu/libc.a", "libc6-dev"),
];

/// What libFuzzer's own source is compiled with.
pub const CXX: (&str, &str) = ("/usr/bin/c++", "g++");

/// Makes this machine ready for the lab.
///
/// # Errors
/// What cannot be mended here: with the reason and the remedy.
pub fn prepare() -> Result<()> {
    check_root()?;
    let suite = apt::host_suite()?;
    install_missing(PROGRAMS)?;
    if qemu_version().is_none_or(|version| version < QEMU_NEEDED) {
        install_qemu(&suite)?;
    }
    check_qemu()
}

/// Installs the packages of those programs that are not there.
///
/// # Errors
/// They cannot be installed.
pub fn install_missing(programs: &[(&str, &str)]) -> Result<()> {
    let missing: Vec<&str> =
        programs.iter().filter(|(path, _)| !Path::new(path).exists()).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    apt::install(&missing, None)
}

/// Chroots, bind mounts and apt are root's.
fn check_root() -> Result<()> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Err(trouble(
        "This needs root, and you are not.",
        "the lab builds inside a Debian root folder (debootstrap, chroot, bind mounts) and installs packages.",
        "run it as root, for instance with sudo, or in a container where you are root.",
    ))
}

/// Looks at the QEMU that would be used.
///
/// # Errors
/// None, or one that is too old.
pub fn check_qemu() -> Result<()> {
    let remedy = format!("install QEMU {QEMU_NEEDED} or newer (on Debian 12 from bookworm-backports).");
    let why =
        "QEMU emulates the machine that Xen runs on, and older ones kill guests with false triple faults.";
    match qemu_version() {
        Some(version) if version >= QEMU_NEEDED => Ok(()),
        Some(version) => Err(trouble(&format!("QEMU on this machine is version {version}."), why, &remedy)),
        None => Err(trouble(&format!("There is no {QEMU} on this machine."), why, &remedy)),
    }
}

/// The major version of the installed QEMU.
fn qemu_version() -> Option<u32> {
    let said = succeed(Command::new(QEMU).arg("--version")).ok()?;
    said.split("version ").nth(1)?.split('.').next()?.parse().ok()
}

/// Installs QEMU from the suite, or from its backports where the suite's own is too old.
fn install_qemu(suite: &str) -> Result<()> {
    let source = if suite == "bookworm" { Some(apt::add_backports(suite)?) } else { None };
    apt::install(&["qemu-system-x86"], source.as_deref())
}

/// Looks whether the cache's disk has room for a new build root.
///
/// # Errors
/// It has not.
pub fn check_space(cache: &Path) -> Result<()> {
    let disk = rustix::fs::statvfs(cache).with_context(|| cache.display().to_string())?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if free >= SPACE_NEEDED {
        return Ok(());
    }
    Err(trouble(
        &format!("Only {} MiB are free where {} is.", free >> 20, cache.display()),
        &format!("the lab's build root and images need up to {} GiB there.", SPACE_NEEDED >> 30),
        "free some space, or set XENLEND_CACHE to a folder on a larger disk.",
    ))
}

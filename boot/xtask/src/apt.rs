// SPDX-License-Identifier: MIT OR Apache-2.0
//! Debian packages for the host, and the mirror that this machine is set up to use.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::command::succeed;
use crate::progress::step;
use crate::trouble::trouble;

/// How often a step that depends on the mirror is tried: an index may name a version that the pool
/// does not have yet.
pub const TRIES: u32 = 3;

/// The keys that sign Debian's archive.
pub const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The suite that this machine runs, such as bookworm.
///
/// # Errors
/// This is not a Debian with apt.
pub fn host_suite() -> Result<String> {
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let value = |key: &str| {
        release
            .lines()
            .find_map(|line| line.strip_prefix(key))
            .map(|value| value.trim_matches('"').to_owned())
    };
    match (value("ID="), value("VERSION_CODENAME=")) {
        (Some(id), Some(suite)) if id == "debian" && Path::new("/usr/bin/apt-get").exists() => Ok(suite),
        (id, _) => Err(trouble(
            &format!("This machine is not a Debian with apt (it says it is {}).", id.unwrap_or("nothing".into())),
            "the lab installs QEMU and debootstrap with apt, and takes the Debian mirror from apt's configuration.",
            "run it on Debian 12 or newer, or in a container or virtual machine with it.",
        )),
    }
}

/// The mirror of Debian's main archive, from apt's own configuration.
///
/// # Errors
/// Apt has none for this suite.
pub fn mirror(suite: &str) -> Result<String> {
    let targets = succeed(Command::new("apt-get").args([
        "indextargets",
        "--no-release-info",
        "--format",
        "$(SITE) $(RELEASE) $(COMPONENT)",
    ]))
    .context("apt's configuration cannot be read")?;
    targets
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some((words.next()?, words.next()?, words.next()?))
        })
        .find(|(_, release, component)| *release == suite && *component == "main")
        .map(|(site, _, _)| site.to_owned())
        .ok_or_else(|| {
            trouble(
                &format!("Apt has no mirror for {suite}."),
                "the lab fetches Xen, a kernel and a compiler from the mirror that this machine uses.",
                &format!("add the suite {suite}, component main, to /etc/apt/sources.list.d."),
            )
        })
}

/// The proxy that apt uses for the mirror, if any.
pub fn proxy() -> Option<String> {
    let said = succeed(Command::new("apt-config").args(["shell", "proxy", "Acquire::http::Proxy"])).ok()?;
    let value = said.trim().strip_prefix("proxy=")?.trim_matches('\'');
    (!value.is_empty() && value != "DIRECT").then(|| value.to_owned())
}

/// Installs packages, from the given suite if one is named.
///
/// # Errors
/// The mirror does not give them after a few tries.
pub fn install(packages: &[&str], suite: Option<&str>) -> Result<()> {
    let list = packages.join(" ");
    let mut last = None;
    for _ in 0..TRIES {
        // The index on disk may be older than the pool.
        let update = step("Updating apt's index", || succeed(Command::new("apt-get").args(["update", "-q"])));
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command.args(["install", "-y", "-q", "--no-install-recommends"]);
        if let Some(suite) = suite {
            command.args(["-t", suite]);
        }
        match step(&format!("Installing {list}"), || succeed(command.args(packages))) {
            Ok(_) => return Ok(()),
            Err(error) => last = Some((error, update.err())),
        }
    }
    let (error, update) = last.unwrap_or_else(|| (anyhow::anyhow!("not tried"), None));
    let network = update.map_or(String::new(), |error| format!("\n{error:#}"));
    Err(trouble(
        &format!("The packages {list} cannot be installed: {error:#}{network}"),
        "the lab needs them on this machine.",
        "check that the network and the mirror are reachable (apt-get update), then run this again.",
    ))
}

/// Adds the backports of the suite to apt's sources, from the same mirror, unless they are there.
///
/// # Errors
/// No mirror, or apt's folder cannot be written.
pub fn add_backports(suite: &str) -> Result<String> {
    let backports = format!("{suite}-backports");
    if mirror(&backports).is_err() {
        let uri = mirror(suite)?;
        let text =
            format!("Types: deb\nURIs: {uri}\nSuites: {backports}\nComponents: main\nSigned-By: {KEYRING}\n");
        let path = "/etc/apt/sources.list.d/xenlend-backports.sources";
        std::fs::write(path, text).context(path)?;
    }
    Ok(backports)
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Debian packages for the host, and the mirror that this machine is set up to use.

use std::collections::BTreeSet;
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

/// Installs packages, from the given suite if one is named. Of a package that the mirror names in a version that
/// it does not have (404), any other version that apt knows will do.
///
/// # Errors
/// The mirror does not give them after a few tries: with the names of those that it lacks.
pub fn install(packages: &[&str], suite: Option<&str>) -> Result<()> {
    let list = packages.join(" ");
    let mut last = None;
    let mut holes = BTreeSet::new();
    for _ in 0..TRIES {
        // The index on disk may be older than the pool.
        let update = step("Updating apt's index", || succeed(Command::new("apt-get").args(["update", "-q"])));
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").env("LC_ALL", "C");
        command.args(["install", "-y", "-q", "--no-install-recommends"]);
        if let Some(suite) = suite {
            command.args(["-t", suite]);
        }
        for package in packages {
            command.arg(wanted(package, &holes, || {
                succeed(Command::new("apt-cache").args(["madison", package])).unwrap_or_default()
            }));
        }
        match step(&format!("Installing {list}"), || succeed(&mut command)) {
            Ok(_) => return Ok(()),
            Err(error) => {
                holes.extend(not_in_pool(&format!("{error:#}")));
                last = Some((error, update.err()));
            }
        }
    }
    let (error, update) = last.unwrap_or_else(|| (anyhow::anyhow!("not tried"), None));
    let network = update.map_or(String::new(), |error| format!("\n{error:#}"));
    let lacking: Vec<String> =
        holes.iter().map(|hole| format!("{} {}", hole.package, hole.version)).collect();
    let lacking = if lacking.is_empty() {
        String::new()
    } else {
        format!("\nThe mirror names these and does not have them: {}.", lacking.join(", "))
    };
    Err(trouble(
        &format!("The packages {list} cannot be installed: {error:#}{network}{lacking}"),
        "the lab needs them on this machine.",
        "check that the network and the mirror are reachable (apt-get update), then run this again.",
    ))
}

/// A version of a package that is in a mirror's index and not in its pool.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Hole {
    package: String,
    /// As in the file's name: without an epoch.
    version: String,
}

/// What apt could not fetch, from its words.
fn not_in_pool(said: &str) -> BTreeSet<Hole> {
    let hole = |line: &str| {
        let url = line.strip_prefix("E: Failed to fetch ")?.split_whitespace().next()?;
        let (package, rest) = url.rsplit('/').next()?.split_once('_')?;
        let (version, _) = rest.rsplit_once('_')?;
        let version = version.replace("%2b", "+").replace("%7e", "~").replace("%3a", ":");
        let version = version.split_once(':').map_or(version.as_str(), |(_, version)| version);
        Some(Hole { package: package.to_owned(), version: version.to_owned() })
    };
    said.lines().filter_map(hole).collect()
}

/// What apt is asked for: the package, or another version of it if the one that apt chose is not there. `known`
/// gives the versions that apt knows, as `apt-cache madison` prints them.
fn wanted(package: &str, holes: &BTreeSet<Hole>, known: impl FnOnce() -> String) -> String {
    let lacks = |version: &str| holes.iter().any(|hole| hole.package == package && hole.version == version);
    if !holes.iter().any(|hole| hole.package == package) {
        return package.to_owned();
    }
    let known = known();
    let mut versions = known.lines().filter_map(|line| line.split('|').nth(1)).map(str::trim);
    let bare = |version: &str| version.split_once(':').map_or(version, |(_, version)| version).to_owned();
    match versions.find(|version| !lacks(&bare(version))) {
        Some(version) => format!("{package}={version}"),
        None => package.to_owned(),
    }
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{not_in_pool, wanted};

    const SAID: &str = "apt-get failed (exit status: 100):\n\
        Err:1 http://mirror/debian bookworm/main amd64 zstd amd64 1:1.5.4+dfsg2-6\n\
        E: Failed to fetch http://mirror/debian/pool/main/libz/zstd_1.5.4%2bdfsg2-6_amd64.deb  404  Not Found\n\
        E: Unable to fetch some archives, maybe run apt-get update or try with --fix-missing?";

    const MADISON: &str =
        " zstd | 1:1.5.4+dfsg2-6 | http://mirror/debian bookworm-updates/main amd64 Packages\n \
        zstd | 1:1.5.4+dfsg2-5 | http://mirror/debian bookworm/main amd64 Packages\n";

    #[test]
    fn a_version_that_is_not_in_the_pool_gives_way_to_another() {
        let holes = not_in_pool(SAID);
        assert_eq!(holes.len(), 1);
        assert_eq!(wanted("zstd", &holes, || MADISON.to_owned()), "zstd=1:1.5.4+dfsg2-5");
        assert_eq!(wanted("gcc", &holes, || panic!("gcc is there")), "gcc");
        assert_eq!(wanted("zstd", &holes, String::new), "zstd", "no other: apt's error is the one to show");
        assert_eq!(wanted("zstd", &BTreeSet::new(), String::new), "zstd");
    }
}

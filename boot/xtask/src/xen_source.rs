// SPDX-License-Identifier: MIT OR Apache-2.0
//! Fetches the source package of Debian's Xen, of the version that the lab boots where the mirror has it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{bail, Context, Result};

use crate::apt;
use crate::build_root::{BuildRoot, HYPERVISOR, SUITE};
use crate::command::succeed;
use crate::digest::{beside, remove};
use crate::lock::Lock;
use crate::progress::step;
use crate::trouble::trouble;
use crate::workspace::Workspace;

/// The source package.
const PACKAGE: &str = "xen";

/// What Debian's part of the package is called after its version.
const DEBIAN_PART: &str = ".debian.tar.";

/// The source package, still packed.
#[derive(Debug, Clone)]
pub struct Source {
    /// The folder of its two archives.
    pub folder: PathBuf,
    /// The version that was really fetched.
    pub version: String,
}

impl Source {
    /// Xen's own archive.
    pub const UPSTREAM: &str = "upstream.tar";

    /// Debian's patches and settings.
    pub const DEBIAN: &str = "debian.tar";

    /// Gives the source of the build root's Xen; fetches it if it is not in the cache.
    ///
    /// # Errors
    /// The mirror does not have it.
    pub fn ensure(workspace: &Workspace, root: &BuildRoot) -> Result<Self> {
        let wanted =
            root.version_of(HYPERVISOR).with_context(|| format!("no {HYPERVISOR} in the build root"))?;
        let folder = workspace.cache.join(format!("xen-source-{wanted}"));
        let record = beside(&folder, "version");
        if !record.exists() {
            let _lock = Lock::hold(&workspace.cache)?;
            if !record.exists() {
                let version = fetch(&folder, &wanted)?;
                std::fs::write(&record, version).with_context(|| record.display().to_string())?;
            }
        }
        let version = std::fs::read_to_string(&record).with_context(|| record.display().to_string())?;
        if version != wanted {
            eprintln!("The mirror has no source of Xen {wanted}; that of {version} is used.");
        }
        Ok(Self { folder, version })
    }
}

/// Fetches the two archives and gives their version.
fn fetch(folder: &Path, wanted: &str) -> Result<String> {
    let mirror = apt::mirror(&apt::host_suite()?)?;
    let partial = beside(folder, "partial");
    let mut last = None;
    for attempt in 0..=apt::TRIES {
        // The mirror may have dropped this version for a newer one: at last any will do.
        let package = if attempt < apt::TRIES { format!("{PACKAGE}={wanted}") } else { PACKAGE.to_owned() };
        remove(&partial)?;
        match fetch_into(&partial, &mirror, &package) {
            Ok(version) => {
                remove(folder)?;
                std::fs::rename(partial.join("archives"), folder)
                    .with_context(|| folder.display().to_string())?;
                remove(&partial)?;
                return Ok(version);
            }
            Err(error) => last = Some(error),
        }
    }
    Err(trouble(
        &format!(
            "The source of Xen cannot be fetched: {:#}",
            last.unwrap_or_else(|| anyhow::anyhow!("not tried"))
        ),
        "the patched hypervisor is built from it.",
        "check that the mirror of this machine's apt is reachable and has Debian's source packages.",
    ))
}

/// Has apt fetch them, with an index of its own: the machine's sources may name another suite and no
/// source packages. Apt checks the signature of the index and with it the archives.
fn fetch_into(partial: &Path, mirror: &str, package: &str) -> Result<String> {
    let (archives, lists, cache) = (partial.join("archives"), partial.join("lists"), partial.join("cache"));
    for folder in [&archives, &lists.join("partial"), &cache.join("archives/partial")] {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    let sources = partial.join("sources.list");
    let line = format!("deb-src [signed-by={}] {mirror} {SUITE} main\n", apt::KEYRING);
    std::fs::write(&sources, line).with_context(|| sources.display().to_string())?;
    let apt_get = |words: &[&str]| {
        let mut command = Command::new("apt-get");
        command.current_dir(&archives).arg("-q");
        for (option, path) in [("Etc::SourceList", &sources), ("State::Lists", &lists), ("Cache", &cache)] {
            command.arg("-o").arg(format!("Dir::{option}={}", path.display()));
        }
        command.args(["-o", "Dir::Etc::SourceParts=/dev/null", "-o", "Acquire::Languages=none"]);
        // The folder is root's.
        command.args(["-o", "APT::Sandbox::User=root"]).args(words);
        succeed(&mut command)
    };
    step("Fetching the index of Debian's sources", || apt_get(&["update", "--error-on=any"]))?;
    // The description of the package, which names both, is not needed: the index has their digests.
    for part in ["--tar-only", "--diff-only"] {
        step("Fetching the source of Xen", || apt_get(&["source", "--download-only", part, package]))?;
    }
    let (mut upstream, mut debian) = (None, None);
    for entry in std::fs::read_dir(&archives).with_context(|| archives.display().to_string())? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some((stem, _)) = name.split_once(DEBIAN_PART) {
            debian =
                stem.strip_prefix(&format!("{PACKAGE}_")).map(|version| (entry.path(), version.to_owned()));
        } else if name.contains(".orig.tar.") {
            upstream = Some(entry.path());
        }
    }
    let (Some(upstream), Some((debian, version))) = (upstream, debian) else {
        bail!("apt left no source of Xen in {}", archives.display())
    };
    std::fs::rename(upstream, archives.join(Source::UPSTREAM)).context("Xen's archive")?;
    std::fs::rename(debian, archives.join(Source::DEBIAN)).context("Debian's archive")?;
    Ok(version)
}

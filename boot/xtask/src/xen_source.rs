// SPDX-License-Identifier: MIT OR Apache-2.0
//! The source of Xen 4.20 that the patched hypervisors are built from: what the user names, else the
//! Debian package of the build root's version, else any 4.20 that the mirror has.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};

use crate::apt;
use crate::build_root::{BuildRoot, HYPERVISOR, SUITE};
use crate::debian_source::{self, Fetched, Suite};
use crate::digest::{beside, remove};
use crate::lock::Lock;
use crate::named_source;
use crate::unavailable::Unavailable;
use crate::workspace::Workspace;

/// The variable that names a source; the option `--xen-source` goes before it.
const VARIABLE: &str = "XENLEND_XEN_SOURCE";

/// The folder of the cache that sources are kept in. It has a lock of its own: a search must hold up nobody who
/// wants something else.
const FOLDER: &str = "xen-source";

/// Suites with a Xen 4.20, besides the build root's own and its security updates.
const OTHER_SUITES: [&str; 2] = ["forky", "sid"];

/// A source in the cache, still packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The folder of its archives.
    pub folder: PathBuf,
    /// The version of Xen in it.
    pub version: String,
    /// Different for different contents.
    pub identity: String,
    /// Leading folders of the names in Xen's archive.
    pub depth: usize,
}

impl Source {
    /// Xen's own archive.
    pub const UPSTREAM: &str = "upstream.tar";

    /// Debian's patches and settings, if it is a package of Debian.
    pub const DEBIAN: &str = "debian.tar";
}

/// What is said when no source could be found; a line for each try.
fn no_source(tried: &[String]) -> Unavailable {
    let reason =
        format!("no source of Xen 4.20 to build it from; name one with --xen-source PATH or {VARIABLE}");
    let tried = tried.join("\n    ");
    let details = format!(
        "The source of Xen 4.20 is missing; the mirror of this machine's apt was asked for it:\n    {tried}\n  why it \
         matters: every hypervisor but Debian's own is built from it.\n  what to do: name a folder or an archive \
         of Xen 4.20 with --xen-source PATH or the variable {VARIABLE} (tag RELEASE-4.20.4 of Xen's own \
         repository will do), or try again when the mirror has Debian's source package xen."
    );
    Unavailable { reason, details }
}

/// Where the source is to come from, and what a search of this run found.
#[derive(Debug, Default)]
pub struct Choice {
    /// A folder or an archive of the user's, and how it was named.
    named: Option<(PathBuf, &'static str)>,
    found: Mutex<Option<std::result::Result<Source, Unavailable>>>,
}

impl Choice {
    /// What the option names, else what the variable names, else nothing: a search.
    pub fn of(option: Option<&Path>) -> Self {
        let variable = std::env::var_os(VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from);
        let named = match (option, variable) {
            (Some(path), _) => Some((path.to_owned(), "--xen-source")),
            (None, Some(path)) => Some((path, VARIABLE)),
            (None, None) => None,
        };
        Self { named, found: Mutex::default() }
    }

    /// Gives the source. The first call searches for it; what came of that holds for the whole run.
    ///
    /// # Errors
    /// [`Unavailable`] if the mirror has none; another error if the one that the user named is not a Xen 4.20.
    pub fn ensure(&self, workspace: &Workspace, root: &BuildRoot) -> Result<Source> {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if found.is_none() {
            let cache = workspace.cache.join(FOLDER);
            let _lock = Lock::hold(&cache)?;
            let fresh = match &self.named {
                Some((path, how)) => Ok(named(&cache, path, how)?),
                None => search(&cache, root)?,
            };
            *found = Some(fresh);
        }
        match found.as_ref() {
            Some(Ok(source)) => Ok(source.clone()),
            Some(Err(none)) => Err(none.clone().into()),
            None => unreachable!("it was filled above"),
        }
    }
}

/// The source that the user named.
fn named(cache: &Path, path: &Path, how: &str) -> Result<Source> {
    let source = named_source::import(cache, path).with_context(|| format!("{how} {}", path.display()))?;
    eprintln!("Xen {} of {} is used, which {how} names.", source.version, path.display());
    Ok(source)
}

/// A package of Debian's: of the cache, else of the mirror.
fn search(cache: &Path, root: &BuildRoot) -> Result<std::result::Result<Source, Unavailable>> {
    let wanted = root.version_of(HYPERVISOR).with_context(|| format!("no {HYPERVISOR} in the build root"))?;
    // What was fetched for this version: of another one, if the mirror did not have it.
    let record = cache.join(format!("for-{wanted}"));
    let folder_of = |version: &str| cache.join(version);
    if let Some(version) = std::fs::read_to_string(&record).ok().filter(|version| folder_of(version).exists())
    {
        return Ok(Ok(debian(folder_of(&version), version, &wanted)));
    }
    let work = cache.join("partial");
    remove(&work)?;
    let fetched = debian_source::fetch(&work, &suites()?, &wanted)?;
    let result = match fetched {
        Fetched::Found { folder, version } => {
            let kept = folder_of(&version);
            remove(&kept)?;
            std::fs::rename(&folder, &kept).with_context(|| kept.display().to_string())?;
            let partial = beside(&record, "partial");
            std::fs::write(&partial, &version).with_context(|| partial.display().to_string())?;
            std::fs::rename(&partial, &record).with_context(|| record.display().to_string())?;
            Ok(debian(kept, version, &wanted))
        }
        Fetched::Nowhere(tried) => Err(no_source(&tried)),
    };
    remove(&work)?;
    Ok(result)
}

/// A package of Debian's in the cache.
fn debian(folder: PathBuf, version: String, wanted: &str) -> Source {
    if version != wanted {
        eprintln!("The mirror has no source of Xen {wanted}; that of {version} is used.");
    }
    Source { folder, identity: version.clone(), version, depth: 1 }
}

/// The suites to look in, in this order.
fn suites() -> Result<Vec<Suite>> {
    let host = apt::host_suite()?;
    let (main, security) = (apt::mirror(&host)?, apt::mirror(&format!("{host}-security")).ok());
    let suite = |url: &str, name: &str, own| Suite {
        url: url.to_owned(),
        name: name.to_owned(),
        trust: format!("signed-by={}", apt::KEYRING),
        own,
    };
    let security = security.map(|url| suite(&url, &format!("{SUITE}-security"), true));
    let others = OTHER_SUITES.map(|name| suite(&main, name, false));
    Ok([suite(&main, SUITE, true)].into_iter().chain(security).chain(others).collect())
}

#[cfg(test)]
mod tests {
    use super::{no_source, VARIABLE};

    #[test]
    fn a_missing_source_says_what_was_tried_and_what_to_do() {
        let said = no_source(&["trixie: 404".to_owned()]);
        for part in ["trixie: 404", "--xen-source", VARIABLE, "why it matters"] {
            assert!(said.details.contains(part), "{said}");
        }
        assert!(said.reason.contains("--xen-source") && !said.reason.contains('\n'));
    }
}

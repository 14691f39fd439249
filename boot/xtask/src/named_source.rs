// SPDX-License-Identifier: MIT OR Apache-2.0
//! A source of Xen that the user names: a folder or an archive. It is looked at and taken into the cache as an
//! archive, so that a build never works in the user's own files.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{ensure, Context, Result};

use crate::command::succeed;
use crate::digest::{beside, remove};
use crate::progress::step;
use crate::trouble::trouble;
use crate::xen_source::Source;

/// The file that says which version a source is.
const MAKEFILE: &str = "xen/Makefile";

/// The version that the patches are for.
const WANTED: (u32, u32) = (4, 20);

/// Takes a source into the cache, unless the same is there.
///
/// # Errors
/// It is not there, is no source of Xen, or is of another version.
pub fn import(cache: &Path, path: &Path) -> Result<Source> {
    let is_folder = std::fs::metadata(path).context("it cannot be read")?.is_dir();
    let partial = cache.join("partial");
    remove(&partial)?;
    std::fs::create_dir_all(&partial).with_context(|| partial.display().to_string())?;
    let taken = take(cache, path, is_folder, &partial);
    remove(&partial)?;
    taken
}

/// The same, with a folder to work in.
fn take(cache: &Path, path: &Path, is_folder: bool, partial: &Path) -> Result<Source> {
    let archive = partial.join(Source::UPSTREAM);
    let (makefile, depth) = if is_folder {
        let makefile = std::fs::read_to_string(path.join(MAKEFILE)).map_err(|_| not_xen())?;
        (makefile, 1)
    } else {
        let listing = succeed(Command::new("tar").arg("-tf").arg(path)).context("it is no archive")?;
        let name = makefile_in(&listing).ok_or_else(not_xen)?;
        let makefile = succeed(Command::new("tar").arg("-xOf").arg(path).arg("--").arg(name))?;
        (makefile, name.matches('/').count() - MAKEFILE.matches('/').count())
    };
    let (major, minor, version) = version_in(&makefile).ok_or_else(not_xen)?;
    ensure!(
        (major, minor) == WANTED,
        "it is Xen {version}, and the patches in boot/xen are for Xen {}.{}",
        WANTED.0,
        WANTED.1
    );
    if is_folder {
        // The same files make the same archive.
        let mut pack = Command::new("tar");
        pack.args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--mtime=@0"]);
        pack.args(["--exclude-vcs", "-cf"]).arg(&archive).arg("-C").arg(path).arg(".");
        step("Packing the source of Xen", || succeed(&mut pack))?;
    } else {
        std::fs::copy(path, &archive).with_context(|| path.display().to_string())?;
    }
    let said = succeed(Command::new("sha256sum").arg(&archive))?;
    let digest = said.split(|c: char| !c.is_ascii_hexdigit()).find(|word| !word.is_empty());
    let digest = digest.context("sha256sum gave no digest")?.to_owned();
    let folder = cache.join(&digest);
    keep(partial, &folder)?;
    Ok(Source { folder, version, identity: digest, depth })
}

/// Moves a folder into its place, unless there is one: it is named by what is in it.
fn keep(partial: &Path, folder: &PathBuf) -> Result<()> {
    if !folder.exists() {
        let whole = beside(folder, "whole");
        remove(&whole)?;
        std::fs::rename(partial, &whole).with_context(|| whole.display().to_string())?;
        std::fs::rename(&whole, folder).with_context(|| folder.display().to_string())?;
    }
    Ok(())
}

/// What is said of something else.
fn not_xen() -> anyhow::Error {
    trouble(
        &format!("It is no source of Xen: there is no {MAKEFILE} in it that says a version."),
        "the patched hypervisors are built from it.",
        "name the folder of a checkout of Xen 4.20, or an archive of one.",
    )
}

/// The name of Xen's Makefile in the listing of an archive: the one with the fewest folders before it.
fn makefile_in(listing: &str) -> Option<&str> {
    let ends = |name: &&str| *name == MAKEFILE || name.ends_with(&format!("/{MAKEFILE}"));
    listing.lines().filter(ends).min_by_key(|name| name.matches('/').count())
}

/// The version that Xen's Makefile gives, by its numbers and in full.
fn version_in(makefile: &str) -> Option<(u32, u32, String)> {
    let value = |name: &str| {
        let words = |line: &str| -> Option<String> {
            let rest = line.strip_prefix("export ").unwrap_or(line).strip_prefix(name)?.trim_start();
            let value = rest.strip_prefix("?=").or(rest.strip_prefix(":=")).or(rest.strip_prefix('='))?;
            // What is added at the end is the builder's.
            Some(value.split('$').next().unwrap_or_default().trim().to_owned())
        };
        makefile.lines().find_map(words)
    };
    let (major, minor) = (value("XEN_VERSION")?, value("XEN_SUBVERSION")?);
    let full = format!("{major}.{minor}{}", value("XEN_EXTRAVERSION").unwrap_or_default());
    let plain = full.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".+-~".contains(&byte));
    plain.then_some((major.parse().ok()?, minor.parse().ok()?, full))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::process::Command;

    use super::{import, makefile_in, version_in};
    use crate::command::succeed;
    use crate::digest::remove;

    const XEN: &str = "# x\nexport XEN_VERSION       = 4\nexport XEN_SUBVERSION    = 20\n\
        export XEN_EXTRAVERSION ?= .4$(XEN_VENDORVERSION)\nexport XEN_FULLVERSION   = $(XEN_VERSION)\n";

    /// A folder of a test, with a tree in it.
    struct Place(PathBuf);

    impl Place {
        fn new(name: &str, makefile: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("xtask-named-{name}-{}", std::process::id()));
            remove(&folder).unwrap();
            fs::create_dir_all(folder.join("tree/xen")).unwrap();
            fs::create_dir_all(folder.join("cache")).unwrap();
            fs::write(folder.join("tree/xen/Makefile"), makefile).unwrap();
            Self(folder)
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }

        /// What `import` says; the cache is as before if it refuses.
        fn import(&self, name: &str) -> Result<super::Source, String> {
            let taken = import(&self.path("cache"), &self.path(name)).map_err(|error| format!("{error:#}"));
            if taken.is_err() {
                assert_eq!(fs::read_dir(self.path("cache")).unwrap().count(), 0, "a half-made cache");
            }
            taken
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = remove(&self.0);
        }
    }

    /// What a build would find.
    fn unpacked(source: &super::Source, to: &Path) -> String {
        fs::create_dir_all(to).unwrap();
        let mut command = Command::new("tar");
        command.arg(format!("--strip-components={}", source.depth)).arg("-C").arg(to).arg("-xf");
        succeed(command.arg(source.folder.join(super::Source::UPSTREAM))).unwrap();
        fs::read_to_string(to.join("xen/Makefile")).unwrap()
    }

    #[test]
    fn a_folder_and_archives_of_any_depth_are_taken() {
        let place = Place::new("kinds", XEN);
        let tar = |archive: &str, inside: &str, what: &str| {
            let mut command = Command::new("tar");
            command.arg("-czf").arg(place.path(archive)).arg("-C").arg(place.path(inside)).arg(what);
            succeed(&mut command).unwrap();
        };
        tar("deep.tar.gz", ".", "tree");
        tar("dot.tar.gz", "tree", ".");
        tar("flat.tar.gz", "tree", "xen");
        for name in ["tree", "deep.tar.gz", "dot.tar.gz", "flat.tar.gz"] {
            let source = place.import(name).unwrap();
            assert_eq!(source.version, "4.20.4", "{name}");
            assert_eq!(unpacked(&source, &place.path("out").join(name)), XEN, "{name}");
        }
    }

    #[test]
    fn the_same_files_are_the_same_source_and_others_are_not() {
        let place = Place::new("same", XEN);
        fs::create_dir(place.path("tree/.git")).unwrap();
        let first = place.import("tree").unwrap();
        fs::write(place.path("tree/xen/Makefile"), XEN).unwrap();
        fs::write(place.path("tree/.git/index"), "what git alone needs").unwrap();
        assert_eq!(place.import("tree").unwrap(), first);
        fs::write(place.path("tree/xen/Rules.mk"), "one more").unwrap();
        let other = place.import("tree").unwrap();
        assert_ne!(other.identity, first.identity);
        assert_ne!(other.folder, first.folder);
    }

    #[test]
    fn what_is_no_xen_of_that_version_is_refused_with_the_reason() {
        let old = Place::new("old", &XEN.replace("20", "17"));
        assert!(old.import("tree").unwrap_err().contains("Xen 4.17.4"));
        let other = Place::new("other", "all:\n");
        assert!(other.import("tree").unwrap_err().contains("no source of Xen"));
        fs::write(other.path("file"), "no archive").unwrap();
        assert!(other.import("file").unwrap_err().contains("no archive"));
        assert!(other.import("nothing").unwrap_err().contains("cannot be read"));
    }

    #[test]
    fn the_outermost_makefile_is_xens() {
        let listing = "a/\na/stubdom/xen/Makefile\na/xen/Makefile\na/notxen/Makefile\n";
        assert_eq!(makefile_in(listing), Some("a/xen/Makefile"));
        assert_eq!(makefile_in("a/notxen/Makefile\n"), None);
    }

    #[test]
    fn a_version_is_read_as_xen_writes_it() {
        assert_eq!(version_in(XEN), Some((4, 20, "4.20.4".to_owned())));
        assert_eq!(version_in("XEN_VERSION = 4\n"), None);
    }
}

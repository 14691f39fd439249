// SPDX-License-Identifier: MIT OR Apache-2.0
//! Fetches the source package of Debian's Xen 4.20 from the first suite that really has it: an index may
//! name a version whose archives are not in the pool.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{bail, Context, Result};

use crate::command::succeed;
use crate::digest::remove;
use crate::progress::step;
use crate::xen_source::Source;

/// The source package.
const PACKAGE: &str = "xen";

/// What the versions that will do begin with.
const SERIES: &str = "4.20.";

/// What Debian's part of the package is called after its version.
const DEBIAN_PART: &str = ".debian.tar.";

/// A suite of a mirror.
#[derive(Debug, Clone)]
pub struct Suite {
    /// The mirror.
    pub url: String,
    /// The suite's name.
    pub name: String,
    /// Whether it may have the very version that is wanted.
    pub own: bool,
    /// What tells apt whom to trust: `signed-by=KEYRING`.
    pub trust: String,
}

/// What came of it.
#[derive(Debug)]
pub enum Fetched {
    /// The two archives.
    Found {
        /// Where they are, by the names of [`Source`].
        folder: PathBuf,
        /// Their version.
        version: String,
    },
    /// No suite has them; a line for each try.
    Nowhere(Vec<String>),
}

/// Looks for the wanted version in the suites that may have it, then for any 4.20 in all suites. All work is
/// done below `work`.
///
/// # Errors
/// A folder that cannot be written. Whatever a mirror lacks is a try that failed.
pub fn fetch(work: &Path, suites: &[Suite], wanted: &str) -> Result<Fetched> {
    let mut tried = Vec::new();
    let mut done = BTreeSet::new();
    let mut indexes: Vec<Option<Index>> = suites.iter().map(|_| None).collect();
    for exact in [true, false] {
        for (number, suite) in suites.iter().enumerate().filter(|(_, suite)| suite.own || !exact) {
            if indexes[number].is_none() {
                let index = Index::of(work.join(number.to_string()), suite)?;
                tried.extend(index.trouble.iter().map(|why| format!("{}: {why}", suite.name)));
                indexes[number] = Some(index);
            }
            let Some(index) = &indexes[number] else { continue };
            for version in index.versions.iter().filter(|version| !exact || *version == wanted) {
                if !done.insert((number, version.clone())) {
                    continue;
                }
                match index.fetch(version) {
                    Ok(folder) => return Ok(Fetched::Found { folder, version: version.clone() }),
                    Err(error) => tried.push(format!("{} {version}: {}", suite.name, short(&error))),
                }
            }
        }
    }
    Ok(Fetched::Nowhere(tried))
}

/// The index of a suite's sources, in a folder of its own: the machine's apt may know another suite and no
/// sources. Apt checks the signature of the index and with it the archives.
struct Index {
    folder: PathBuf,
    /// The versions that will do, as the index names them.
    versions: Vec<String>,
    /// Why there are none.
    trouble: Option<String>,
}

impl Index {
    /// Fetches it.
    fn of(folder: PathBuf, suite: &Suite) -> Result<Self> {
        for name in ["lists/partial", "cache/archives/partial"] {
            let path = folder.join(name);
            std::fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
        }
        let sources = folder.join("sources.list");
        let line = format!("deb-src [{}] {} {} main\n", suite.trust, suite.url, suite.name);
        std::fs::write(&sources, line).with_context(|| sources.display().to_string())?;
        let mut index = Self { folder, versions: Vec::new(), trouble: None };
        let fetched = step(&format!("Fetching the index of the sources of {}", suite.name), || {
            succeed(index.apt("apt-get").args(["update", "--error-on=any"]))
        });
        match fetched {
            Ok(_) => {
                // A package that the index does not have is an error here.
                let said = succeed(index.apt("apt-cache").args(["showsrc", "--only-source", PACKAGE]));
                index.versions = versions(&said.unwrap_or_default());
                if index.versions.is_empty() {
                    index.trouble = Some(format!("no {PACKAGE} {SERIES}* in its index"));
                }
            }
            Err(error) => index.trouble = Some(format!("no index: {}", short(&error))),
        }
        Ok(index)
    }

    /// One of apt's programs with this index alone.
    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("-q").env("LC_ALL", "C");
        for (option, name) in
            [("Etc::SourceList", "sources.list"), ("State::Lists", "lists"), ("Cache", "cache")]
        {
            command.arg("-o").arg(format!("Dir::{option}={}", self.folder.join(name).display()));
        }
        command.args(["-o", "Dir::Etc::SourceParts=/dev/null", "-o", "Acquire::Languages=none"]);
        // A mirror that hangs is tried once more; one that says no is not asked again.
        command.args(["-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=20"]);
        // The folder belongs to whoever runs this.
        command.args(["-o", "APT::Sandbox::User=root"]);
        command
    }

    /// Fetches the archives of one version; gives their folder, which has nothing else in it.
    fn fetch(&self, version: &str) -> Result<PathBuf> {
        let (downloads, archives) = (self.folder.join("downloads"), self.folder.join("archives"));
        for folder in [&downloads, &archives] {
            remove(folder)?;
            std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        // The description of the package, which names both, is not needed: the index has their digests.
        for part in ["--tar-only", "--diff-only"] {
            step(&format!("Fetching the source of Xen {version}"), || {
                let mut command = self.apt("apt-get");
                command.current_dir(&downloads).args(["source", "--download-only", part]);
                succeed(command.arg(format!("{PACKAGE}={version}")))
            })?;
        }
        let (mut upstream, mut debian) = (None, None);
        for entry in std::fs::read_dir(&downloads).with_context(|| downloads.display().to_string())? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.contains(DEBIAN_PART) {
                debian = Some(entry.path());
            } else if name.contains(".orig.tar.") {
                upstream = Some(entry.path());
            }
        }
        let (Some(upstream), Some(debian)) = (upstream, debian) else {
            bail!("apt left no source of Xen in {}", downloads.display())
        };
        // Of a mirror in a folder of this machine apt leaves links.
        std::fs::copy(&upstream, archives.join(Source::UPSTREAM))
            .with_context(|| upstream.display().to_string())?;
        std::fs::copy(&debian, archives.join(Source::DEBIAN))
            .with_context(|| debian.display().to_string())?;
        Ok(archives)
    }
}

/// The versions that will do in what apt-cache says of a source package, the newest first as it has them.
fn versions(said: &str) -> Vec<String> {
    let mut versions: Vec<String> = Vec::new();
    for version in said.lines().filter_map(|line| line.strip_prefix("Version: ")).map(str::trim) {
        if version.starts_with(SERIES) && !versions.iter().any(|known| known == version) {
            versions.push(version.to_owned());
        }
    }
    versions
}

/// Apt's own words in an error: its first line with `E:`, or the first line.
fn short(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    let line = text.lines().find_map(|line| line.trim().strip_prefix("E: "));
    line.or(text.lines().next()).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::fs;
    use std::path::{Path, PathBuf};

    use sha2::{Digest as _, Sha256};

    use super::{fetch, versions, Fetched, Source, Suite};
    use crate::digest::remove;

    /// A mirror in a folder: suites with indexes, and a pool.
    struct Mirror(PathBuf);

    impl Mirror {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("xtask-mirror-{name}-{}", std::process::id()));
            remove(&folder).unwrap();
            fs::create_dir_all(folder.join("pool")).unwrap();
            Self(folder)
        }

        /// A suite whose index names these versions; their archives are in the pool if it is said so.
        fn suite(&self, name: &str, packages: &[(&str, bool)]) {
            let mut sources = String::new();
            for (version, there) in packages {
                let upstream = version.split('-').next().unwrap();
                let mut files = String::new();
                for file in [format!("xen_{upstream}.orig.tar.xz"), format!("xen_{version}.debian.tar.xz")] {
                    let content = format!("what is in {file}");
                    let digest = hex(content.as_bytes());
                    writeln!(files, " {digest} {} {file}", content.len()).unwrap();
                    if *there {
                        fs::write(self.0.join("pool").join(file), content).unwrap();
                    }
                }
                let dsc = format!(" {} 4 xen_{version}.dsc\n", hex(b"none"));
                writeln!(
                    sources,
                    "Package: xen\nFormat: 3.0 (quilt)\nBinary: xen\nVersion: {version}\nDirectory: pool\n\
                     Checksums-Sha256:\n{dsc}{files}"
                )
                .unwrap();
            }
            let folder = self.0.join("dists").join(name);
            fs::create_dir_all(folder.join("main/source")).unwrap();
            fs::write(folder.join("main/source/Sources"), &sources).unwrap();
            let release = format!(
                "Suite: {name}\nCodename: {name}\nComponents: main\nSHA256:\n {} {} main/source/Sources\n",
                hex(sources.as_bytes()),
                sources.len()
            );
            fs::write(folder.join("Release"), release).unwrap();
        }

        fn named(&self, name: &str, own: bool) -> Suite {
            Suite {
                url: format!("file:{}", self.0.display()),
                name: name.to_owned(),
                own,
                trust: "trusted=yes".to_owned(),
            }
        }

        /// All suites that the lab looks in, in its order.
        fn all(&self) -> [Suite; 4] {
            ["trixie", "trixie-security", "forky", "sid"]
                .map(|name| self.named(name, name.starts_with("trixie")))
        }

        fn fetch(&self, wanted: &str) -> Fetched {
            fetch(&self.0.join("work"), &self.all(), wanted).unwrap()
        }
    }

    impl Drop for Mirror {
        fn drop(&mut self) {
            let _ = remove(&self.0);
        }
    }

    fn hex(bytes: &[u8]) -> String {
        Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").unwrap();
            text
        })
    }

    /// The version that was found; its archives are what the mirror has.
    fn found(fetched: Fetched) -> String {
        let Fetched::Found { folder, version } = fetched else { panic!("{fetched:?}") };
        let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
        let upstream = version.split('-').next().unwrap();
        assert_eq!(read(Source::UPSTREAM), format!("what is in xen_{upstream}.orig.tar.xz"));
        assert_eq!(read(Source::DEBIAN), format!("what is in xen_{version}.debian.tar.xz"));
        assert!(!fs::symlink_metadata(folder.join(Source::UPSTREAM)).unwrap().is_symlink());
        version
    }

    /// Whether this machine has apt at all; the lab needs a Debian, the tests of the host do not.
    fn apt_is_here() -> bool {
        let here = Path::new("/usr/bin/apt-get").exists();
        if !here {
            eprintln!("no apt on this machine: nothing is fetched");
        }
        here
    }

    #[test]
    fn the_wanted_version_goes_before_others() {
        if !apt_is_here() {
            return;
        }
        let mirror = Mirror::new("wanted");
        mirror.suite("trixie", &[("4.20.5-1", true)]);
        mirror.suite("trixie-security", &[("4.20.4-1", true)]);
        assert_eq!(found(mirror.fetch("4.20.4-1")), "4.20.4-1");
        assert_eq!(found(mirror.fetch("4.20.3-1")), "4.20.5-1", "another one, if that is nowhere");
    }

    #[test]
    fn a_hole_in_the_pool_or_a_missing_suite_is_just_the_next_try() {
        if !apt_is_here() {
            return;
        }
        let mirror = Mirror::new("holes");
        mirror.suite("trixie", &[("4.20.4-1", false)]);
        // There is no trixie-security at all, and forky has gone on.
        mirror.suite("forky", &[("4.21.0-1", true)]);
        mirror.suite("sid", &[("4.21.0-1", true), ("4.20.4-2", true)]);
        assert_eq!(found(mirror.fetch("4.20.4-1")), "4.20.4-2");
    }

    #[test]
    fn a_mirror_without_any_says_what_was_tried() {
        if !apt_is_here() {
            return;
        }
        let mirror = Mirror::new("none");
        mirror.suite("trixie", &[("4.20.4-1", false)]);
        mirror.suite("trixie-security", &[("4.20.4-1", false)]);
        mirror.suite("forky", &[]);
        let Fetched::Nowhere(tried) = mirror.fetch("4.20.4-1") else { panic!("there is none") };
        let begin = |line: &str| line.split(": ").next().unwrap().to_owned();
        assert_eq!(
            tried.iter().map(|line| begin(line)).collect::<Vec<_>>(),
            ["trixie 4.20.4-1", "trixie-security 4.20.4-1", "forky", "sid"],
            "each once: {tried:?}"
        );
        assert!(tried[0].contains("orig.tar"), "the file that is missing is named: {tried:?}");
    }

    #[test]
    fn an_archive_that_is_not_what_the_index_says_is_refused() {
        if !apt_is_here() {
            return;
        }
        let mirror = Mirror::new("forged");
        mirror.suite("trixie", &[("4.20.4-1", true)]);
        fs::write(mirror.0.join("pool/xen_4.20.4.orig.tar.xz"), "what is in xen_4.20.4.orig.tar.XZ").unwrap();
        assert!(matches!(mirror.fetch("4.20.4-1"), Fetched::Nowhere(_)));
    }

    #[test]
    fn only_versions_of_the_series_will_do() {
        let said =
            "Package: xen\nVersion: 4.20.4-1\n\nVersion: 4.21.0-1\nVersion: 4.2.1-1\nVersion: 4.20.4-1\n";
        assert_eq!(versions(said), ["4.20.4-1"]);
    }
}

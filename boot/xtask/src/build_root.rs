// SPDX-License-Identifier: MIT OR Apache-2.0
//! The build root: a Debian with Xen, a kernel and the compilers, in the cache. The lab's images are
//! made of its files, and kernel modules and C programs are built in it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{bail, Context, Result};

use crate::command::succeed;
use crate::debootstrap::{self, Attempt};
use crate::digest::{beside, remove, Inputs};
use crate::lock::Lock;
use crate::progress::step;
use crate::trouble::trouble;
use crate::unavailable::Unavailable;
use crate::workspace::Workspace;
use crate::{apt, preflight};

/// The Debian release inside the lab, and its Xen.
pub const SUITE: &str = "trixie";

/// The package of its hypervisor.
pub const HYPERVISOR: &str = "xen-hypervisor-4.20-amd64";

/// The file name of Xen below /boot.
const XEN: &str = "xen-4.20-amd64.gz";

/// What is in the build root besides Debian's minimum.
const PACKAGES: &[&str] = &[
    HYPERVISOR,
    "xen-utils-4.20",
    "xen-utils-common",
    "xenstore-utils",
    "linux-image-amd64",
    "linux-headers-amd64",
    "kmod",
    "busybox-static",
    "gcc",
    "make",
    "libc6-dev",
    "libxen-dev",
    "libdrm-dev",
    "rustc",
    "cargo",
    "rust-src",
    "bison",
    "flex",
    "patch",
    "xz-utils",
];

/// Those of them that only a part of the commands needs: it is made without them if the mirror lacks some.
const OPTIONAL: &[&str] = &["libxen-dev", "libdrm-dev", "bison", "flex", "patch"];

/// Suites of the same mirror whose versions will do where the suite's own is not in the pool.
const MORE_SUITES: &str = "trixie-updates,trixie-proposed-updates";

/// A build root that is whole.
#[derive(Debug, Clone)]
pub struct BuildRoot {
    /// Its folder.
    pub path: PathBuf,
    /// Stands for the versions of all packages that were really fetched.
    pub versions_key: String,
    /// The release of its kernel, as in /lib/modules.
    pub kernel: String,
}

impl BuildRoot {
    /// Gives the build root; fetches it if it is not in the cache.
    ///
    /// # Errors
    /// No space, no mirror, or a failing debootstrap.
    pub fn ensure(workspace: &Workspace) -> Result<Self> {
        let path = Self::place(workspace);
        if !versions_file(&path).exists() {
            let _lock = Lock::hold(&workspace.cache)?;
            if !versions_file(&path).exists() {
                preflight::check_space(&workspace.cache)?;
                fetch(&path)?;
            }
        }
        Self::open(path)
    }

    /// The build root, if it is in the cache.
    pub fn present(workspace: &Workspace) -> Option<Self> {
        let path = Self::place(workspace);
        if versions_file(&path).exists() {
            return Self::open(path).ok();
        }
        None
    }

    /// Its place: another one for other packages.
    fn place(workspace: &Workspace) -> PathBuf {
        let recipe = PACKAGES.iter().fold(Inputs::of(SUITE), |inputs, package| inputs.text(package)).key();
        workspace.cache.join(format!("build-root-{recipe}"))
    }

    /// Looks at a build root that is there.
    fn open(path: PathBuf) -> Result<Self> {
        let versions = versions_file(&path);
        let versions = std::fs::read_to_string(&versions).with_context(|| versions.display().to_string())?;
        let kernel = newest_kernel(&path)?;
        Ok(Self { versions_key: Inputs::of("versions").text(&versions).key(), path, kernel })
    }

    /// A path inside the build root.
    pub fn join(&self, path: &str) -> PathBuf {
        self.path.join(path.trim_start_matches('/'))
    }

    /// Looks whether these packages are there, which the mirror may not have had.
    ///
    /// # Errors
    /// [`Unavailable`]: the first one that is not.
    pub fn needs(&self, packages: &[&str], what_for: &str) -> Result<()> {
        let Some(missing) = packages.iter().find(|package| self.version_of(package).is_none()) else {
            return Ok(());
        };
        let (path, versions) = (self.path.display(), versions_file(&self.path));
        let reason = format!(
            "the build root has no {missing}; remove {} to have it fetched again",
            versions.display()
        );
        let details = format!(
            "The build root {path} has no {missing}: the mirror did not have it then.\n  why it matters: \
             {what_for} needs it.\n  what to do: remove {} to have the build root fetched again.",
            versions.display()
        );
        Err(Unavailable { reason, details }.into())
    }

    /// Xen's image, still packed.
    pub fn xen(&self) -> PathBuf {
        self.join("boot").join(XEN)
    }

    /// The version of a package inside.
    pub fn version_of(&self, package: &str) -> Option<String> {
        let versions = std::fs::read_to_string(versions_file(&self.path)).ok()?;
        versions
            .lines()
            .filter_map(|line| line.split_once(' '))
            .find(|(name, _)| *name == package)
            .map(|(_, version)| version.to_owned())
    }
}

/// A build root that is not whole is thrown away, so nothing of it need reach the disk file by file.
const DPKG_SETTINGS: &str = "force-unsafe-io\n\
    path-exclude=/usr/share/doc/*\n\
    path-exclude=/usr/share/man/*\n\
    path-exclude=/usr/share/locale/*\n";

/// The record of what was fetched; it is written last, so a build root that has one is whole.
fn versions_file(path: &Path) -> PathBuf {
    beside(path, "versions")
}

/// Makes a new build root: in a folder of its own, renamed when it is whole.
fn fetch(path: &Path) -> Result<()> {
    let host = apt::host_suite()?;
    let mirror = apt::mirror(&host)?;
    let partial = beside(path, "partial");
    // What one attempt has fetched the next one need not fetch again.
    let downloads = beside(path, "downloads");
    std::fs::create_dir_all(&downloads).with_context(|| downloads.display().to_string())?;
    let done = debootstrap::until_done(OPTIONAL, |attempt| {
        remove(&partial)?;
        fetch_into(&partial, &downloads, &mirror, attempt)
    });
    remove(&downloads)?;
    let attempt = match done {
        Ok(attempt) => attempt,
        Err(error) => {
            // Packages and all, about 1 GB that is of no use.
            remove(&partial)?;
            return Err(trouble(
                &format!("The build root cannot be fetched: {error:#}"),
                "Xen, dom0's kernel and the compiler for kernel modules come from there.",
                "check that the mirror of this machine's apt is reachable; a version that it has not got yet \
                 (404) comes within hours.",
            ));
        }
    };
    if !attempt.without.is_empty() {
        let names: Vec<&str> = attempt.without.iter().copied().collect();
        eprintln!("The mirror lacks packages: the build root is made without {}.", names.join(", "));
    }
    let versions = succeed(Command::new("chroot").arg(&partial).args([
        "dpkg-query",
        "-W",
        "-f",
        "${Package} ${Version}\\n",
    ]))?;
    newest_kernel(&partial)?;
    remove(path)?;
    std::fs::rename(&partial, path).with_context(|| path.display().to_string())?;
    std::fs::write(versions_file(path), versions).context("the record of versions")
}

/// Fetches all packages, then unpacks them as fast as the disk allows.
fn fetch_into(partial: &Path, downloads: &Path, mirror: &str, attempt: &Attempt) -> Result<()> {
    let mut fetch = with_own_mounts("debootstrap");
    fetch.args(["--foreign", "--variant=minbase"]).arg(format!("--keyring={}", apt::KEYRING));
    fetch.arg(format!("--cache-dir={}", downloads.display()));
    let packages: Vec<&str> =
        PACKAGES.iter().filter(|package| !attempt.without.contains(*package)).copied().collect();
    fetch.arg(format!("--include={}", packages.join(",")));
    if attempt.more_suites {
        fetch.arg(format!("--extra-suites={MORE_SUITES}"));
    }
    fetch.args([SUITE.as_ref(), partial.as_os_str(), mirror.as_ref()]);
    if let Some(proxy) = apt::proxy() {
        fetch.env("http_proxy", proxy);
    }
    step("Fetching the build root's packages (debootstrap, about 300 MB)", || succeed(&mut fetch))?;
    let settings = partial.join("etc/dpkg/dpkg.cfg.d");
    std::fs::create_dir_all(&settings).with_context(|| settings.display().to_string())?;
    let settings = settings.join("build-root");
    std::fs::write(&settings, DPKG_SETTINGS).with_context(|| settings.display().to_string())?;
    let mut unpack = with_own_mounts("chroot");
    unpack.arg(partial).args(["/debootstrap/debootstrap", "--second-stage"]);
    // The kernel's package makes no initramfs: the lab makes its own.
    unpack.env("INITRD", "No").env("DEBIAN_FRONTEND", "noninteractive");
    step("Unpacking the build root (about 1 GB)", || succeed(&mut unpack))?;
    Ok(())
}

/// A program whose mounts nobody else sees, and which go away with it, however it ends: what it leaves
/// half done can be removed.
fn with_own_mounts(program: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", program]);
    command
}

/// The newest kernel that has modules and headers.
fn newest_kernel(root: &Path) -> Result<String> {
    let folder = root.join("lib/modules");
    let mut kernels = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        if entry.path().join("modules.dep").exists() && entry.path().join("build").is_symlink() {
            kernels.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    kernels.sort_by_key(|name| {
        name.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect::<Vec<u64>>()
    });
    match kernels.pop() {
        Some(kernel) => Ok(kernel),
        None => bail!("no kernel with modules and headers in {}", folder.display()),
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Builds the hypervisor, and nothing else of Xen, inside the build root: a source of Xen 4.20, Debian's or
//! another, with Debian's settings and with patches of boot/xen on top.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::build_root::BuildRoot;
use crate::chroot::Chroot;
use crate::command::succeed;
use crate::digest::{remove, Inputs};
use crate::lock::Lock;
use crate::preflight;
use crate::progress::step;
use crate::workspace::Workspace;
use crate::xen_series::{Patch, Series};
use crate::xen_source::Source;

/// A built hypervisor.
#[derive(Debug, Clone)]
pub struct Built {
    /// A multiboot ELF that QEMU loads; beside it are the symbols and the settings that it was built with.
    pub image: PathBuf,
    /// What it was built from.
    pub version: String,
    /// The policy for its Flask, if it has Flask: a further module to boot with.
    pub policy: Option<PathBuf>,
}

/// Debian's settings, or what is added to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settings {
    /// Nothing
    Debians,
    /// Assertions
    Assertions,
    /// The counters that `xenperf` reads
    Counters,
    /// Flask, without a policy built in
    Flask,
}

impl Settings {
    /// How they are made of Debian's: a script of sed.
    fn script(self) -> &'static str {
        match self {
            Self::Debians => "",
            Self::Assertions => "s/^CONFIG_DEBUG=n$/CONFIG_DEBUG=y/",
            // An option of Xen's experts; the settings end in it.
            Self::Counters => "$aCONFIG_EXPERT=y\\nCONFIG_PERF_COUNTERS=y",
            Self::Flask => "$aCONFIG_XSM=y\\nCONFIG_XSM_FLASK=y",
        }
    }

    /// What else is done for each build, in Xen's source, with its folder as $1. Xen's example policy becomes
    /// one text with our module in it; the host has the compiler for that.
    fn more(self) -> &'static str {
        match self {
            Self::Debians | Self::Assertions | Self::Counters => "",
            Self::Flask => {
                "cp /mnt/patches/lab.te tools/flask/policy/modules\n\
                 echo 'lab = on' >>tools/flask/policy/modules/modules.conf\n\
                 make -s -C tools/flask/policy -f Makefile.common CHECKPOLICY='echo 30; :' \\\n\
                 FLASK_BUILD_DIR=/mnt/work/\"$1\" /mnt/work/\"$1\"/policy.conf\n"
            }
        }
    }

    /// What a version with them ends in.
    fn suffix(self) -> &'static str {
        match self {
            Self::Debians => "",
            Self::Assertions => "+debug",
            Self::Counters => "+counters",
            Self::Flask => "+flask",
        }
    }
}

/// What hypervisors are built from.
pub struct Builder<'a> {
    workspace: &'a Workspace,
    root: &'a BuildRoot,
    source: Source,
    series: Series,
    settings: Settings,
}

/// The file names of a result.
const IMAGE: &str = "xen";
const POLICY: &str = "policy";

/// Packages of the build root that only this needs.
const TOOLS: [&str; 3] = ["bison", "flex", "patch"];

/// Settings for a source that is not Debian's, beside the patches.
const KCONFIG: &str = "kconfig";

/// What compiles a policy, and its package.
const CHECKPOLICY: (&str, &str) = ("/usr/bin/checkpolicy", "checkpolicy");

/// The newest version of compiled policies that Xen reads.
const POLICY_VERSION: &str = "30";

impl<'a> Builder<'a> {
    /// Looks for everything; fetches the source if it is not in the cache.
    ///
    /// # Errors
    /// No source or no tools for it, or a series that is not in order.
    pub fn new(workspace: &'a Workspace, root: &'a BuildRoot, settings: Settings) -> Result<Self> {
        let series = Series::read(&workspace.root.join("boot/xen"))?;
        root.needs(&TOOLS, "a build of Xen")?;
        let source = workspace.xen_source.ensure(workspace, root)?;
        Ok(Self { workspace, root, source, series, settings })
    }

    /// Builds the source with the patches up to this number, or with all; with `each`, also with each
    /// shorter series. What was built before from the same inputs is taken from the cache.
    ///
    /// # Errors
    /// A patch that does not apply, or the compiler's.
    pub fn build(&self, upto: Option<u32>, each: bool) -> Result<Vec<Built>> {
        let patches = self.series.upto(upto)?;
        let first = if each { patches.len().min(1) } else { patches.len() };
        let steps: Vec<(usize, PathBuf)> = (first..=patches.len())
            .map(|count| Ok((count, self.folder_of(&patches[..count])?)))
            .collect::<Result<_>>()?;
        if steps.iter().any(|(_, folder)| !folder.exists()) {
            let _lock = Lock::hold(&self.cache())?;
            let missing: Vec<_> = steps.iter().filter(|(_, folder)| !folder.exists()).collect();
            if !missing.is_empty() {
                self.make(patches, &missing)?;
            }
        }
        let built = |(count, folder): (usize, PathBuf)| Built {
            image: folder.join(IMAGE),
            version: self.version_of(&patches[..count]),
            policy: (self.settings == Settings::Flask).then(|| folder.join(POLICY)),
        };
        Ok(steps.into_iter().map(built).collect())
    }

    /// Where results are kept; they do not depend on the checkout.
    fn cache(&self) -> PathBuf {
        self.workspace.cache.join("xen")
    }

    /// Where the result of so many patches is kept.
    fn folder_of(&self, patches: &[Patch]) -> Result<PathBuf> {
        let mut inputs = Inputs::of("xen").text(&self.source.identity).text(&self.root.versions_key);
        inputs = inputs.text(&self.script(&[], &[])).path(&self.series.folder.join(KCONFIG))?;
        for patch in patches {
            inputs = inputs.path(&patch.path)?;
        }
        if self.settings == Settings::Flask {
            inputs = inputs.path(&self.series.folder.join("lab.te"))?;
        }
        Ok(self.cache().join(inputs.key()))
    }

    /// What Xen calls itself, and what a run's report says.
    fn version_of(&self, patches: &[Patch]) -> String {
        format!("{}{}", self.source.version, self.addition_of(patches))
    }

    /// What is added to the version of the source.
    fn addition_of(&self, patches: &[Patch]) -> String {
        let last = patches.last().map_or(String::new(), |patch| format!("+lend{:04}", patch.number));
        format!("{last}{}", self.settings.suffix())
    }

    /// Builds the steps that are missing: in one tree, since most patches change few files.
    fn make(&self, patches: &[Patch], missing: &[&(usize, PathBuf)]) -> Result<()> {
        let work = self.cache().join("work");
        remove(&work)?;
        std::fs::create_dir_all(&work).with_context(|| work.display().to_string())?;
        let wanted: Vec<usize> = missing.iter().map(|(count, _)| *count).collect();
        let last = wanted.last().copied().unwrap_or_default();
        let mut command = Chroot::new(self.root)
            .show(&self.source.folder, "source")
            .show(&self.series.folder, "patches")
            .work_in(&work, "work")
            .shell(&self.script(&patches[..last], &wanted));
        let name = format!("Building Xen {}", self.version_of(&patches[..last]));
        step(&name, || succeed(&mut command))?;
        for (count, folder) in missing {
            if self.settings == Settings::Flask {
                compile_policy(&work.join(count.to_string()))?;
            }
            std::fs::rename(work.join(count.to_string()), folder)
                .with_context(|| folder.display().to_string())?;
        }
        remove(&work)
    }

    /// Unpacks, applies patch by patch and builds after each number of them that is wanted.
    fn script(&self, patches: &[Patch], wanted: &[usize]) -> String {
        let settings = self.settings.script();
        let mut script = format!(
            "cd /mnt/work\n\
             mkdir tree\n\
             tar --no-same-owner --strip-components={depth} -C tree -xf /mnt/source/{upstream}\n\
             if [ -e /mnt/source/{debian} ]; then tar --no-same-owner -C tree -xf /mnt/source/{debian}; fi\n\
             cd tree\n\
             if [ -e xen/.config ]; then make -s -C xen distclean; fi\n\
             apply() {{\n\
             echo \"Applying $1\"\n\
             patch --silent --batch --forward --fuzz=0 --no-backup-if-mismatch -p1 <\"$1\"\n\
             }}\n\
             if [ -e debian/patches/series ] && [ ! -e .pc/applied-patches ]; then\n\
             sed -e '/^#/d' -e '/^$/d' debian/patches/series >names\n\
             while read -r name; do apply \"debian/patches/$name\"; done <names\n\
             fi\n\
             kconfig=debian/xen-kconfig\n\
             if [ ! -e $kconfig ]; then kconfig=/mnt/patches/{KCONFIG}; fi\n\
             sed '{settings}' $kconfig >xen/.config\n\
             export XEN_TARGET_ARCH=x86_64 XEN_COMPILE_ARCH=x86_64 GIT=/bin/false WGET=/bin/false\n\
             export DEB_MAINTAINER='xenlend <root@localhost>'\n\
             build() {{\n\
             echo \"Building $2\"\n\
             if [ -d debian ]; then export DEB_VERSION=$2; else export XEN_VENDORVERSION=$3; fi\n\
             make -s -C xen olddefconfig\n\
             make -s -C xen -j\"$(nproc)\" build\n\
             mkdir /mnt/work/\"$1\"\n\
             cp xen/xen /mnt/work/\"$1\"/{IMAGE}\n\
             cp xen/xen-syms.map /mnt/work/\"$1\"/symbols\n\
             cp xen/.config /mnt/work/\"$1\"/config\n\
             echo \"$2\" >/mnt/work/\"$1\"/version\n\
             {more}}}\n",
            more = self.settings.more(),
            depth = self.source.depth,
            upstream = Source::UPSTREAM,
            debian = Source::DEBIAN,
        );
        for count in 0..=patches.len() {
            if let Some(patch) = count.checked_sub(1).and_then(|last| patches.get(last)) {
                let _ = writeln!(script, "apply /mnt/patches/{}", patch.name);
            }
            if wanted.contains(&count) {
                let applied = &patches[..count];
                let (version, addition) = (self.version_of(applied), self.addition_of(applied));
                let _ = writeln!(script, "build {count} '{version}' '{addition}'");
            }
        }
        script
    }
}

/// Compiles the policy in a folder of a result.
fn compile_policy(folder: &Path) -> Result<()> {
    preflight::install_missing(&[CHECKPOLICY])?;
    let mut command = Command::new(CHECKPOLICY.0);
    command.args(["-t", "Xen", "-c", POLICY_VERSION, "-o"]).arg(folder.join(POLICY));
    succeed(command.arg(folder.join("policy.conf")))?;
    Ok(())
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The hypervisors that the lab can boot, all with the same dom0: `--xen`.

use std::path::PathBuf;

use anyhow::Result;
use clap::ValueEnum;

use crate::build_root::{BuildRoot, HYPERVISOR};
use crate::kernel_image;
use crate::workspace::Workspace;
use crate::xen_build::{Builder, Built};

/// The last patch that mends a fault of Xen; those behind it make Xen lend-aware.
const LAST_MEND: u32 = 3;

/// Which one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Flavour {
    /// Debian's own
    #[default]
    Stock,
    /// Debian's with the patches of boot/xen
    Lend,
    /// Debian's source without a patch, but with assertions
    StockDebug,
    /// With the patches and with assertions
    LendDebug,
    /// Debian's with only those patches of boot/xen that mend faults: lending works as on Debian's own
    Mended,
    /// The same with assertions
    MendedDebug,
}

/// A hypervisor to be booted.
#[derive(Debug, Clone)]
pub struct Hypervisor {
    /// A multiboot ELF that QEMU loads.
    pub image: PathBuf,
    /// What it is, for the report of a run.
    pub version: String,
}

impl Flavour {
    /// Whether it knows lent memory.
    pub fn is_lend_aware(self) -> bool {
        matches!(self, Self::Lend | Self::LendDebug)
    }

    /// Gives it; builds it if it is not in the cache.
    ///
    /// # Errors
    /// No source, or the compiler's.
    pub fn ensure(self, workspace: &Workspace, root: &BuildRoot) -> Result<Hypervisor> {
        let (upto, debug) = match self {
            Self::Stock => {
                let version = root.version_of(HYPERVISOR).unwrap_or_default();
                return Ok(Hypervisor { image: kernel_image::xen(workspace, root)?, version });
            }
            Self::Lend => (None, false),
            Self::StockDebug => (Some(0), true),
            Self::LendDebug => (None, true),
            Self::Mended => (Some(LAST_MEND), false),
            Self::MendedDebug => (Some(LAST_MEND), true),
        };
        let mut built = Builder::new(workspace, root, debug)?.build(upto, false)?;
        let Some(Built { image, version }) = built.pop() else { anyhow::bail!("nothing was built") };
        Ok(Hypervisor { image, version })
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The hypervisors that the lab can boot, all with the same dom0: `--xen`.

use std::path::PathBuf;

use anyhow::Result;
use clap::ValueEnum;

use crate::build_root::{BuildRoot, HYPERVISOR};
use crate::kernel_image;
use crate::workspace::Workspace;
use crate::xen_build::{Builder, Built, Settings};

/// The last patch that mends a fault of Xen.
const LAST_MEND: u32 = 3;

/// The last patch before those that make Xen lend-aware: it counts flushes.
const LAST_STOCK: u32 = 4;

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
    /// As mended, with Xen's counters: for `cargo xtask figures`
    Counting,
    /// With the patches and with Xen's counters
    LendCounting,
    /// With the patches and with Flask, which enforces Xen's example policy and boot/xen/lab.te
    LendFlask,
}

/// A hypervisor to be booted.
#[derive(Debug, Clone)]
pub struct Hypervisor {
    /// A multiboot ELF that QEMU loads.
    pub image: PathBuf,
    /// What it is, for the report of a run.
    pub version: String,
    /// The policy that its Flask is to enforce, if it has Flask.
    pub policy: Option<PathBuf>,
}

impl Flavour {
    /// Whether it knows lent memory.
    pub fn is_lend_aware(self) -> bool {
        matches!(self, Self::Lend | Self::LendDebug | Self::LendCounting | Self::LendFlask)
    }

    /// The same with assertions, where there is one.
    pub fn with_assertions(self) -> Self {
        match self {
            Self::Stock => Self::StockDebug,
            Self::Lend => Self::LendDebug,
            Self::Mended => Self::MendedDebug,
            other => other,
        }
    }

    /// Gives it; builds it if it is not in the cache.
    ///
    /// # Errors
    /// No source, or the compiler's.
    pub fn ensure(self, workspace: &Workspace, root: &BuildRoot) -> Result<Hypervisor> {
        let (upto, settings) = match self {
            Self::Stock => {
                let version = root.version_of(HYPERVISOR).unwrap_or_default();
                let image = kernel_image::xen(workspace, root)?;
                return Ok(Hypervisor { image, version, policy: None });
            }
            Self::Lend => (None, Settings::Debians),
            Self::StockDebug => (Some(0), Settings::Assertions),
            Self::LendDebug => (None, Settings::Assertions),
            Self::Mended => (Some(LAST_MEND), Settings::Debians),
            Self::MendedDebug => (Some(LAST_MEND), Settings::Assertions),
            Self::Counting => (Some(LAST_STOCK), Settings::Counters),
            Self::LendCounting => (None, Settings::Counters),
            Self::LendFlask => (None, Settings::Flask),
        };
        let mut built = Builder::new(workspace, root, settings)?.build(upto, false)?;
        let Some(Built { image, version, policy }) = built.pop() else { anyhow::bail!("nothing was built") };
        Ok(Hypervisor { image, version, policy })
    }
}

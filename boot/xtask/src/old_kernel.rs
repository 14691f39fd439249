// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guest's driver on a kernel that cannot mark entries of 2 MiB as special (6.6 to 6.11, and builds without
//! transparent huge pages): it must not make any, for such a kernel takes the frames behind them for pages of its own.
//!
//! The lab has no such kernel. Its headers without the symbol are what the compiler sees on one.

use anyhow::{ensure, Context, Result};

use crate::build_root::BuildRoot;
use crate::chroot::Chroot;
use crate::command::succeed;
use crate::kernel_module::copy;
use crate::progress::step;
use crate::workspace::Workspace;

/// What a kernel that can has.
const SYMBOL: &str = "CONFIG_ARCH_SUPPORTS_PMD_PFNMAP";
/// The kernel's function that makes an entry of 2 MiB.
const MAKES_2MIB: &str = "vmf_insert_pfn_pmd";
/// Ours that the kernel calls for one.
const IS_ASKED: &str = "xenlend_mapping_huge_fault";

/// Compiles the driver's mappings with and without the symbol, and looks for what makes entries of 2 MiB.
///
/// # Errors
/// The compiler's; an object that has it and must not, or the other way round.
pub fn check(workspace: &Workspace, root: &BuildRoot) -> Result<()> {
    let with = symbols(workspace, root, "")?;
    let without = symbols(workspace, root, &format!("#undef {SYMBOL}\n"))?;
    for name in [MAKES_2MIB, IS_ASKED] {
        ensure!(with.contains(name), "with {SYMBOL} the driver has no {name}: this check finds nothing");
        ensure!(!without.contains(name), "without {SYMBOL} the driver still has {name}");
    }
    Ok(())
}

/// The symbols of the compiled file, in which `header` came before everything but the kernel's configuration.
fn symbols(workspace: &Workspace, root: &BuildRoot, header: &str) -> Result<String> {
    let work = workspace.lab().join("modules/old-kernel.build");
    crate::digest::remove(&work)?;
    for source in ["guest-frontend/glue/mapping.c", "guest-frontend/glue/glue.h", "dom0-shim/glue/common.h"] {
        let source = workspace.root.join(source);
        copy(&source, &work.join(source.file_name().unwrap_or_default()))?;
    }
    std::fs::write(work.join("Kbuild"), "obj-m := mapping.o\n").context("Kbuild")?;
    std::fs::write(work.join("old.h"), header).context("old.h")?;
    let script = format!(
        "make -s -C /lib/modules/{}/build M=/mnt/work KCFLAGS='-include /mnt/work/old.h' mapping.o 2>&1 && nm /mnt/work/mapping.o",
        root.kernel
    );
    let mut command = Chroot::new(root).work_in(&work, "work").shell(&script);
    step("Compiling the driver's mappings for an older kernel", || succeed(&mut command))
}

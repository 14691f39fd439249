// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask lab up`: makes everything that a run needs; what is there and up to date stays.

use std::time::Instant;

use anyhow::Result;

use crate::build_root::BuildRoot;
use crate::hypervisor::Flavour;
use crate::images::{self, Images};
use crate::parts::Parts;
use crate::workspace::Workspace;
use crate::{preflight, programs};

/// The command's options.
#[derive(Debug, Default, clap::Args)]
pub struct Arguments {
    /// The hypervisor to make ready
    #[arg(long, value_enum, default_value_t)]
    xen: Flavour,
    #[command(flatten)]
    parts: Parts,
}

/// Does it.
///
/// # Errors
/// What the machine lacks, or a failing build.
pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let start = Instant::now();
    let (root, images) = prepare(workspace, &arguments.parts)?;
    let xen = arguments.xen.ensure(workspace, &root)?;
    let size = |parts: &[Vec<u8>]| parts.iter().map(Vec::len).sum::<usize>() >> 20;
    println!(
        "The lab is ready after {:.1} s: Xen {}, {} in {}, dom0's image {} MiB, the guests' {} MiB.",
        start.elapsed().as_secs_f64(),
        xen.version,
        root.kernel,
        root.path.display(),
        size(&images.dom0),
        size(&images.guest),
    );
    Ok(())
}

/// Gives everything that a run needs but the hypervisor.
///
/// # Errors
/// As above.
pub fn prepare(workspace: &Workspace, parts: &Parts) -> Result<(BuildRoot, Images)> {
    preflight::prepare()?;
    // What cargo builds by itself needs nothing of the build root, and takes about as long the first time.
    let root = std::thread::scope(|scope| {
        let programs = scope.spawn(|| programs::build(workspace, parts).map(drop));
        let root = BuildRoot::ensure(workspace);
        programs.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        root
    })?;
    let images = images::build(workspace, &root, parts)?;
    Ok((root, images))
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask xen`: builds Debian's Xen with the patches of boot/xen.

use anyhow::Result;

use crate::build_root::BuildRoot;
use crate::preflight;
use crate::workspace::Workspace;
use crate::xen_build::{Builder, Settings};

/// The command's options.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The number of the last patch to apply; 0 for none [default: all]
    #[arg(long, value_name = "N")]
    upto: Option<u32>,
    /// Build after each patch
    #[arg(long)]
    each: bool,
    /// Build with assertions
    #[arg(long)]
    debug: bool,
}

/// Does it.
///
/// # Errors
/// No source, a patch that does not apply, or the compiler's.
pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    preflight::prepare()?;
    let root = BuildRoot::ensure(workspace)?;
    let settings = if arguments.debug { Settings::Assertions } else { Settings::Debians };
    let builder = Builder::new(workspace, &root, settings)?;
    for built in builder.build(arguments.upto, arguments.each)? {
        println!("Xen {}: {}", built.version, built.image.display());
    }
    Ok(())
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask check`: what can be said of a change without root, without the lab and within minutes.

use anyhow::Result;

use crate::build_root::BuildRoot;
use crate::host_checks;
use crate::tally::Tally;
use crate::workspace::Workspace;

/// The command's options.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// More made-up cases in the tests of the host
    #[arg(long)]
    full: bool,
}

/// Does it; the exit status is 0 when everything passed.
///
/// # Errors
/// A program that does not start.
pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<i32> {
    let mut tally = Tally::default();
    all(workspace, arguments.full, &mut tally)?;
    println!("{tally}");
    Ok(tally.status())
}

/// All of it, as a part of another command. Xen's headers are those of the build root, if it is there.
///
/// # Errors
/// As above.
pub fn all(workspace: &Workspace, full: bool, tally: &mut Tally) -> Result<()> {
    host_checks::licences(workspace, tally);
    host_checks::sources(workspace, tally)?;
    host_checks::documentation(workspace, tally)?;
    let root = BuildRoot::present(workspace);
    host_checks::tests(workspace, root.as_ref(), full, tally)
}

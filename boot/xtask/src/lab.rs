// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask lab`: real Xen on this machine, without hardware virtualisation.

use anyhow::Result;

use crate::workspace::Workspace;
use crate::{lab_cc, lab_run, lab_screenshot, lab_up};

/// Its subcommands.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Fetch and build everything that a run needs
    Up(lab_up::Arguments),
    /// Boot, run a script in dom0, bring back what it left
    Run(Box<lab_run::Arguments>),
    /// Compile a C program (or kernel module) for the lab
    Cc(lab_cc::Arguments),
    /// Save what the display of a running lab shows
    Screenshot(lab_screenshot::Arguments),
}

/// Does what was asked and gives the exit status.
///
/// # Errors
/// The subcommand's.
pub fn run(workspace: &Workspace, command: &Command) -> Result<i32> {
    match command {
        Command::Up(arguments) => lab_up::run(workspace, arguments).map(|()| 0),
        Command::Run(arguments) => lab_run::run(workspace, arguments),
        Command::Cc(arguments) => lab_cc::run(workspace, arguments).map(|()| 0),
        Command::Screenshot(arguments) => lab_screenshot::run(arguments).map(|()| 0),
    }
}

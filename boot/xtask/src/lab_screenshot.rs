// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask lab screenshot`: saves what the display of a running lab shows.

use std::path::PathBuf;

use anyhow::Result;

use crate::qmp::Qmp;
use crate::running;

/// The command's options.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Where the picture (PNG) goes
    #[arg(short, long, value_name = "FILE.png")]
    output: PathBuf,
    /// Name of the lab run, if there are several
    #[arg(long, value_name = "RUN")]
    run: Option<String>,
}

/// Does it.
///
/// # Errors
/// No lab is running, or the file cannot be written.
pub fn run(arguments: &Arguments) -> Result<()> {
    let monitor = running::monitor(arguments.run.as_deref())?;
    Qmp::connect(&monitor)?.screendump(&std::path::absolute(&arguments.output)?)
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs programs whose output matters only when they fail.

use std::process::{Command, Output, Stdio};

use anyhow::{bail, Context, Result};

/// The lines of a failed program's output that are shown.
const SHOWN_LINES: usize = 60;

/// Runs a program that has to succeed, and gives what it printed on standard output.
///
/// # Errors
/// It could not be started, or failed: with the end of what it said.
pub fn succeed(command: &mut Command) -> Result<String> {
    let output = run(command)?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        let lines: Vec<&str> = said.lines().collect();
        let end = lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n");
        bail!("{} failed ({}):\n{end}", command.get_program().to_string_lossy(), output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a program and gives all it printed and its status.
///
/// # Errors
/// It could not be started.
pub fn run(command: &mut Command) -> Result<Output> {
    command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{} does not start", command.get_program().to_string_lossy()))
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs a command in a guest that may ask for this program's commands meanwhile: a line of its output
//! that starts with `@` is one, and is answered on its input with `ok` or with what went wrong.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{bail, Context, Result};

use xenlend_touch::times::Times;

use crate::commands;
use crate::lender::Lender;

/// Runs it until it ends; everything else that it says goes to `out`.
pub fn run(
    lender: &mut Lender,
    guest: &str,
    command: &[String],
    timed: bool,
    out: &mut impl Write,
) -> Result<()> {
    let mut child = Command::new("guest-exec")
        .args(["-i", guest])
        .args(command)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("guest-exec")?;
    let (Some(mut input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
        bail!("no pipes")
    };
    let mut times = Times::default();
    for line in BufReader::new(output).lines() {
        let line = line.context("the guest's output")?;
        let Some(request) = line.strip_prefix('@') else {
            writeln!(out, "{line}")?;
            continue;
        };
        let words: Vec<String> = request.split_whitespace().map(str::to_owned).collect();
        let start = Instant::now();
        let answer = match commands::carry_out(lender, &words, &mut Vec::new()) {
            Ok(_) => "ok".to_owned(),
            Err(error) => format!("{error:#}").replace('\n', " "),
        };
        times.record(start.elapsed());
        writeln!(input, "{answer}").context("the guest does not listen")?;
    }
    drop(input);
    if timed {
        writeln!(out, "{}", times.words("asked"))?;
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("the guest's command ended with {status}");
    }
    Ok(())
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Asks the lender's program for something and waits until it is done: a line that starts with `@`
//! on standard output, answered by a line on standard input (`lender … drive` is at the other end).

use std::io::{self, BufRead, Write};

use anyhow::{bail, Context, Result};

/// Has the lender's program carry out one of its commands.
///
/// # Errors
/// With the lender's answer, when it failed; when there is no lender's program at the other end.
pub fn ask_lender(command: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "@{command}").and_then(|()| out.flush()).context("cannot ask the lender")?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).context("cannot hear the lender")?;
    match answer.trim_end() {
        "" => bail!("the lender has gone"),
        "ok" => Ok(()),
        other => match other.strip_prefix("ok ") {
            Some(_) => Ok(()),
            None => bail!("the lender could not {command:?}: {other}"),
        },
    }
}

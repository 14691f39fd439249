// SPDX-License-Identifier: MIT OR Apache-2.0
//! The program that dom0's agent is waiting for: the one thing an abort has to end.

use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{bail, Context, Result};
use rustix::process::{kill_process_group, Pid, Signal};

use crate::pipe::pump;

/// What runs now, and whether anything may still be started.
#[derive(Default)]
struct State {
    running: Option<Pid>,
    aborted: bool,
}

/// Starts programs one at a time.
#[derive(Clone, Default)]
pub struct Children(Arc<Mutex<State>>);

impl Children {
    /// Ends the program that runs now; no other is started after it.
    pub fn abort(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.aborted = true;
        if let Some(group) = state.running {
            // It may have ended by itself, which is as good.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }

    /// Whether the run was aborted.
    pub fn aborted(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).aborted
    }

    /// Runs a program, handing over what it prints, and gives its status.
    ///
    /// # Errors
    /// It could not be started, or the run was aborted.
    pub fn stream(&self, command: &mut Command, mut sink: impl FnMut(Vec<u8>)) -> Result<i32> {
        let (reader, writer) =
            rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).context("no pipe")?;
        command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer).process_group(0);
        let mut child = {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if state.aborted {
                bail!("the time is over");
            }
            let child = command
                .spawn()
                .with_context(|| format!("{} does not start", command.get_program().to_string_lossy()))?;
            state.running = Some(Pid::from_child(&child));
            child
        };
        let pumped = pump(&child, &[reader.as_fd()], |_, data| {
            sink(data);
            Ok(())
        });
        // Reaped under the lock: an abort must not signal a number that is somebody else's by now.
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.running = None;
        let status = child.wait()?;
        pumped?;
        Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)))
    }

    /// Runs a program that has to succeed.
    ///
    /// # Errors
    /// It failed: with what it printed.
    pub fn succeed(&self, command: &mut Command) -> Result<()> {
        let mut text = Vec::new();
        let status = self.stream(command, |data| text.extend(data))?;
        if status != 0 {
            bail!("{command:?} ended with status {status}: {}", String::from_utf8_lossy(&text).trim());
        }
        Ok(())
    }
}

/// What a short program prints, whatever its status; the collection of logs goes on without it.
pub fn printed(program: &str, arguments: &[&str]) -> Vec<u8> {
    match Command::new(program).args(arguments).stdin(Stdio::null()).output() {
        Ok(Output { stdout, stderr, .. }) => [stdout, stderr].concat(),
        Err(error) => format!("{program}: {error}\n").into_bytes(),
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Says what takes long: a spinner on a terminal, plain lines elsewhere, nothing for quick steps.

use std::io::IsTerminal;
use std::sync::mpsc::{channel, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};

/// A step is mentioned when it has taken this long.
const QUIET: Duration = Duration::from_secs(2);

/// How often a long step is mentioned again where there is no terminal.
const REPEAT: Duration = Duration::from_secs(15);

/// Does a step's work and says how it goes.
///
/// # Errors
/// The work's own.
pub fn step<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    let (finished, wait) = channel::<()>();
    let shown = name.to_owned();
    let reporter = std::thread::spawn(move || {
        if wait.recv_timeout(QUIET) != Err(RecvTimeoutError::Timeout) {
            return;
        }
        if std::io::stderr().is_terminal() {
            let bar = ProgressBar::new_spinner().with_message(shown);
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(120));
            let _ = wait.recv();
            bar.finish_and_clear();
            return;
        }
        eprintln!("{shown} …");
        while wait.recv_timeout(REPEAT) == Err(RecvTimeoutError::Timeout) {
            eprintln!("{shown} … {} s", start.elapsed().as_secs());
        }
    });
    let result = work();
    drop(finished);
    let _ = reporter.join();
    let seconds = start.elapsed();
    if seconds > QUIET {
        let outcome = if result.is_ok() { "done" } else { "failed" };
        eprintln!("{name}: {outcome} in {:.1} s", seconds.as_secs_f64());
    }
    result
}

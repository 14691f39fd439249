// SPDX-License-Identifier: MIT OR Apache-2.0
//! Interrupts a running machine now and then: its emulator can lose an interrupt for which everything waits, and
//! the next one, whatever it is, brings that back. See boot/decisions/0010-lab-emulation.md.

use std::path::PathBuf;
use std::sync::mpsc::{channel, RecvTimeoutError, Sender};
use std::time::Duration;

use anyhow::Result;

use crate::qmp::Qmp;

/// How often. Far below the seconds after which anything in the lab takes a peer for dead, and no load for it.
const PERIOD: Duration = Duration::from_millis(100);

/// Beats until it is dropped.
pub struct Heartbeat {
    _end: Sender<()>,
}

impl Heartbeat {
    /// Starts it, on a monitor of its own.
    pub fn start(monitor: PathBuf) -> Self {
        let (end, ended) = channel::<()>();
        std::thread::spawn(move || {
            let mut qmp: Option<Qmp> = None;
            while ended.recv_timeout(PERIOD) == Err(RecvTimeoutError::Timeout) {
                let mut beat = || -> Result<Qmp> {
                    let mut qmp = qmp.take().map_or_else(|| Qmp::connect(&monitor), Ok)?;
                    qmp.press_shift()?;
                    Ok(qmp)
                };
                // QEMU may not listen yet, or not any more: whoever waits for its end is told by others.
                qmp = beat().ok();
            }
        });
        Self { _end: end }
    }
}

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

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::net::UnixListener;

    use super::Heartbeat;

    #[test]
    fn keys_are_pressed_until_it_is_dropped() {
        let folder = std::env::temp_dir().join(format!("xenlend-heartbeat-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let socket = folder.join("monitor");
        let listener = UnixListener::bind(&socket).unwrap();
        let mut heartbeat = Some(Heartbeat::start(socket));
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"{\"QMP\": {}}\n").unwrap();
        let mut presses = 0;
        for line in BufReader::new(stream.try_clone().unwrap()).lines() {
            let line = line.unwrap();
            presses += u32::from(line.contains("send-key"));
            if presses == 3 {
                heartbeat = None;
            }
            stream.write_all(b"{\"return\": {}}\n").unwrap();
        }
        // The connection is closed: by nothing but the drop.
        assert!(heartbeat.is_none());
        assert_eq!(presses, 3);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}

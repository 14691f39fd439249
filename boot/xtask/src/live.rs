// SPDX-License-Identifier: MIT OR Apache-2.0
//! A machine that runs: the emulator with its sockets, and what is heard of it.

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::mpsc::{channel, Receiver};
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};
use xenlend_lab::host::{Job, ToDom0};

use crate::qemu::{Files, Machine, Running, Start};
use crate::qmp::Qmp;
use crate::running::{RunFolder, MONITOR};
use crate::session::{listen, Event, Outcome, Reached, Session};

/// One of them. It ends when this is dropped.
pub struct Live {
    files: Files,
    running: Running,
    events: Receiver<Event>,
    start: Instant,
    _folder: RunFolder,
}

impl Live {
    /// Starts a machine with the sockets in this folder; what it says goes to the logs.
    ///
    /// # Errors
    /// No sockets, or QEMU does not start.
    pub fn start(
        machine: &Machine,
        folder: RunFolder,
        initramfs: &Path,
        start: Start<'_>,
        logs: &Path,
    ) -> Result<Self> {
        let files = Files {
            initramfs: initramfs.to_owned(),
            link: folder.join("link"),
            monitor: folder.join(MONITOR),
            heartbeat: folder.join("heartbeat"),
        };
        let listener = UnixListener::bind(&files.link).with_context(|| files.link.display().to_string())?;
        let (events, received) = channel();
        let (ended, end) = channel();
        listen(listener, events.clone());
        let now = Instant::now();
        let (serial, errors) = (logs.join("serial.log"), logs.join("qemu.log"));
        let running = machine.start(&files, start, &serial, &errors, ended)?;
        std::thread::spawn(move || {
            // One word, when the machine has ended; nobody listens when the run was over before.
            if end.recv().is_ok() {
                let _ = events.send(Event::Ended);
            }
        });
        Ok(Self { files, running, events: received, start: now, _folder: folder })
    }

    /// The host's side of what it does, whose files go to this folder.
    pub fn session<'a>(
        &'a mut self,
        folder: &'a Path,
        timeout: Duration,
        print: &'a mut dyn FnMut(&[u8]),
    ) -> Session<'a> {
        Session {
            folder,
            monitor: &self.files.monitor,
            machine: &mut self.running,
            events: &self.events,
            start: self.start,
            timeout,
            print,
            peer: None,
            stages: Vec::new(),
        }
    }
}

impl Session<'_> {
    /// Waits until the machine takes orders; gives the outcome if it comes to its end before.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn until_ready(&mut self) -> Result<Option<Outcome>> {
        loop {
            match self.wait()? {
                Reached::Connected => {}
                Reached::Ready => return Ok(None),
                Reached::Over(outcome) => return Ok(Some(outcome)),
            }
        }
    }

    /// Has the guests brought up, and waits for them.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn bring_up(&mut self, job: &Job) -> Result<Option<Outcome>> {
        self.tell(&ToDom0::Guests(job.clone()));
        self.until_ready()
    }

    /// Gives a machine its saved state, and lets it go on. It takes orders then.
    ///
    /// # Errors
    /// The state does not fit, or the emulator ends.
    pub fn resume(&mut self, state: &Path) -> Result<()> {
        if !matches!(self.wait()?, Reached::Connected) {
            bail!("the emulator did not start (its words are in {}/logs/qemu.log)", self.folder.display());
        }
        let mut monitor = Qmp::connect(self.monitor)?;
        monitor.restore(state)?;
        monitor.go_on()
    }

    /// Saves a machine that waits for an order, all but its memory, and ends it.
    ///
    /// # Errors
    /// It cannot be saved.
    pub fn save(&mut self, state: &Path) -> Result<()> {
        let mut monitor = Qmp::connect(self.monitor)?;
        monitor.stop_halted()?;
        monitor.save(state)?;
        monitor.quit()?;
        self.await_end();
        Ok(())
    }
}

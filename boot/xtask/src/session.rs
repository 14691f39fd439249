// SPDX-License-Identifier: MIT OR Apache-2.0
//! The host's side of one run: takes what dom0's agent sends until the run is over.

use std::fs::File;
use std::io::Write;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Component, Path};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{bail, Context, Result};
use xenlend_lab::frame;
use xenlend_lab::host::{ToDom0, ToHost, STATUS_LAB_FAILED, STATUS_TIMEOUT};

use crate::qemu::Running;
use crate::qmp::Qmp;

/// What dom0 gets after the timeout to send its logs.
const GRACE: Duration = Duration::from_secs(30);

/// What Xen gets to print its state when dom0 does not answer any more.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// What happens during a run.
pub enum Event {
    /// dom0's agent has connected.
    Connected(UnixStream),
    /// It said something.
    Said(ToHost),
    /// The machine has ended.
    Ended,
}

/// How a run went.
#[derive(Debug)]
pub struct Outcome {
    /// Its exit status.
    pub status: i32,
    /// Why the lab failed, if it did.
    pub trouble: Option<String>,
    /// Points of the boot.
    pub stages: Vec<Stage>,
}

/// A point of the boot that was reached.
#[derive(Debug, Clone)]
pub struct Stage {
    /// Its name.
    pub name: String,
    /// When, since power-on.
    pub at: Duration,
    /// The processor time that the emulator had used by then: on a busy host it tells more.
    pub cpu: Duration,
}

/// One run.
pub struct Session<'a> {
    /// Where its files go.
    pub folder: &'a Path,
    /// QEMU's monitor.
    pub monitor: &'a Path,
    /// The machine.
    pub machine: &'a mut Running,
    /// What happens.
    pub events: &'a Receiver<Event>,
    /// When the machine was switched on, or restored.
    pub start: Instant,
    /// For how long it may go on.
    pub timeout: Duration,
    /// Takes what the script prints.
    pub print: &'a mut dyn FnMut(&[u8]),
    /// The link to dom0's agent.
    pub peer: Option<UnixStream>,
    /// Points of the boot so far.
    pub stages: Vec<Stage>,
}

/// Why a session waits no more.
#[derive(Debug)]
pub enum Reached {
    /// dom0's agent has connected.
    Connected,
    /// Everything is up, and the agent waits for an order.
    Ready,
    /// The run is over.
    Over(Outcome),
}

/// Listens for dom0's agent in a thread of its own.
pub fn listen(listener: UnixListener, events: Sender<Event>) {
    std::thread::spawn(move || {
        let Ok((stream, _)) = listener.accept() else { return };
        let Ok(mut reader) = stream.try_clone() else { return };
        // Whoever takes the events has gone when a sending fails: the run is over.
        let mut going = events.send(Event::Connected(stream)).is_ok();
        while going {
            let Ok(message) = frame::receive(&mut reader) else { return };
            going = events.send(Event::Said(message)).is_ok();
        }
    });
}

impl Session<'_> {
    /// Sends files, among which is the script, has it run, and waits for its end.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn run_script(&mut self, archive: &[u8]) -> Result<Outcome> {
        for piece in archive.chunks(frame::CHUNK) {
            self.tell(&ToDom0::Files { data: piece.to_vec() });
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).context("this machine's clock")?;
        self.tell(&ToDom0::Script { now });
        loop {
            if let Reached::Over(outcome) = self.wait()? {
                return Ok(outcome);
            }
        }
    }

    /// Tells dom0's agent something. If it does not listen any more, whoever waits then learns what has become of
    /// the machine.
    pub fn tell(&mut self, message: &ToDom0) {
        let told = self.peer.as_mut().map(|peer| frame::send(peer, message));
        if let Some(Err(error)) = told {
            eprintln!("dom0 does not listen: {error}");
        }
    }

    /// Takes events until something is reached.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn wait(&mut self) -> Result<Reached> {
        let mut deadline = self.start + self.timeout;
        let mut aborting = false;
        loop {
            let wait = deadline.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(wait) {
                Ok(Event::Connected(stream)) => {
                    self.peer = Some(stream);
                    return Ok(Reached::Connected);
                }
                Ok(Event::Said(ToHost::Ready)) => return Ok(Reached::Ready),
                Ok(Event::Said(ToHost::Exit { status, trouble })) => {
                    self.end();
                    return Ok(self.over(status, trouble));
                }
                Ok(Event::Said(ToHost::Stage { name })) => {
                    let cpu = self.machine.cpu_time();
                    self.stages.push(Stage { name, at: self.start.elapsed(), cpu });
                }
                Ok(Event::Said(message)) => self.take(message)?,
                Ok(Event::Ended) | Err(RecvTimeoutError::Disconnected) => {
                    let why = format!(
                        "the emulated machine ended before the run was over (last words in {}/logs/serial.log)",
                        self.folder.display()
                    );
                    let status = if aborting { STATUS_TIMEOUT } else { STATUS_LAB_FAILED };
                    self.machine.end();
                    return Ok(self.over(status, Some(why)));
                }
                Err(RecvTimeoutError::Timeout) => {
                    let told =
                        self.peer.as_mut().is_some_and(|peer| frame::send(peer, &ToDom0::Abort).is_ok());
                    if aborting || !told {
                        self.machine.print_state();
                        std::thread::sleep(LAST_WORDS);
                        self.end();
                        let why = format!("not over after {} s", self.timeout.as_secs());
                        return Ok(self.over(STATUS_TIMEOUT, Some(why)));
                    }
                    aborting = true;
                    deadline = Instant::now() + GRACE;
                }
            }
        }
    }

    /// Ends the machine, and waits until its serial line's log is whole.
    fn end(&mut self) {
        self.machine.end();
        self.await_end();
    }

    /// Waits until the machine has ended and its serial line's log is whole.
    pub fn await_end(&mut self) {
        while !matches!(self.events.recv_timeout(LAST_WORDS), Ok(Event::Ended) | Err(_)) {}
    }

    /// The run's end.
    fn over(&mut self, status: i32, trouble: Option<String>) -> Reached {
        Reached::Over(Outcome { status, trouble, stages: std::mem::take(&mut self.stages) })
    }

    /// Takes what nobody waits for.
    fn take(&mut self, message: ToHost) -> Result<()> {
        match message {
            ToHost::Log { name, data, first } => {
                self.write(&format!("logs/{}", plain(&name)?.display()), &data, first)
            }
            ToHost::Script { data } => {
                (self.print)(&data);
                self.write("logs/script.log", &data, false)
            }
            ToHost::Output { path, data, first } => {
                self.write(&plain(&path)?.to_string_lossy(), &data, first)
            }
            ToHost::Screenshot { id, name } => {
                let taken = self.take_picture(&name);
                let trouble = taken.err().map(|error| format!("{error:#}"));
                self.tell(&ToDom0::ScreenshotDone { id, trouble });
                Ok(())
            }
            ToHost::Stage { .. } | ToHost::Ready | ToHost::Exit { .. } => Ok(()),
        }
    }

    /// Saves what the display shows.
    fn take_picture(&self, name: &str) -> Result<()> {
        let path = self.folder.join(plain(&format!("{name}.png"))?);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        Qmp::connect(self.monitor)?.screendump(&path)?;
        let bytes = std::fs::metadata(&path).with_context(|| path.display().to_string())?.len();
        if bytes == 0 {
            bail!("the emulator left {} empty", path.display());
        }
        Ok(())
    }

    /// Adds to a file of the run's folder.
    fn write(&self, name: &str, data: &[u8], first: bool) -> Result<()> {
        let path = self.folder.join(name);
        let why = || path.display().to_string();
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).with_context(why)?;
        }
        let mut options = File::options();
        options.create(true);
        if first {
            options.write(true).truncate(true);
        } else {
            options.append(true);
        }
        options.open(&path).with_context(why)?.write_all(data).with_context(why)
    }
}

/// A path that stays below the folder it is meant for.
fn plain(path: &str) -> Result<&Path> {
    let path = Path::new(path);
    if path.components().all(|part| matches!(part, Component::Normal(_))) && path.file_name().is_some() {
        return Ok(path);
    }
    bail!("{} leaves the run's folder", path.display())
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn a_name_from_the_lab_cannot_leave_the_runs_folder() {
        assert!(plain("a/b.txt").is_ok());
        for name in ["", "/etc/passwd", "../up", "a/../../up"] {
            assert!(plain(name).is_err(), "{name}");
        }
    }
}

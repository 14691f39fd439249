// SPDX-License-Identifier: MIT OR Apache-2.0
//! The host's side of one run: takes what dom0's agent sends until the run is over.

use std::collections::HashSet;
use std::fs::File;
use std::io::Write;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Component, Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

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
    pub monitor: PathBuf,
    /// The machine.
    pub machine: &'a mut Running,
    /// When it was switched on.
    pub start: Instant,
    /// When it has to be over.
    pub timeout: Duration,
    /// Takes what the script prints.
    pub print: &'a mut dyn FnMut(&[u8]),
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
    /// Takes events until the run is over.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn run(mut self, events: &Receiver<Event>) -> Result<Outcome> {
        let mut outcome = Outcome { status: STATUS_LAB_FAILED, trouble: None, stages: Vec::new() };
        let mut peer = None;
        let mut deadline = self.start + self.timeout;
        let mut aborting = false;
        let mut started = HashSet::new();
        loop {
            let wait = deadline.saturating_duration_since(Instant::now());
            match events.recv_timeout(wait) {
                Ok(Event::Connected(stream)) => peer = Some(stream),
                Ok(Event::Said(ToHost::Exit { status, trouble })) => {
                    (outcome.status, outcome.trouble) = (status, trouble);
                    break;
                }
                Ok(Event::Said(ToHost::Stage { name })) => {
                    let cpu = self.machine.cpu_time();
                    outcome.stages.push(Stage { name, at: self.start.elapsed(), cpu });
                }
                Ok(Event::Said(message)) => self.take(message, peer.as_mut(), &mut started)?,
                Ok(Event::Ended) | Err(RecvTimeoutError::Disconnected) => {
                    outcome.trouble = Some(format!(
                        "the emulated machine ended before the run was over (last words in {}/logs/serial.log)",
                        self.folder.display()
                    ));
                    break;
                }
                Err(RecvTimeoutError::Timeout) => {
                    (outcome.status, outcome.trouble) =
                        (STATUS_TIMEOUT, Some(format!("not over after {} s", self.timeout.as_secs())));
                    let told = peer.as_mut().is_some_and(|peer| frame::send(peer, &ToDom0::Abort).is_ok());
                    if aborting || !told {
                        self.machine.print_state();
                        std::thread::sleep(LAST_WORDS);
                        break;
                    }
                    aborting = true;
                    deadline = Instant::now() + GRACE;
                }
            }
        }
        self.machine.end();
        Ok(outcome)
    }

    /// Takes what is neither a stage nor the end.
    fn take(
        &mut self,
        message: ToHost,
        peer: Option<&mut UnixStream>,
        started: &mut HashSet<String>,
    ) -> Result<()> {
        match message {
            ToHost::Log { name, data, first } => {
                let name = format!("logs/{}", plain(&name)?.display());
                // What an earlier run left under that name is not this run's.
                let new = started.insert(name.clone());
                self.write(&name, &data, first || new)
            }
            ToHost::Script { data } => {
                (self.print)(&data);
                let name = "logs/script.log".to_owned();
                let new = started.insert(name.clone());
                self.write(&name, &data, new)
            }
            ToHost::Output { path, data, first } => {
                self.write(&plain(&path)?.to_string_lossy(), &data, first)
            }
            ToHost::Screenshot { id, name } => {
                let taken = self.take_picture(&name);
                let trouble = taken.err().map(|error| format!("{error:#}"));
                match peer {
                    Some(peer) => Ok(frame::send(peer, &ToDom0::ScreenshotDone { id, trouble })?),
                    None => Ok(()),
                }
            }
            ToHost::Stage { .. } | ToHost::Exit { .. } => Ok(()),
        }
    }

    /// Saves what the display shows.
    fn take_picture(&self, name: &str) -> Result<()> {
        let path = self.folder.join(plain(&format!("{name}.png"))?);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        Qmp::connect(&self.monitor)?.screendump(&path)?;
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

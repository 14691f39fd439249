// SPDX-License-Identifier: MIT OR Apache-2.0
//! Waits until module and broker have found each other.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use xenlend::{BorrowerFd, Device, Event, Reason};

use super::diagnosis::{diagnose, printable, BrokerNodes, ConsoleTail, Observations};
use super::domain::Life;
use super::host::Outcome;
use super::host_error::HostError;
use super::identity::Identity;
use super::xenstore::Xenstore;
use super::{paths, xl};

/// The watch that fires when any domain ends.
pub const DOMAIN_ENDS: &str = "@releaseDomain";
/// The watch that fires when a domain has been made.
pub const DOMAIN_COMES: &str = "@introduceDomain";
const CONSOLE_LINES: usize = 12;
const CONSOLE_BYTES: usize = 4096;

/// Ears on both sides, opened before the broker runs.
pub struct Listener {
    /// The guest after whom the broker is named: its console's log is.
    named: String,
    borrower: Identity,
    broker: Identity,
    /// Where it says how it is.
    folder: String,
    descriptor: BorrowerFd,
    xenstore: Xenstore,
    /// Length of the console log before the broker ran: what is in it is another broker's.
    console_start: u64,
}

/// What has been heard so far.
#[derive(Debug, Default)]
struct Heard {
    nodes: BrokerNodes,
    module_connected: bool,
    over: bool,
}

impl Listener {
    /// Starts to listen.
    pub fn new(named: &str, borrower: Identity, broker: Identity, folder: String) -> Outcome<Self> {
        let bind = |error| HostError::Module { call: "XENLEND_BIND", borrower: borrower.domid, error };
        let descriptor = Device::open().and_then(|device| device.bind(borrower.domid)).map_err(bind)?;
        let failed = |operation, path: &str| {
            let path = path.to_owned();
            move |error| HostError::Xenstore { operation, path, error }
        };
        let mut xenstore = Xenstore::open().map_err(failed("open", "/dev/xen/xenbus"))?;
        for path in [folder.as_str(), DOMAIN_ENDS] {
            xenstore.watch(path).map_err(failed("watch", path))?;
        }
        let console_start = fs::metadata(paths::broker_console(named)).map_or(0, |log| log.len());
        Ok(Self { named: named.to_owned(), borrower, broker, folder, descriptor, xenstore, console_start })
    }

    /// Waits for the connection.
    pub fn wait(mut self, timeout: Duration) -> Outcome<()> {
        let start = Instant::now();
        let mut heard = Heard::default();
        loop {
            self.listen(&mut heard)?;
            if heard.module_connected && heard.nodes.is_connected() {
                return Ok(());
            }
            let left = timeout.saturating_sub(start.elapsed());
            if heard.over || heard.nodes.has_failed() || left.is_zero() {
                return Err(self.explain(heard, start.elapsed()).into());
            }
            wait_for(&[&self.descriptor.as_fd(), &self.xenstore.as_fd()], Some(left))
                .map_err(|error| self.module_error("poll", error))?;
        }
    }

    fn listen(&mut self, heard: &mut Heard) -> Outcome<()> {
        for event in self.descriptor.events().map_err(|error| self.module_error("read", error))? {
            match event {
                Event::Connected { .. } => heard.module_connected = true,
                Event::BrokerCondemned { .. } | Event::Detached => heard.over = true,
                _ => {}
            }
        }
        let folder = self.folder.clone();
        let failed = |error| HostError::Xenstore { operation: "read", path: folder.clone(), error };
        let fired = self.xenstore.fired().map_err(failed)?;
        let mut read = |name: &str| self.xenstore.read(&format!("{folder}/{name}")).map_err(failed);
        let nodes = BrokerNodes { state: read("state")?, error: read("error")? };
        // A broker that dies takes its nodes along; what they said last is what helps.
        heard.nodes = BrokerNodes {
            state: nodes.state.or(heard.nodes.state.take()),
            error: nodes.error.or(heard.nodes.error.take()),
        };
        if fired.iter().any(|path| path == DOMAIN_ENDS) {
            let lives = [self.broker, self.borrower].map(xl::life);
            heard.over |= lives.into_iter().any(|life| life.is_ok_and(|life| !life.can_run()));
        }
        Ok(())
    }

    fn explain(&self, heard: Heard, waited: Duration) -> super::diagnosis::NotConnected {
        let link = self.descriptor.status().ok();
        diagnose(Observations {
            borrower: self.borrower.domid,
            broker: self.broker.domid,
            borrower_life: xl::life(self.borrower).unwrap_or(Life::Alive),
            broker_life: xl::life(self.broker).unwrap_or(Life::Alive),
            nodes: heard.nodes,
            module_connected: heard.module_connected,
            module_reason: link.map(|link| Reason::from_raw(link.reason)),
            messages_received: link.map_or(0, |link| link.counters.messages_received),
            waited_s: waited.as_secs(),
            console: console_tail(&paths::broker_console(&self.named), self.console_start),
        })
    }

    fn module_error(&self, call: &'static str, error: io::Error) -> HostError {
        HostError::Module { call, borrower: self.descriptor.borrower(), error }
    }
}

/// Waits until one of the descriptors has something to say, or for so long.
pub fn wait_for(descriptors: &[&dyn AsFd], timeout: Option<Duration>) -> io::Result<()> {
    let timeout =
        timeout.map(|t| Timespec { tv_sec: t.as_secs() as i64, tv_nsec: i64::from(t.subsec_nanos()) });
    let mut fds: Vec<_> =
        descriptors.iter().map(|fd| PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)).collect();
    match poll(&mut fds, timeout.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn console_tail(path: &Path, start: u64) -> ConsoleTail {
    let Ok(bytes) = fs::read(path) else {
        return ConsoleTail::Missing(path.display().to_string());
    };
    // A log that has become shorter was begun anew.
    let start = usize::try_from(start).unwrap_or_default();
    let bytes = bytes.get(start..).unwrap_or(&bytes);
    let end = &bytes[bytes.len().saturating_sub(CONSOLE_BYTES)..];
    let text = String::from_utf8_lossy(end);
    let lines: Vec<_> =
        text.lines().map(|line| printable(line.trim_end())).filter(|line| !line.is_empty()).collect();
    ConsoleTail::Lines(lines[lines.len().saturating_sub(CONSOLE_LINES)..].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_the_last_lines_fit_for_a_terminal() {
        let path = std::env::temp_dir().join(format!("xenlend-console-{}", std::process::id()));
        let text: String =
            (0..200).flat_map(|n| ["line ".to_owned(), n.to_string(), "\r\n\r\n".to_owned()]).collect();
        fs::write(&path, [text.as_bytes(), b"\x1b[31mred\xff"].concat()).unwrap();
        let ConsoleTail::Lines(lines) = console_tail(&path, 0) else { panic!() };
        assert_eq!(lines.len(), CONSOLE_LINES);
        assert_eq!(lines[CONSOLE_LINES - 2], "line 199");
        assert!(lines[CONSOLE_LINES - 1].starts_with("?[31mred"));
        let length = fs::metadata(&path).unwrap().len();
        assert_eq!(console_tail(&path, length), ConsoleTail::Lines(Vec::new()), "an earlier broker's words");
        let ConsoleTail::Lines(again) = console_tail(&path, length + 1) else { panic!() };
        assert_eq!(again, lines, "begun anew");
        fs::remove_file(&path).unwrap();
        assert!(matches!(console_tail(&path, 0), ConsoleTail::Missing(_)));
    }
}

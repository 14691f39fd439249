// SPDX-License-Identifier: MIT OR Apache-2.0
//! The supervisor's process: waits for the end of a domain or of the link, and lets [`Watch`] act.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::stdio::dup2_stdout;
use xenlend::{BorrowerFd, Device, Event};

use super::again;
use super::connection::{wait_for, DOMAIN_ENDS};
use super::failure::Failure;
use super::frontend_nodes::FrontendNodes;
use super::host::Host;
use super::host_error::HostError;
use super::lock::Lock;
use super::log_line;
use super::paths;
use super::process::READY;
use super::real_host::RealHost;
use super::watch::{Next, Watch, SAMPLE_MS};
use super::xenstore::Xenstore;

/// Between two turns: a guest can fire the watch on its frontend's node as often as it likes, and each turn asks
/// xl and xenstored.
const PAUSE: Duration = Duration::from_millis(50);

/// How long xenstore is not listened to after a flood: each turn looks for itself.
const DEAF: Duration = Duration::from_secs(1);

/// Refused frames that are logged: a guest can touch as many as it likes.
const MAX_REFUSALS_LOGGED: u32 = 64;

/// What the supervisor listens to. What breaks is put aside and opened again at the next turn.
struct Ears {
    xenstore: Option<Xenstore>,
    descriptor: Option<BorrowerFd>,
    /// The node in which the guest's frontend says how it is.
    frontend_state: String,
    /// Until when xenstore is not listened to.
    deaf_until: Option<Instant>,
    /// Refused frames that were logged.
    refusals: u32,
}

/// Watches the link of a guest until it is gone. Standard error is the log.
pub fn run(guest: &str) -> Result<(), Failure> {
    let record = RealHost::new(guest).load_record(guest)?;
    let record = record.ok_or_else(|| Failure::NotUp(guest.to_owned()))?;
    detach_from_caller(guest)?;
    let frontend =
        FrontendNodes { guest: record.guest_domid, broker: record.broker_domid.unwrap_or_default() };
    let frontend_state = format!("{}/state", frontend.frontend());
    let xenstore = listen_to_xenstore(&frontend_state).map_err(|error| HostError::Xenstore {
        operation: "watch",
        path: DOMAIN_ENDS.to_owned(),
        error,
    })?;
    // A link that has ended already has no events.
    let descriptor = Device::open().and_then(|device| device.bind(record.guest_domid)).ok();
    let mut ears =
        Ears { xenstore: Some(xenstore), descriptor, frontend_state, deaf_until: None, refusals: 0 };
    log_line::write(&format!("watching guest {guest} (domain {})", record.guest_domid));
    say_ready()
        .map_err(|error| HostError::Supervisor { guest: guest.to_owned(), reason: error.to_string() })?;

    let pid = i32::try_from(std::process::id()).unwrap_or_default();
    let mut watch = Watch::new(&record, pid);
    loop {
        // Whoever started this process holds the lock until the record names it.
        let next = match Lock::take(&paths::lock(guest), &mut || ()) {
            Ok(_lock) => watch.turn(&mut RealHost::new(guest), &mut |line| log_line::write(&line)),
            Err(error) => Err(HostError::File { operation: "lock", path: paths::lock(guest), error }),
        };
        let next = next.unwrap_or_else(|error| {
            log_line::write(&format!("{error}; {}", error.remedy()));
            Next::Sample
        });
        if next != Next::Leave {
            std::thread::sleep(PAUSE);
        }
        match next {
            Next::Leave => {
                if let Some(arguments) = record.again.as_ref().filter(|_| watch.guest_has_ended()) {
                    again::bring_up(&record, arguments)?;
                }
                return Ok(());
            }
            Next::Wait => ears.wait(None),
            Next::Sample => ears.wait(Some(Duration::from_millis(SAMPLE_MS.into()))),
        }
    }
}

/// Leaves the caller's session, so that its end is not this process's.
fn detach_from_caller(guest: &str) -> Result<(), HostError> {
    match rustix::process::setsid() {
        Ok(_) => Ok(()),
        Err(error) => Err(HostError::Supervisor {
            guest: guest.to_owned(),
            reason: format!("cannot leave the caller's session ({error}); start it with `xenlend supervise`"),
        }),
    }
}

/// Tells the caller that nothing can be missed from now on, and lets go of its pipe.
fn say_ready() -> io::Result<()> {
    println!("{READY}");
    io::stdout().flush()?;
    let nothing = std::fs::OpenOptions::new().write(true).open("/dev/null")?;
    Ok(dup2_stdout(&nothing)?)
}

fn listen_to_xenstore(frontend_state: &str) -> io::Result<Xenstore> {
    let mut xenstore = Xenstore::open()?;
    xenstore.watch(DOMAIN_ENDS)?;
    xenstore.watch(frontend_state)?;
    Ok(xenstore)
}

impl Ears {
    /// Waits for any event, at most so long, and takes what has come.
    fn wait(&mut self, limit: Option<Duration>) {
        if self.xenstore.is_none() && self.deaf_until.is_none_or(|until| Instant::now() >= until) {
            self.deaf_until = None;
            self.xenstore = listen_to_xenstore(&self.frontend_state).ok();
        }
        // Without xenstore nothing tells of a domain's end but looking.
        let look = Duration::from_millis(SAMPLE_MS.into());
        let limit = if self.xenstore.is_none() { Some(limit.unwrap_or(look)) } else { limit };
        let mut descriptors: Vec<&dyn AsFd> = Vec::new();
        descriptors.extend(self.xenstore.as_ref().map(|xenstore| xenstore as &dyn AsFd));
        descriptors.extend(self.descriptor.as_ref().map(|descriptor| descriptor as &dyn AsFd));
        if let Err(error) = wait_for(&descriptors, limit) {
            log_line::write(&format!("cannot wait ({error})"));
        }
        if let Some(Err(error)) = self.xenstore.as_mut().map(Xenstore::fired) {
            log_line::write(&format!("xenstore: {error}"));
            self.xenstore = None;
        }
        if self.xenstore.as_ref().is_some_and(Xenstore::is_flooded) {
            // Closing frees what dom0's kernel keeps of it. The watches fire anew when they are set again.
            self.xenstore = None;
            self.deaf_until = Some(Instant::now() + DEAF);
        }
        match self.descriptor.as_ref().map(BorrowerFd::events) {
            Some(Ok(events)) => {
                for event in &events {
                    if matches!(event, Event::Refused { .. } | Event::Overflow { .. }) {
                        self.refusals = self.refusals.saturating_add(1);
                        if self.refusals == MAX_REFUSALS_LOGGED {
                            log_line::write(
                                "no more refused frames are logged; `xenlend status` counts them",
                            );
                        }
                        if self.refusals >= MAX_REFUSALS_LOGGED {
                            continue;
                        }
                    }
                    log_event(event);
                }
                if events.contains(&Event::Detached) {
                    self.descriptor = None;
                }
            }
            Some(Err(error)) => {
                log_line::write(&format!("module: {error}"));
                self.descriptor = None;
            }
            None => {}
        }
    }
}

fn log_event(event: &Event) {
    log_line::write(&match event {
        Event::Connected { protocol_version } => format!("connected, protocol {protocol_version}"),
        Event::Lost { slot, address, bytes } => {
            format!("region {slot}: {bytes} bytes at {address:#x} are lost")
        }
        Event::BrokerForced => "the broker missed the deadline: revoked without it; it goes on".to_owned(),
        Event::BrokerCondemned { reason } => format!("the broker is held for good: {reason}"),
        Event::Detached => "the link is gone".to_owned(),
        Event::Refused { slot, address, refusal } => {
            format!("region {slot}: the frame at {address:#x} may not be lent: {refusal}")
        }
        Event::Overflow { dropped } => format!("{dropped} events were dropped"),
        Event::Unknown(raw) => format!("event {} of a newer module", raw.kind),
    });
}

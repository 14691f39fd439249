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
use super::identity::Uuid;
use super::lock::Lock;
use super::log_line;
use super::pace::Pace;
use super::paths;
use super::process::READY;
use super::real_host::RealHost;
use super::record::Record;
use super::watch::{control_shutdown, Next, Occasion, Watch, SAMPLE_MS, SOON_MS};
use super::xenstore::Xenstore;

/// Between two turns: what happens at once is seen to at once.
const PAUSE: Duration = Duration::from_millis(50);

/// Refused frames that are logged: a guest can touch as many as it likes.
const MAX_REFUSALS_LOGGED: u32 = 64;

/// What the supervisor listens to. What breaks is put aside and opened again at the next turn.
struct Ears {
    /// Tells of domains that end.
    ends: Option<Xenstore>,
    /// Tells of what guest and broker write. By itself, so that it can be left alone while the other is heard.
    wishes: Option<Xenstore>,
    /// The nodes that guest or broker can write: as often as they like.
    nodes: [String; 2],
    pace: Pace,
    /// Until when nobody listens to wishes.
    deaf_until: Option<Instant>,
    descriptor: Option<BorrowerFd>,
    /// Refused frames that were logged.
    refusals: u32,
    /// The pace's clock.
    start: Instant,
}

/// Watches the link of a guest, whose UUID this is, until it is gone. Standard error is the log.
pub fn run(guest: &str) -> Result<(), Failure> {
    let not_up = || Failure::NotUp(guest.to_owned());
    let uuid = guest.parse::<Uuid>().map_err(|_| not_up())?;
    let record = RealHost::default().load_record(uuid)?.ok_or_else(not_up)?;
    let guest = record.guest.as_str();
    detach_from_caller(guest)?;
    let mut ears = Ears::new(&record)?;
    log_line::write(&format!("watching guest {guest} (domain {})", record.guest_domid));
    say_ready()
        .map_err(|error| HostError::Supervisor { guest: guest.to_owned(), reason: error.to_string() })?;

    let pid = i32::try_from(std::process::id()).unwrap_or_default();
    let mut watch = Watch::new(&record, pid);
    let mut occasion = Occasion::Event;
    let mut sample_at = None;
    loop {
        // Whoever started this process holds the lock until the record names it.
        let next = match Lock::take(&paths::lock(uuid), &mut || ()) {
            Ok(_lock) => watch.turn(&mut RealHost::default(), occasion, &mut |line| log_line::write(&line)),
            Err(error) => Err(HostError::File { operation: "lock", path: paths::lock(uuid), error }),
        };
        let next = next.unwrap_or_else(|error| {
            log_line::write(&format!("{error}; {}", error.remedy()));
            Next::Sample
        });
        if next == Next::Leave {
            if let Some(arguments) = record.again.as_ref().filter(|_| watch.guest_has_ended()) {
                again::bring_up(&record, arguments)?;
            }
            return Ok(());
        }
        std::thread::sleep(PAUSE);
        let sample = Instant::now() + Duration::from_millis(SAMPLE_MS.into());
        sample_at = match (occasion, next) {
            (Occasion::Sample, Next::Sample) => Some(sample),
            // What has been asked for stays due, whatever happens meanwhile.
            (_, Next::Sample) => Some(sample_at.unwrap_or(sample)),
            (Occasion::Wish, _) => sample_at,
            _ => None,
        };
        let soon = (next == Next::Soon).then(|| Instant::now() + Duration::from_millis(SOON_MS.into()));
        occasion = ears.wait(sample_at, soon);
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

fn listen(paths: &[&str]) -> io::Result<Xenstore> {
    let mut xenstore = Xenstore::open()?;
    for path in paths {
        xenstore.watch(path)?;
    }
    Ok(xenstore)
}

impl Ears {
    fn new(record: &Record) -> Result<Self, HostError> {
        let broker = record.broker_domid.unwrap_or_default();
        let frontend = FrontendNodes { guest: record.guest_domid, broker };
        let nodes = [format!("{}/state", frontend.frontend()), control_shutdown(broker)];
        let failed = |error| HostError::Xenstore { operation: "watch", path: DOMAIN_ENDS.to_owned(), error };
        let mut ears = Self {
            ends: Some(listen(&[DOMAIN_ENDS]).map_err(failed)?),
            wishes: None,
            nodes,
            pace: Pace::default(),
            deaf_until: None,
            // A link that has ended already has no events.
            descriptor: Device::open().and_then(|device| device.bind(record.guest_domid)).ok(),
            refusals: 0,
            start: Instant::now(),
        };
        ears.wishes = Some(ears.listen_to_wishes().map_err(failed)?);
        Ok(ears)
    }

    fn listen_to_wishes(&self) -> io::Result<Xenstore> {
        let [frontend, broker] = &self.nodes;
        listen(&[frontend, broker])
    }

    /// Waits for any event, at most until one of these times, and takes what has come.
    fn wait(&mut self, sample: Option<Instant>, soon: Option<Instant>) -> Occasion {
        loop {
            let now = Instant::now();
            if self.ends.is_none() {
                self.ends = listen(&[DOMAIN_ENDS]).ok();
            }
            if self.wishes.is_none() && self.deaf_until.is_none_or(|until| now >= until) {
                self.deaf_until = None;
                // The watches fire when they are set.
                self.wishes = self.listen_to_wishes().ok();
            }
            let is_over = |time: Option<Instant>| time.is_some_and(|time| now >= time);
            if is_over(sample) {
                return Occasion::Sample;
            }
            if is_over(soon) {
                return Occasion::Wish;
            }
            // Without xenstore nothing tells of a domain's end but looking.
            let look = self.ends.is_none().then(|| now + Duration::from_millis(SAMPLE_MS.into()));
            let first = [sample, soon, look, self.deaf_until].into_iter().flatten().min();
            let mut descriptors: Vec<&dyn AsFd> = Vec::new();
            descriptors.extend(self.ends.as_ref().map(|xenstore| xenstore as &dyn AsFd));
            descriptors.extend(self.wishes.as_ref().map(|xenstore| xenstore as &dyn AsFd));
            descriptors.extend(self.descriptor.as_ref().map(|descriptor| descriptor as &dyn AsFd));
            if let Err(error) = wait_for(&descriptors, first.map(|time| time - now)) {
                log_line::write(&format!("cannot wait ({error})"));
            }
            let ended = heard(&mut self.ends);
            let told = self.take_events();
            if ended || told || look.is_some() {
                return Occasion::Event;
            }
            if heard(&mut self.wishes) && !self.is_too_often() {
                return Occasion::Wish;
            }
        }
    }

    /// Whether to leave a wish alone for now. What comes meanwhile is kept by nobody: the connection is closed, which
    /// frees what dom0's kernel has of it.
    fn is_too_often(&mut self) -> bool {
        let delay = self.pace.delay(self.start.elapsed());
        if !delay.is_zero() {
            self.wishes = None;
            self.deaf_until = Some(Instant::now() + delay);
        }
        if self.wishes.as_ref().is_some_and(Xenstore::is_flooded) {
            self.wishes = None;
        }
        !delay.is_zero()
    }

    /// Takes the module's events. Whether there were any.
    fn take_events(&mut self) -> bool {
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
                !events.is_empty()
            }
            Some(Err(error)) => {
                log_line::write(&format!("module: {error}"));
                self.descriptor = None;
                true
            }
            None => false,
        }
    }
}

/// Whether a watch has fired. A connection that is broken is put aside, and something may have happened.
fn heard(xenstore: &mut Option<Xenstore>) -> bool {
    match xenstore.as_mut().map(Xenstore::fired) {
        None => false,
        Some(Ok(fired)) => !fired.is_empty(),
        Some(Err(error)) => {
            log_line::write(&format!("xenstore: {error}"));
            *xenstore = None;
            true
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

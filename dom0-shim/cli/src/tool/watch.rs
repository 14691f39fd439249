// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the supervisor does when something may have happened to a link.
//!
//! The broker dies with the guest. The guest outlives the broker, unless one of its vCPUs waits for an
//! answer that the broker owed it: Xen has no way to wake that vCPU, so the guest is destroyed.

use xenlend::LinkState;

use super::domain::{waiting_throughout, Life, Vcpu};
use super::frontend::FrontendWatch;
use super::frontend_nodes::FrontendNodes;
use super::host::{Host, Outcome};
use super::identity::Identity;
use super::record::{LastStatus, Phase, Record};
use super::take_away::{take_away, Remains};

/// How often the vCPUs are looked at once the broker cannot answer any more, in milliseconds. Xen tells
/// nobody about a stuck vCPU, so there is no event to wait for.
pub const SAMPLE_MS: u32 = 5_000;
/// How long the guest's driver gets to read the state Closing before it is followed by Closed, in milliseconds. Only a
/// guest that shuts down waits for it, and says Closed itself then.
pub const SOON_MS: u32 = 250;
/// So many looks without any progress make a vCPU stuck.
const SAMPLES: u32 = 6;

/// What the supervisor does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Wait for an event.
    Wait,
    /// Wait for an event, at most [`SOON_MS`]; what it comes to then is an [`Occasion::Wish`].
    Soon,
    /// Wait for an event, at most [`SAMPLE_MS`].
    Sample,
    /// Leave: there is nothing to watch any more.
    Leave,
}

/// Why the supervisor looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// Anything may have happened.
    Event,
    /// The time that it asked for is over; anything may have happened meanwhile.
    Sample,
    /// The guest or the broker has written to one of its nodes, and nothing else has happened. They may do so as
    /// often as they like, so xl is not asked then.
    Wish,
}

/// The supervisor's memory.
#[derive(Debug)]
pub struct Watch {
    /// Its name when it was brought up.
    name: String,
    guest: Identity,
    pid: i32,
    sample: Vec<Vcpu>,
    suspects: Vec<u32>,
    looks: u32,
    frontend: FrontendWatch,
    /// Whether the broker can answer the guest's driver, as far as is known.
    answers: bool,
    /// Whether the guest's driver has been told that its broker is held for good.
    told_frontend: bool,
    /// Whether the guest has ended, and the link was taken away for that.
    guest_ended: bool,
}

impl Watch {
    /// Of the link of this guest, for the process `pid`.
    pub fn new(record: &Record, pid: i32) -> Self {
        Self {
            name: record.guest.clone(),
            guest: record.borrower(),
            pid,
            sample: Vec::new(),
            suspects: Vec::new(),
            looks: 0,
            frontend: FrontendWatch::default(),
            answers: false,
            told_frontend: false,
            guest_ended: false,
        }
    }

    /// Whether the guest has ended; if not, [`Next::Leave`] means that somebody has ended the link by hand.
    pub fn guest_has_ended(&self) -> bool {
        self.guest_ended
    }

    /// Looks at the link and does what has to be done; the guest's lock is held. `say` writes the log.
    pub fn turn<H: Host>(
        &mut self,
        host: &mut H,
        occasion: Occasion,
        say: &mut dyn FnMut(String),
    ) -> Outcome<Next> {
        let Some(mut record) = host.load_record(self.guest.uuid)?.filter(|record| self.is_mine(record))
        else {
            say("the record is gone or another's: leaving".to_owned());
            return Ok(Next::Leave);
        };
        if occasion == Occasion::Wish {
            return if self.answers { self.wish_turn(host, &record, say) } else { Ok(Next::Wait) };
        }
        self.answers = false;
        let guest = host.life(self.guest)?;
        if !guest.exists() {
            say(format!("guest {} (domain {}) is {}", self.name, self.guest.domid, guest.word()));
            self.guest_ended = true;
            return Ok(Self::end(host, &record, say));
        }
        let broker = match record.broker() {
            Some(broker) => host.life(broker)?,
            None => Life::Gone,
        };
        if record.phase == Phase::Up && !broker.can_run() {
            Self::go_on_without_broker(host, &mut record, broker, say)?;
        }
        let link = if record.phase == Phase::BrokerGone { None } else { host.link(self.guest.domid)? };
        let condemned = link.is_some_and(|l| LinkState::from_raw(l.state.into()) == LinkState::Condemned);
        if record.phase == Phase::BrokerGone && record.lend_aware {
            return Ok(Next::Wait);
        }
        if record.phase != Phase::BrokerGone && !condemned {
            self.answers = true;
            return self.wish_turn(host, &record, say);
        }
        if let (true, false, Some(broker)) = (condemned, self.told_frontend, record.broker_domid) {
            // Nobody answers it any more: its sleeping tasks have to hear of an end. What the held broker still has
            // mapped of its pages the driver's kernel keeps until that is destroyed.
            host.remove_node(&FrontendNodes { guest: record.guest_domid, broker }.frontend())?;
            self.told_frontend = true;
        }
        if record.lend_aware {
            // The module has dismissed the broker: nobody waits for it.
            return Ok(Next::Wait);
        }
        if occasion != Occasion::Sample {
            // Looks that follow each other at once show nothing.
            return Ok(Next::Sample);
        }
        let stuck = self.stuck_vcpus(host, guest)?;
        if stuck.is_empty() {
            return Ok(Next::Sample);
        }
        say(format!(
            "vCPUs {stuck:?} of guest {} wait for an answer that the broker owes them and that nobody can \
             give: destroying the guest",
            self.name
        ));
        host.destroy(self.guest)?;
        self.guest_ended = true;
        Ok(Self::end(host, &record, say))
    }

    /// Sees to what guest and broker wish.
    fn wish_turn<H: Host>(
        &mut self,
        host: &mut H,
        record: &Record,
        say: &mut dyn FnMut(String),
    ) -> Outcome<Next> {
        if record.phase != Phase::Up {
            return Ok(Next::Wait);
        }
        if let Some(request) = shutdown_request(host, record)? {
            // `xl shutdown` and the service that stops all domains with the host. The broker itself does not listen
            // there: nobody but this process can have it take its server off the guest and leave.
            say(format!("the broker of guest {} is told to {request}: ending the link", self.name));
            return Ok(Self::end(host, record, say));
        }
        self.frontend.turn(host, record, say)
    }

    fn is_mine(&self, record: &Record) -> bool {
        record.borrower() == self.guest
            && record.supervisor.is_some_and(|supervisor| supervisor.pid == self.pid)
    }

    /// The broker is gone and the guest is not. The link stays: the module revokes by itself from now on,
    /// and knows what happened. What it says now is kept for the time when somebody has ended the link.
    fn go_on_without_broker<H: Host>(
        host: &mut H,
        record: &mut Record,
        broker: Life,
        say: &mut dyn FnMut(String),
    ) -> Outcome<()> {
        record.last = host.link(record.guest_domid)?.as_ref().map(LastStatus::from);
        if let (Some(domain), true) = (record.broker(), broker.exists()) {
            host.destroy(domain)?;
        }
        if let Some(broker) = record.broker_domid {
            // The guest's driver lets its programs know.
            host.remove_node(&FrontendNodes { guest: record.guest_domid, broker }.frontend())?;
        }
        if record.lend_aware {
            // Ends with the broker being dismissed: no vCPU waits for it any more.
            host.detach(record.guest_domid)?;
        }
        record.phase = Phase::BrokerGone;
        host.save_record(record)?;
        say(format!(
            "the broker of guest {} is {}: {}",
            record.guest,
            broker.word(),
            if record.lend_aware {
                "the link has ended, the guest runs on; an access to its aperture faults"
            } else {
                "the module revokes without it, the guest runs on; a vCPU of it that touches an absent page \
                 waits for ever"
            }
        ));
        Ok(())
    }

    fn stuck_vcpus<H: Host>(&mut self, host: &mut H, guest: Life) -> Outcome<Vec<u32>> {
        let now = if guest == Life::Alive { host.vcpus(self.guest.domid)? } else { Vec::new() };
        let waiting = waiting_throughout(&self.sample, &now);
        self.sample = now;
        let same: Vec<u32> = self.suspects.iter().copied().filter(|id| waiting.contains(id)).collect();
        if same.is_empty() {
            self.looks = u32::from(!waiting.is_empty());
            self.suspects = waiting;
        } else {
            self.looks += 1;
            self.suspects = same;
        }
        Ok(if self.looks < SAMPLES { Vec::new() } else { self.suspects.clone() })
    }

    fn end<H: Host>(host: &mut H, record: &Record, say: &mut dyn FnMut(String)) -> Next {
        let taken = take_away(host, &Remains::of(record));
        if let Some(broker) = taken.dying_broker {
            say(format!("the broker (domain {broker}) stays as a dying domain until the guest ends"));
        }
        if taken.errors.is_empty() {
            say("the link is taken away: leaving".to_owned());
            return Next::Leave;
        }
        for error in &taken.errors {
            say(format!("cannot take the link away: {error}; {}", error.remedy()));
        }
        Next::Sample
    }
}

/// What the broker's domain is told by `xl shutdown` or `xl reboot`, if anything.
fn shutdown_request<H: Host>(host: &mut H, record: &Record) -> Outcome<Option<&'static str>> {
    let Some(broker) = record.broker_domid else { return Ok(None) };
    let said = host.read_node(&control_shutdown(broker))?;
    Ok(["poweroff", "halt", "reboot"].into_iter().find(|word| said.as_deref() == Some(*word)))
}

/// The node by which a domain is told to shut down.
pub fn control_shutdown(domid: u16) -> String {
    format!("/local/domain/{domid}/control/shutdown")
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! One link: a borrower, its broker, and what is lent. The facade of this crate.
//!
//! Every method runs under the link's lock and only changes this state and the rings.
//! What else has to happen the caller finds in [`Link::take_effects`].
//!
//! The state goes one way: Connecting, Connected, and then, when a revocation made no
//! progress, either Forced (and back to Connected) or Condemned. Any other broken
//! contract condemns.

mod force;
mod frontend;
mod haste;
mod hold;
mod lease;
mod messages;
mod page_in;
mod revoke;
mod waiting;
mod waits;
mod wants;
mod workers;

pub use force::{Cause, ForceEnd};
pub use frontend::{FrontendState, NotAttached};
pub use haste::Awaited;
pub use messages::Drained;
pub use page_in::{Completion, PageIn, PageInRefusal, Posted, PresentStanding};
pub use revoke::InvalidateStart;
pub use waiting::{AskAgain, Obstacle, ResolveError};
pub use waits::{Wait, MAX_THREADS, MAX_THREADS_OF_REGION, MAX_WAITS};
pub use wants::{NextWant, PageInEnd};

use xenlend_protocol::frame::PAGE_SIZE;
use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::message::{ToBroker, VERSION};
use xenlend_protocol::ring::{Consumer, Priority, Producer, RingMemory, SendError};

use crate::counters::{add, Counters};
use crate::crew::{Crew, Place};

use crate::events::{self, Cursor, Event, EventLog};
use crate::histogram::Histogram;
use crate::in_flight::{self, InFlight};
use crate::invalidation::Invalidations;
use crate::kind::Kind;
use crate::regions::{Aperture, Caller, NewRegion, Phase, Plan, Region, RegionError, Regions, Slot};
use crate::request_queue::{Request, RequestQueue};
use crate::storage::Storage;
use crate::uapi::{RegionInfo, RegionRequest, Status};

/// `enum xenlend_reason`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Reason {
    /// No progress on an invalidation.
    Deadline = 1,
    /// The broker's domain has died.
    BrokerGone = 2,
    /// It broke the protocol.
    Breach = 3,
    /// No common protocol version.
    Incompatible = 4,
    /// It could not remove an entry.
    RemoveFailed = 5,
    /// Check mode: it acknowledged without removing.
    Lied = 6,
    /// The borrower's domain has died: there is nothing left to lend to.
    BorrowerGone = 7,
    /// It has found another kind of Xen than the lender.
    OtherXen = 8,
}

/// Where a link stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// No Welcome yet.
    Connecting,
    /// Lending.
    Connected,
    /// The broker was resumed after a forced revocation and has not caught up yet.
    Forced,
    /// Something is broken: whoever may sleep has to revoke by force.
    Failing(Reason),
    /// Somebody is revoking by force.
    Forcing(Reason),
    /// The broker is held for good and nothing is lent.
    Condemned(Reason),
    /// The link is over.
    Detached,
}

/// What the caller has to do when it has let go of the lock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Notify the event channel.
    pub notify: bool,
    /// Wake everybody who waits on the link.
    pub wake: bool,
    /// Wake a worker that waits for the lead: nobody leads, and there is something to do.
    pub relieve: bool,
}

/// Fixed facts of a link.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// The borrower's domain.
    pub borrower: u16,
    /// The broker's.
    pub broker: u16,
    /// The window.
    pub aperture: Aperture,
    /// `ATTACH_*`
    pub flags: u32,
    /// What Xen can do for the borrower.
    pub kind: Kind,
}

/// Memory for the tables of a link.
pub struct Tables<S: Storage> {
    /// [`crate::regions::MAX_REGIONS`] empty slots.
    pub slots: S::Slice<Slot<S>>,
    /// Twice as many empty places as the borrower has vCPUs, and some more: half of them are
    /// kept for accesses, of which each vCPU has one.
    pub requests: S::Slice<Option<Request>>,
    /// [`MAX_WAITS`] empty places.
    pub waits: S::Slice<Option<Wait>>,
    /// [`crate::crew::MAX_WORKERS`] free places.
    pub workers: S::Slice<Place>,
    /// As many empty places: each worker has one page-in.
    pub page_ins: S::Slice<Option<in_flight::Entry>>,
    /// Any number of events.
    pub events: S::Slice<Event>,
    /// [`crate::histogram::BUCKETS`] zeros.
    pub histogram: S::Slice<u32>,
}

/// A link.
pub struct Link<R, S: Storage> {
    config: Config,
    state: State,
    to_broker: Producer<R>,
    from_broker: Consumer<R>,
    regions: Regions<S>,
    in_flight: InFlight<S::Slice<Option<in_flight::Entry>>>,
    invalidations: Invalidations,
    present: Option<page_in::Pending>,
    next_ticket: u32,
    requests: RequestQueue<S::Slice<Option<Request>>>,
    wants: wants::Wants,
    waits: waits::Waits<S::Slice<Option<Wait>>>,
    /// Something is set aside for which there was no place among them.
    crowded: bool,
    crew: Crew<S::Slice<Place>>,
    frontend: frontend::Frontend,
    events: EventLog<S::Slice<Event>>,
    counters: Counters,
    revocations: Histogram<S::Slice<u32>>,
    /// Ring position behind the last Forced.
    forced_position: u32,
    /// Those who want to end something, and wait for whoever makes a call.
    enders: haste::Enders,
    /// Nothing is made present.
    held: bool,
    /// Forced revocations that have ended.
    force_epoch: u32,
    /// Answers about leases that are still to come though their regions were taken out.
    abandoned_answers: u32,
    version: u16,
    effects: Effects,
}

/// No room in the ring now; the caller waits for the broker and tries again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotSent {
    /// Later there will be room.
    Full,
    /// Never again.
    Over,
}

impl<R: RingMemory, S: Storage> Link<R, S> {
    /// A link whose broker has not run yet, over rings that nobody has used.
    pub fn new(config: Config, tables: Tables<S>, to_broker: R, from_broker: R) -> Self {
        Self {
            config,
            state: State::Connecting,
            to_broker: Producer::new(to_broker),
            from_broker: Consumer::new(from_broker),
            regions: Regions::new(tables.slots),
            in_flight: InFlight::new(tables.page_ins),
            invalidations: Invalidations::default(),
            present: None,
            next_ticket: 0,
            requests: RequestQueue::new(tables.requests),
            wants: wants::Wants::default(),
            waits: waits::Waits::new(tables.waits),
            crowded: false,
            crew: Crew::new(tables.workers),
            frontend: frontend::Frontend::default(),
            events: EventLog::new(tables.events),
            counters: Counters::default(),
            revocations: Histogram::new(tables.histogram),
            forced_position: 0,
            enders: haste::Enders::default(),
            held: false,
            force_epoch: 0,
            abandoned_answers: 0,
            version: 0,
            effects: Effects::default(),
        }
    }

    /// Says Hello: the first message, ready for the broker when it starts.
    ///
    /// # Errors
    /// If it was said before.
    pub fn greet(&mut self) -> Result<(), NotSent> {
        let features = self.config.kind.wire_features();
        self.send(&ToBroker::Hello { oldest: VERSION, newest: VERSION, features }, Priority::Normal)
    }

    /// Fixed facts.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Where the link stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// What the lock's holder has to do after it; asked once for each time it was held.
    pub fn take_effects(&mut self) -> Effects {
        let mut effects = core::mem::take(&mut self.effects);
        effects.relieve |= effects.wake && self.crew.is_leaderless() && self.has_work();
        effects
    }

    /// Wakes everybody who waits on the link.
    pub fn wake(&mut self) {
        self.effects.wake = true;
    }

    /// A number that changes whenever the broker does something, sense or nonsense.
    pub fn activity(&mut self) -> u64 {
        let Ok(consumed) = self.to_broker.consumed() else {
            self.fail(Reason::Breach);
            return 0;
        };
        u64::from(consumed) | self.counters.messages_received.wrapping_shl(32)
    }

    /// The place behind what was sent last, for [`Awaited::Answer`].
    pub fn position(&self) -> u32 {
        self.to_broker.position()
    }

    /// A number that changes whenever the broker has done what brings a wait nearer to its end, or was
    /// resumed after a force: it has taken one more message from in front of the question, or out of the
    /// ring where room is wanted, or one more invalidation has ended. Whatever else it does is nothing.
    ///
    /// Once it has read the question the number does not change any more: from then on one deadline is
    /// all it has for its answer.
    pub fn movements(&mut self, awaited: Awaited) -> u64 {
        let moved = match awaited {
            Awaited::Answer(position) => match self.to_broker.has_consumed(position) {
                Ok(true) => Ok(1 << 32),
                Ok(false) => self.to_broker.consumed().map(u64::from),
                Err(kind) => Err(kind),
            },
            Awaited::Room => self.to_broker.consumed().map(u64::from),
            Awaited::Place => Ok(u64::from(self.invalidations.ended())),
        };
        let Ok(moved) = moved else {
            self.fail(Reason::Breach);
            return 0;
        };
        u64::from(self.force_epoch).wrapping_shl(33) | moved
    }

    /// Something is broken for good. Whoever may sleep revokes by force.
    pub fn fail(&mut self, reason: Reason) {
        if matches!(self.state, State::Connecting | State::Connected | State::Forced) {
            self.state = State::Failing(reason);
            self.in_flight.overtake(xenlend_protocol::frame::AperturePage(0), u32::MAX);
            self.effects.wake = true;
        }
    }

    /// Why somebody has to revoke by force now, if so.
    pub fn needs_force(&self) -> Option<Reason> {
        match self.state {
            State::Failing(reason) => Some(reason),
            _ => None,
        }
    }

    /// Ends the link. Nothing may be present any more.
    pub fn detach(&mut self) {
        self.state = State::Detached;
        self.push_event(events::DETACHED, 0, 0, 0);
    }

    /// Checks a region call.
    ///
    /// # Errors
    /// What it breaks.
    pub fn plan_region(&self, request: &RegionRequest, caller: Caller) -> Result<Plan, RegionError> {
        self.regions.plan(request, &self.config.aperture, caller, self.config.kind.unsupported_flags())
    }

    /// The region of a lease.
    pub fn region(&self, lease: LeaseId) -> Option<&Region<S>> {
        self.regions.get(lease)
    }

    /// The first lease from this index on that is that descriptor's, or anybody's.
    pub fn lease_from(&self, owner: Option<u32>, index: u16) -> Option<LeaseId> {
        let mut found = self
            .regions
            .iter()
            .filter(|region| region.lease.index >= index && (owner.is_none() || owner == region.owner));
        found.next().map(|region| region.lease)
    }

    /// Some lease whose end was begun and given up before the broker was asked to drop it.
    pub fn any_ending(&self) -> Option<LeaseId> {
        let mut ending = self.regions.iter().filter(|region| region.phase == Phase::Ending);
        ending.next().map(|region| region.lease)
    }

    /// Some lease that nobody waits for and that the broker has dropped, or never will.
    pub fn any_dropped(&self) -> Option<LeaseId> {
        let over = !matches!(self.state, State::Connected | State::Forced | State::Forcing(_));
        let mut dropped = self.regions.iter().filter(|region| match region.phase {
            Phase::Dropping(answer) => over || answer.is_some(),
            Phase::Ending => over && region.mirror.present_pages() == 0,
            _ => false,
        });
        dropped.next().map(|region| region.lease)
    }

    /// Whether requests wait.
    pub fn has_requests(&self) -> bool {
        !self.requests.is_empty()
    }

    /// Puts a page-in back at the end; dropped if there is no place for it, since the next fault asks again.
    pub fn push_again(&mut self, request: Request) {
        let _ = self.requests.push_again(request);
    }

    /// Counts, to add to.
    pub fn counters(&mut self) -> &mut Counters {
        &mut self.counters
    }

    /// Records how long a revocation took.
    pub fn record_revocation(&mut self, nanoseconds: u64) {
        self.revocations.record(nanoseconds);
    }

    /// Tells the readers of the event stream. What repeats the last event says nothing new and is left out,
    /// so that a borrower which touches one bad page all the time cannot push out the others.
    pub fn push_event(&mut self, kind: u32, slot: u32, address: u64, value: u64) {
        let event = Event { kind, slot, address, value };
        if self.events.last() != Some(event) {
            self.events.push(event);
        }
        self.effects.wake = true;
    }

    /// The events.
    pub fn events(&self) -> &EventLog<S::Slice<Event>> {
        &self.events
    }

    /// Where a new descriptor starts to read, and the event that tells it how things stand.
    pub fn greeting(&self) -> (Cursor, Option<Event>) {
        let event = |kind, value| Event { kind, slot: 0, address: 0, value };
        let now = match self.state {
            State::Connected | State::Forced => Some(event(events::CONNECTED, u64::from(self.version))),
            State::Condemned(reason) => Some(event(events::BROKER_CONDEMNED, u64::from(reason as u32))),
            State::Detached => Some(event(events::DETACHED, 0)),
            State::Connecting | State::Failing(_) | State::Forcing(_) => None,
        };
        (self.events.end(), now)
    }

    /// Pages of all regions together.
    pub fn lent_pages(&self) -> u32 {
        // No two overlap, so they are at most those of the aperture.
        self.regions.iter().map(|region| region.count).fold(0, u32::saturating_add)
    }

    /// `struct xenlend_status` of now.
    pub fn status(&self) -> Status {
        let mut counters = self.counters;
        for region in self.regions.iter() {
            add(&mut counters.present_pages, u64::from(region.mirror.present_pages()));
        }
        add(&mut counters.lent_bytes, u64::from(self.lent_pages()).saturating_mul(4096));
        counters.borrower_attached = self.frontend_status();
        counters.revoke_ns_max = self.revocations.max();
        counters.revoke_ns_p50 = self.revocations.quantile(500);
        counters.revoke_ns_p99 = self.revocations.quantile(990);
        let (state, reason) = match self.state {
            State::Connecting => (1, 0),
            State::Connected => (2, 0),
            State::Forced => (3, Reason::Deadline as u32),
            State::Failing(reason) | State::Forcing(reason) | State::Condemned(reason) => (4, reason as u32),
            State::Detached => (4, 0),
        };
        Status {
            borrower: self.config.borrower,
            broker: self.config.broker,
            next: 0,
            state,
            reason,
            regions: self.regions.iter().count() as u32,
            protocol_version: u32::from(self.version),
            flags: self.config.flags | self.config.kind.status_flags(),
            aperture_address: self.config.aperture.address,
            aperture_size: self.config.aperture.size,
            counters,
        }
    }

    /// The first region from this slot on.
    pub fn region_info(&self, from: u32) -> Option<RegionInfo> {
        let region = self.regions.iter().find(|region| u32::from(region.lease.index) >= from)?;
        Some(RegionInfo {
            slot: u32::from(region.lease.index),
            flags: region.flags,
            guest_phys_addr: self.config.aperture.address_of(region.first),
            memory_size: u64::from(region.count).saturating_mul(PAGE_SIZE),
            label: region.label,
        })
    }

    /// Puts a planned region into the table.
    pub fn insert_region(&mut self, new: &NewRegion, mirror: crate::mirror::Mirror<S>) {
        self.regions.insert(new, mirror);
    }

    fn send(&mut self, message: &ToBroker, priority: Priority) -> Result<(), NotSent> {
        match self.to_broker.send(message, priority) {
            Ok(()) => {
                add(&mut self.counters.messages_sent, 1);
                self.effects.notify = true;
                Ok(())
            }
            Err(SendError::Full) => Err(NotSent::Full),
            Err(SendError::Breach(_) | SendError::TooLong) => {
                self.fail(Reason::Breach);
                Err(NotSent::Over)
            }
        }
    }

    /// Whether a message of any size fits the ring now. A send that found no room has asked
    /// the broker for a wake-up.
    pub fn has_room(&mut self) -> bool {
        self.to_broker.has_room_for_any().unwrap_or(true)
    }

    /// Lends again when the broker has read everything up to the last Forced, and everything
    /// that it said before has been taken. Nothing announces that.
    pub(crate) fn catch_up(&mut self) {
        // In this order: what it said before it read Forced is in the ring by then.
        if self.state == State::Forced
            && self.to_broker.has_consumed(self.forced_position) == Ok(true)
            && self.from_broker.is_empty()
        {
            self.state = State::Connected;
            self.invalidations.forget_forced();
            self.effects.wake = true;
        }
    }

    fn is_lending(&mut self) -> bool {
        self.catch_up();
        matches!(self.state, State::Connected)
    }
}

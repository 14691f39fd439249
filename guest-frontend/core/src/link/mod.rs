// SPDX-License-Identifier: MIT OR Apache-2.0
//! One link to a broker: what it has said, what has been asked, and what is to be zapped.

mod ask;
mod notices;

pub(crate) use ask::Asker;
pub use ask::{Answer, Touch};
pub(crate) use notices::Notice;

use xenlend_protocol::frontend::FromBorrower;
use xenlend_protocol::message::VERSION;
use xenlend_protocol::ring::{Consumer, Priority, Producer, RingMemory, SendError};

use crate::aperture::Aperture;
use crate::counters::{add, Counters};
use crate::lease::Lease;
use crate::page_set::{PageSet, Pages};
use crate::storage::Storage;

/// Features of the link that this driver knows: none is defined.
const FEATURES: u32 = 0;

/// `XENLEND_GUEST_CLOSING_BACKEND`: the backend closed, or is gone.
pub const BY_BACKEND: u64 = 1;
/// `XENLEND_GUEST_CLOSING_BROKER`: the broker has ended the link.
pub const BY_BROKER: u64 = 2;
/// `XENLEND_GUEST_CLOSING_BREACH`: the broker broke the protocol.
pub const BY_BREACH: u64 = 3;
/// `XENLEND_GUEST_CLOSING_INCOMPATIBLE`: no common protocol version.
pub const BY_VERSION: u64 = 4;

/// How far the link is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// `Hello` is to be sent.
    New,
    /// `Hello` has been sent.
    Greeting,
    /// Leases come and go.
    Connected,
    /// Over; for a reason, one of `BY_*`.
    Closed(u64),
}

/// How things stand with a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A touch asks for it.
    Absent,
    /// It has been asked for.
    Wanted,
    /// A touch maps it.
    Present,
    /// It will never come back, and a touch is told so.
    Lost,
}

/// Memory for a link's tables.
#[derive(Debug)]
pub struct Tables<S: Storage> {
    /// [`crate::lease::MAX_LEASES`] places.
    pub leases: S::Slice<Option<Lease>>,
    /// [`crate::page_set::words_for`] the aperture's pages.
    pub present: S::Slice<u64>,
    /// As many.
    pub wanted: S::Slice<u64>,
    /// As many.
    pub lost: S::Slice<u64>,
}

/// A link.
pub struct Link<R, S: Storage> {
    aperture: Aperture,
    inbound: Consumer<R>,
    outbound: Producer<R>,
    phase: Phase,
    leases: S::Slice<Option<Lease>>,
    /// Pages that a fault may map.
    present: PageSet<S::Slice<u64>>,
    /// Pages that have been asked for and not answered.
    wanted: PageSet<S::Slice<u64>>,
    /// Pages that will never come back, of leases of either policy.
    lost: PageSet<S::Slice<u64>>,
    /// Sequence of the last `Revoked`.
    revoked: u64,
    /// Up to where everything is zapped.
    zapped: u64,
    /// The last `ZapDone` that was sent.
    confirmed: u64,
    /// Somebody found no room in the ring.
    starved: bool,
    /// The broker has to be notified.
    notify: bool,
    /// The end has been told to whoever runs the turns.
    end_told: bool,
}

impl<R: RingMemory, S: Storage> Link<R, S> {
    /// A link over zeroed rings: towards this driver, towards the broker.
    pub fn new(aperture: Aperture, inbound: R, outbound: R, mut tables: Tables<S>) -> Self {
        tables.leases.fill(None);
        Self {
            aperture,
            inbound: Consumer::new(inbound),
            outbound: Producer::new(outbound),
            phase: Phase::New,
            leases: tables.leases,
            present: PageSet::new(tables.present),
            wanted: PageSet::new(tables.wanted),
            lost: PageSet::new(tables.lost),
            revoked: 0,
            zapped: 0,
            confirmed: 0,
            starved: false,
            notify: false,
            end_told: false,
        }
    }

    /// The aperture.
    pub fn aperture(&self) -> Aperture {
        self.aperture
    }

    /// How far it is.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether it has ended.
    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Closed(_))
    }

    /// How things stand with a page.
    pub fn standing(&self, page: u32) -> Standing {
        if self.present.contains(page) {
            Standing::Present
        } else if self.wanted.contains(page) {
            Standing::Wanted
        } else if self.lost.contains(page) {
            Standing::Lost
        } else {
            Standing::Absent
        }
    }

    /// The leases that live.
    pub fn leases(&self) -> impl Iterator<Item = &Lease> {
        self.leases.iter().flatten()
    }

    /// The lease that a mapping belongs to, while it lives.
    pub fn by_serial(&self, serial: u64) -> Option<Lease> {
        self.leases().find(|lease| lease.serial == serial).copied()
    }

    /// Ends the link: no lease lives any more. The first reason stays.
    pub(crate) fn close(&mut self, reason: u64) {
        if self.is_over() {
            return;
        }
        self.phase = Phase::Closed(reason);
        // Without a lease nobody asks for a page any more.
        self.leases.fill(None);
    }

    /// Says once that the link is over.
    pub(crate) fn take_end(&mut self) -> Option<u64> {
        match self.phase {
            Phase::Closed(reason) if !self.end_told => {
                self.end_told = true;
                Some(reason)
            }
            _ => None,
        }
    }

    /// Whether it is over and [`Self::take_end`] has not said so.
    pub(crate) fn has_untold_end(&self) -> bool {
        self.is_over() && !self.end_told
    }

    /// Everything up to this sequence is zapped.
    pub(crate) fn zapped(&mut self, sequence: u64) {
        if sequence <= self.revoked {
            self.zapped = self.zapped.max(sequence);
        }
    }

    /// Whether the broker has to be notified; asked once.
    pub(crate) fn take_notify(&mut self) -> bool {
        core::mem::take(&mut self.notify)
    }

    /// Whether somebody who found no room should try again; asked once.
    pub(crate) fn take_starved(&mut self) -> bool {
        core::mem::take(&mut self.starved)
    }

    /// Sends what waits for room: the greeting, the confirmation of what is zapped.
    pub(crate) fn flush(&mut self, counters: &mut Counters) {
        // A broker that waits for room has some now.
        self.notify |= self.inbound.take_wakeup();
        if self.phase == Phase::New {
            let hello = FromBorrower::Hello {
                oldest: VERSION,
                newest: VERSION,
                features: FEATURES,
                aperture_gfn: self.aperture.gfn(),
                aperture_pages: self.aperture.page_count(),
            };
            if self.send(&hello, counters) {
                self.phase = Phase::Greeting;
            }
        }
        if self.phase == Phase::Connected
            && self.zapped > self.confirmed
            && self.send(&FromBorrower::ZapDone { sequence: self.zapped }, counters)
        {
            self.confirmed = self.zapped;
        }
    }

    /// Sends; false if there is no room, which whoever waits for it is told of, or no link.
    fn send(&mut self, message: &FromBorrower, counters: &mut Counters) -> bool {
        self.send_with(message, Priority::Reserved, counters)
    }

    /// As above; of normal priority it leaves some room.
    fn send_with(&mut self, message: &FromBorrower, priority: Priority, counters: &mut Counters) -> bool {
        match self.outbound.send(message, priority) {
            Ok(()) => {
                add(&mut counters.messages_sent, 1);
                self.notify = true;
                true
            }
            Err(SendError::Full) => {
                self.starved = true;
                false
            }
            Err(SendError::Breach(_) | SendError::TooLong) => {
                self.close(BY_BREACH);
                false
            }
        }
    }

    /// The pages of a claim, if they are of the lease.
    fn pages_of(lease: &Lease, first: u32, count: u32) -> Option<Pages> {
        Pages::counted(first, count).filter(|pages| lease.pages.covers(*pages))
    }
}

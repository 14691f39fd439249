// SPDX-License-Identifier: MIT OR Apache-2.0
//! The facade: one borrower's broker, driven by its domain's event loop.
//!
//! Read `stubdom/DESIGN.md`. The lender's messages are handled in `lender_messages.rs`.

use xenlend_protocol::message::FromBroker;
use xenlend_protocol::refusal::{Blame, Breach, BreachKind};

use crate::aperture::Aperture;
use crate::borrower_link::BorrowerSide;
use crate::capabilities::Capabilities;
use crate::counters::{count, Counters};
use crate::hypervisor::{Hypervisor, LenderLink};
use crate::invalidation_history::InvalidationHistory;
use crate::ioreq::{Request, ALL_ONES, STATE_READY, STATE_RESPONSE_READY};
use crate::lease_registry::LeaseRegistry;
use crate::lending_table::{LendingTable, PageRange, PageSlot};
use crate::outbox::{Flushed, Outbox};
use crate::revocation::remove_pages;
use crate::vcpu_slot::{Stop, VcpuSlot, View};

/// vCPUs of a borrower that one broker can serve: `SCHEDOP_poll` takes 128 ports, and
/// the two links need one each.
pub const MAX_VCPUS: usize = 126;

/// A range without pages.
const NO_PAGES: PageRange = PageRange { first: 0, end: 0 };

/// Whether there is more to do before the event loop may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Turn {
    /// Nothing: wait for an event.
    Idle,
    /// Bounded work was done and more is left: take another turn before waiting.
    More,
    /// Something waits for room in the ring to the lender, who notifies when there is:
    /// wait for an event.
    WaitsForRoom,
}

/// Where the link with the lender stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// No `Hello` has come.
    AwaitingHello,
    /// Leases can exist.
    Connected,
    /// No common version; nothing was ever lent.
    Incompatible,
    /// The lender has found another kind of Xen; nothing was ever lent.
    OtherKind,
    /// A contract was broken.
    Closed(Breach),
    /// The domain around the broker has said so.
    LenderGone,
}

/// Why a broker cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// The aperture is empty, not at a multiple of 2 MiB, or leaves the address space.
    Aperture,
    /// No vCPU, or more than [`MAX_VCPUS`].
    VcpuCount,
}

/// One borrower's broker.
#[derive(Debug)]
pub struct Broker<'a> {
    pub(crate) aperture: Aperture,
    pub(crate) capabilities: Capabilities,
    pub(crate) state: LinkState,
    pub(crate) table: LendingTable<'a>,
    pub(crate) leases: LeaseRegistry,
    pub(crate) vcpus: &'a mut [VcpuSlot],
    pub(crate) vcpu_count: u16,
    /// The vCPU served first in the next turn: the first that found no room in the ring or no place for a
    /// question in the last one, so that the others cannot keep it out for ever.
    first_vcpu: u16,
    /// A vCPU has found no place for its question in this turn.
    pub(crate) lacks_place: bool,
    pub(crate) history: InvalidationHistory,
    pub(crate) outbox: Outbox,
    pub(crate) borrower: BorrowerSide,
    pub(crate) counters: Counters,
    /// Pages among which something may be left to remove, once the link is over. Nothing becomes present
    /// then, so what has been looked through is done with.
    left_to_remove: PageRange,
}

impl<'a> Broker<'a> {
    /// Whether there can be a broker for so many pages at a guest-physical address and so many vCPUs.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn check(address: u64, pages: usize, vcpus: usize) -> Result<(Aperture, u16), ConfigError> {
        let page_count = u32::try_from(pages).map_err(|_| ConfigError::Aperture)?;
        let aperture = Aperture::new(address, page_count).map_err(|_| ConfigError::Aperture)?;
        let vcpu_count = u16::try_from(vcpus).map_err(|_| ConfigError::VcpuCount)?;
        if vcpu_count == 0 || vcpus > MAX_VCPUS {
            return Err(ConfigError::VcpuCount);
        }
        Ok((aperture, vcpu_count))
    }

    /// A broker for an aperture of `pages.len()` pages at a guest-physical address, and
    /// a borrower of `vcpus.len()` vCPUs. It overwrites the storage.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn new(
        aperture_address: u64,
        pages: &'a mut [PageSlot],
        vcpus: &'a mut [VcpuSlot],
        capabilities: Capabilities,
    ) -> Result<Self, ConfigError> {
        let (aperture, vcpu_count) = Self::check(aperture_address, pages.len(), vcpus.len())?;
        vcpus.fill_with(VcpuSlot::default);
        Ok(Self {
            aperture,
            capabilities,
            state: LinkState::AwaitingHello,
            table: LendingTable::new(pages),
            leases: LeaseRegistry::new(),
            vcpus,
            vcpu_count,
            first_vcpu: 0,
            lacks_place: false,
            history: InvalidationHistory::default(),
            outbox: Outbox::default(),
            borrower: BorrowerSide::default(),
            counters: Counters::default(),
            left_to_remove: NO_PAGES,
        })
    }

    /// Its storage, for the next one.
    pub fn into_storage(self) -> (&'a mut [PageSlot], &'a mut [VcpuSlot]) {
        (self.table.into_slots(), self.vcpus)
    }

    /// Handles up to `max_messages` of the lender's messages, as long as every answer
    /// owed so far found room. Call it first in each turn.
    pub fn serve_lender(
        &mut self,
        hypervisor: &mut impl Hypervisor,
        link: &mut impl LenderLink,
        max_messages: u32,
    ) -> Turn {
        if self.is_over() {
            // What could not be removed when the link ended is tried again.
            self.remove_what_is_left(hypervisor);
            return self.flush(hypervisor, link);
        }
        for _ in 0..max_messages {
            if self.flush(hypervisor, link) == Turn::WaitsForRoom {
                return Turn::WaitsForRoom;
            }
            if self.is_over() {
                return Turn::Idle;
            }
            match link.receive() {
                Ok(Some(message)) => {
                    if let Err(breach) = self.handle(message, hypervisor) {
                        self.close(breach, hypervisor);
                        return self.flush(hypervisor, link);
                    }
                }
                Ok(None) => return Turn::Idle,
                Err(kind) => {
                    self.close(by_lender(kind), hypervisor);
                    return self.flush(hypervisor, link);
                }
            }
        }
        match self.flush(hypervisor, link) {
            Turn::Idle if !self.is_over() => Turn::More,
            turn => turn,
        }
    }

    /// Serves every vCPU's request a bounded way. Call it in each turn, after
    /// [`Self::serve_lender`].
    pub fn serve_requests(&mut self, hypervisor: &mut impl Hypervisor, link: &mut impl LenderLink) -> Turn {
        let mut turn = Turn::Idle;
        let mut left_out = None;
        self.lacks_place = false;
        let first = self.first_vcpu;
        for vcpu in (first..self.vcpu_count).chain(0..first) {
            match self.serve_vcpu(vcpu, hypervisor, link) {
                Stop::Waits => {}
                Stop::Finished(datum) => {
                    hypervisor.complete(vcpu, datum);
                    count(&mut self.counters.requests, 1);
                }
                Stop::Full => {
                    count(&mut self.counters.ring_full, 1);
                    left_out.get_or_insert(vcpu);
                    if turn == Turn::Idle {
                        turn = Turn::WaitsForRoom;
                    }
                }
                Stop::NoPlace => {
                    // The lender's answer to one of them makes room, or this turn of the borrower's link.
                    left_out.get_or_insert(vcpu);
                    self.lacks_place = true;
                }
                Stop::TurnOver => turn = Turn::More,
                Stop::Breach(kind) => {
                    self.close(by_lender(kind), hypervisor);
                    turn = Turn::More;
                }
            }
        }
        self.first_vcpu = left_out.unwrap_or(first);
        turn
    }

    /// The lender is gone without a word: everything is removed, outstanding accesses
    /// end by their lease's loss policy. Later turns complete requests the same way.
    pub fn lender_gone(&mut self, hypervisor: &mut impl Hypervisor) {
        self.state = LinkState::LenderGone;
        self.outbox.clear();
        self.end_link(hypervisor);
    }

    /// Whether the borrower could do without this broker, now that it has no lender and Xen sends it no
    /// new requests: nothing is lent, and no vCPU waits or has an answer to take.
    pub fn is_finished(&self, hypervisor: &mut impl Hypervisor) -> bool {
        self.state == LinkState::LenderGone
            && self.left_to_remove.is_empty()
            && self.vcpus.iter().all(VcpuSlot::is_idle)
            && (0..self.vcpu_count).all(|vcpu| hypervisor.request(vcpu).is_none())
    }

    /// Where the link stands.
    pub fn link_state(&self) -> LinkState {
        self.state
    }

    /// What has been done so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The lending table, to look at.
    pub fn table(&self) -> &LendingTable<'a> {
        &self.table
    }

    /// The leases, to look at.
    pub fn leases(&self) -> &LeaseRegistry {
        &self.leases
    }

    /// Whether nothing more is taken from the lender.
    fn is_over(&self) -> bool {
        !matches!(self.state, LinkState::AwaitingHello | LinkState::Connected)
    }

    fn serve_vcpu(
        &mut self,
        vcpu: u16,
        hypervisor: &mut impl Hypervisor,
        link: &mut impl LenderLink,
    ) -> Stop {
        if self.capabilities.faults_retry {
            return self.serve_fault(vcpu, hypervisor, link);
        }
        let Some(slot) = self.vcpus.get_mut(usize::from(vcpu)) else { return Stop::Waits };
        if slot.is_idle() {
            let Some(claim) = hypervisor.request(vcpu).filter(|claim| claim.state != STATE_RESPONSE_READY)
            else {
                return Stop::Waits;
            };
            if claim.state == STATE_READY {
                hypervisor.accept(vcpu);
            }
            match Request::check(&claim) {
                Request::Access(access) => slot.start(access),
                Request::ForgetMemory => {
                    hypervisor.forget_borrower_memory();
                    return Stop::Finished(claim.data);
                }
                Request::Unknown => {
                    count(&mut self.counters.unknown_requests, 1);
                    return Stop::Finished(ALL_ONES);
                }
            }
        }
        let view = View {
            aperture: self.aperture,
            table: &self.table,
            leases: &self.leases,
            connected: self.state == LinkState::Connected,
        };
        slot.advance(vcpu, &view, hypervisor, link, &mut self.counters)
    }

    /// Sends what is owed.
    pub(crate) fn flush(&mut self, hypervisor: &mut impl Hypervisor, link: &mut impl LenderLink) -> Turn {
        match self.outbox.flush(link, &mut self.counters) {
            Flushed::All => Turn::Idle,
            Flushed::Waits => Turn::WaitsForRoom,
            Flushed::ReserveUsedUp => {
                if !self.is_over() {
                    self.close(by_lender(BreachKind::TooManyOutstanding), hypervisor);
                }
                Turn::WaitsForRoom
            }
            Flushed::Broken(kind) => {
                if !self.is_over() {
                    self.close(by_lender(kind), hypervisor);
                }
                self.outbox.clear();
                Turn::Idle
            }
        }
    }

    /// Ends the link over a broken contract, says so, and leaves nothing lent.
    pub(crate) fn close(&mut self, breach: Breach, hypervisor: &mut impl Hypervisor) {
        self.state = LinkState::Closed(breach);
        self.outbox.owe(FromBroker::Closed { breach });
        self.end_link(hypervisor);
    }

    fn end_link(&mut self, hypervisor: &mut impl Hypervisor) {
        self.left_to_remove = PageRange { first: 0, end: self.table.page_count() };
        self.remove_what_is_left(hypervisor);
        self.borrower.lender_gone();
        for slot in self.vcpus.iter_mut() {
            slot.give_up(None, hypervisor, &mut self.counters);
        }
    }

    fn remove_what_is_left(&mut self, hypervisor: &mut impl Hypervisor) {
        if self.left_to_remove.is_empty() {
            return;
        }
        let removed = remove_pages(&mut self.table, hypervisor, &mut self.counters, self.left_to_remove);
        self.left_to_remove = match removed {
            Ok(_) => NO_PAGES,
            // It is in the counters and in the table; the next turn tries again, from this page on.
            Err(failure) => PageRange { first: failure.page.0, end: self.left_to_remove.end },
        };
    }
}

fn by_lender(kind: BreachKind) -> Breach {
    Breach { blame: Blame::Lender, kind }
}

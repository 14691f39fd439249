// SPDX-License-Identifier: MIT OR Apache-2.0
//! Revocation without the broker: everything goes, then the broker is resumed or condemned.
//!
//! Order, by the caller: begin, pause the broker, remove every entry that [`Link::force_next`]
//! names, withdraw permissions, end.

use xenlend_protocol::frame::AperturePage;
use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::message::ToBroker;
use xenlend_protocol::ring::{Priority, RingMemory};

use super::{Link, Reason, State};
use crate::counters::add;
use crate::events;
use crate::mirror::Run;
use crate::storage::Storage;

/// Why somebody wants to revoke by force, and when that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cause {
    /// Why.
    pub reason: Reason,
    /// Forced revocations that had ended by then: a delay that was found before one of them says
    /// nothing of the broker that was resumed after it.
    pub epoch: u32,
}

/// What becomes of the paused broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForceEnd {
    /// It may go on: it has been told.
    Resume,
    /// It stays paused until it is destroyed.
    Condemn(Reason),
}

impl<R: RingMemory, S: Storage> Link<R, S> {
    /// A cause that is found now, under the lock under which the reason was seen.
    pub fn cause(&self, reason: Reason) -> Cause {
        Cause { reason, epoch: self.force_epoch }
    }

    /// Begins to revoke by force. False if there is nothing to do any more: somebody else did it.
    pub fn begin_force(&mut self, Cause { reason, epoch }: Cause) -> bool {
        let is_stale = reason == Reason::Deadline && epoch != self.force_epoch;
        match self.state {
            State::Connected if is_stale => return false,
            State::Condemned(_) | State::Detached | State::Forcing(_) => return false,
            State::Forced if reason == Reason::Deadline => return false,
            State::Failing(first_reason) if reason != Reason::BorrowerGone => {
                self.state = State::Forcing(first_reason);
            }
            State::Failing(_) | State::Connecting | State::Connected | State::Forced => {
                self.state = State::Forcing(reason);
            }
        }
        self.in_flight.overtake(AperturePage(0), u32::MAX);
        add(&mut self.counters.forced_revocations, 1);
        true
    }

    /// Any entries that are still present.
    pub fn force_next(&self) -> Option<(LeaseId, Run)> {
        self.regions
            .iter()
            .find_map(|region| region.mirror.find(region.first, region.count).map(|run| (region.lease, run)))
    }

    /// Those entries are removed. Takes some of them out of the mirror, to be asked until it
    /// gives none: a revocation that was acknowledged may take its own at the same time, and
    /// whoever takes an entry out withdraws its permission.
    pub fn force_removed(&mut self, lease: LeaseId, run: &Run) -> Option<Run> {
        let taken = self.regions.get_mut(lease)?.mirror.take(run.page, run.count)?;
        add(&mut self.counters.revoked_pages, u64::from(taken.count));
        Some(taken)
    }

    /// Ends it when nothing is present any more. The broker is resumed only if a mere
    /// delay was the reason and no Present is unanswered: a broker that is paused in the
    /// middle of one could still add the frame when it goes on.
    pub fn end_force(&mut self, broker_is_gone: bool) -> ForceEnd {
        let State::Forcing(reason) = self.state else { return ForceEnd::Condemn(Reason::Breach) };
        let unanswered = self.present.as_ref().is_some_and(super::page_in::Pending::is_unanswered);
        self.present = None;
        self.force_epoch = self.force_epoch.wrapping_add(1);
        self.invalidations.force_all();
        self.effects.wake = true;
        let reason = match reason {
            Reason::BorrowerGone => reason,
            _ if broker_is_gone => Reason::BrokerGone,
            _ => reason,
        };
        if reason == Reason::Deadline && !unanswered && self.version != 0 {
            let forced = ToBroker::Forced { sequence: self.invalidations.newest() };
            if self.send(&forced, Priority::Reserved).is_ok() {
                self.forced_position = self.to_broker.position();
                self.state = State::Forced;
                self.push_event(events::BROKER_FORCED, 0, 0, u64::from(reason as u32));
                return ForceEnd::Resume;
            }
        }
        self.state = State::Condemned(reason);
        self.push_event(events::BROKER_CONDEMNED, 0, 0, u64::from(reason as u32));
        ForceEnd::Condemn(reason)
    }
}

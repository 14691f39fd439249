// SPDX-License-Identifier: MIT OR Apache-2.0
//! Revocation with the broker's help: what a notifier call comes to.

use heapless::Vec;
use xenlend_protocol::frame::AperturePage;
use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::message::ToBroker;
use xenlend_protocol::ring::{Priority, RingMemory};

use super::{Cause, Link, NotSent, Reason, State};
use crate::counters::add;
use crate::dm_op::MAX_RUNS;
use crate::invalidation::Standing;
use crate::mirror::Run;
use crate::storage::Storage;

/// What a revocation has to do first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidateStart {
    /// Nothing is present there: it is done.
    Unrelated,
    /// Something is present and the caller may not sleep.
    WouldBlock,
    /// Posted with this sequence: wait for its end.
    Posted(u64),
    /// As many as the ring has room for are outstanding: wait and try again.
    Busy,
    /// The broker cannot be asked: revoke by force.
    Force(Cause),
}

impl<R: RingMemory, S: Storage> Link<R, S> {
    /// Begins to revoke pages. Page-ins in flight there are overtaken in any case, before
    /// anything else.
    pub fn start_invalidate(
        &mut self,
        lease: LeaseId,
        first: AperturePage,
        count: u32,
        may_sleep: bool,
    ) -> InvalidateStart {
        let overtaken = self.in_flight.overtake(first, count);
        add(&mut self.counters.retries, u64::from(overtaken));
        let present = self.regions.get(lease).is_some_and(|region| region.mirror.has_present(first, count));
        if !present {
            return InvalidateStart::Unrelated;
        }
        if !may_sleep {
            return InvalidateStart::WouldBlock;
        }
        match self.state {
            State::Connected => {}
            State::Failing(reason) | State::Forcing(reason) | State::Condemned(reason) => {
                return InvalidateStart::Force(self.cause(reason))
            }
            // Nothing is present in these states; if it were, only force could help.
            State::Connecting | State::Forced | State::Detached => {
                return InvalidateStart::Force(self.cause(Reason::Breach))
            }
        }
        let Some(sequence) = self.invalidations.begin() else { return InvalidateStart::Busy };
        match self.send(&ToBroker::Invalidate { sequence, lease, first, count }, Priority::Reserved) {
            Ok(()) => {
                add(&mut self.counters.invalidations, 1);
                InvalidateStart::Posted(sequence)
            }
            Err(NotSent::Full | NotSent::Over) => {
                // The reserve holds as many as may be outstanding: its loss is the broker's doing.
                self.invalidations.end(sequence);
                self.fail(Reason::Breach);
                InvalidateStart::Force(self.cause(Reason::Breach))
            }
        }
    }

    /// Has every page-in in flight look anew: what may be lent has changed.
    pub fn overtake_page_ins(&mut self) {
        let overtaken = self.in_flight.overtake(AperturePage(0), u32::MAX);
        add(&mut self.counters.retries, u64::from(overtaken));
    }

    /// Where an invalidation stands.
    pub fn invalidation_standing(&self, sequence: u64) -> Standing {
        self.invalidations.standing(sequence)
    }

    /// Ends an invalidation.
    pub fn end_invalidate(&mut self, sequence: u64) {
        self.invalidations.end(sequence);
        self.effects.wake = true;
    }

    /// The first present entries that reach into these pages.
    pub fn find_present(&self, lease: LeaseId, first: AperturePage, count: u32) -> Option<Run> {
        self.regions.get(lease)?.mirror.find(first, count)
    }

    /// Takes the first entries that reach into these pages out of the mirror, as many runs as Xen is told of in one
    /// call. They are known to be removed. `revoked` says whether they were present before.
    pub fn take_present(
        &mut self,
        lease: LeaseId,
        first: AperturePage,
        count: u32,
        revoked: bool,
    ) -> Vec<Run, MAX_RUNS> {
        let mut runs = Vec::new();
        let Some(region) = self.regions.get_mut(lease) else { return runs };
        while !runs.is_full() {
            let Some(run) = region.mirror.take(first, count) else { break };
            if revoked {
                add(&mut self.counters.revoked_pages, u64::from(run.count));
            }
            let _ = runs.push(run);
        }
        runs
    }

    /// Counts a notifier call that cost no message.
    pub fn count_unrelated(&mut self) {
        add(&mut self.counters.unrelated_invalidations, 1);
    }
}

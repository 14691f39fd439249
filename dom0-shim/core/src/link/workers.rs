// SPDX-License-Identifier: MIT OR Apache-2.0
//! The worker threads of a link: see [`crate::crew`].

use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::ring::RingMemory;

use super::Link;
use crate::crew::{Lead, Owes};
use crate::storage::Storage;

impl<R: RingMemory, S: Storage> Link<R, S> {
    /// The number of a worker to be started though others are there.
    pub fn recruit(&mut self) -> Option<u32> {
        self.crew.recruit()
    }

    /// A worker has ended, or could not be started.
    pub fn dismiss(&mut self, number: u32) {
        self.crew.dismiss(number);
    }

    /// Whether there is no such worker.
    pub fn is_free(&self, number: u32) -> bool {
        self.crew.is_free(number)
    }

    /// The region that a worker is in.
    pub fn region_of_worker(&self, number: u32) -> Option<LeaseId> {
        self.crew.region_of(number)
    }

    /// Whether a worker is in any region, and may touch memory of its process.
    pub fn has_worker_inside(&mut self) -> bool {
        self.crew.visits_mut().next().is_some()
    }

    /// A worker that is in no region would lead.
    pub fn take_lead(&mut self, number: u32) -> Lead {
        self.crew.take_lead(number)
    }

    /// The worker that leads goes into the process of a region, at this time in milliseconds.
    /// Whoever waits for the lead is woken if something else is to be done, or there `is_more` that
    /// the caller knows of. Gives the number of a worker that has to be started, so that somebody
    /// can lead.
    pub fn enter_region(
        &mut self,
        number: u32,
        (lease, owes): (LeaseId, Owes),
        is_more: bool,
        now: u64,
    ) -> Option<u32> {
        self.crew.enter(number, lease, owes, now);
        self.effects.relieve |= is_more || self.has_work();
        self.crew.hire()
    }

    /// It has come back. Gives the answer that it still owes.
    pub fn leave_region(&mut self, number: u32) -> Owes {
        let Some(visit) = self.crew.leave(number) else { return Owes::Nothing };
        if let Some(region) = self.regions.get_mut(visit.lease).filter(|_| visit.held_up) {
            region.asks_again = true;
        }
        // Whoever leads looks at what was passed over; else this worker leads next. Whoever holds
        // the link waits for all to come back.
        self.effects.wake |= !self.crew.is_leaderless() || self.held;
        visit.owes
    }

    /// Whether a worker in a region owes the answer to an access.
    pub fn owes_access(&mut self, number: u32) -> bool {
        self.crew.visit_mut(number).is_some_and(|visit| matches!(visit.owes, Owes::Access(_)))
    }

    /// A worker in a region gives an answer to its access itself. False if that was given
    /// meanwhile.
    pub fn claim_access(&mut self, number: u32) -> bool {
        let Some(visit) = self.crew.visit_mut(number) else { return false };
        let owes = core::mem::replace(&mut visit.owes, Owes::Nothing);
        matches!(owes, Owes::Access(_))
    }

    /// The worker in a region, and the access that is answered in its place because the region
    /// ends.
    pub fn recall(&mut self, lease: LeaseId) -> Option<(u32, Option<u32>)> {
        let (number, _) = self.crew.inside(lease)?;
        let visit = self.crew.visit_mut(number)?;
        let Owes::Access(id) = visit.owes else { return Some((number, None)) };
        visit.owes = Owes::Nothing;
        Some((number, Some(id)))
    }

    /// Whether a worker that is in no region has something to do.
    pub(super) fn has_work(&self) -> bool {
        let may_work = !self.is_held();
        self.needs_force().is_some()
            || may_work && self.requests.has_ready(|lease| self.crew.inside(lease).is_none())
            || may_work && self.has_want()
            || self.next_to_ask_again().is_some()
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Leases at the broker: setting, dropping, losing.

use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::message::{CacheMode, LossPolicy, Rights, ToBroker};
use xenlend_protocol::refusal::Refusal;
use xenlend_protocol::ring::{Priority, RingMemory};

use super::{Link, NotSent, State};
use crate::counters::add;
use crate::events;
use crate::regions::{Phase, Region};
use crate::storage::Storage;
use crate::uapi::{REGION_LOSS_FAULT, REGION_WRITE_BACK};

impl<R: RingMemory, S: Storage> Link<R, S> {
    /// Asks the broker for the lease of a region that is in the table.
    ///
    /// # Errors
    /// If it could not be asked.
    pub fn post_set(&mut self, lease: LeaseId) -> Result<(), NotSent> {
        if !self.is_lending() {
            return Err(NotSent::Over);
        }
        let region = self.regions.get(lease).ok_or(NotSent::Over)?;
        let loss = match region.flags & REGION_LOSS_FAULT {
            0 => LossPolicy::Zeros,
            _ => LossPolicy::Fault,
        };
        let message = ToBroker::SetRegion {
            lease,
            first: region.first,
            count: region.count,
            rights: if region.is_read_only() { Rights::ReadOnly } else { Rights::ReadWrite },
            loss,
            cache: match region.flags & REGION_WRITE_BACK {
                0 => CacheMode::WriteCombining,
                _ => CacheMode::WriteBack,
            },
            label: region.label.into(),
        };
        self.send(&message, Priority::Normal)?;
        if let Some(region) = self.regions.get_mut(lease) {
            add_one(&mut region.answers_due);
        }
        Ok(())
    }

    /// The broker's answer, once there is one.
    pub fn set_answer(&self, lease: LeaseId) -> Option<Result<(), Refusal>> {
        match self.regions.get(lease)?.phase {
            Phase::Setting(refusal) => refusal.map(Err),
            _ => Some(Ok(())),
        }
    }

    /// Stops every page-in of a region, now and for good. Gives its pages, to be revoked.
    pub fn begin_end(&mut self, lease: LeaseId) -> Option<&Region<S>> {
        self.end_waits_of(lease);
        let region = self.regions.get_mut(lease)?;
        region.phase = Phase::Ending;
        self.in_flight.overtake(region.first, region.count);
        Some(region)
    }

    /// Asks the broker to drop a lease of which nothing is present any more.
    ///
    /// # Errors
    /// If it could not be asked, which it may be behind a force; if it never will be, the lease ends
    /// with the broker.
    pub fn post_drop(&mut self, lease: LeaseId) -> Result<(), NotSent> {
        match self.state {
            State::Connected | State::Forced => {}
            State::Forcing(_) => return Err(NotSent::Full),
            _ => return Err(NotSent::Over),
        }
        self.send(&ToBroker::DropRegion { lease }, Priority::Normal)?;
        if let Some(region) = self.regions.get_mut(lease) {
            region.phase = Phase::Dropping(None);
            add_one(&mut region.answers_due);
        }
        Ok(())
    }

    /// The descriptor of a region is closed before the broker could be asked to drop the lease: whoever
    /// makes the next region call asks.
    pub fn orphan(&mut self, lease: LeaseId) {
        if let Some(region) = self.regions.get_mut(lease) {
            region.owner = None;
        }
    }

    /// Whether the broker has dropped the lease or never will.
    pub fn is_dropped(&self, lease: LeaseId) -> bool {
        let over = !matches!(self.state, State::Connected | State::Forced | State::Forcing(_));
        let region = self.regions.get(lease);
        over || region.is_none_or(|region| matches!(region.phase, Phase::Dropping(Some(_))))
    }

    /// Takes a region out of the table; its slot can be used again.
    pub fn remove_region(&mut self, lease: LeaseId) -> Option<Region<S>> {
        self.effects.wake = true;
        let region = self.regions.remove(lease)?;
        // Its answers may still come, and are no breach.
        self.abandoned_answers = self.abandoned_answers.saturating_add(region.answers_due);
        Some(region)
    }

    /// Whether the lender presents pages of zeros where it has none to lend: on a Xen where nobody does the
    /// borrower's accesses for it, if the loss policy asks for zeros.
    pub fn presents_zeros(&self, lease: LeaseId) -> bool {
        let wants_zeros = |region: &Region<S>| region.flags & REGION_LOSS_FAULT == 0;
        !self.config.kind.completes_accesses() && self.regions.get(lease).is_some_and(wants_zeros)
    }

    /// Declares a region lost for good: its process is gone. Tells the broker and the
    /// readers of the event stream, once.
    ///
    /// # Errors
    /// If the broker could not be told now.
    pub fn declare_lost(&mut self, lease: LeaseId) -> Result<(), NotSent> {
        let Some(region) = self.regions.get(lease) else { return Ok(()) };
        if region.is_lost || region.is_zeroed || region.phase != Phase::Active {
            return Ok(());
        }
        let (first, count) = (region.first, region.count);
        let presents_zeros = self.presents_zeros(lease);
        if !presents_zeros {
            self.send(&ToBroker::Lost { lease, first, count }, Priority::Normal)?;
        }
        if let Some(region) = self.regions.get_mut(lease) {
            region.is_lost = !presents_zeros;
            region.is_zeroed = presents_zeros;
        }
        add(&mut self.counters.lost_pages, u64::from(count));
        let address = self.config.aperture.address_of(first);
        let bytes = u64::from(count).saturating_mul(xenlend_protocol::frame::PAGE_SIZE);
        self.push_event(events::LOST, u32::from(lease.index), address, bytes);
        Ok(())
    }
}

fn add_one(count: &mut u32) {
    *count = count.saturating_add(1);
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pages that only somebody else can bring, who may never do so: a userfaultfd, a file of FUSE.
//!
//! The worker does not wait for those: a thread of the region's own does, at most one for each. What needs
//! the page is set aside meanwhile: an access here, a want by telling the broker so.

use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::message::ToBroker;
use xenlend_protocol::ring::{Priority, RingMemory};

use super::{Link, NotSent, State};
use crate::regions::Phase;
use crate::request_queue::Request;
use crate::storage::Storage;

impl<R: RingMemory, S: Storage> Link<R, S> {
    /// The oldest request of the broker that is not set aside.
    pub fn pop_request(&mut self) -> Option<Request> {
        self.requests.pop_ready()
    }

    /// Sets an access aside until nobody waits in its region any more. Gives it back if it
    /// cannot be: it is none.
    ///
    /// # Errors
    /// The request.
    #[allow(clippy::result_large_err, reason = "it is the caller's own")]
    pub fn set_aside(&mut self, request: Request) -> Result<(), Request> {
        self.requests.set_aside(request)
    }

    /// Whether the caller has to start a thread that waits in a region: nobody does yet.
    pub fn begin_waiting(&mut self, lease: LeaseId) -> bool {
        let region = self.regions.get_mut(lease).filter(|region| region.phase == Phase::Active);
        if let Some(region) = region {
            return !core::mem::replace(&mut region.is_waited_in, true);
        }
        self.take_back(lease);
        false
    }

    /// Nobody waits in a region any more, whatever came of it: what was set aside is tried again.
    pub fn end_waiting(&mut self, lease: LeaseId) {
        if let Some(region) = self.regions.get_mut(lease) {
            region.is_waited_in = false;
        }
        self.effects.wake = true;
        self.take_back(lease);
    }

    /// Some lease of which wants were answered with "waits" though nobody waits any more.
    pub fn next_to_ask_again(&self) -> Option<LeaseId> {
        if !matches!(self.state, State::Connected | State::Forced) {
            return None;
        }
        let mut regions = self.regions.iter();
        // Behind the answers: the broker asks again for what it has been told of.
        let over = |lease| !self.wants.has_waiting(lease);
        regions
            .find(|region| region.asks_again && !region.is_waited_in && over(region.lease))
            .map(|region| region.lease)
    }

    /// Has the broker ask again.
    ///
    /// # Errors
    /// If it cannot be told now.
    pub fn post_ask_again(&mut self, lease: LeaseId) -> Result<(), NotSent> {
        match self.state {
            State::Connected | State::Forced => {}
            State::Forcing(_) => return Err(NotSent::Full),
            _ => return Err(NotSent::Over),
        }
        self.send(&ToBroker::AskAgain { lease }, Priority::Normal)?;
        if let Some(region) = self.regions.get_mut(lease) {
            region.asks_again = false;
        }
        Ok(())
    }

    /// Accesses of a lease are for the worker again.
    pub(super) fn take_back(&mut self, lease: LeaseId) {
        self.effects.wake |= self.requests.take_back(Some(lease));
    }

    /// So are all, for whoever ends the link.
    pub fn take_back_all(&mut self) {
        let _ = self.requests.take_back(None);
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! A borrower's link whose room the test decides, and a driver that believes what it is told.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use xenlend_lending::broker::Broker;
use xenlend_lending::hypervisor::{BorrowerLink, SendError};
use xenlend_protocol::frame::AperturePage;
use xenlend_protocol::frontend::{FromBorrower, ToBorrower};
use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::refusal::{AttachFailure, BreachKind};

/// The fake.
#[derive(Debug, Default)]
pub struct FakeBorrower {
    pub attached: bool,
    /// How the next attach ends.
    pub attach_failure: Option<AttachFailure>,
    pub attached_with: Option<([u32; 3], u32)>,
    pub to_broker: VecDeque<FromBorrower>,
    pub to_borrower: VecDeque<ToBorrower>,
    /// Messages that find room.
    pub room: usize,
    pub send_breach: Option<BreachKind>,
    pub receive_breach: Option<BreachKind>,
}

impl FakeBorrower {
    pub fn new() -> Self {
        Self { room: usize::MAX, ..Self::default() }
    }
}

impl BorrowerLink for FakeBorrower {
    fn attach(&mut self, ring_refs: [u32; 3], event_channel: u32) -> Result<(), AttachFailure> {
        assert!(!self.attached, "attached twice");
        if let Some(failure) = self.attach_failure.take() {
            return Err(failure);
        }
        self.attached = true;
        self.attached_with = Some((ring_refs, event_channel));
        self.to_broker.clear();
        self.to_borrower.clear();
        Ok(())
    }

    fn detach(&mut self) {
        assert!(self.attached, "nothing to detach");
        self.attached = false;
    }

    fn send(&mut self, message: &ToBorrower) -> Result<(), SendError> {
        assert!(self.attached, "{message:?} is said to nobody");
        if let Some(kind) = self.send_breach {
            return Err(SendError::Breach(kind));
        }
        if self.to_borrower.len() >= self.room {
            return Err(SendError::Full);
        }
        self.to_borrower.push_back(*message);
        Ok(())
    }

    fn receive(&mut self) -> Result<Option<FromBorrower>, BreachKind> {
        assert!(self.attached, "nobody is listened to");
        self.receive_breach.map_or_else(|| Ok(self.to_broker.pop_front()), Err)
    }
}

/// What a driver makes of the messages.
#[derive(Debug, Default)]
pub struct Driver {
    /// Leases it knows: first page and number.
    pub leases: BTreeMap<u16, (LeaseId, u32, u32)>,
    /// Pages that it may have in programs' page tables, with the lease that they were for.
    pub mapped: BTreeMap<u32, LeaseId>,
    /// Pages that were said to be present last.
    pub present: BTreeSet<u32>,
    /// Pages that a task waits for.
    pub waited: BTreeSet<(u16, u32)>,
    /// Sequence of the newest `Revoked`.
    pub revoked: u64,
}

impl Driver {
    /// A task touches pages of a lease that it knows.
    pub fn wait(&mut self, index: u16, first: u32, count: u32) -> Option<FromBorrower> {
        let (lease, lease_first, lease_count) = *self.leases.get(&index)?;
        let page = lease_first + first % lease_count;
        let count = count.min(lease_first + lease_count - page);
        self.waited.extend((page..page + count).map(|page| (index, page)));
        Some(FromBorrower::WaitFor { lease, page: AperturePage(page), count })
    }

    /// Takes one message; what the protocol forbids fails the test.
    pub fn take(&mut self, message: &ToBorrower) {
        match *message {
            ToBorrower::Welcome { .. } => {}
            ToBorrower::Lease { lease, first, count, .. } => {
                let known = self.leases.insert(lease.index, (lease, first.0, count));
                assert_eq!(known, None, "an index is announced anew before its end");
            }
            ToBorrower::Revoked { sequence, lease, first, count, ended } => {
                assert_eq!(sequence, self.revoked + 1);
                self.revoked = sequence;
                let (known, lease_first, lease_count) = self.leases[&lease.index];
                assert_eq!(known, lease);
                assert!(count > 0 && first.0 >= lease_first && first.0 + count <= lease_first + lease_count);
                if ended {
                    assert_eq!((first.0, count), (lease_first, lease_count));
                    self.leases.remove(&lease.index);
                }
                for page in first.0..first.0 + count {
                    self.mapped.remove(&page);
                    self.present.remove(&page);
                    self.waited.remove(&(lease.index, page));
                }
            }
            ToBorrower::Present { lease, first, count } => {
                assert_eq!(self.leases[&lease.index].0, lease);
                self.map(lease, first.0, count);
                self.present.extend(first.0..first.0 + count);
            }
            // It inserts such pages too: the access decides.
            ToBorrower::Unavailable { lease, first, count } | ToBorrower::Lost { lease, first, count } => {
                if self.leases.get(&lease.index).is_some_and(|known| known.0 == lease) {
                    self.map(lease, first.0, count);
                    self.present.retain(|page| !(first.0..first.0 + count).contains(page));
                } else {
                    self.wake(lease, first.0, count);
                }
            }
            ToBorrower::Incompatible { .. } | ToBorrower::Closed { .. } => panic!("{message:?}"),
        }
    }

    /// What it believes is so, once it has heard everything.
    pub fn check_told(&self, broker: &Broker<'_>) {
        for page in &self.present {
            assert!(broker.table().is_present(*page), "page {page} was said to be present");
        }
        for lease in broker.leases().living().filter(|lease| lease.is_active()) {
            let known = self.leases.get(&lease.id().index).map(|known| known.0);
            assert_eq!(known, Some(lease.id()), "a lease was not announced");
        }
    }

    fn map(&mut self, lease: LeaseId, first: u32, count: u32) {
        for page in first..first + count {
            if let Some(other) = self.mapped.insert(page, lease) {
                assert_eq!(other, lease, "page {page} is mapped for a lease that is over");
            }
        }
        self.wake(lease, first, count);
    }

    fn wake(&mut self, lease: LeaseId, first: u32, count: u32) {
        for page in first..first + count {
            self.waited.remove(&(lease.index, page));
        }
    }
}

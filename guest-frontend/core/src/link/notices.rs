// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the broker says, and what becomes of it.

use xenlend_protocol::frontend::ToBorrower;
use xenlend_protocol::label::Unprintable;
use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::message::{LossPolicy, VERSION};
use xenlend_protocol::ring::RingMemory;

use super::{Link, Phase, BY_BREACH, BY_BROKER, BY_VERSION, FEATURES};
use crate::lease::Lease;
use crate::page_set::Pages;
use crate::storage::Storage;

/// What a message means for the rest of the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// Nothing more.
    Nothing,
    /// The broker answered; leases follow.
    Connected,
    /// There is a lease.
    Granted(Lease),
    /// Pages of a lease have to be zapped; then the sequence is done.
    Revoked { lease: Lease, pages: Pages, ended: bool, sequence: u64 },
    /// A sequence without anything to zap.
    Passed(u64),
    /// Whoever waits for pages of a lease should look again.
    Answered,
    /// As above; they could not be had.
    Unavailable { lease: Lease, pages: Pages },
    /// As above; they are lost, and programs must not have them mapped any more if `zap`.
    Lost { lease: Lease, pages: Pages, zap: bool },
    /// The link is over.
    Closed,
}

/// The broker broke the contract.
pub(crate) struct Breach;

impl<R: RingMemory, S: Storage> Link<R, S> {
    /// Takes the next message, if there is one. `serial` is for a lease that it may grant.
    pub(crate) fn receive(&mut self, serial: u64) -> Option<Notice> {
        if self.is_over() {
            return None;
        }
        let notice = match self.inbound.receive::<ToBorrower>() {
            Ok(None) => return None,
            Ok(Some(message)) => self.take(message, serial),
            Err(_) => Err(Breach),
        };
        Some(notice.unwrap_or_else(|Breach| {
            self.close(BY_BREACH);
            Notice::Closed
        }))
    }

    /// Whether everything that the broker has said has been taken.
    pub(crate) fn has_heard_all(&mut self) -> bool {
        self.inbound.is_empty()
    }

    fn take(&mut self, message: ToBorrower, serial: u64) -> Result<Notice, Breach> {
        match (self.phase, message) {
            (_, ToBorrower::Closed { .. }) => {
                self.close(BY_BROKER);
                Ok(Notice::Closed)
            }
            (Phase::Greeting, ToBorrower::Welcome { version: VERSION, features: FEATURES }) => {
                self.phase = Phase::Connected;
                Ok(Notice::Connected)
            }
            (Phase::Greeting, ToBorrower::Incompatible { .. }) => {
                self.close(BY_VERSION);
                Ok(Notice::Closed)
            }
            (Phase::Connected, ToBorrower::Lease { lease, first, count, rights, loss, cache, label }) => {
                let pages = Pages::counted(first.0, count).ok_or(Breach)?;
                let label = label.check().map_err(|Unprintable| Breach)?;
                self.grant(Lease { id: lease, serial, pages, rights, loss, cache, label })
            }
            (Phase::Connected, ToBorrower::Revoked { sequence, lease, first, count, ended }) => {
                self.revoke(sequence, lease, (first.0, count), ended)
            }
            (Phase::Connected, ToBorrower::Present { lease, first, count }) => {
                let Some(lease) = self.by_id(lease) else { return Ok(Notice::Nothing) };
                let pages = Self::pages_of(&lease, first.0, count).ok_or(Breach)?;
                self.make_present(&lease, pages);
                Ok(Notice::Answered)
            }
            (Phase::Connected, ToBorrower::Unavailable { lease, first, count }) => {
                let Some(lease) = self.by_id(lease) else { return Ok(Notice::Nothing) };
                let pages = Self::pages_of(&lease, first.0, count).ok_or(Breach)?;
                // The access decides: it is completed by hand, or by the loss policy.
                self.make_present(&lease, pages);
                Ok(Notice::Unavailable { lease, pages })
            }
            (Phase::Connected, ToBorrower::Lost { lease, first, count }) => {
                let Some(lease) = self.by_id(lease) else { return Ok(Notice::Nothing) };
                let pages = Self::pages_of(&lease, first.0, count).ok_or(Breach)?;
                let zap = lease.loss == LossPolicy::Fault;
                self.lost.insert(pages);
                self.wanted.remove(pages);
                if zap {
                    self.present.remove(pages);
                } else {
                    // The broker answers with zeros.
                    self.present.insert(pages);
                }
                Ok(Notice::Lost { lease, pages, zap })
            }
            _ => Err(Breach),
        }
    }

    fn by_id(&self, id: LeaseId) -> Option<Lease> {
        self.leases.get(usize::from(id.index))?.filter(|lease| lease.id == id)
    }

    fn grant(&mut self, lease: Lease) -> Result<Notice, Breach> {
        if !self.aperture.all().covers(lease.pages) {
            return Err(Breach);
        }
        if self.by_id(lease.id).is_some_and(|known| known.says_the_same(&lease)) {
            return Ok(Notice::Nothing);
        }
        if self.leases().any(|other| !other.pages.common(lease.pages).is_empty()) {
            return Err(Breach);
        }
        let place = self.leases.get_mut(usize::from(lease.id.index)).ok_or(Breach)?;
        if place.is_some() {
            return Err(Breach);
        }
        // Nothing is known of its pages: whatever lease had them before has been forgotten with its end.
        *place = Some(lease);
        Ok(Notice::Granted(lease))
    }

    fn revoke(
        &mut self,
        sequence: u64,
        id: LeaseId,
        (first, count): (u32, u32),
        ended: bool,
    ) -> Result<Notice, Breach> {
        if sequence <= self.revoked {
            return Err(Breach);
        }
        self.revoked = sequence;
        let Some(lease) = self.by_id(id) else { return Ok(Notice::Passed(sequence)) };
        let mut pages = Self::pages_of(&lease, first, count).ok_or(Breach)?;
        if ended {
            pages = lease.pages;
            self.lost.remove(pages);
            if let Some(place) = self.leases.get_mut(usize::from(id.index)) {
                *place = None;
            }
        }
        self.forget(pages);
        Ok(Notice::Revoked { lease, pages, ended, sequence })
    }

    /// From now on a touch of these pages maps them. Lost ones of a lease that faults stay away, whatever the
    /// broker says.
    fn make_present(&mut self, lease: &Lease, pages: Pages) {
        self.present.insert(pages);
        self.wanted.remove(pages);
        if lease.loss == LossPolicy::Fault {
            self.present.remove_common(&self.lost, pages);
        }
    }

    /// From now on a touch of these pages asks anew; lost ones need not.
    fn forget(&mut self, pages: Pages) {
        self.present.remove(pages);
        self.wanted.remove(pages);
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The facade: one borrower's broker, driven by its domain's event loop.

use xenlend_protocol::refusal::Breach;

use crate::capabilities::Capabilities;
use crate::counters::Counters;
use crate::hypervisor::{Hypervisor, LenderLink};
use crate::lending_table::{LendingTable, PageSlot};
use crate::vcpu_slot::VcpuSlot;

/// vCPUs of a borrower that one broker can serve: `SCHEDOP_poll` takes 128 ports, and
/// the link and xenstore need one each.
pub const MAX_VCPUS: usize = 126;

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
    table: LendingTable<'a>,
    vcpus: &'a mut [VcpuSlot],
    aperture_address: u64,
    capabilities: Capabilities,
    state: LinkState,
    counters: Counters,
}

impl<'a> Broker<'a> {
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
        if vcpus.is_empty() || vcpus.len() > MAX_VCPUS {
            return Err(ConfigError::VcpuCount);
        }
        let table = LendingTable::new(pages);
        Ok(Self {
            table,
            vcpus,
            aperture_address,
            capabilities,
            state: LinkState::AwaitingHello,
            counters: Counters::default(),
        })
    }

    /// Handles up to `max_messages` of the lender's messages, as long as every answer
    /// owed so far found room. Call it first in each turn.
    pub fn serve_lender(
        &mut self,
        _hypervisor: &mut impl Hypervisor,
        _link: &mut impl LenderLink,
        _max_messages: u32,
    ) -> Turn {
        Turn::Idle
    }

    /// Serves every vCPU's request a bounded way. Call it in each turn, after
    /// [`Self::serve_lender`].
    pub fn serve_requests(
        &mut self,
        _hypervisor: &mut impl Hypervisor,
        _link: &mut impl LenderLink,
    ) -> Turn {
        Turn::Idle
    }

    /// The lender is gone without a word: everything is removed, outstanding accesses
    /// end by their lease's loss policy. Later turns complete requests the same way.
    pub fn lender_gone(&mut self, _hypervisor: &mut impl Hypervisor) {
        self.state = LinkState::LenderGone;
    }

    /// Where the link stands.
    pub fn link_state(&self) -> LinkState {
        self.state
    }

    /// What has been done so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }
}

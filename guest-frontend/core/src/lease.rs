// SPDX-License-Identifier: MIT OR Apache-2.0
//! The leases of a link.
//!
//! A program's mapping belongs to one lease by its serial number, which no later lease of this
//! driver's life gets: the wire's ids begin anew with every broker.

use xenlend_protocol::label::Label;
use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::message::{CacheMode, LossPolicy, Rights};

use crate::page_set::Pages;

/// Leases that a link can have at once.
pub const MAX_LEASES: usize = 64;

/// One lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Its name on the wire.
    pub id: LeaseId,
    /// Its name for mappings: never used again.
    pub serial: u64,
    /// Its pages of the aperture.
    pub pages: Pages,
    /// What programs may do.
    pub rights: Rights,
    /// What they see after a loss.
    pub loss: LossPolicy,
    /// How they have to map it.
    pub cache: CacheMode,
    /// What the lender calls it.
    pub label: Label,
}

impl Lease {
    /// Whether both say the same; the serial is this driver's own.
    #[must_use]
    pub fn says_the_same(&self, other: &Self) -> bool {
        Self { serial: 0, ..*self } == Self { serial: 0, ..*other }
    }
}

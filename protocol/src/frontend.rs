// SPDX-License-Identifier: MIT OR Apache-2.0
//! The messages between borrower and broker.
//!
//! The borrower is hostile: whatever it writes here can cost it its own link and
//! nothing else, and no revocation waits for any of it. Variant order is wire
//! format: append only.

use serde::{Deserialize, Serialize};

use crate::frame::AperturePage;
use crate::label::ClaimedLabel;
use crate::lease_id::LeaseId;
use crate::message::{CacheMode, LossPolicy, Rights};
use crate::refusal::Breach;

/// Pages that one [`FromBorrower::WaitFor`] can name.
pub const MAX_WAIT_PAGES: u32 = 512;

/// From the borrower's frontend to the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromBorrower {
    /// Must be the first message: the versions and features that the frontend speaks,
    /// and where it has reserved the aperture.
    Hello {
        /// Lowest version spoken.
        oldest: u16,
        /// Highest version spoken.
        newest: u16,
        /// Feature bits offered; none is defined.
        features: u32,
        /// First gfn of the aperture: a claim.
        aperture_gfn: u64,
        /// Pages of the aperture: a claim.
        aperture_pages: u32,
    },
    /// A task sleeps until these pages are present. `Present`, `Lost`, `Unavailable` and
    /// `Revoked` notices that together cover them follow.
    WaitFor {
        /// The lease.
        lease: LeaseId,
        /// First page.
        page: AperturePage,
        /// Number of pages, 1 to [`MAX_WAIT_PAGES`], all inside the lease.
        count: u32,
    },
    /// No program's page table names a page of this `Revoked`, or of one before it, any
    /// more. Until it comes the pages of an ended lease are not used again.
    ZapDone {
        /// `sequence` of the newest `Revoked` that has been handled.
        sequence: u64,
    },
}

/// From the broker to the borrower's frontend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToBorrower {
    /// Answer to `Hello`.
    Welcome {
        /// Version chosen.
        version: u16,
        /// Feature bits taken.
        features: u32,
    },
    /// Answer to `Hello`: no common version. The link is over.
    Incompatible {
        /// Lowest version the broker speaks.
        oldest: u16,
        /// Highest.
        newest: u16,
    },
    /// A lease exists. Nothing of it is present yet.
    Lease {
        /// Its id.
        lease: LeaseId,
        /// First page.
        first: AperturePage,
        /// Number of pages.
        count: u32,
        /// What the borrower may do.
        rights: Rights,
        /// What it sees after a loss.
        loss: LossPolicy,
        /// How programs have to map it.
        cache: CacheMode,
        /// What the lender calls it; may be empty.
        label: ClaimedLabel,
    },
    /// These pages are absent now: drop what programs have mapped of them.
    Revoked {
        /// Rises with every `Revoked` of a link; echoed in `ZapDone`.
        sequence: u64,
        /// The lease.
        lease: LeaseId,
        /// First page.
        first: AperturePage,
        /// Number of pages.
        count: u32,
        /// Whether the lease is over too.
        ended: bool,
    },
    /// These pages are present, unless a later `Revoked` says otherwise.
    Present {
        /// The lease.
        lease: LeaseId,
        /// First page.
        first: AperturePage,
        /// Number of pages.
        count: u32,
    },
    /// These pages will never come back: the loss policy holds.
    Lost {
        /// The lease.
        lease: LeaseId,
        /// First page.
        first: AperturePage,
        /// Number of pages.
        count: u32,
    },
    /// A contract was broken and the link is over.
    Closed {
        /// By whom and how.
        breach: Breach,
    },
    /// These pages were waited for and could not be had now: an access to them decides.
    Unavailable {
        /// The lease.
        lease: LeaseId,
        /// First page.
        first: AperturePage,
        /// Number of pages.
        count: u32,
    },
}

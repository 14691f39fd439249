// SPDX-License-Identifier: MIT OR Apache-2.0
//! Answers that say no, and who is to blame when a contract is broken.
//!
//! Numbers and variant order are wire format: append only.

use serde::{Deserialize, Serialize};

use crate::frame::AperturePage;

/// A well-formed request that the broker declines. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// No lease of that index and generation.
    NoSuchLease,
    /// That index is in use.
    IndexInUse,
    /// The index is not below the capacity, given here.
    TableFull {
        /// Leases that can exist at once.
        capacity: u16,
    },
    /// The pages are not all inside the aperture of so many pages, or there are none.
    OutsideAperture {
        /// Pages of the aperture.
        aperture_pages: u32,
    },
    /// The pages overlap those of another lease.
    Overlap {
        /// Index of that lease.
        index: u16,
    },
    /// An extent is empty, leaves its lease, or overflows.
    BadExtent,
    /// A page is present already, in another frame.
    AlreadyPresent {
        /// The page.
        page: AperturePage,
    },
    /// Rights, cache mode or feature that this Xen cannot give.
    Unsupported,
    /// The pages were a lease's that has ended, and the borrower has not confirmed yet that
    /// its programs' page tables have dropped them.
    Quarantined {
        /// Index of that lease.
        index: u16,
    },
    /// The label has a byte that is not printable ASCII.
    BadLabel,
}

/// The broker could not take up the borrower's link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AttachFailure {
    /// A grant could not be mapped.
    Grant {
        /// Xen's error number, positive.
        errno: u16,
    },
    /// The event channel could not be bound.
    EventChannel {
        /// Xen's error number, positive.
        errno: u16,
    },
    /// Another attachment has not been detached.
    InUse,
}

/// Xen refused to add an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddFailure {
    /// First page that could not be added.
    pub page: AperturePage,
    /// Xen's error number, positive (`xen/include/public/errno.h`).
    pub errno: u16,
}

/// Xen refused to remove an entry: this page and those after it are still mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveFailure {
    /// First page that is still mapped.
    pub page: AperturePage,
    /// Xen's error number, positive.
    pub errno: u16,
}

/// Whose contract was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Blame {
    /// The lender's kernel.
    Lender,
    /// The borrower.
    Borrower,
    /// The broker itself.
    Broker,
}

/// How a contract was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BreachKind {
    /// Ring indices that cannot be.
    RingIndices,
    /// A message length that cannot be.
    MessageLength,
    /// Bytes that are no message.
    Undecodable,
    /// A message that may not come now.
    OutOfTurn,
    /// An answer to nothing that was asked, or of the wrong kind or length.
    UnexpectedAnswer,
    /// An invalidation sequence that went backwards.
    SequenceBackwards,
    /// More outstanding than the contract allows.
    TooManyOutstanding,
    /// An entry that a failed request had added could not be removed again: the request
    /// stays unanswered, and its pages count as present.
    StillMapped,
    /// A number outside what it names: a page outside its lease, another aperture.
    OutOfRange,
}

/// A broken contract: the link that it happened on is over, no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Breach {
    /// The side to blame.
    pub blame: Blame,
    /// What it did.
    pub kind: BreachKind,
}

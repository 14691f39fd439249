// SPDX-License-Identifier: MIT OR Apache-2.0
//! The messages between lender and broker.
//!
//! Read `protocol/DESIGN.md` first: it says who may send what when, and who may
//! lie. Variant order is wire format (postcard writes the index): append only.

use heapless::Vec;
use serde::{Deserialize, Serialize};

use crate::extent::ClaimedExtent;
use crate::frame::AperturePage;
use crate::label::ClaimedLabel;
use crate::lease_id::LeaseId;
use crate::refusal::{AddFailure, AttachFailure, Breach, Refusal, RemoveFailure};
use crate::ring::Priority;

/// The one protocol version that this source speaks.
pub const VERSION: u16 = 3;
/// Extents that one [`ToBroker::Present`] can carry.
pub const MAX_EXTENTS: usize = 16;
/// Bytes that one access message can carry.
pub const MAX_ACCESS_BYTES: usize = 256;
/// Invalidations that a lender may have outstanding at once; ring space for so
/// many of them, and of their acknowledgements, is kept free of everything else.
pub const MAX_INVALIDATIONS: usize = 8;
/// [`FromBroker::Want`] messages that may be unanswered at once.
pub const MAX_WANTED: usize = 8;
/// Feature bit: the side has asked Xen, and it is lend-aware. A link has it or has it not on both
/// sides; [`FromBroker::OtherKind`] refuses every other.
pub const FEATURE_LEND_AWARE: u32 = 1 << 0;
/// Encoded size of the largest message, without ring framing, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 384;

/// What the borrower sees of a page that the lender cannot bring back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LossPolicy {
    /// Reads give zeros, writes go nowhere. On lend-aware Xen the lender presents zeros of its own.
    Zeros,
    /// A fault in the borrower where Xen and the borrower allow one; zeros and
    /// a word to the frontend where they do not.
    Fault,
}

/// What the borrower may do with a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rights {
    /// Reads only. Stock Xen cannot enforce it: refused there.
    ReadOnly,
    /// Reads and writes.
    ReadWrite,
}

/// Cache mode that the lender asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CacheMode {
    /// Write-combining: the one mode that stock Xen offers without aliases.
    WriteCombining,
    /// Write-back. Refused on stock Xen.
    WriteBack,
}

/// From the lender's kernel to the broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(clippy::large_enum_variant, reason = "no heap: messages are decoded in place")]
pub enum ToBroker {
    /// Must be the first message: the versions and features that the lender speaks.
    Hello {
        /// Lowest version spoken.
        oldest: u16,
        /// Highest version spoken.
        newest: u16,
        /// Feature bits offered: [`FEATURE_LEND_AWARE`]. Bits that the broker does not know are ignored.
        features: u32,
    },
    /// Makes pages `first .. first + count` of the aperture a lease. Nothing is present yet.
    SetRegion {
        /// Id of the new lease, chosen by the lender: index and generation.
        lease: LeaseId,
        /// First page.
        first: AperturePage,
        /// Number of pages, not 0.
        count: u32,
        /// What the borrower may do.
        rights: Rights,
        /// What it sees after a loss.
        loss: LossPolicy,
        /// Cache mode asked for.
        cache: CacheMode,
        /// Its name for people in the borrower; may be empty.
        label: ClaimedLabel,
    },
    /// Ends a lease. Pages still present are removed as by an `Invalidate`.
    DropRegion {
        /// The lease.
        lease: LeaseId,
    },
    /// Frames to make present.
    Present {
        /// Echoed in the answer.
        ticket: u32,
        /// The lease: one of an older generation is stale.
        lease: LeaseId,
        /// The lender's newest invalidation sequence when it looked the frames up.
        sequence: u64,
        /// The frames.
        extents: Vec<ClaimedExtent, MAX_EXTENTS>,
    },
    /// Remove these pages, then acknowledge. Uses reserved ring space.
    Invalidate {
        /// Rises by at least one with every Invalidate of a link.
        sequence: u64,
        /// The lease.
        lease: LeaseId,
        /// First page.
        first: AperturePage,
        /// Number of pages.
        count: u32,
    },
    /// The lender has itself removed every present page of every lease while it held
    /// the broker paused; everything up to `sequence` counts as acknowledged.
    Forced {
        /// Newest invalidation sequence at that moment.
        sequence: u64,
    },
    /// Answer to [`FromBroker::Access`].
    Completed {
        /// `id` of the access.
        id: u32,
        /// How it ended.
        outcome: AccessOutcome,
    },
    /// These pages are gone for good: the lease's loss policy holds from now on.
    Lost {
        /// The lease.
        lease: LeaseId,
        /// First page.
        first: AperturePage,
        /// Number of pages.
        count: u32,
    },
    /// The borrower's frontend has made a link: its grants and its port, checked only to
    /// be numbers. The broker maps and binds them.
    AttachBorrower {
        /// Names this attachment in its answer and in `DetachBorrower`.
        attachment: u32,
        /// The borrower's grants: control page, data towards it, data from it.
        ring_refs: [u32; 3],
        /// The borrower's event channel.
        event_channel: u32,
    },
    /// Lets go of the borrower's grants and port. What the attachment was waiting for is forgotten.
    DetachBorrower {
        /// The attachment.
        attachment: u32,
    },
    /// Answer to [`FromBroker::Want`], behind every `Present` that it caused.
    Wanted {
        /// `ticket` of the request.
        ticket: u32,
        /// How it ended.
        outcome: WantedOutcome,
    },
    /// What made wants of these pages end with [`WantedOutcome::Waits`] is over, or has lasted so
    /// long that it is forgotten: whoever waits for one of them asks again.
    AskAgain {
        /// The lease.
        lease: LeaseId,
        /// First page.
        first: AperturePage,
        /// Number of pages.
        count: u32,
    },
}

impl ToBroker {
    /// Which part of the ring the message may use.
    pub fn priority(&self) -> Priority {
        match self {
            Self::Invalidate { .. } | Self::Forced { .. } => Priority::Reserved,
            _ => Priority::Normal,
        }
    }
}

/// From the broker to the lender's kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(clippy::large_enum_variant, reason = "no heap: messages are decoded in place")]
pub enum FromBroker {
    /// Answer to `Hello`.
    Welcome {
        /// Version chosen.
        version: u16,
        /// Feature bits taken.
        features: u32,
        /// Pages of the aperture that the broker serves.
        aperture_pages: u32,
        /// Leases that can exist at once.
        lease_capacity: u16,
    },
    /// Answer to `Hello`: no common version. The link is over.
    Incompatible {
        /// Lowest version the broker speaks.
        oldest: u16,
        /// Highest.
        newest: u16,
    },
    /// Answer to `SetRegion`.
    RegionSet {
        /// The lease.
        lease: LeaseId,
        /// Whether it exists now.
        result: Result<(), Refusal>,
    },
    /// Answer to `DropRegion`.
    RegionDropped {
        /// The lease.
        lease: LeaseId,
        /// Pages that were still present and have been removed.
        result: Result<u32, RemoveFailure>,
    },
    /// Answer to `Present`.
    Presented {
        /// `ticket` of the request.
        ticket: u32,
        /// What became of it.
        outcome: PresentOutcome,
    },
    /// Acknowledges an `Invalidate`: sent only after the entries are removed.
    Invalidated {
        /// `sequence` of the request.
        sequence: u64,
        /// Pages removed, or the failure that leaves some of them mapped.
        result: Result<u32, RemoveFailure>,
    },
    /// An access that the lender has to do on its page.
    Access {
        /// Echoed in the answer; one outstanding id for each vCPU at most.
        id: u32,
        /// The lease.
        lease: LeaseId,
        /// The page.
        page: AperturePage,
        /// First byte in the page; the access does not leave the page.
        offset: u16,
        /// What to do.
        operation: AccessOperation,
        /// Whether the page should be made present too. False while doing so would kill
        /// the borrower (multi-count write outstanding) or the page already is.
        wants_page: bool,
    },
    /// A contract was broken and the link is over.
    Closed {
        /// By whom and how.
        breach: Breach,
    },
    /// Answer to `AttachBorrower`.
    BorrowerAttached {
        /// `attachment` of the request.
        attachment: u32,
        /// Whether the borrower's link is served now.
        result: Result<(), AttachFailure>,
    },
    /// Answer to `DetachBorrower`: nothing of the borrower's link is mapped or bound any more.
    BorrowerDetached {
        /// `attachment` of the request.
        attachment: u32,
    },
    /// Make these pages present: a task of the borrower sleeps until they are, or a vCPU stands still. At most
    /// [`MAX_WANTED`] are unanswered.
    Want {
        /// Echoed in the answer; no two unanswered ones have the same.
        ticket: u32,
        /// The lease.
        lease: LeaseId,
        /// First page.
        first: AperturePage,
        /// Number of pages, all inside the lease.
        count: u32,
        /// A vCPU stands still, which is so with [`FEATURE_LEND_AWARE`] only.
        vcpu: bool,
    },
    /// The borrower broke the contract of its own link, which stays attached, and unserved, until it is
    /// detached.
    BorrowerClosed {
        /// The attachment.
        attachment: u32,
    },
    /// Answer to `Hello`: lender and broker have not found the same kind of Xen. The link is over.
    OtherKind {
        /// Feature bits that the broker would have offered.
        features: u32,
    },
}

impl FromBroker {
    /// Which part of the ring the message may use.
    pub fn priority(&self) -> Priority {
        match self {
            Self::Invalidated { .. } => Priority::Reserved,
            _ => Priority::Normal,
        }
    }
}

/// What an access does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(clippy::large_enum_variant, reason = "no heap: messages are decoded in place")]
pub enum AccessOperation {
    /// Read so many bytes, 1 to [`MAX_ACCESS_BYTES`].
    Read {
        /// Number of bytes.
        length: u16,
    },
    /// Write these bytes.
    Write {
        /// The bytes, at least one.
        bytes: Vec<u8, MAX_ACCESS_BYTES>,
    },
}

/// How an access ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(clippy::large_enum_variant, reason = "no heap: messages are decoded in place")]
pub enum AccessOutcome {
    /// The bytes read.
    Read {
        /// As many as asked for.
        bytes: Vec<u8, MAX_ACCESS_BYTES>,
    },
    /// The bytes have been written.
    Written,
    /// The lender could not do it for good: the loss policy holds for this access.
    Lost,
}

/// What became of a `Present`. Whatever it says, the pages not added are absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PresentOutcome {
    /// All added.
    Added {
        /// 2 MiB entries.
        entries_2mib: u16,
        /// 4 KiB entries.
        entries_4kib: u32,
    },
    /// A multi-count write is outstanding on one of the pages: nothing was added, ask again later.
    Later,
    /// Older than an `Invalidate` that has been handled, or of a lease that is gone: nothing was added.
    Stale,
    /// Refused before anything was added.
    Refused(Refusal),
    /// Xen refused an add; what this request had added has been removed again.
    Failed(AddFailure),
}

/// How a `Want` ended. Which pages came is in the `Present`s before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WantedOutcome {
    /// All that was wanted and not lost has been made present; some may be gone again.
    Present,
    /// The lender has declared the first page that is absent lost.
    Lost,
    /// Not now: an access to the page decides.
    Unavailable,
    /// The pages that are absent cannot be had now: the lender waits for somebody who may never
    /// answer, or for a permission. An [`ToBroker::AskAgain`] of each of them follows.
    Waits,
    /// The first page that is absent cannot be brought in, as far as the lender knows for good, and is not
    /// declared lost. Only with [`FEATURE_LEND_AWARE`]: an access that waits for it ends as lost.
    Failed,
}

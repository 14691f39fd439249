// SPDX-License-Identifier: MIT OR Apache-2.0
//! What lend-aware Xen adds to `public/hvm/dm_op.h` and `public/hvm/ioreq.h`. A stable interface; stock Xen
//! answers the operations with `-EOPNOTSUPP`.

use crate::DomainId;

/// `XEN_DMOP_lend_query`: the caller is the control domain, or has been named broker or lender.
pub const QUERY: u32 = 64;
/// `XEN_DMOP_lend_parties`: the control domain only.
pub const PARTIES: u32 = 65;
/// `XEN_DMOP_lend_release`: a lender, about its own frames.
pub const RELEASE: u32 = 66;
/// `XEN_DMOP_lend_change`: the broker, the control domain, or a lender that revokes its own.
pub const CHANGE: u32 = 67;

/// Feature bit of [`Query`]: a fault waits, and the instruction is run again.
pub const RETRIES: u32 = 1 << 0;
/// Feature bit: a loss is a precise exception.
pub const PRECISE_LOSS: u32 = 1 << 1;
/// Feature bit: entries can be read-only.
pub const READ_ONLY: u32 = 1 << 2;
/// Feature bit: RAM is lent write-back.
pub const WRITE_BACK: u32 = 1 << 3;

/// What makes a Xen lend-aware: broker and lender use one that has all of these, and only such a one.
pub const REQUIRED: u32 = RETRIES | PRECISE_LOSS | READ_ONLY | WRITE_BACK;

/// The two kinds of Xen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XenKind {
    /// It does not know [`QUERY`]: it lends by tool calls and sends accesses to be completed.
    Stock,
    /// It has all that is [`REQUIRED`]: it lends by operations of its own and sends faults.
    LendAware,
}

/// It knows [`QUERY`], and lacks something that is [`REQUIRED`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MissingFeatures {
    /// What it has.
    pub has: u32,
}

impl XenKind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Stock, Self::LendAware];

    /// From the features in the answer to [`QUERY`], or `None` if Xen does not know that operation.
    ///
    /// # Errors
    /// [`MissingFeatures`]: of another version of the patches than these sources.
    pub const fn of(features: Option<u32>) -> Result<Self, MissingFeatures> {
        match features {
            None => Ok(Self::Stock),
            Some(has) if has & REQUIRED == REQUIRED => Ok(Self::LendAware),
            Some(has) => Err(MissingFeatures { has }),
        }
    }

    /// Its name in xenstore and on command lines.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stock => "stock",
            Self::LendAware => "lend-aware",
        }
    }
}

/// `XEN_LEND_ABSENT`, as a frame: nothing is lent, or nothing shall be.
pub const ABSENT: u64 = u64::MAX;
/// `XEN_LEND_ANY`, as the old frame of a revocation: whatever is lent there, or nothing.
pub const ANY: u64 = u64::MAX - 1;
/// Flag of [`Entry`]: the borrower may only read it.
pub const ENTRY_READ_ONLY: u32 = 1 << 0;
/// Flag of [`Release`]: take the release back.
pub const RELEASE_WITHDRAW: u32 = 1 << 0;
/// Flag of [`Release`]: only for read-only entries.
pub const RELEASE_READ_ONLY: u32 = 1 << 1;
/// Flag of [`Parties`]: the lender is one no more.
pub const PARTIES_REMOVE_LENDER: u32 = 1 << 0;

/// `XEN_DMOP_IO_RANGE_LENT`: a server that is told faults, not accesses.
pub const IO_RANGE_LENT: u32 = 3;
/// `IOREQ_TYPE_LEND_FAULT`.
pub const IOREQ_TYPE_FAULT: u8 = 9;

/// `struct xen_dm_op_lend_query`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Query {
    /// Out: the feature bits above.
    pub features: u32,
    /// Zero.
    pub pad: u32,
    /// Out: 4 KiB pages lent to the borrower now.
    pub present: u64,
    /// Out: 4 KiB pages released to it now.
    pub released: u64,
}

/// `struct xen_dm_op_lend_parties`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Parties {
    /// The domain that may lend to this borrower; `DOMID_INVALID`: none.
    pub broker: DomainId,
    /// A domain that may release its pages through that broker; `DOMID_INVALID`: leave them.
    pub lender: DomainId,
    /// [`PARTIES_REMOVE_LENDER`].
    pub flags: u32,
}

/// `struct xen_dm_op_lend_release`; the second buffer is an array of [`Extent`].
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Release {
    /// Extents.
    pub nr: u32,
    /// `RELEASE_*`.
    pub flags: u32,
    /// In: 0. Out, also with an error: pages handled, in order.
    pub done: u64,
}

/// `struct xen_dm_lend_extent`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Extent {
    /// First frame, as the lender's domain names it.
    pub frame: u64,
    /// Frames.
    pub nr: u64,
}

/// `struct xen_dm_op_lend_change`; the second buffer is an array of [`Entry`].
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Change {
    /// Entries.
    pub nr: u32,
    /// Zero.
    pub flags: u32,
    /// In: 0. Out, also with an error: pages handled, in order.
    pub done: u64,
}

/// `struct xen_dm_lend_entry`: pages that follow each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Entry {
    /// The borrower's first frame.
    pub gfn: u64,
    /// Pages.
    pub nr: u64,
    /// The lender's frame that is expected at the first page, rising by one; [`ABSENT`]; [`ANY`].
    pub old_frame: u64,
    /// The lender's frame to put there, rising by one; [`ABSENT`].
    pub new_frame: u64,
    /// Whose frame the old one is.
    pub old_lender: DomainId,
    /// Whose frame the new one is.
    pub new_lender: DomainId,
    /// [`ENTRY_READ_ONLY`].
    pub flags: u32,
}

impl Entry {
    /// Pages that shall be lent and are not.
    pub const fn lend(gfn: u64, nr: u64, frame: u64, lender: DomainId, read_only: bool) -> Self {
        let flags = if read_only { ENTRY_READ_ONLY } else { 0 };
        Self { gfn, nr, old_frame: ABSENT, new_frame: frame, old_lender: lender, new_lender: lender, flags }
    }

    /// Pages that shall be lent no more, whatever is there.
    pub const fn revoke(gfn: u64, nr: u64, lender: DomainId) -> Self {
        Self { gfn, nr, old_frame: ANY, new_frame: ABSENT, old_lender: lender, new_lender: lender, flags: 0 }
    }
}

const _: () = {
    use core::mem::{offset_of, size_of};
    assert!(size_of::<Query>() == 24 && offset_of!(Query, present) == 8 && offset_of!(Query, released) == 16);
    assert!(size_of::<Parties>() == 8 && offset_of!(Parties, lender) == 2 && offset_of!(Parties, flags) == 4);
    assert!(size_of::<Release>() == 16 && offset_of!(Release, flags) == 4 && offset_of!(Release, done) == 8);
    assert!(size_of::<Change>() == 16 && offset_of!(Change, flags) == 4 && offset_of!(Change, done) == 8);
    assert!(size_of::<Extent>() == 16 && offset_of!(Extent, nr) == 8);
    assert!(size_of::<Entry>() == 40 && offset_of!(Entry, nr) == 8 && offset_of!(Entry, old_frame) == 16);
    assert!(offset_of!(Entry, new_frame) == 24 && offset_of!(Entry, old_lender) == 32);
    assert!(offset_of!(Entry, new_lender) == 34 && offset_of!(Entry, flags) == 36);
};

#[cfg(test)]
mod kind_tests {
    use super::*;

    #[test]
    fn a_xen_is_lend_aware_with_every_feature_and_nothing_known_with_some() {
        assert_eq!(XenKind::of(None), Ok(XenKind::Stock));
        assert_eq!(XenKind::of(Some(REQUIRED)), Ok(XenKind::LendAware));
        assert_eq!(XenKind::of(Some(u32::MAX)), Ok(XenKind::LendAware), "newer ones have more");
        for feature in [RETRIES, PRECISE_LOSS, READ_ONLY, WRITE_BACK] {
            let has = REQUIRED & !feature;
            assert_eq!(XenKind::of(Some(has)), Err(MissingFeatures { has }));
        }
        assert_eq!(XenKind::of(Some(0)), Err(MissingFeatures { has: 0 }));
    }
}

#[cfg(all(test, feature = "layouts"))]
mod tests {
    use super::*;
    use crate::dm_op::DmOp;

    /// The bytes that a 40-byte structure has in memory, field by field as C lays them out.
    fn bytes(entry: &Entry) -> [u8; 40] {
        let mut bytes = [0; 40];
        for (place, word) in [entry.gfn, entry.nr, entry.old_frame, entry.new_frame].into_iter().enumerate() {
            bytes[place * 8..place * 8 + 8].copy_from_slice(&word.to_le_bytes());
        }
        bytes[32..34].copy_from_slice(&entry.old_lender.to_le_bytes());
        bytes[34..36].copy_from_slice(&entry.new_lender.to_le_bytes());
        bytes[36..40].copy_from_slice(&entry.flags.to_le_bytes());
        bytes
    }

    #[test]
    fn an_entry_says_what_is_expected_and_what_is_wanted() {
        let lend = bytes(&Entry::lend(0x10_0200, 3, 0xfd000, 7, true));
        assert_eq!(lend[..16], [0x00, 0x02, 0x10, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(lend[16..24], [0xff; 8], "nothing is lent there yet");
        assert_eq!(lend[24..], [0x00, 0xd0, 0x0f, 0, 0, 0, 0, 0, 7, 0, 7, 0, 1, 0, 0, 0]);
        let revoke = bytes(&Entry::revoke(1, 512, 0));
        assert_eq!(revoke[16..24], [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], "whatever is there");
        assert_eq!(revoke[24..], [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn the_payload_lies_behind_the_operation() {
        assert_eq!(core::mem::offset_of!(DmOp<Change>, payload), 8);
        assert_eq!(core::mem::offset_of!(DmOp<Query>, payload), 8);
        assert_eq!(core::mem::size_of::<DmOp<Change>>(), 24);
    }
}

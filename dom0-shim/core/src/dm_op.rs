// SPDX-License-Identifier: MIT OR Apache-2.0
//! The device-model operations of lend-aware Xen, as the lender makes them.
//!
//! Numbers and layouts: `xenlend_xen_abi::lend`. A stock Xen does not know them and says `EOPNOTSUPP`: that
//! is how the two kinds are told apart.

use crate::bars::FrameRun;
use xenlend_protocol::frame::Mfn;
use xenlend_xen_abi::lend::{
    ABSENT, ANY, CHANGE, PARTIES, PARTIES_REMOVE_LENDER, QUERY, RELEASE, RELEASE_READ_ONLY, RELEASE_WITHDRAW,
};

/// `HYPERVISOR_dm_op`
pub const HYPERCALL: u32 = 41;
/// Words of the first buffer: header and the largest of the four structures.
pub const WORDS: usize = 4;
/// Words of the second buffer.
pub const LIST_WORDS: usize = 32;
/// Runs of frames that one call releases or withdraws at most.
pub const MAX_RUNS: usize = LIST_WORDS / 2;
/// `DOMID_INVALID`: nobody, where a call takes a domain.
pub const NOBODY: u16 = xenlend_xen_abi::DOMID_INVALID;

/// What a release does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// The broker may lend these frames.
    ReadWrite,
    /// It may lend them for reading.
    ReadOnly,
    /// It may not lend them any more.
    Withdraw,
}

/// What is done to pages of the borrower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Whatever is lent there is removed.
    Revoke,
    /// Nothing: it fails with `EEXIST` at the first page where something is lent.
    Compare,
}

/// What a Xen says of lending to a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What it can do, one bit each.
    pub features: u32,
    /// Pages that are lent to it now.
    pub present: u64,
    /// Pages that are released for it now.
    pub released: u64,
}

/// A filled-in call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DmOp {
    /// The borrower's domain.
    pub borrower: u16,
    /// The first buffer, which Xen reads and writes.
    pub words: [u64; WORDS],
    /// The second buffer.
    pub list: [u64; LIST_WORDS],
    /// Words of the second buffer that count; 0: there is none.
    pub list_words: usize,
}

impl DmOp {
    fn new(borrower: u16, operation: u32, first: u64, list: impl IntoIterator<Item = u64>) -> Self {
        let mut this = Self {
            borrower,
            words: [u64::from(operation), first, 0, 0],
            list: [0; LIST_WORDS],
            list_words: 0,
        };
        for (cell, word) in this.list.iter_mut().zip(list) {
            *cell = word;
            this.list_words = this.list_words.saturating_add(1);
        }
        this
    }

    /// `XEN_DMOP_lend_query`
    pub fn query(borrower: u16) -> Self {
        Self::new(borrower, QUERY, 0, [])
    }

    /// `XEN_DMOP_lend_parties`: who may lend to the borrower, and whose pages.
    pub fn name_parties(borrower: u16, broker: u16, lender: u16) -> Self {
        Self::new(borrower, PARTIES, u64::from(broker) | u64::from(lender) << 16, [])
    }

    /// `XEN_DMOP_lend_parties`: nobody may any more; vCPUs that wait for the broker are woken.
    pub fn dismiss_parties(borrower: u16, lender: u16) -> Self {
        let parties = u64::from(NOBODY) | u64::from(lender) << 16 | u64::from(PARTIES_REMOVE_LENDER) << 32;
        Self::new(borrower, PARTIES, parties, [])
    }

    /// `XEN_DMOP_lend_release` of at most [`MAX_RUNS`] runs; those behind are left out.
    pub fn release(borrower: u16, runs: impl IntoIterator<Item = FrameRun>, what: Release) -> Self {
        let flags = match what {
            Release::ReadWrite => 0,
            Release::ReadOnly => RELEASE_READ_ONLY,
            Release::Withdraw => RELEASE_WITHDRAW,
        };
        let list = runs.into_iter().flat_map(|run| [run.first.0, run.count]);
        let mut this = Self::new(borrower, RELEASE, 0, list);
        this.set_count((this.list_words / 2) as u64, flags);
        this
    }

    /// `XEN_DMOP_lend_change` of `count` pages from `gfn` on, lent by `lender`.
    pub fn change(borrower: u16, lender: u16, gfn: u64, count: u64, what: Change) -> Self {
        let old = match what {
            Change::Revoke => ANY,
            Change::Compare => ABSENT,
        };
        let lenders = u64::from(lender) | u64::from(lender) << 16;
        let mut this = Self::new(borrower, CHANGE, 0, [gfn, count, old, ABSENT, lenders]);
        this.set_count(1, 0);
        this
    }

    fn set_count(&mut self, count: u64, flags: u32) {
        if let Some(word) = self.words.get_mut(1) {
            *word = count | u64::from(flags) << 32;
        }
    }

    fn word(&self, index: usize) -> u64 {
        self.words.get(index).copied().unwrap_or(0)
    }

    /// The answer to [`Self::query`].
    pub fn answer(&self) -> Answer {
        Answer { features: self.word(1) as u32, present: self.word(2), released: self.word(3) }
    }

    /// Pages that a release or a change has handled, in order.
    pub fn done(&self) -> u64 {
        self.word(2)
    }
}

/// The frames from `first` on.
pub fn run(first: Mfn, count: u32) -> FrameRun {
    FrameRun { first, count: u64::from(count) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(words: &[u64]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    #[test]
    fn parties_have_the_layout_of_dm_op_h() {
        let call = DmOp::name_parties(7, 0x0102, 0x0304);
        assert_eq!(bytes(&call.words)[..16], [65, 0, 0, 0, 0, 0, 0, 0, 2, 1, 4, 3, 0, 0, 0, 0]);
        assert_eq!((call.borrower, call.list_words), (7, 0));
        let call = DmOp::dismiss_parties(7, 0x0304);
        assert_eq!(bytes(&call.words)[8..16], [0xf4, 0x7f, 4, 3, 1, 0, 0, 0]);
    }

    #[test]
    fn releases_have_the_layout_of_dm_op_h() {
        let runs = [run(Mfn(0x11), 3), run(Mfn(0x2200_0000_0000), 1)];
        let call = DmOp::release(7, runs, Release::ReadOnly);
        assert_eq!(bytes(&call.words)[..16], [66, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0]);
        assert_eq!(call.words[2], 0, "done");
        assert_eq!((&call.list[..4], call.list_words), (&[0x11, 3, 0x2200_0000_0000, 1][..], 4));
        assert_eq!(bytes(&DmOp::release(7, runs, Release::Withdraw).words)[12], 1);
        assert_eq!(bytes(&DmOp::release(7, runs, Release::ReadWrite).words)[12], 0);
        let many = DmOp::release(7, (0..40).map(|first| run(Mfn(first), 1)), Release::Withdraw);
        assert_eq!((many.list_words, many.words[1] as u32), (32, 16), "no more than fit");
    }

    #[test]
    fn changes_have_the_layout_of_dm_op_h() {
        let call = DmOp::change(7, 0x0304, 0x4_0000, 512, Change::Revoke);
        assert_eq!(bytes(&call.words)[..16], [67, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(call.list[..2], [0x4_0000, 512]);
        assert_eq!(bytes(&call.list[2..4])[..9], [0xfe, 255, 255, 255, 255, 255, 255, 255, 255]);
        assert_eq!(bytes(&call.list[4..5]), [4, 3, 4, 3, 0, 0, 0, 0]);
        assert_eq!(call.list_words, 5);
        assert_eq!(DmOp::change(7, 0, 1, 1, Change::Compare).list[2..4], [u64::MAX, u64::MAX]);
    }

    #[test]
    fn answers_are_read_where_xen_writes_them() {
        let mut call = DmOp::query(7);
        assert_eq!(call.words, [64, 0, 0, 0]);
        call.words[1..].copy_from_slice(&[0xf, 11, 12]);
        assert_eq!(call.answer(), Answer { features: 0xf, present: 11, released: 12 });
        assert_eq!(call.done(), 11);
    }
}

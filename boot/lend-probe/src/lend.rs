// SPDX-License-Identifier: MIT OR Apache-2.0
//! The operations of lend-aware Xen on one borrower, as its interface document has them.

pub use xenlend_xen_abi::lend::{ABSENT, ANY};
use xenlend_xen_abi::lend::{CHANGE, PARTIES, QUERY, RELEASE};

use crate::privcmd::Privcmd;

/// Nobody.
pub const NOBODY: u16 = xenlend_xen_abi::DOMID_INVALID;
/// dom0, where this runs.
pub const SELF: u16 = 0;

/// What `lend_query` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// What this Xen can do.
    pub features: u32,
    /// Pages lent now.
    pub present: u64,
    /// Pages released now.
    pub released: u64,
}

/// One entry of `lend_change`.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The borrower's first frame.
    pub gfn: u64,
    /// Pages.
    pub nr: u64,
    /// Expected.
    pub old: u64,
    /// Wanted.
    pub new: u64,
    /// Whose the old one is.
    pub old_lender: u16,
    /// Whose the new one is.
    pub new_lender: u16,
    /// 1: read-only.
    pub flags: u32,
}

impl Entry {
    /// dom0's frames where there is nothing.
    pub const fn lend(gfn: u64, nr: u64, frame: u64) -> Self {
        Self { gfn, nr, old: ABSENT, new: frame, old_lender: SELF, new_lender: SELF, flags: 0 }
    }

    /// Whatever dom0 has lent there goes.
    pub const fn revoke(gfn: u64, nr: u64) -> Self {
        Self { old: ANY, new: ABSENT, ..Self::lend(gfn, nr, 0) }
    }
}

/// A borrower, as dom0 sees it: control domain, lender and broker at once.
#[derive(Debug)]
pub struct Borrower {
    /// Its number.
    pub domain: u16,
    /// How to get at Xen.
    pub privcmd: Privcmd,
}

fn op(number: u32, words: &[u32]) -> Vec<u8> {
    let mut bytes = Vec::from(number.to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    bytes.resize(72, 0);
    bytes
}

fn long(bytes: &[u8], at: usize) -> u64 {
    let mut long = [0; 8];
    long.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(long)
}

impl Borrower {
    /// `lend_query`.
    pub fn query(&self) -> (i32, Found) {
        let mut op = op(QUERY, &[]);
        let error = self.privcmd.dm_op(self.domain, &mut op, &mut []);
        let features = long(&op, 8) as u32;
        (error, Found { features, present: long(&op, 16), released: long(&op, 24) })
    }

    /// `lend_parties`.
    pub fn parties(&self, broker: u16, lender: u16, flags: u32) -> i32 {
        let parties = u32::from(broker) | u32::from(lender) << 16;
        self.privcmd.dm_op(self.domain, &mut op(PARTIES, &[parties, flags]), &mut [])
    }

    fn listed(&self, number: u32, nr: u32, flags: u32, done: u64, list: &mut [u8]) -> (i32, u64) {
        let mut op = op(number, &[nr, flags, done as u32, (done >> 32) as u32]);
        let error = self.privcmd.dm_op(self.domain, &mut op, list);
        (error, long(&op, 16))
    }

    /// `lend_release`, with the given number of extents claimed.
    pub fn release_as(&self, nr: u32, flags: u32, extents: &[(u64, u64)]) -> (i32, u64) {
        let mut list: Vec<u8> =
            extents.iter().flat_map(|(frame, nr)| [frame.to_le_bytes(), nr.to_le_bytes()].concat()).collect();
        self.listed(RELEASE, nr, flags, 0, &mut list)
    }

    /// `lend_release`.
    pub fn release(&self, flags: u32, extents: &[(u64, u64)]) -> (i32, u64) {
        self.release_as(extents.len() as u32, flags, extents)
    }

    /// `lend_change`, with number, flags and progress claimed.
    pub fn change_as(&self, nr: u32, flags: u32, done: u64, entries: &[Entry]) -> (i32, u64) {
        let mut list = Vec::new();
        for entry in entries {
            for word in [entry.gfn, entry.nr, entry.old, entry.new] {
                list.extend(word.to_le_bytes());
            }
            list.extend(entry.old_lender.to_le_bytes());
            list.extend(entry.new_lender.to_le_bytes());
            list.extend(entry.flags.to_le_bytes());
        }
        self.listed(CHANGE, nr, flags, done, &mut list)
    }

    /// `lend_change`.
    pub fn change(&self, entries: &[Entry]) -> (i32, u64) {
        self.change_as(entries.len() as u32, 0, 0, entries)
    }

    /// An operation on ioreq servers: number and operands; gives the first two words back.
    pub fn server(&self, number: u32, words: &[u32]) -> (i32, u64) {
        let mut op = op(number, words);
        let error = self.privcmd.dm_op(self.domain, &mut op, &mut []);
        (error, long(&op, 8))
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pages of leases that have ended and that programs of the borrower may still have mapped.
//!
//! A stale entry of one program must not show another's lease. So these pages become no
//! lease again until the borrower has confirmed its zap, or its link is gone.

use heapless::Vec;

use crate::lease_registry::LEASE_CAPACITY;
use crate::lending_table::PageRange;

#[derive(Clone, Copy, Debug)]
struct Entry {
    index: u16,
    pages: PageRange,
    /// Sequence of the `Revoked` that said that the lease is over; none while it waits for room.
    sequence: Option<u64>,
}

/// The pages. Leases that live and quarantined ones together are at most the capacity.
#[derive(Debug, Default)]
pub(crate) struct Quarantine {
    entries: Vec<Entry, { LEASE_CAPACITY as usize }>,
}

impl Quarantine {
    /// A lease that the borrower knows has ended.
    pub(crate) fn begin(&mut self, index: u16, pages: PageRange) {
        // Always room: a lease is granted only while there is.
        let _ = self.entries.push(Entry { index, pages, sequence: None });
    }

    /// The borrower has been told of the end of the lease at this index.
    pub(crate) fn told(&mut self, index: u16, sequence: u64) {
        let untold = |entry: &&mut Entry| entry.index == index && entry.sequence.is_none();
        if let Some(entry) = self.entries.iter_mut().find(untold) {
            entry.sequence = Some(sequence);
        }
    }

    /// The borrower has zapped everything up to a sequence.
    pub(crate) fn confirm(&mut self, zapped: u64) {
        self.entries.retain(|entry| entry.sequence.is_none_or(|sequence| sequence > zapped));
    }

    /// Nobody is left who could have something mapped.
    pub(crate) fn release(&mut self) {
        self.entries.clear();
    }

    /// Index of the lease that keeps a new one of these pages from being granted, beside
    /// `living` others.
    pub(crate) fn obstacle(&self, pages: PageRange, living: usize) -> Option<u16> {
        let full = living.saturating_add(self.entries.len()) >= LEASE_CAPACITY as usize;
        let overlapping = self.entries.iter().find(|entry| entry.pages.overlaps(&pages));
        overlapping.or(self.entries.first().filter(|_| full)).map(|entry| entry.index)
    }

    /// Number of leases in it.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether a page is in it.
    pub(crate) fn contains(&self, page: u32) -> bool {
        self.entries.iter().any(|entry| entry.pages.contains(page))
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! What has been invalidated lately: which frames looked up before are overtaken.
//!
//! Remembering the pages of each invalidation spares page-ins that an unrelated one has
//! passed: a window of many buffers is one lease, and its driver moves them all the time.

use heapless::Deque;

use crate::lending_table::PageRange;

/// Invalidations that are remembered with their pages. Frames older than all of them
/// count as overtaken whatever their pages are.
const REMEMBERED: usize = 64;

/// The newest invalidations of a link.
#[derive(Clone, Debug, Default)]
pub struct InvalidationHistory {
    /// Newest sequence handled.
    newest: u64,
    /// Everything older is overtaken: pages of that age have been forgotten.
    floor: u64,
    recent: Deque<(u64, PageRange), REMEMBERED>,
}

/// A sequence that is not higher than those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backwards;

impl InvalidationHistory {
    /// Takes the sequence of an invalidation, before it is handled.
    ///
    /// # Errors
    /// [`Backwards`].
    pub fn begin(&mut self, sequence: u64) -> Result<(), Backwards> {
        if sequence <= self.newest {
            return Err(Backwards);
        }
        self.newest = sequence;
        Ok(())
    }

    /// Remembers the pages of the invalidation that has begun.
    pub fn record(&mut self, pages: PageRange) {
        if pages.is_empty() {
            return;
        }
        if self.recent.is_full() {
            if let Some((forgotten, _)) = self.recent.pop_front() {
                self.floor = self.floor.max(forgotten);
            }
        }
        if self.recent.push_back((self.newest, pages)).is_err() {
            // Cannot be: room was made. Forgetting the pages errs on the safe side.
            self.floor = self.newest;
        }
    }

    /// The lender itself has invalidated every page, up to and at this sequence.
    ///
    /// # Errors
    /// [`Backwards`].
    pub fn force(&mut self, sequence: u64) -> Result<(), Backwards> {
        if sequence < self.newest {
            return Err(Backwards);
        }
        self.newest = sequence;
        self.floor = sequence;
        self.recent.clear();
        Ok(())
    }

    /// Whether frames looked up at `sequence` for these pages may have been taken away
    /// since, by an invalidation that was handled.
    pub fn overtakes(&self, sequence: u64, pages: PageRange) -> bool {
        sequence < self.floor
            || self
                .recent
                .iter()
                .any(|(newer, invalidated)| *newer > sequence && invalidated.overlaps(&pages))
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The lender's own record of which frame is present at which page of one region.
//!
//! Revocation without the broker removes exactly what this says. An entry is set before
//! the broker may add it and cleared only after it is known to be removed, so that the
//! mirror never has less than the second stage.

use xenlend_protocol::extent::{Extent, GranuleSize};
use xenlend_protocol::frame::{AperturePage, Mfn, FRAMES_PER_2MIB};

use crate::bars::FrameRun;
use crate::storage::Storage;

const PRESENT: u64 = 1 << 63;
/// The page is part of a 2 MiB entry, which is only ever removed whole.
const LARGE: u64 = 1 << 62;
/// The frame is a page of zeros of the lender's kernel, which nobody else has.
const ZEROS: u64 = 1 << 61;
const MFN_MASK: u64 = (1 << 40) - 1;

/// Present entries of one size with consecutive pages and frames; never leaves an
/// aligned 2 MiB of the aperture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// First page.
    pub page: AperturePage,
    /// First frame.
    pub mfn: Mfn,
    /// Number of pages.
    pub count: u32,
    /// One 2 MiB entry instead of 4 KiB entries.
    pub large: bool,
    /// The lender's own page of zeros, to be freed; always one page.
    pub zeros: bool,
}

impl Run {
    /// Its frames.
    pub fn frames(&self) -> FrameRun {
        FrameRun { first: self.mfn, count: u64::from(self.count) }
    }
}

/// What became present, in entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entries {
    /// Entries of 2 MiB.
    pub of_2mib: u32,
    /// Entries of 4 KiB.
    pub of_4kib: u32,
}

/// The mirror of one region.
pub struct Mirror<S: Storage> {
    first: u32,
    pages: S::Slice<u64>,
    /// Present pages in each aligned 2 MiB: a search skips what is empty.
    chunks: S::Slice<u16>,
    present: u32,
}

/// Aligned 2 MiB pieces of the aperture that a region touches.
pub fn chunk_count(first: AperturePage, count: u32) -> usize {
    let last = u64::from(first.0).saturating_add(u64::from(count)).saturating_sub(1);
    let last_chunk = last.checked_div(u64::from(FRAMES_PER_2MIB)).unwrap_or(0);
    last_chunk.saturating_sub(u64::from(first.0 / FRAMES_PER_2MIB)).saturating_add(1) as usize
}

impl<S: Storage> Mirror<S> {
    /// An empty mirror over zeros: one word for each page, and [`chunk_count`] counts.
    pub fn new(first: AperturePage, pages: S::Slice<u64>, chunks: S::Slice<u16>) -> Self {
        Self { first: first.0, pages, chunks, present: 0 }
    }

    /// Pages present.
    pub fn present_pages(&self) -> u32 {
        self.present
    }

    /// The frame at a page.
    pub fn frame_at(&self, page: AperturePage) -> Option<Mfn> {
        let entry = self.entry(page.0);
        (entry & PRESENT != 0).then_some(Mfn(entry & MFN_MASK))
    }

    /// Whether any of these pages is present.
    pub fn has_present(&self, first: AperturePage, count: u32) -> bool {
        self.find(first, count).is_some()
    }

    /// Records an extent, cut into entries by the rule of the protocol. It must lie in the region.
    pub fn set(&mut self, extent: &Extent) -> Entries {
        let mut entries = Entries::default();
        for granule in extent.granules() {
            let large = match granule.size {
                GranuleSize::FourKib(count) => {
                    entries.of_4kib = entries.of_4kib.saturating_add(count);
                    0
                }
                GranuleSize::TwoMib(count) => {
                    entries.of_2mib = entries.of_2mib.saturating_add(count);
                    LARGE
                }
            };
            for step in 0..granule.frame_count() {
                let mfn = granule.mfn.0.saturating_add(u64::from(step));
                self.put(granule.page.0.saturating_add(step), PRESENT | large | mfn & MFN_MASK);
            }
        }
        entries
    }

    /// Records a page of zeros of the lender's own. It must lie in the region.
    pub fn set_zeros(&mut self, page: AperturePage, mfn: Mfn) {
        self.put(page.0, PRESENT | ZEROS | mfn.0 & MFN_MASK);
    }

    /// The first present entries that reach into these pages: a 2 MiB entry whole, also
    /// where it begins before them.
    pub fn find(&self, first: AperturePage, count: u32) -> Option<Run> {
        let end = first.0.saturating_add(count).min(self.end());
        let mut page = first.0.max(self.first);
        while page < end {
            let chunk_end = (page | FRAMES_PER_2MIB.saturating_sub(1)).saturating_add(1);
            if self.chunk(page) == 0 {
                page = chunk_end;
                continue;
            }
            let limit = end.min(chunk_end);
            while page < limit && self.entry(page) & PRESENT == 0 {
                page = page.saturating_add(1);
            }
            if page < limit {
                return Some(self.run_at(page, limit));
            }
        }
        None
    }

    /// Clears a run that [`Self::find`] gave and whose entries are removed.
    pub fn clear(&mut self, run: &Run) {
        for step in 0..run.count {
            self.put(run.page.0.saturating_add(step), 0);
        }
    }

    /// Finds and clears.
    pub fn take(&mut self, first: AperturePage, count: u32) -> Option<Run> {
        let run = self.find(first, count)?;
        self.clear(&run);
        Some(run)
    }

    fn run_at(&self, page: u32, limit: u32) -> Run {
        let entry = self.entry(page);
        if entry & LARGE != 0 {
            let start = page & !FRAMES_PER_2MIB.saturating_sub(1);
            let mfn = Mfn(self.entry(start) & MFN_MASK);
            return Run { page: AperturePage(start), mfn, count: FRAMES_PER_2MIB, large: true, zeros: false };
        }
        if entry & ZEROS != 0 {
            let mfn = Mfn(entry & MFN_MASK);
            return Run { page: AperturePage(page), mfn, count: 1, large: false, zeros: true };
        }
        let mut count = 1u32;
        while page.saturating_add(count) < limit {
            let expected = PRESENT | (entry & MFN_MASK).saturating_add(u64::from(count));
            if self.entry(page.saturating_add(count)) != expected {
                break;
            }
            count = count.saturating_add(1);
        }
        Run { page: AperturePage(page), mfn: Mfn(entry & MFN_MASK), count, large: false, zeros: false }
    }

    fn end(&self) -> u32 {
        self.first.saturating_add(self.pages.len() as u32)
    }

    fn entry(&self, page: u32) -> u64 {
        let index = page.checked_sub(self.first);
        index.and_then(|index| self.pages.get(index as usize)).copied().unwrap_or(0)
    }

    fn chunk_index(&self, page: u32) -> usize {
        (page / FRAMES_PER_2MIB).saturating_sub(self.first / FRAMES_PER_2MIB) as usize
    }

    fn chunk(&self, page: u32) -> u16 {
        self.chunks.get(self.chunk_index(page)).copied().unwrap_or(0)
    }

    fn put(&mut self, page: u32, value: u64) {
        let chunk = self.chunk_index(page);
        let Some(index) = page.checked_sub(self.first) else { return };
        let Some(cell) = self.pages.get_mut(index as usize) else { return };
        let before = core::mem::replace(cell, value) & PRESENT != 0;
        let after = value & PRESENT != 0;
        let Some(count) = self.chunks.get_mut(chunk) else { return };
        match (before, after) {
            (false, true) => {
                *count = count.saturating_add(1);
                self.present = self.present.saturating_add(1);
            }
            (true, false) => {
                *count = count.saturating_sub(1);
                self.present = self.present.saturating_sub(1);
            }
            _ => {}
        }
    }
}

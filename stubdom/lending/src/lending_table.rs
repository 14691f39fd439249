// SPDX-License-Identifier: MIT OR Apache-2.0
//! The one authoritative record of what is in the aperture: a slot for every page.
//!
//! Xen does not check the frame on a remove and kills the borrower on an add over
//! another special entry, so what this table says is what decides. The storage is the
//! caller's; work is linear in the pages that an operation names.

use core::cell::Cell;

use xenlend_protocol::frame::{AperturePage, Mfn, FRAMES_PER_2MIB};

/// Size of the second-stage entry that a page is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntrySize {
    /// An entry of its own.
    FourKib,
    /// One of 512 pages of an entry that is only ever removed whole.
    TwoMib,
}

/// What the table says of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageState {
    /// No second-stage entry.
    Absent,
    /// The borrower reaches this frame.
    Present {
        /// The frame.
        mfn: Mfn,
        /// Size of the entry.
        size: EntrySize,
    },
    /// No entry, and the lender has declared the page lost.
    Lost,
}

/// A page of the aperture, packed into 8 bytes.
///
/// Bits 0 and 1: 0 absent, 1 present, 2 lost. Bit 2: part of a 2 MiB entry. Bit 3:
/// added by the request being handled. Bits 8 and up: the frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageSlot(u64);

const KIND_BITS: u64 = 0b11;
const PRESENT: u64 = 1;
const LOST: u64 = 2;
const IN_2MIB: u64 = 1 << 2;
const FRESH: u64 = 1 << 3;
const MFN_SHIFT: u32 = 8;

impl PageSlot {
    /// A page that is absent: what the storage starts with.
    pub const ABSENT: Self = Self(0);
    const LOST: Self = Self(LOST);

    /// `Extent::check` admits 40 bits of frame number: none is shifted out.
    fn present(mfn: Mfn, size: EntrySize) -> Self {
        let size_bit = match size {
            EntrySize::FourKib => 0,
            EntrySize::TwoMib => IN_2MIB,
        };
        Self((mfn.0 << MFN_SHIFT) | size_bit | FRESH | PRESENT)
    }

    fn state(self) -> PageState {
        match self.0 & KIND_BITS {
            PRESENT => PageState::Present {
                mfn: Mfn(self.0 >> MFN_SHIFT),
                size: if self.0 & IN_2MIB == 0 { EntrySize::FourKib } else { EntrySize::TwoMib },
            },
            LOST => PageState::Lost,
            _ => PageState::Absent,
        }
    }

    fn is_present(self) -> bool {
        self.0 & KIND_BITS == PRESENT
    }

    fn is_fresh(self) -> bool {
        self.is_present() && self.0 & FRESH != 0
    }
}

/// Consecutive pages `first .. end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRange {
    /// First page.
    pub first: u32,
    /// The page behind the last one; not below `first`.
    pub end: u32,
}

impl PageRange {
    /// `count` pages from `first` on; what lies beyond the last page number is cut off.
    pub fn new(first: AperturePage, count: u32) -> Self {
        Self { first: first.0, end: first.0.saturating_add(count) }
    }

    /// Number of pages.
    pub fn page_count(&self) -> u32 {
        self.end.saturating_sub(self.first)
    }

    /// Whether there is no page in it.
    pub fn is_empty(&self) -> bool {
        self.first >= self.end
    }

    /// Whether a page is in it.
    pub fn contains(&self, page: u32) -> bool {
        self.first <= page && page < self.end
    }

    /// Whether the two have a page in common.
    pub fn overlaps(&self, other: &Self) -> bool {
        !self.intersect(other).is_empty()
    }

    /// The pages that are in both.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        let first = self.first.max(other.first);
        Self { first, end: self.end.min(other.end).max(first) }
    }
}

/// Pages that follow each other, in frames that do: present, or to be made so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameRun {
    /// The pages.
    pub pages: PageRange,
    /// Frame of the first page.
    pub mfn: Mfn,
}

/// The table.
#[derive(Debug)]
pub struct LendingTable<'a> {
    slots: &'a mut [PageSlot],
    /// A measure, so that a search that costs more than it should is seen.
    searched: Cell<u64>,
}

impl<'a> LendingTable<'a> {
    /// A table in which every page is absent. At most `u32::MAX` pages are used.
    pub fn new(slots: &'a mut [PageSlot]) -> Self {
        slots.fill(PageSlot::ABSENT);
        Self { slots, searched: Cell::new(0) }
    }

    /// The storage.
    pub fn into_slots(self) -> &'a mut [PageSlot] {
        self.slots
    }

    /// Pages of the aperture.
    pub fn page_count(&self) -> u32 {
        u32::try_from(self.slots.len()).unwrap_or(u32::MAX)
    }

    /// Pages that searches for a run of pages have looked at so far.
    pub fn searched(&self) -> u64 {
        self.searched.get()
    }

    /// What is at a page. Beyond the aperture everything is absent.
    pub fn page(&self, page: u32) -> PageState {
        self.slot(page).state()
    }

    /// Whether a page has an entry.
    pub fn is_present(&self, page: u32) -> bool {
        self.slot(page).is_present()
    }

    /// The first run of present pages in a range.
    pub fn next_run(&self, range: PageRange) -> Option<FrameRun> {
        self.run(range, PageSlot::is_present)
    }

    /// As [`Self::next_run`], of the pages added since `settle`.
    pub fn next_fresh_run(&self, range: PageRange) -> Option<FrameRun> {
        self.run(range, PageSlot::is_fresh)
    }

    /// The range grown to whole 2 MiB entries: what a removal of it removes.
    #[must_use]
    pub fn widen(&self, range: PageRange) -> PageRange {
        if range.is_empty() {
            return range;
        }
        let first = if self.is_in_2mib(range.first) { round_down(range.first) } else { range.first };
        let last = range.end.saturating_sub(1);
        let end =
            if self.is_in_2mib(last) { round_down(last).saturating_add(FRAMES_PER_2MIB) } else { range.end };
        PageRange { first, end }
    }

    /// Records entries that were added.
    pub(crate) fn set_present(&mut self, pages: PageRange, mfn: Mfn, size: EntrySize) {
        for (slot, frame) in self.slots_of(pages).iter_mut().zip(mfn.0..) {
            *slot = PageSlot::present(Mfn(frame), size);
        }
    }

    /// Records entries that were removed.
    pub(crate) fn set_absent(&mut self, pages: PageRange) {
        self.slots_of(pages).fill(PageSlot::ABSENT);
    }

    /// Declares pages lost; a page that is still present stays so.
    pub(crate) fn set_lost(&mut self, pages: PageRange) {
        for slot in self.slots_of(pages) {
            if !slot.is_present() {
                *slot = PageSlot::LOST;
            }
        }
    }

    /// Forgets losses: the lease that they belong to ends.
    pub(crate) fn clear_lost(&mut self, pages: PageRange) {
        for slot in self.slots_of(pages) {
            if !slot.is_present() {
                *slot = PageSlot::ABSENT;
            }
        }
    }

    /// Records that every entry is gone by somebody else's doing.
    pub(crate) fn clear_present(&mut self) {
        for slot in self.slots.iter_mut() {
            if slot.is_present() {
                *slot = PageSlot::ABSENT;
            }
        }
    }

    /// Ends the request that added pages: none of these is fresh any more.
    pub(crate) fn settle(&mut self, pages: PageRange) {
        for slot in self.slots_of(pages) {
            slot.0 &= !FRESH;
        }
    }

    fn slot(&self, page: u32) -> PageSlot {
        self.slots.get(page as usize).copied().unwrap_or_default()
    }

    fn slots_of(&mut self, pages: PageRange) -> &mut [PageSlot] {
        let length = self.slots.len();
        let first = (pages.first as usize).min(length);
        let end = (pages.end as usize).clamp(first, length);
        self.slots.get_mut(first..end).unwrap_or_default()
    }

    fn is_in_2mib(&self, page: u32) -> bool {
        matches!(self.page(page), PageState::Present { size: EntrySize::TwoMib, .. })
    }

    fn run(&self, range: PageRange, wanted: impl Fn(PageSlot) -> bool) -> Option<FrameRun> {
        let mut pages = range.first..range.end.min(self.page_count());
        let found = pages.find(|page| wanted(self.slot(*page)));
        let passed = pages.start.saturating_sub(range.first);
        self.searched.set(self.searched.get().saturating_add(u64::from(passed)));
        let first = found?;
        let frame = self.slot(first).0 >> MFN_SHIFT;
        let follows = |page: &u32, frame: u64| {
            let slot = self.slot(*page);
            wanted(slot) && slot.0 >> MFN_SHIFT == frame
        };
        let following =
            pages.zip(frame.saturating_add(1)..).take_while(|(page, frame)| follows(page, *frame));
        let end = following.last().map_or(first, |(page, _)| page).saturating_add(1);
        Some(FrameRun { pages: PageRange { first, end }, mfn: Mfn(frame) })
    }
}

fn round_down(page: u32) -> u32 {
    page.saturating_sub(page % FRAMES_PER_2MIB)
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a touch of a page finds, and asking for pages.

use xenlend_protocol::frame::{AperturePage, FRAMES_PER_2MIB};
use xenlend_protocol::frontend::FromBorrower;
use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::message::LossPolicy;
use xenlend_protocol::ring::{Priority, RingMemory};

use super::{Link, Phase};
use crate::counters::Counters;
use crate::lease::Lease;
use crate::page_set::{PageSet, Pages};
use crate::prefault::Answers;
use crate::storage::Storage;

/// Pages that one fault maps at most: the aligned block around it.
const FAULT_AROUND: u32 = 64;

/// A program's touch of a page that its page table does not have.
#[derive(Clone, Copy, Debug)]
pub struct Touch {
    /// The lease that the mapping belongs to.
    pub serial: u64,
    /// The page.
    pub page: u32,
    /// All pages of the mapping that the touch may map.
    pub mapping: Pages,
}

impl Touch {
    /// A touch whose page table has one entry for each of so many pages; the touched one's is at `slot`. Pages
    /// that have their entries in another table are left to touches of their own: making one takes memory.
    #[must_use]
    pub fn in_one_table(serial: u64, page: u32, mapping: Pages, slot: u32) -> Self {
        let first = page.saturating_sub(slot);
        // Where the table begins before the aperture does, less of it is the aperture's.
        let left = FRAMES_PER_2MIB.saturating_sub(slot);
        let table = Pages { first, end: page.saturating_add(left) };
        Self { serial, page, mapping: mapping.common(table) }
    }
}

/// What is to be done about a touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Map these pages, the touched one among them.
    Insert(Pages),
    /// Map the 2 MiB from this page on.
    InsertHuge(u32),
    /// Nothing as large: a touch of the single page follows.
    Smaller,
    /// The page has been asked for: sleep while [`Link::is_awaited`].
    Wait,
    /// There is no room to ask: sleep until something happens, and touch again.
    WaitForRoom,
    /// There is nothing: SIGBUS.
    Bus,
}

impl<R: RingMemory, S: Storage> Link<R, S> {
    /// What a touch of one page finds; asks for it if it is away.
    pub(crate) fn touch(&mut self, touch: &Touch, counters: &mut Counters) -> Answer {
        let Some(lease) = self.touched(touch) else { return Answer::Bus };
        if self.is_faulting(&lease, touch.page) {
            return Answer::Bus;
        }
        if self.present.contains(touch.page) {
            let room = Pages::block(touch.page, FAULT_AROUND).common(lease.pages).common(touch.mapping);
            return Answer::Insert(self.around(touch.page, room));
        }
        if self.wanted.contains(touch.page) {
            return Answer::Wait;
        }
        let page = Pages { first: touch.page, end: touch.page.saturating_add(1) };
        if self.ask(lease.id, page, counters) {
            return Answer::Wait;
        }
        match self.phase {
            Phase::Connected => Answer::WaitForRoom,
            _ => Answer::Bus,
        }
    }

    /// What a touch finds that would map 2 MiB at once.
    pub(crate) fn touch_huge(&mut self, touch: &Touch) -> Answer {
        let Some(lease) = self.touched(touch) else { return Answer::Bus };
        let block = Pages::block(touch.page, FRAMES_PER_2MIB);
        let inside = lease.pages.covers(block) && touch.mapping.covers(block);
        let faults = lease.loss == LossPolicy::Fault && self.lost.first_in(block).is_some();
        if inside && !faults && self.present.first_missing(block).is_none() {
            Answer::InsertHuge(block.first)
        } else {
            Answer::Smaller
        }
    }

    /// Whether whoever waits for a page has to go on waiting.
    pub fn is_awaited(&self, serial: u64, page: u32) -> bool {
        self.wanted.contains(page) && self.by_serial(serial).is_some()
    }

    fn touched(&self, touch: &Touch) -> Option<Lease> {
        let lease = self.by_serial(touch.serial)?;
        (lease.pages.contains(touch.page) && touch.mapping.contains(touch.page)).then_some(lease)
    }

    fn is_faulting(&self, lease: &Lease, page: u32) -> bool {
        lease.loss == LossPolicy::Fault && self.lost.contains(page)
    }

    /// The run of pages in `room` around a page that may be mapped as well. A lost page of a lease that
    /// faults is never present.
    fn around(&self, page: u32, room: Pages) -> Pages {
        let mut first = page;
        while first > room.first && self.present.contains(first.saturating_sub(1)) {
            first = first.saturating_sub(1);
        }
        let behind = Pages { first: page.saturating_add(1), end: room.end };
        Pages { first, end: self.present.first_missing(behind).unwrap_or(room.end) }
    }

    /// Asks for pages; false if there is no room, or no link.
    pub(crate) fn ask(&mut self, lease: LeaseId, pages: Pages, counters: &mut Counters) -> bool {
        self.ask_with(lease, pages, Priority::Reserved, counters)
    }

    fn ask_with(
        &mut self,
        lease: LeaseId,
        pages: Pages,
        priority: Priority,
        counters: &mut Counters,
    ) -> bool {
        let message = FromBorrower::WaitFor { lease, page: AperturePage(pages.first), count: pages.count() };
        let sent = self.phase == Phase::Connected && self.send_with(&message, priority, counters);
        if sent {
            self.wanted.insert(pages);
        }
        sent
    }
}

/// A link as one request of a lease sees it.
pub(crate) struct Asker<'a, R, S: Storage> {
    pub(crate) link: &'a mut Link<R, S>,
    pub(crate) lease: LeaseId,
    pub(crate) counters: &'a mut Counters,
}

impl<R: RingMemory, S: Storage> Asker<'_, R, S> {
    /// The pages that need not be asked for.
    fn answers(&self, anew: bool) -> impl Iterator<Item = &PageSet<S::Slice<u64>>> {
        let present = Some(&self.link.present).filter(|_| !anew);
        present.into_iter().chain([&self.link.wanted, &self.link.lost])
    }
}

impl<R: RingMemory, S: Storage> Answers for Asker<'_, R, S> {
    fn has_heard_all(&mut self) -> bool {
        self.link.has_heard_all()
    }

    fn first_unasked(&self, pages: Pages, anew: bool) -> Option<u32> {
        let mut from = pages.first;
        // Each step goes behind a run of one of the sets: linear in the words of the range.
        while from < pages.end {
            let Some(set) = self.answers(anew).find(|set| set.contains(from)) else { return Some(from) };
            from = set.first_missing(Pages { first: from, end: pages.end })?;
        }
        None
    }

    fn first_asked(&self, pages: Pages, anew: bool) -> Option<u32> {
        self.answers(anew).filter_map(|set| set.first_in(pages)).min()
    }

    fn first_awaited(&self, pages: Pages) -> Option<u32> {
        self.link.wanted.first_in(pages)
    }

    fn has_lost(&self, pages: Pages) -> bool {
        self.link.lost.first_in(pages).is_some()
    }

    fn ask(&mut self, pages: Pages) -> bool {
        // Prefaults leave room for tasks that sleep, and for what is zapped.
        self.link.ask_with(self.lease, pages, Priority::Normal, self.counters)
    }
}

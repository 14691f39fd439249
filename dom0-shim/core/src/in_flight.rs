// SPDX-License-Identifier: MIT OR Apache-2.0
//! Page-ins in flight, and which of them an invalidation has overtaken.
//!
//! This is the shim's own range list: the kernel's sequence counts every invalidation
//! of a whole notifier, so that it would restart page-ins that nothing has touched.
//!
//! # Invariant
//! A page-in is listed *before* its lookup starts, and an invalidation marks the list
//! before anything else, under the same lock: a lookup that may have seen an old frame
//! is either marked or waited for by `mmu_interval_read_begin`.

use core::ops::DerefMut;

use xenlend_protocol::frame::AperturePage;

/// Names a page-in in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageInId(u32);

/// One in flight.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    id: PageInId,
    first: AperturePage,
    count: u32,
    overtaken: bool,
}

/// The list.
#[derive(Debug)]
pub struct InFlight<T> {
    places: T,
    next_id: u32,
}

impl<T: DerefMut<Target = [Option<Entry>]>> InFlight<T> {
    /// Over places that hold nothing.
    pub fn new(places: T) -> Self {
        Self { places, next_id: 0 }
    }

    /// Lists a page-in of these pages; `None` if the list is full.
    pub fn begin(&mut self, first: AperturePage, count: u32) -> Option<PageInId> {
        let id = PageInId(self.next_id);
        let free = self.places.iter_mut().find(|place| place.is_none())?;
        *free = Some(Entry { id, first, count, overtaken: false });
        self.next_id = self.next_id.wrapping_add(1);
        Some(id)
    }

    /// Marks what overlaps these pages and gives how many were marked anew.
    pub fn overtake(&mut self, first: AperturePage, count: u32) -> u32 {
        let mut marked = 0u32;
        for entry in self.places.iter_mut().flatten() {
            if !entry.overtaken && overlap(entry.first, entry.count, first, count) {
                entry.overtaken = true;
                marked = marked.saturating_add(1);
            }
        }
        marked
    }

    /// Whether nothing has touched the pages since [`Self::begin`] or [`Self::restart`].
    pub fn is_current(&self, id: PageInId) -> bool {
        self.places.iter().flatten().any(|entry| entry.id == id && !entry.overtaken)
    }

    /// Forgets the mark; the caller looks everything up again.
    pub fn restart(&mut self, id: PageInId) {
        for entry in self.places.iter_mut().flatten().filter(|entry| entry.id == id) {
            entry.overtaken = false;
        }
    }

    /// Takes a page-in off the list.
    pub fn end(&mut self, id: PageInId) {
        for place in self.places.iter_mut() {
            place.take_if(|entry| entry.id == id);
        }
    }
}

/// Whether two runs of pages have one in common.
pub fn overlap(first: AperturePage, count: u32, other: AperturePage, other_count: u32) -> bool {
    let end = u64::from(first.0).saturating_add(u64::from(count));
    let other_end = u64::from(other.0).saturating_add(u64::from(other_count));
    u64::from(first.0) < other_end && u64::from(other.0) < end
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPACITY: usize = 4;

    #[test]
    fn only_an_overlapping_invalidation_overtakes() {
        let mut list = InFlight::new(vec![None; CAPACITY]);
        let id = list.begin(AperturePage(512), 512).unwrap();
        assert_eq!(list.overtake(AperturePage(0), 512), 0);
        assert_eq!(list.overtake(AperturePage(1024), 1), 0);
        assert!(list.is_current(id));
        assert_eq!(list.overtake(AperturePage(1023), 1), 1);
        assert!(!list.is_current(id));
        list.restart(id);
        assert!(list.is_current(id));
    }

    #[test]
    fn a_page_in_that_has_ended_is_not_current_and_frees_its_place() {
        let mut list = InFlight::new(vec![None; CAPACITY]);
        for _ in 0..3 * CAPACITY {
            let id = list.begin(AperturePage(0), 1).unwrap();
            list.end(id);
            assert!(!list.is_current(id));
        }
        for _ in 0..CAPACITY {
            list.begin(AperturePage(0), 1).unwrap();
        }
        assert_eq!(list.begin(AperturePage(0), 1), None);
    }

    #[test]
    fn runs_at_the_end_of_the_numbers_do_not_wrap() {
        assert!(overlap(AperturePage(u32::MAX), 1, AperturePage(u32::MAX), 1));
        assert!(!overlap(AperturePage(u32::MAX), 1, AperturePage(0), 1));
        assert!(overlap(AperturePage(0), u32::MAX, AperturePage(7), 1));
    }
}

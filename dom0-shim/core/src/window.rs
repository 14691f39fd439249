// SPDX-License-Identifier: MIT OR Apache-2.0
//! What one lookup has found around a faulting page, and its cutting into Presents.

use core::ops::DerefMut;

use heapless::Vec;
use xenlend_protocol::extent::ClaimedExtent;
use xenlend_protocol::frame::{AperturePage, Mfn, FRAMES_PER_2MIB};
use xenlend_protocol::message::MAX_EXTENTS;

use crate::lendable::FrameKind;

/// Pages of a window: an aligned 2 MiB of the aperture.
pub const WINDOW_PAGES: usize = FRAMES_PER_2MIB as usize;

const FOUND: u64 = 1 << 63;
const IN_BAR: u64 = 1 << 62;
const MFN_MASK: u64 = (1 << 40) - 1;

/// Extents of one Present.
pub type Extents = Vec<ClaimedExtent, MAX_EXTENTS>;

/// Frames found in one window.
#[derive(Debug)]
pub struct Window<S> {
    frames: S,
    first: AperturePage,
    count: u32,
    fault: AperturePage,
}

/// How far a window has been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    start: u32,
    done: u32,
}

impl<S: DerefMut<Target = [u64]>> Window<S> {
    /// Over memory for [`WINDOW_PAGES`] words.
    pub fn new(frames: S) -> Self {
        Self { frames, first: AperturePage(0), count: 0, fault: AperturePage(0) }
    }

    /// Starts anew with `count` pages from `first` on, one of which is the faulting one.
    pub fn reset(&mut self, first: AperturePage, count: u32, fault: AperturePage) {
        self.first = first;
        self.count = count.min(FRAMES_PER_2MIB);
        self.fault = fault;
        self.frames.fill(0);
    }

    /// First page.
    pub fn first(&self) -> AperturePage {
        self.first
    }

    /// Number of pages.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The page that faulted.
    pub fn fault(&self) -> AperturePage {
        self.fault
    }

    /// Notes the frame of a page.
    pub fn put(&mut self, page: AperturePage, mfn: Mfn, kind: FrameKind) {
        let kind = if kind == FrameKind::Bar { IN_BAR } else { 0 };
        self.write(page, FOUND | kind | mfn.0 & MFN_MASK);
    }

    /// Takes a page out of the window.
    pub fn forget(&mut self, page: AperturePage) {
        self.write(page, 0);
    }

    /// The frame of a page.
    pub fn get(&self, page: AperturePage) -> Option<(Mfn, FrameKind)> {
        let word = self.word(page.0.checked_sub(self.first.0)?);
        let kind = if word & IN_BAR == 0 { FrameKind::Ram } else { FrameKind::Bar };
        (word & FOUND != 0).then_some((Mfn(word & MFN_MASK), kind))
    }

    /// Where to begin: with the run that holds the faulting page, so that its Present goes first.
    pub fn begin(&self) -> Sent {
        let mut start = self.fault.0.saturating_sub(self.first.0);
        while start > 0 && self.continues(start.saturating_sub(1)) {
            start = start.saturating_sub(1);
        }
        Sent { start, done: 0 }
    }

    /// The extents of the next Present; empty when all has been sent.
    pub fn next_extents(&self, sent: &mut Sent) -> Extents {
        let mut extents = Extents::new();
        while sent.done < self.count {
            let at = sent.start.saturating_add(sent.done);
            let at = at.checked_sub(self.count).unwrap_or(at);
            if self.word(at) & FOUND == 0 {
                sent.done = sent.done.saturating_add(1);
                continue;
            }
            let mut count = 1u32;
            while sent.done.saturating_add(count) < self.count
                && self.continues(at.saturating_add(count).saturating_sub(1))
            {
                count = count.saturating_add(1);
            }
            let page = AperturePage(self.first.0.saturating_add(at));
            let extent = ClaimedExtent { page, mfn: Mfn(self.word(at) & MFN_MASK), count };
            if extents.push(extent).is_err() {
                break;
            }
            sent.done = sent.done.saturating_add(count);
        }
        extents
    }

    /// Whether the page after `at` has the frame after that of `at`.
    fn continues(&self, at: u32) -> bool {
        let next = at.saturating_add(1);
        next < self.count && self.word(at) & FOUND != 0 && self.word(next) == self.word(at).saturating_add(1)
    }

    fn word(&self, at: u32) -> u64 {
        self.frames.get(at as usize).copied().unwrap_or(0)
    }

    fn write(&mut self, page: AperturePage, value: u64) {
        let Some(at) = page.0.checked_sub(self.first.0).filter(|at| *at < self.count) else { return };
        if let Some(cell) = self.frames.get_mut(at as usize) {
            *cell = value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn window(fault: u32) -> Window<std::vec::Vec<u64>> {
        let mut window = Window::new(vec![0; WINDOW_PAGES]);
        window.reset(AperturePage(1024), 512, AperturePage(fault));
        window
    }

    #[test]
    fn a_contiguous_window_is_one_extent() {
        let mut window = window(1500);
        for step in 0..512 {
            window.put(AperturePage(1024 + step), Mfn(u64::from(step) + 4096), FrameKind::Bar);
        }
        let mut sent = window.begin();
        let extents = window.next_extents(&mut sent);
        assert_eq!(extents[..], [ClaimedExtent { page: AperturePage(1024), mfn: Mfn(4096), count: 512 }]);
        assert!(window.next_extents(&mut sent).is_empty());
    }

    #[test]
    fn pages_outside_the_window_are_not_taken() {
        let mut window = window(1024);
        window.put(AperturePage(1023), Mfn(1), FrameKind::Ram);
        window.put(AperturePage(1536), Mfn(1), FrameKind::Ram);
        assert!(window.next_extents(&mut window.begin()).is_empty());
    }

    proptest! {
        #[test]
        fn everything_found_is_sent_once_and_the_fault_first(
            fault in 0u32..512,
            mfns in proptest::collection::vec(proptest::option::of(0u64..6), 512),
        ) {
            let mut window = window(1024 + fault);
            let mut expected = std::collections::BTreeMap::new();
            let mut mfn = 10_000;
            for (step, jump) in mfns.iter().enumerate() {
                let found = jump.is_some() || step as u32 == fault;
                mfn += 1 + if jump.unwrap_or(0) == 5 { 7 } else { 0 };
                if found {
                    window.put(AperturePage(1024 + step as u32), Mfn(mfn), FrameKind::Ram);
                    expected.insert(1024 + step as u32, mfn);
                }
            }
            let mut sent = window.begin();
            let mut first = true;
            loop {
                let extents = window.next_extents(&mut sent);
                if extents.is_empty() { break; }
                if first {
                    let run = &extents[0];
                    prop_assert!((run.page.0..run.page.0 + run.count).contains(&(1024 + fault)));
                    first = false;
                }
                for extent in extents {
                    for step in 0..extent.count {
                        prop_assert_eq!(expected.remove(&(extent.page.0 + step)), Some(extent.mfn.0 + u64::from(step)));
                    }
                }
            }
            prop_assert!(expected.is_empty());
        }
    }
}

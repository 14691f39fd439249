// SPDX-License-Identifier: MIT OR Apache-2.0
//! The BARs that the administrator named, minus the pages of their MSI-X structures.

use heapless::Vec;
use xenlend_protocol::frame::{Mfn, PAGE_SIZE};

/// BARs that may be named for one link.
pub const MAX_BARS: usize = 16;
/// Runs that are cut out of one BAR: the MSI-X table and its pending bits.
pub const MAX_EXCLUDED: usize = 2;
/// Runs that one BAR is cut into at most.
pub const MAX_RUNS_OF_BAR: usize = MAX_EXCLUDED + 1;
/// Runs of frames that one link's BARs may come to.
pub const MAX_RUNS: usize = MAX_BARS * MAX_RUNS_OF_BAR;

/// A run of frames, not empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameRun {
    /// First frame.
    pub first: Mfn,
    /// Number of frames.
    pub count: u64,
}

impl FrameRun {
    /// Whether the frame is one of the run.
    pub fn contains(&self, mfn: Mfn) -> bool {
        mfn >= self.first && mfn.0.saturating_sub(self.first.0) < self.count
    }

    /// Frames touched by `length` bytes from `address` on.
    pub fn touched(address: u64, length: u64) -> Option<Self> {
        let last = address.checked_add(length.checked_sub(1)?)? / PAGE_SIZE;
        let first = address / PAGE_SIZE;
        Some(Self { first: Mfn(first), count: last.saturating_sub(first).saturating_add(1) })
    }

    /// Frames wholly inside `length` bytes from `address` on.
    pub fn inside(address: u64, length: u64) -> Option<Self> {
        let first = address.checked_next_multiple_of(PAGE_SIZE)? / PAGE_SIZE;
        let end = address.checked_add(length)? / PAGE_SIZE;
        let count = end.checked_sub(first).filter(|count| *count > 0)?;
        Some(Self { first: Mfn(first), count })
    }

    fn end(&self) -> u64 {
        self.first.0.saturating_add(self.count)
    }
}

/// What is left of a BAR without the excluded runs.
pub fn without(bar: FrameRun, excluded: &[FrameRun]) -> Vec<FrameRun, MAX_RUNS_OF_BAR> {
    let mut left = Vec::new();
    let mut at = bar.first.0;
    while at < bar.end() {
        let holding = excluded.iter().find(|run| run.contains(Mfn(at)));
        if let Some(run) = holding {
            at = run.end();
            continue;
        }
        let next = excluded.iter().map(|run| run.first.0).filter(|first| *first > at).min();
        let end = next.unwrap_or(u64::MAX).min(bar.end());
        let run = FrameRun { first: Mfn(at), count: end.saturating_sub(at) };
        if left.push(run).is_err() {
            break;
        }
        at = end;
    }
    left
}

/// Where a BAR is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Address of its first byte.
    pub address: u64,
    /// Its bytes.
    pub bytes: u64,
}

/// A device whose BARs can be named; equal only to itself.
pub trait Device: PartialEq {
    /// Where its BAR of this number is now, if it has it.
    fn place(&self, number: u8) -> Option<Place>;
}

/// One BAR that the administrator named.
#[derive(Debug)]
pub struct Named<D> {
    /// The device. Whoever names it is responsible for telling when it changes hands.
    pub device: D,
    /// The number of the BAR.
    pub number: u8,
    /// Where it was when it was named.
    pub place: Place,
    /// What of it may be lent.
    pub allowed: Vec<FrameRun, MAX_RUNS_OF_BAR>,
    /// The pages of its MSI-X structures.
    pub excluded: Vec<FrameRun, MAX_EXCLUDED>,
}

impl<D: Device> Named<D> {
    /// A BAR at this place, with the pages that MSI-X structures are in.
    ///
    /// `None` if no page is wholly inside.
    pub fn new(
        device: D,
        number: u8,
        place: Place,
        excluded: [Option<FrameRun>; MAX_EXCLUDED],
    ) -> Option<Self> {
        let frames = FrameRun::inside(place.address, place.bytes)?;
        let excluded: Vec<FrameRun, MAX_EXCLUDED> = excluded.into_iter().flatten().collect();
        Some(Self { device, number, place, allowed: without(frames, &excluded), excluded })
    }

    /// Frames that may be lent.
    pub fn frames(&self) -> u64 {
        self.allowed.iter().map(|run| run.count).fold(0, u64::saturating_add)
    }

    /// Whether the BAR has been moved, resized or taken from the device since it was named: its
    /// frames may be another device's now.
    pub fn has_moved(&self) -> bool {
        self.device.place(self.number) != Some(self.place)
    }

    /// Whether one of these frames may be lent.
    pub fn overlaps(&self, frames: &FrameRun) -> bool {
        self.allowed.iter().any(|run| run.first.0 < frames.end() && frames.first.0 < run.end())
    }
}

/// The administrator's choice for one link.
///
/// A BAR is named as part of a device in one driver's hands: who names it again when the device has
/// changed hands or the BAR has moved is the administrator.
#[derive(Debug)]
pub struct Bars<D> {
    named: Vec<Named<D>, MAX_BARS>,
}

impl<D> Default for Bars<D> {
    fn default() -> Self {
        Self { named: Vec::new() }
    }
}

/// No place for another BAR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;

impl<D: Device> Bars<D> {
    /// Whether there is a place for another BAR.
    pub fn has_place(&self) -> bool {
        !self.named.is_full()
    }

    /// Adds a BAR.
    ///
    /// # Errors
    /// If there is no place; nothing was added then.
    pub fn allow(&mut self, bar: Named<D>) -> Result<(), TooMany> {
        self.named.push(bar).map_err(|_| TooMany)
    }

    /// The BAR of this number of a device, if it is named and is where it was then.
    pub fn find(&self, device: &D, number: u8) -> Option<&Named<D>> {
        self.named.iter().find(|bar| bar.device == *device && bar.number == number && !bar.has_moved())
    }

    /// Takes out one BAR of a device that goes or changes hands: none of its frames may be lent
    /// from now on.
    pub fn take_of(&mut self, device: &D) -> Option<Named<D>> {
        self.take(|bar| bar.device == *device)
    }

    /// Takes out one BAR that has moved.
    pub fn take_moved(&mut self) -> Option<Named<D>> {
        self.take(Named::has_moved)
    }

    fn take(&mut self, is_meant: impl FnMut(&Named<D>) -> bool) -> Option<Named<D>> {
        let at = self.named.iter().position(is_meant)?;
        Some(self.named.swap_remove(at))
    }

    /// Whether the frame may be lent.
    pub fn allows(&self, mfn: Mfn) -> bool {
        self.named.iter().any(|bar| bar.allowed.iter().any(|run| run.contains(mfn)) && !bar.has_moved())
    }

    /// Whether the frame holds an MSI-X structure of a named BAR.
    pub fn excludes(&self, mfn: Mfn) -> bool {
        self.named.iter().any(|bar| bar.excluded.iter().any(|run| run.contains(mfn)) && !bar.has_moved())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::rc::Rc;

    fn run(first: u64, count: u64) -> FrameRun {
        FrameRun { first: Mfn(first), count }
    }

    #[test]
    fn msix_pages_are_cut_out_of_a_bar() {
        assert_eq!(without(run(100, 16), &[]), [run(100, 16)]);
        assert_eq!(
            without(run(100, 16), &[run(104, 1), run(110, 2)]),
            [run(100, 4), run(105, 5), run(112, 4)]
        );
        assert_eq!(without(run(100, 4), &[run(98, 3), run(103, 9)]), [run(101, 2)]);
        assert!(without(run(100, 4), &[run(100, 4)]).is_empty());
        assert_eq!(without(run(100, 4), &[run(101, 1), run(101, 1)]), [run(100, 1), run(102, 2)]);
    }

    #[test]
    fn a_partial_page_is_touched_but_not_inside() {
        assert_eq!(FrameRun::touched(0x1ff0, 0x20), Some(run(1, 2)));
        assert_eq!(FrameRun::inside(0x1ff0, 0x20), None);
        assert_eq!(FrameRun::inside(0x1000, 0x2fff), Some(run(1, 2)));
        assert_eq!(FrameRun::touched(0, 0), None);
        assert_eq!(FrameRun::touched(u64::MAX, 2), None);
    }

    /// A device whose one BAR can be moved under the eyes of whoever has named it.
    #[derive(Clone, Debug)]
    struct Card {
        slot: u32,
        place: Rc<Cell<Option<Place>>>,
    }

    impl PartialEq for Card {
        fn eq(&self, other: &Self) -> bool {
            self.slot == other.slot
        }
    }

    impl Device for Card {
        fn place(&self, number: u8) -> Option<Place> {
            self.place.get().filter(|_| number == 0)
        }
    }

    fn place(first: u64, count: u64) -> Place {
        Place { address: first * PAGE_SIZE, bytes: count * PAGE_SIZE }
    }

    fn card(slot: u32, first: u64, count: u64) -> Card {
        Card { slot, place: Rc::new(Cell::new(Some(place(first, count)))) }
    }

    fn named(card: &Card, excluded: [Option<FrameRun>; 2]) -> Named<Card> {
        Named::new(card.clone(), 0, card.place.get().unwrap(), excluded).unwrap()
    }

    #[test]
    fn only_named_frames_are_allowed() {
        let mut bars = Bars::default();
        let card = card(1, 100, 10);
        bars.allow(named(&card, [Some(run(104, 1)), None])).unwrap();
        assert!(bars.allows(Mfn(100)) && bars.allows(Mfn(103)) && bars.allows(Mfn(109)));
        assert!(!bars.allows(Mfn(104)) && bars.excludes(Mfn(104)));
        assert!(!bars.allows(Mfn(99)) && !bars.allows(Mfn(110)) && !bars.excludes(Mfn(110)));
        assert_eq!(bars.find(&card, 0).map(Named::frames), Some(9));
        assert!(bars.find(&card, 1).is_none());
        assert!(Named::new(card, 0, Place { address: 0x1100, bytes: 0xf00 }, [None, None]).is_none());
    }

    #[test]
    fn bars_beyond_the_limit_are_refused() {
        let mut bars = Bars::default();
        for slot in 0..MAX_BARS as u32 {
            assert!(bars.has_place());
            bars.allow(named(&card(slot, u64::from(slot), 1), [None, None])).unwrap();
        }
        assert!(!bars.has_place());
        assert_eq!(bars.allow(named(&card(99, 99, 1), [None, None])), Err(TooMany));
        assert!(!bars.allows(Mfn(99)));
    }

    #[test]
    fn a_device_that_goes_takes_its_bars_and_no_others_along() {
        let (goes, stays) = (card(1, 100, 4), card(2, 200, 4));
        let mut bars = Bars::default();
        bars.allow(named(&goes, [Some(run(101, 1)), None])).unwrap();
        bars.allow(named(&stays, [None, None])).unwrap();
        bars.allow(Named { number: 0, ..named(&goes, [None, None]) }).unwrap();
        let taken = bars.take_of(&goes).unwrap();
        assert_eq!((taken.device.slot, &taken.allowed[..]), (1, &[run(100, 1), run(102, 2)][..]));
        assert!(bars.take_of(&goes).is_some() && bars.take_of(&goes).is_none());
        assert!(!bars.allows(Mfn(100)) && !bars.excludes(Mfn(101)) && bars.allows(Mfn(200)));
        // What has the same slot later is another device, and is not named.
        assert!(bars.find(&card(3, 100, 4), 0).is_none());
    }

    #[test]
    fn a_bar_that_moves_or_is_resized_is_allowed_no_more() {
        let card = card(1, 100, 4);
        let mut bars = Bars::default();
        bars.allow(named(&card, [Some(run(103, 1)), None])).unwrap();
        for now in [Some(place(100, 8)), Some(place(200, 4)), None] {
            card.place.set(now);
            assert!(!bars.allows(Mfn(100)) && !bars.excludes(Mfn(103)) && bars.find(&card, 0).is_none());
            assert!(!bars.allows(Mfn(200)));
        }
        card.place.set(Some(place(100, 4)));
        assert!(bars.allows(Mfn(100)) && bars.take_moved().is_none());
        card.place.set(Some(place(100, 8)));
        let taken = bars.take_moved().unwrap();
        assert_eq!(taken.place, place(100, 4));
        assert!(bars.take_moved().is_none());
        // Only what has been lent of it is taken back.
        assert!(taken.overlaps(&run(99, 2)) && taken.overlaps(&run(102, 9)));
        assert!(!taken.overlaps(&run(99, 1)) && !taken.overlaps(&run(103, 9)));
    }
}

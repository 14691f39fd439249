// SPDX-License-Identifier: MIT OR Apache-2.0
//! How many pages each frame of RAM is lent at, so that its permission is given once
//! and withdrawn with the last.
//!
//! A fixed table with open addressing. One frame can be at two pages: two windows
//! of a process may map the same memory.

use core::ops::DerefMut;

use xenlend_protocol::frame::Mfn;

use crate::bars::FrameRun;

/// One place of the table; `pages` 0 is an empty one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Permit {
    mfn: u64,
    pages: u32,
}

/// The table is full: more frames than pages that can be lent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// The leading frames of a run that are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// So many frames were handled, at least one.
    pub frames: u32,
    /// Whether Xen has to be told about them: counted first or counted last.
    pub changed: bool,
}

/// The permissions of one link.
#[derive(Debug)]
pub struct Permits<S> {
    places: S,
    used: usize,
}

/// Places that a table for so many frames should have: at most two thirds of them are taken.
pub fn places_for(frames: u32) -> usize {
    let frames = frames as usize;
    frames.saturating_add(frames / 2).checked_next_power_of_two().unwrap_or(usize::MAX)
}

impl<S: DerefMut<Target = [Permit]>> Permits<S> {
    /// An empty table over empty places; their number is a power of two.
    pub fn new(places: S) -> Self {
        Self { places, used: 0 }
    }

    /// Frames that are permitted.
    pub fn frames(&self) -> usize {
        self.used
    }

    /// Places of the table.
    pub fn places(&self) -> usize {
        self.places.len()
    }

    /// Goes on in another table of empty places, and gives back the one that has become useless: the old one, or
    /// the new one if that is not larger.
    pub fn move_to(&mut self, mut places: S) -> S {
        if places.len() <= self.places.len() {
            return places;
        }
        core::mem::swap(&mut self.places, &mut places);
        for permit in places.iter().filter(|permit| permit.pages != 0) {
            let mut at = self.home(permit.mfn);
            while self.places.get(at).is_some_and(|place| place.pages != 0) {
                at = self.after(at);
            }
            if let Some(place) = self.places.get_mut(at) {
                *place = *permit;
            }
        }
        places
    }

    /// Counts the leading frames of a run for one more page each, as far as they are alike.
    ///
    /// # Errors
    /// If there is no place for the first of them.
    pub fn acquire(&mut self, first: Mfn, count: u32) -> Result<Step, Full> {
        let changed = self.add(first)?;
        let mut frames = 1;
        while frames < count {
            let Some(next) = first.checked_add(u64::from(frames)) else { break };
            let is_new = self.find(next.0).is_none();
            if is_new != changed || self.add(next).is_err() {
                break;
            }
            frames = frames.saturating_add(1);
        }
        Ok(Step { frames, changed })
    }

    /// Counts the leading frames of a run for one page less each, as far as they are alike.
    pub fn withdraw(&mut self, first: Mfn, count: u32) -> Step {
        let changed = self.remove(first);
        let mut frames = 1;
        while frames < count {
            let Some(next) = first.checked_add(u64::from(frames)) else { break };
            let is_last =
                self.find(next.0).and_then(|at| self.places.get(at)).is_some_and(|at| at.pages == 1);
            if is_last != changed {
                break;
            }
            self.remove(next);
            frames = frames.saturating_add(1);
        }
        Step { frames, changed }
    }

    /// The first frames of a run that are lent at no page, and are in none of the runs that stay permitted
    /// as parts of BARs: nobody would ever withdraw them.
    pub fn next_spare(&self, run: FrameRun, bars: &[FrameRun]) -> Option<FrameRun> {
        let is_spare = |mfn: &Mfn| self.find(mfn.0).is_none() && !bars.iter().any(|run| run.contains(*mfn));
        let frames = |from: u64| (from..run.first.0.saturating_add(run.count)).map(Mfn);
        let first = frames(run.first.0).find(is_spare)?;
        let count = frames(first.0).take_while(is_spare).count() as u64;
        Some(FrameRun { first, count })
    }

    fn add(&mut self, mfn: Mfn) -> Result<bool, Full> {
        if let Some(place) = self.find(mfn.0).and_then(|at| self.places.get_mut(at)) {
            place.pages = place.pages.checked_add(1).ok_or(Full)?;
            return Ok(false);
        }
        // One place stays empty, so that every search ends.
        if self.used.saturating_add(1) >= self.places.len() {
            return Err(Full);
        }
        let mut at = self.home(mfn.0);
        while self.places.get(at).is_some_and(|place| place.pages != 0) {
            at = self.after(at);
        }
        *self.places.get_mut(at).ok_or(Full)? = Permit { mfn: mfn.0, pages: 1 };
        self.used = self.used.saturating_add(1);
        Ok(true)
    }

    /// Whether it was the last page of the frame.
    fn remove(&mut self, mfn: Mfn) -> bool {
        let Some(at) = self.find(mfn.0) else { return false };
        let Some(place) = self.places.get_mut(at) else { return false };
        place.pages = place.pages.saturating_sub(1);
        if place.pages != 0 {
            return false;
        }
        self.used = self.used.saturating_sub(1);
        self.close_gap(at);
        true
    }

    /// Moves entries back over an emptied place, so that searches still reach them.
    fn close_gap(&mut self, emptied: usize) {
        let mut gap = emptied;
        let mut at = self.after(gap);
        while let Some(permit) = self.places.get(at).copied().filter(|permit| permit.pages != 0) {
            let from_home = self.distance(self.home(permit.mfn), at);
            if from_home >= self.distance(gap, at) {
                if let Some(place) = self.places.get_mut(gap) {
                    *place = permit;
                }
                gap = at;
            }
            at = self.after(at);
        }
        if let Some(place) = self.places.get_mut(gap) {
            *place = Permit::default();
        }
    }

    fn find(&self, mfn: u64) -> Option<usize> {
        let mut at = self.home(mfn);
        loop {
            let place = self.places.get(at)?;
            if place.pages == 0 {
                return None;
            }
            if place.mfn == mfn {
                return Some(at);
            }
            at = self.after(at);
        }
    }

    fn mask(&self) -> usize {
        self.places.len().saturating_sub(1)
    }

    fn home(&self, mfn: u64) -> usize {
        (mfn.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 24) as usize & self.mask()
    }

    fn after(&self, at: usize) -> usize {
        at.wrapping_add(1) & self.mask()
    }

    fn distance(&self, from: usize, to: usize) -> usize {
        to.wrapping_sub(from) & self.mask()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_run_is_cut_where_permitted_frames_begin() {
        let mut permits = Permits::new(vec![Permit::default(); 64]);
        assert_eq!(permits.acquire(Mfn(10), 4), Ok(Step { frames: 4, changed: true }));
        assert_eq!(permits.acquire(Mfn(8), 8), Ok(Step { frames: 2, changed: true }));
        assert_eq!(permits.acquire(Mfn(10), 6), Ok(Step { frames: 4, changed: false }));
        assert_eq!(permits.withdraw(Mfn(8), 4), Step { frames: 2, changed: true });
        assert_eq!(permits.withdraw(Mfn(10), 2), Step { frames: 2, changed: false });
        assert_eq!(permits.withdraw(Mfn(10), 4), Step { frames: 2, changed: true });
    }

    #[test]
    fn what_nobody_would_withdraw_is_found_in_pieces() {
        let run = |first, count| FrameRun { first: Mfn(first), count };
        let mut permits = Permits::new(vec![Permit::default(); 64]);
        permits.acquire(Mfn(12), 2).unwrap();
        let bars = [run(15, 1), run(18, 100)];
        let spare = |first, count| permits.next_spare(run(first, count), &bars);
        assert_eq!(spare(10, 20), Some(run(10, 2)));
        assert_eq!(spare(12, 18), Some(run(14, 1)));
        assert_eq!(spare(15, 15), Some(run(16, 2)));
        assert_eq!(spare(18, 12), None);
        assert_eq!(spare(12, 2), None);
        assert_eq!(spare(u64::MAX - 1, 5), Some(run(u64::MAX - 1, 1)));
    }

    #[test]
    fn a_full_table_says_so_and_still_finds_what_it_has() {
        let mut permits = Permits::new(vec![Permit::default(); 8]);
        assert_eq!(permits.acquire(Mfn(0), 100), Ok(Step { frames: 7, changed: true }));
        assert_eq!(permits.acquire(Mfn(7), 1), Err(Full));
        assert_eq!(permits.acquire(Mfn(6), 1), Ok(Step { frames: 1, changed: false }));
    }

    #[test]
    fn a_larger_table_holds_what_the_smaller_one_held() {
        let mut permits = Permits::new(vec![Permit::default(); 8]);
        permits.acquire(Mfn(100), 7).unwrap();
        permits.acquire(Mfn(103), 2).unwrap();
        assert_eq!(permits.move_to(vec![Permit::default(); 32]).len(), 8);
        assert_eq!((permits.places(), permits.frames()), (32, 7));
        assert_eq!(permits.acquire(Mfn(107), 24), Ok(Step { frames: 24, changed: true }));
        assert_eq!(permits.withdraw(Mfn(103), 2), Step { frames: 2, changed: false });
        assert_eq!(permits.withdraw(Mfn(100), 31), Step { frames: 31, changed: true });
        assert_eq!(permits.frames(), 0);
        // There is no way back: what is permitted has to fit.
        assert_eq!(permits.move_to(vec![Permit::default(); 32]).len(), 32);
        assert_eq!(permits.move_to(vec![Permit::default(); 8]).len(), 8);
        assert_eq!(permits.places(), 32);
    }

    #[test]
    fn a_table_for_what_is_lent_is_within_what_the_kernel_allocates() {
        use crate::uapi::APERTURE_MAX;
        let bytes = |frames: u64| places_for(u32::try_from(frames).unwrap()) * size_of::<Permit>();
        // The kernel warns of more than this at once, and may be told to panic then.
        assert!(i32::try_from(bytes(APERTURE_MAX / 4096 + 1024)).is_ok());
        assert!(places_for(1024) > 1024 && places_for(262_144 + 1024) > 262_144 + 1024);
    }

    proptest! {
        #[test]
        fn counts_are_those_of_a_plain_map(steps in proptest::collection::vec((any::<bool>(), 0u64..40, 1u32..6), 1..200)) {
            let mut permits = Permits::new(vec![Permit::default(); 64]);
            let mut model: BTreeMap<u64, u32> = BTreeMap::new();
            for (add, first, count) in steps {
                let mut done = 0;
                while done < count {
                    let mfn = first + u64::from(done);
                    if !add && !model.contains_key(&mfn) {
                        done += 1;
                        continue;
                    }
                    let left = if add { count - done } else {
                        (done..count).take_while(|step| model.contains_key(&(first + u64::from(*step)))).count() as u32
                    };
                    let step = if add { permits.acquire(Mfn(mfn), left).unwrap() } else { permits.withdraw(Mfn(mfn), left) };
                    for frame in mfn..mfn + u64::from(step.frames) {
                        let pages = model.entry(frame).or_insert(0);
                        if add { *pages += 1 } else { *pages -= 1 }
                        prop_assert_eq!(step.changed, *pages == u32::from(add));
                        if *pages == 0 { model.remove(&frame); }
                    }
                    done += step.frames;
                }
                prop_assert_eq!(permits.frames(), model.len());
            }
        }
    }
}

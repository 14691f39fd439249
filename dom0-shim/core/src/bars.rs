// SPDX-License-Identifier: MIT OR Apache-2.0
//! The BARs that the administrator named, minus the pages of their MSI-X structures.

use heapless::Vec;
use xenlend_protocol::frame::{Mfn, PAGE_SIZE};

/// Runs of frames that one link's BARs may come to.
pub const MAX_RUNS: usize = 64;
/// Runs that one BAR is cut into at most: two excluded runs leave three.
pub const MAX_RUNS_OF_BAR: usize = 3;

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

/// The administrator's choice for one link.
#[derive(Debug, Default)]
pub struct Bars {
    allowed: Vec<FrameRun, MAX_RUNS>,
    excluded: Vec<FrameRun, MAX_RUNS>,
}

/// No place for another BAR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;

impl Bars {
    /// Adds what is left of a BAR and what was excluded from it.
    ///
    /// # Errors
    /// If there is no place; nothing was added then.
    pub fn allow(&mut self, allowed: &[FrameRun], excluded: &[FrameRun]) -> Result<(), TooMany> {
        let places = MAX_RUNS.saturating_sub(self.allowed.len());
        let excluded_places = MAX_RUNS.saturating_sub(self.excluded.len());
        if allowed.len() > places || excluded.len() > excluded_places {
            return Err(TooMany);
        }
        self.allowed.extend_from_slice(allowed).map_err(|()| TooMany)?;
        self.excluded.extend_from_slice(excluded).map_err(|()| TooMany)
    }

    /// Everything that may be lent.
    pub fn allowed(&self) -> &[FrameRun] {
        &self.allowed
    }

    /// Whether the frame may be lent.
    pub fn allows(&self, mfn: Mfn) -> bool {
        self.allowed.iter().any(|run| run.contains(mfn))
    }

    /// Whether the frame holds an MSI-X structure of a named BAR.
    pub fn excludes(&self, mfn: Mfn) -> bool {
        self.excluded.iter().any(|run| run.contains(mfn))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn only_named_frames_are_allowed() {
        let mut bars = Bars::default();
        bars.allow(&[run(100, 4), run(105, 5)], &[run(104, 1)]).unwrap();
        assert!(bars.allows(Mfn(103)) && bars.allows(Mfn(109)));
        assert!(!bars.allows(Mfn(104)) && bars.excludes(Mfn(104)));
        assert!(!bars.allows(Mfn(110)) && !bars.excludes(Mfn(110)));
        let many = [run(0, 1); MAX_RUNS];
        assert_eq!(bars.allow(&many, &[]), Err(TooMany));
        assert_eq!(bars.allowed().len(), 2);
    }
}

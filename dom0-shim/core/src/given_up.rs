// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pages of a region of which its process has said that nothing will come: nobody waits for them
//! any more.

use heapless::Vec;
use xenlend_protocol::frame::AperturePage;

/// Separate ranges of a region.
const MAX_RANGES: usize = 4;

/// The pages, each range as its first page and the one behind its last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GivenUp {
    ranges: Vec<(u32, u32), MAX_RANGES>,
}

/// More ranges than a region has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;

impl GivenUp {
    /// Whether a page is among them.
    pub fn contains(&self, page: AperturePage) -> bool {
        self.ranges.iter().any(|(first, end)| (*first..*end).contains(&page.0))
    }

    /// Adds pages.
    ///
    /// # Errors
    /// If there is no room for another range; nothing is changed then.
    pub fn add(&mut self, first: AperturePage, count: u32) -> Result<(), TooMany> {
        let mut whole = (first.0, first.0.saturating_add(count));
        let mut left = self.ranges.clone();
        left.retain(|(first, end)| {
            let touches = *first <= whole.1 && whole.0 <= *end;
            if touches {
                whole = (whole.0.min(*first), whole.1.max(*end));
            }
            !touches
        });
        left.push(whole).map_err(|_| TooMany)?;
        self.ranges = left;
        Ok(())
    }

    /// Takes out whatever ranges have one of these pages: the answer was about what was there
    /// before.
    pub fn forget(&mut self, first: AperturePage, count: u32) {
        let gone = (first.0, first.0.saturating_add(count));
        self.ranges.retain(|(first, end)| *end <= gone.0 || gone.1 <= *first);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(given_up: &GivenUp) -> std::vec::Vec<u32> {
        (0..100).filter(|page| given_up.contains(AperturePage(*page))).collect()
    }

    #[test]
    fn ranges_that_touch_are_one() {
        let mut given_up = GivenUp::default();
        for first in [0, 8, 4, 2, 6] {
            given_up.add(AperturePage(first), 2).unwrap();
        }
        assert_eq!(pages(&given_up), (0..10).collect::<std::vec::Vec<_>>());
        assert_eq!(given_up.ranges.len(), 1);
    }

    #[test]
    fn a_range_too_many_changes_nothing() {
        let mut given_up = GivenUp::default();
        for first in [0, 10, 20, 30] {
            given_up.add(AperturePage(first), 1).unwrap();
        }
        assert_eq!(given_up.add(AperturePage(40), 1), Err(TooMany));
        assert_eq!(pages(&given_up), [0, 10, 20, 30]);
        given_up.add(AperturePage(5), 20).unwrap();
        assert_eq!(given_up.ranges.len(), 3);
    }

    #[test]
    fn what_changes_is_not_given_up_any_more() {
        let mut given_up = GivenUp::default();
        given_up.add(AperturePage(10), 10).unwrap();
        given_up.add(AperturePage(30), 10).unwrap();
        given_up.forget(AperturePage(20), 10);
        assert_eq!(pages(&given_up).len(), 20, "between them");
        given_up.forget(AperturePage(19), 1);
        assert_eq!(pages(&given_up), (30..40).collect::<std::vec::Vec<_>>());
    }
}

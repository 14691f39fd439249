// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs of aperture pages, and sets of them as one bit a page.

use core::ops::DerefMut;

const BITS: u32 = u64::BITS;

/// A run of pages of the aperture, possibly empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pages {
    /// First page.
    pub first: u32,
    /// The page behind the last.
    pub end: u32,
}

impl Pages {
    /// `count` pages from `first` on; `None` if there are no such numbers.
    #[must_use]
    pub fn counted(first: u32, count: u32) -> Option<Self> {
        Some(Self { first, end: first.checked_add(count)? })
    }

    /// Number of pages.
    #[must_use]
    pub fn count(self) -> u32 {
        self.end.saturating_sub(self.first)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.first >= self.end
    }

    /// Whether a page is one of them.
    #[must_use]
    pub fn contains(self, page: u32) -> bool {
        self.first <= page && page < self.end
    }

    /// Whether all of `other` is in it; an empty run is in none.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        !other.is_empty() && self.first <= other.first && other.end <= self.end
    }

    /// The pages that are in both.
    #[must_use]
    pub fn common(self, other: Self) -> Self {
        Self { first: self.first.max(other.first), end: self.end.min(other.end) }
    }

    /// The aligned block of `size` pages, a power of two, around a page.
    #[must_use]
    pub fn block(page: u32, size: u32) -> Self {
        let first = page & !size.wrapping_sub(1);
        Self { first, end: first.saturating_add(size) }
    }
}

/// A set of pages below a limit.
#[derive(Debug)]
pub struct PageSet<W> {
    words: W,
}

impl<W: DerefMut<Target = [u64]>> PageSet<W> {
    /// An empty set over [`words_for`] words; pages that they have no bit for are in no set.
    pub fn new(mut words: W) -> Self {
        words.fill(0);
        Self { words }
    }

    /// Whether a page is in it.
    pub fn contains(&self, page: u32) -> bool {
        let word = self.words.get((page / BITS) as usize).copied().unwrap_or(0);
        word & 1_u64.wrapping_shl(page % BITS) != 0
    }

    /// Adds pages.
    pub fn insert(&mut self, pages: Pages) {
        self.change(pages, |word, mask| *word |= mask);
    }

    /// Takes pages out.
    pub fn remove(&mut self, pages: Pages) {
        self.change(pages, |word, mask| *word &= !mask);
    }

    /// Takes those of these pages out that are in another set.
    pub fn remove_common(&mut self, other: &Self, pages: Pages) {
        let mut from = pages.first;
        while let Some(first) = other.first_in(Pages { first: from, end: pages.end }) {
            let end = other.first_missing(Pages { first, end: pages.end }).unwrap_or(pages.end);
            self.remove(Pages { first, end });
            from = end;
        }
    }

    /// The first of these pages that is in the set.
    pub fn first_in(&self, pages: Pages) -> Option<u32> {
        self.find(pages, |word| word)
    }

    /// The first of these pages that is not.
    pub fn first_missing(&self, pages: Pages) -> Option<u32> {
        self.find(pages, |word| !word)
    }

    fn change(&mut self, pages: Pages, act: impl Fn(&mut u64, u64)) {
        let mut at = pages.first;
        while at < pages.end {
            let Some(word) = self.words.get_mut((at / BITS) as usize) else { return };
            act(word, mask(at, pages.end));
            at = next_word(at);
        }
    }

    fn find(&self, pages: Pages, view: impl Fn(u64) -> u64) -> Option<u32> {
        let mut at = pages.first;
        while at < pages.end {
            let word = self.words.get((at / BITS) as usize).copied().unwrap_or(0);
            let hits = view(word) & mask(at, pages.end);
            if hits != 0 {
                return Some((at & !BITS.wrapping_sub(1)).saturating_add(hits.trailing_zeros()));
            }
            at = next_word(at);
        }
        None
    }
}

/// Words for a set of pages below `pages`.
#[must_use]
pub fn words_for(pages: u32) -> usize {
    pages.div_ceil(BITS) as usize
}

/// The bits of `at` and of the pages behind it in the same word, below `end`.
fn mask(at: u32, end: u32) -> u64 {
    let from = u64::MAX.wrapping_shl(at % BITS);
    let left = end.saturating_sub(at & !BITS.wrapping_sub(1));
    if left >= BITS {
        from
    } else {
        from & !u64::MAX.wrapping_shl(left)
    }
}

fn next_word(at: u32) -> u32 {
    (at | BITS.wrapping_sub(1)).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::{words_for, PageSet, Pages};
    use proptest::prelude::*;

    #[test]
    fn blocks_are_aligned() {
        assert_eq!(Pages::block(513, 512), Pages { first: 512, end: 1024 });
        assert_eq!(Pages::block(u32::MAX, 64).first, u32::MAX - 63);
    }

    proptest! {
        /// Against a plain list of bits.
        #[test]
        fn a_set_is_what_was_done_to_it(
            steps in prop::collection::vec((any::<bool>(), 0_u32..300, 0_u32..300), 1..40),
        ) {
            let mut set = PageSet::new(vec![u64::MAX; words_for(300)]);
            let mut model = [false; 300];
            for (insert, first, end) in steps {
                let pages = Pages { first, end };
                if insert { set.insert(pages) } else { set.remove(pages) }
                for bit in model.iter_mut().take(end as usize).skip(first as usize) {
                    *bit = insert;
                }
                let inside = |want: bool| (first..end).find(|page| model[*page as usize] == want);
                prop_assert_eq!(set.first_in(pages), inside(true));
                prop_assert_eq!(set.first_missing(pages), inside(false));
                for page in 0..300 {
                    prop_assert_eq!(set.contains(page), model[page as usize]);
                }
            }
        }
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pages spread over an area that is much larger than what is there: each holds one line of its own.

use anyhow::{bail, Result};

use crate::line::{compose, judge, LineId, Verdict};
use crate::memory::{Memory, PAGE_BYTES};

/// Which pages: so many, the first of each so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sparse {
    /// Number of pages.
    pub pages: usize,
    /// Each is the first of so many.
    pub every: usize,
}

impl Sparse {
    /// The places of the pages, in bytes.
    ///
    /// # Errors
    /// If they are not all inside the memory.
    fn places(self, memory: &Memory) -> Result<impl Iterator<Item = (usize, usize)>> {
        let Self { pages, every } = self;
        let end = pages.checked_mul(every).and_then(|pages| pages.checked_mul(PAGE_BYTES));
        if pages == 0 || end.is_none_or(|end| end > memory.bytes()) {
            bail!("{pages} pages, one in {every}, are not inside {} bytes", memory.bytes());
        }
        Ok((0..pages).map(move |number| (number, number * every * PAGE_BYTES)))
    }

    /// Writes the line of each page.
    ///
    /// # Errors
    /// As above.
    pub fn fill(self, memory: &Memory, generation: u32) -> Result<()> {
        for (number, place) in self.places(memory)? {
            memory.write_line(place, &line(number, generation));
        }
        Ok(())
    }

    /// Judges the line of each page.
    ///
    /// # Errors
    /// The first page that is not as it should be.
    pub fn check(self, memory: &Memory, generation: u32) -> Result<()> {
        for (number, place) in self.places(memory)? {
            let words = memory.read_line(place);
            let verdict = judge(&words, id(number), generation, seed(number));
            if verdict != Verdict::Good || words != line(number, generation) {
                bail!("page {number} at {place:#x}: {verdict:?} {words:016x?}");
            }
        }
        Ok(())
    }

    /// Checks that every page reads as zeros, where its line was.
    ///
    /// # Errors
    /// The first page that does not.
    pub fn check_empty(self, memory: &Memory) -> Result<()> {
        for (number, place) in self.places(memory)? {
            let words = memory.read_line(place);
            if words != [0; 8] {
                bail!("page {number} at {place:#x} is not empty: {words:016x?}");
            }
        }
        Ok(())
    }
}

fn id(number: usize) -> LineId {
    LineId::at(number)
}

fn seed(number: usize) -> u64 {
    number as u64
}

fn line(number: usize, generation: u32) -> [u64; 8] {
    compose(id(number), generation, &[number as u64; 8], seed(number))
}

#[cfg(test)]
mod tests {
    use super::Sparse;
    use crate::memory::{Memory, PAGE_BYTES};

    #[test]
    fn each_page_proves_itself_and_no_other() {
        #[repr(C, align(4096))]
        #[derive(Clone)]
        struct Page([u8; PAGE_BYTES]);
        let mut pages = vec![Page([0; PAGE_BYTES]); 12];
        // SAFETY: the pages live longer, are aligned, and are touched through this alone meanwhile.
        let memory = unsafe { Memory::new(pages.as_mut_ptr().cast(), 12 * PAGE_BYTES) };
        let sparse = Sparse { pages: 4, every: 3 };
        assert!(Sparse { pages: 5, every: 3 }.fill(&memory, 1).is_err(), "outside");
        sparse.check_empty(&memory).unwrap();
        sparse.fill(&memory, 1).unwrap();
        sparse.check(&memory, 1).unwrap();
        assert!(sparse.check_empty(&memory).is_err());
        assert!(sparse.check(&memory, 2).is_err(), "stale");
        assert_eq!(memory.read_u64(PAGE_BYTES), 0, "between them nothing is written");
        let other = memory.read_line(3 * PAGE_BYTES);
        memory.write_line(6 * PAGE_BYTES, &other);
        assert!(sparse.check(&memory, 1).unwrap_err().to_string().contains("page 2"));
    }
}

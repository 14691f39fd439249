// SPDX-License-Identifier: MIT OR Apache-2.0
//! The hunter: threads that read and write lent pages as fast as they can while the lender takes the
//! frames away and poisons them. Whatever a read gives that was never there is counted at once in the
//! control area, where the lender sees it even if this guest never runs again.

use std::io::{self, Write};
use std::sync::mpsc::{channel, Sender};
use std::thread;

use anyhow::{bail, ensure, Result};
use clap::Args;
use xenlend_touch::aperture::{parse_number, Aperture};
use xenlend_touch::control::{Control, Count, CONTROL_BYTES};
use xenlend_touch::hunted::{background, own_word, FIRST_BACKGROUND};
use xenlend_touch::memory::{Memory, PAGE_BYTES};
use xenlend_touch::random::Random;

use crate::pin::pin_to_vcpu;

#[derive(Args)]
pub struct Hunt {
    /// Where the pages are
    #[arg(value_parser = parse_number)]
    offset: u64,
    /// Number of pages
    pages: usize,
    /// Where the control area is
    #[arg(value_parser = parse_number)]
    control: u64,
    /// Threads, each on a vCPU of its own
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// What the lender writes into frames that it took away, a byte
    #[arg(long, value_parser = parse_number)]
    poison: u64,
    /// Pages may turn to zeros at any time: holes are punched into them
    #[arg(long)]
    zeros: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Finding {
    Good,
    Poison,
    Lost,
    Wrong,
}

struct Hunter {
    memory: Memory,
    poison: u64,
    zeros: bool,
    thread: usize,
    /// What this thread wrote last into its word of each page.
    written: Vec<u64>,
}

impl Hunter {
    fn judge_own(&self, page: usize, found: u64) -> Finding {
        let last = self.written[page];
        if found == last || (self.zeros && found == 0) {
            Finding::Good
        } else if found == self.poison {
            Finding::Poison
        } else if found >> 56 == last >> 56 && found < last {
            Finding::Lost
        } else {
            Finding::Wrong
        }
    }

    fn judge_background(&self, page: usize, word: usize, found: u64) -> Finding {
        if found == background(page, word) || (self.zeros && found == 0) {
            Finding::Good
        } else if found == self.poison {
            Finding::Poison
        } else {
            Finding::Wrong
        }
    }

    fn visit(&mut self, page: usize, random: &mut Random) -> [(Finding, usize, u64); 2] {
        let own = page * PAGE_BYTES + own_word(self.thread) * 8;
        let found = self.memory.read_u64(own);
        let own_finding = self.judge_own(page, found);
        let next = (self.written[page] & (u64::MAX >> 8)) + 1;
        self.written[page] = ((self.thread as u64 + 1) << 56) | next;
        self.memory.write_u64(own, self.written[page]);
        let word = FIRST_BACKGROUND + random.below(PAGE_BYTES / 8 - FIRST_BACKGROUND);
        let seen = self.memory.read_u64(page * PAGE_BYTES + word * 8);
        [
            (own_finding, own, found),
            (self.judge_background(page, word, seen), page * PAGE_BYTES + word * 8, seen),
        ]
    }

    /// Hunts until the lender says stop; tells once that the hunt is on.
    fn hunt(&mut self, control: Control, pages: usize, begun: &Sender<()>) -> Option<String> {
        let mut begun = Some(begun);
        let mut random = Random::new(self.thread as u64);
        let mut first = None;
        let mut counts = [0_u64; 4];
        let mut accesses = 0_u64;
        // Words of this thread may hold what an earlier hunter left.
        for page in 0..pages {
            let value = (self.thread as u64 + 1) << 56;
            self.written[page] = value;
            self.memory.write_u64(page * PAGE_BYTES + own_word(self.thread) * 8, value);
        }
        control.set_count(self.thread, Count::Started, 1);
        while !control.stopped() {
            for _ in 0..64 {
                let page = random.below(pages);
                for (finding, offset, found) in self.visit(page, &mut random) {
                    let count = match finding {
                        Finding::Good => continue,
                        Finding::Poison => Count::Poison,
                        Finding::Lost => Count::LostWrites,
                        Finding::Wrong => Count::Wrong,
                    };
                    let index = count as usize - 1;
                    counts[index] += 1;
                    control.set_count(self.thread, count, counts[index]);
                    first.get_or_insert_with(|| {
                        format!("thread {} read {found:#018x} at {offset:#x}: {finding:?}", self.thread)
                    });
                }
                accesses += 3;
            }
            control.set_count(self.thread, Count::Accesses, accesses);
            if let Some(begun) = begun.take() {
                // Whoever started this thread has gone only if the program ends.
                let _ = begun.send(());
            }
        }
        first
    }
}

impl Hunt {
    pub fn run(&self, aperture: Aperture) -> Result<()> {
        // A thread that cannot start would leave the others hunting, and nobody told.
        let vcpus = thread::available_parallelism()?.get();
        ensure!(self.threads <= vcpus, "{} threads, but the guest has {vcpus} vCPUs", self.threads);
        let control = Control::new(aperture.map(self.control, CONTROL_BYTES as u64)?);
        let memory = aperture.map(self.offset, (self.pages * PAGE_BYTES) as u64)?;
        let poison = (self.poison & 0xFF) * 0x0101_0101_0101_0101;
        let (begun, all_begun) = channel();
        let first = thread::scope(|scope| {
            let threads: Vec<_> = (0..self.threads)
                .map(|thread| {
                    let mut hunter =
                        Hunter { memory, poison, zeros: self.zeros, thread, written: vec![0; self.pages] };
                    let begun = begun.clone();
                    scope.spawn(move || {
                        pin_to_vcpu(thread)?;
                        anyhow::Ok(hunter.hunt(control, self.pages, &begun))
                    })
                })
                .collect();
            drop(begun);
            if all_begun.iter().take(self.threads).count() == self.threads {
                println!("hunting");
                io::stdout().flush()?;
            }
            threads.into_iter().try_fold(None, |first: Option<String>, thread| {
                let found = thread.join().expect("a hunting thread panicked")?;
                anyhow::Ok(first.or(found))
            })
        })?;
        let sum = |count| (0..self.threads).map(|thread| control.count(thread, count)).sum::<u64>();
        println!(
            "accesses={} poison={} lost_writes={} wrong={}",
            sum(Count::Accesses),
            sum(Count::Poison),
            sum(Count::LostWrites),
            sum(Count::Wrong)
        );
        match first {
            None => Ok(()),
            Some(trouble) => bail!("{trouble}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Finding, Hunter};
    use xenlend_touch::memory::Memory;

    fn hunter(zeros: bool) -> Hunter {
        // SAFETY: no byte of it is ever accessed.
        let memory = unsafe { Memory::new(std::ptr::without_provenance_mut(4096), 4096) };
        Hunter { memory, poison: 0xAAAA_AAAA_AAAA_AAAA, zeros, thread: 0, written: vec![1 << 56 | 5] }
    }

    #[test]
    fn a_thread_knows_what_it_wrote() {
        let hunter = hunter(false);
        assert_eq!(hunter.judge_own(0, 1 << 56 | 5), Finding::Good);
        assert_eq!(hunter.judge_own(0, 1 << 56 | 4), Finding::Lost);
        assert_eq!(hunter.judge_own(0, hunter.poison), Finding::Poison);
        assert_eq!(hunter.judge_own(0, 0), Finding::Wrong);
        assert_eq!(hunter.judge_own(0, 2 << 56 | 4), Finding::Wrong);
    }

    #[test]
    fn zeros_are_right_only_where_holes_are_punched() {
        assert_eq!(hunter(true).judge_own(0, 0), Finding::Good);
        assert_eq!(hunter(true).judge_background(0, 99, 0), Finding::Good);
        assert_eq!(hunter(false).judge_background(0, 99, 0), Finding::Wrong);
    }
}

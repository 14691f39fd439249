// SPDX-License-Identifier: MIT OR Apache-2.0
//! Instructions that run over and over on two vCPUs while the pages under them come and go: for a Xen that makes
//! the vCPU wait and then runs the instruction again. Each vCPU has pages of its own; what came out must be what
//! comes out on a model in RAM after as many runs.

mod cases;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::{array, thread};

use anyhow::{bail, ensure, Result};
use clap::Args;
use xenlend_touch::aperture::{parse_number, Aperture};
use xenlend_touch::memory::{Memory, PAGE_BYTES};

use crate::instructions::{self, has_avx, places, Bench, Case, BYTES, PAGES};
use crate::pin::pin_to_vcpu;
use crate::steer::ask_lender;

/// vCPUs that work at once.
const WORKERS: usize = 2;

#[derive(Args)]
pub struct Retried {
    /// Where nine lent pages are
    #[arg(value_parser = parse_number)]
    offset: u64,
    /// The command for the lender's program that takes them away, contents kept
    revoke: String,
    /// How often they go under each case at each place
    #[arg(long, default_value_t = 2)]
    rounds: u32,
    /// Only cases whose name contains this
    #[arg(long, default_value = "")]
    only: String,
}

/// What one vCPU works on.
struct Work(Bench);

impl Work {
    fn new(lent: Memory) -> Result<Self> {
        let bench = Bench::new(lent);
        bench.targets().into_iter().try_for_each(cases::allow_execution)?;
        Ok(Self(bench))
    }

    /// Runs a case until told to stop, counting the runs, and then as often on the model.
    fn run(
        &self,
        case: &Case,
        place: usize,
        seed: u64,
        runs: &AtomicU64,
        stop: &AtomicBool,
    ) -> Result<(), String> {
        let bench = &self.0;
        bench.fill(seed);
        let mut found = 0_u64;
        while !stop.load(Ordering::SeqCst) {
            found = found.rotate_left(1) ^ bench.run_lent(case, place);
            runs.fetch_add(1, Ordering::SeqCst);
        }
        let model = |sum: u64, _| sum.rotate_left(1) ^ bench.run_model(case, place);
        bench.judge(found, (0..runs.load(Ordering::SeqCst)).fold(0, model))
    }
}

/// The first of a case's places that lies in most pages.
fn widest(case: &Case) -> Vec<usize> {
    let pages = |place: &usize| (place + case.bytes - 1) / PAGE_BYTES - place / PAGE_BYTES;
    places(case).into_iter().rev().max_by_key(pages).into_iter().collect()
}

impl Retried {
    /// Has each vCPU do its work until the pages have gone so often and each has come on after every time; gives
    /// what the work came to, and how many runs each made.
    fn work_through<T: Send>(
        &self,
        work: impl Fn(usize, &AtomicU64, &AtomicBool) -> T + Sync,
    ) -> Result<([T; WORKERS], [u64; WORKERS])> {
        let runs: [AtomicU64; WORKERS] = array::from_fn(|_| AtomicU64::new(0));
        let stop = AtomicBool::new(false);
        let counted = || array::from_fn::<u64, WORKERS, _>(|vcpu| runs[vcpu].load(Ordering::SeqCst));
        // The second run from here on has begun after what was before.
        let come_on = || {
            let before = counted();
            while counted().iter().zip(before).any(|(now, before)| *now < before + 2) {
                thread::yield_now();
            }
        };
        let results = thread::scope(|scope| {
            let workers: [_; WORKERS] = array::from_fn(|vcpu| {
                let (work, runs, stop) = (&work, &runs[vcpu], &stop);
                scope.spawn(move || {
                    pin_to_vcpu(vcpu).expect("a vCPU for each thread");
                    work(vcpu, runs, stop)
                })
            });
            come_on();
            let asked = (0..self.rounds).try_for_each(|_| {
                ask_lender(&self.revoke)?;
                come_on();
                anyhow::Ok(())
            });
            stop.store(true, Ordering::SeqCst);
            let results = workers.map(|worker| worker.join().expect("a working thread panicked"));
            asked.map(|()| results)
        })?;
        Ok((results, counted()))
    }

    /// Both vCPUs count in the same 16 bytes: a torn or lost exchange shows in the sum.
    fn count_in_pairs(&self, page: Memory) -> Result<()> {
        page.write_u64(0, 0);
        page.write_u64(8, 0);
        let (_, runs) = self.work_through(|_, runs, stop| {
            while !stop.load(Ordering::SeqCst) {
                cases::count_pair(page);
                runs.fetch_add(1, Ordering::SeqCst);
            }
        })?;
        let (found, sum) = ((page.read_u64(0), page.read_u64(8)), runs.iter().sum::<u64>());
        ensure!(
            found == (sum, sum.wrapping_mul(3)),
            "a pair of counters came to {found:?} in {sum} exchanges"
        );
        Ok(())
    }

    pub fn run(&self, aperture: Aperture) -> Result<()> {
        let lent = aperture.map(self.offset, ((WORKERS * PAGES + 1) * PAGE_BYTES) as u64)?;
        let benches =
            (0..WORKERS).map(|vcpu| Work::new(lent.part(vcpu * BYTES, BYTES))).collect::<Result<Vec<_>>>()?;
        let (mut ran, mut runs, mut failures) = (0_u64, 0_u64, Vec::new());
        // What `instructions` has, too, only where it needs most pages; the rest everywhere.
        let all: Vec<_> = instructions::cases()
            .into_iter()
            .map(|case| (widest(&case), case))
            .chain(cases::cases().into_iter().map(|case| (places(&case), case)))
            .filter(|(_, case)| case.name.contains(&self.only))
            .collect();
        for (places, case) in &all {
            for &place in places {
                ran += 1;
                let (results, counted) = self.work_through(|vcpu, runs, stop| {
                    benches[vcpu].run(case, place, ran + vcpu as u64, runs, stop)
                })?;
                runs += counted.iter().sum::<u64>();
                for trouble in results.into_iter().filter_map(Result::err) {
                    let failure = format!("{} of {} bytes at {place:#x}: {trouble}", case.name, case.bytes);
                    println!("{failure}");
                    failures.push(failure);
                }
            }
        }
        self.count_in_pairs(lent.part(WORKERS * BYTES, PAGE_BYTES))?;
        let revocations = (ran + 1) * u64::from(self.rounds);
        println!(
            "cases={} places={ran} runs={runs} revocations={revocations} failures={} avx2={}",
            all.len(),
            failures.len(),
            has_avx()
        );
        match failures.first() {
            _ if ran == 0 => bail!("no case is called {:?}", self.only),
            None => Ok(()),
            Some(first) => bail!("{} failures, first: {first}", failures.len()),
        }
    }
}

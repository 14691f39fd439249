// SPDX-License-Identifier: MIT OR Apache-2.0
//! One history, or many.

use std::ops::Range;

use xenlend_lending::lending_table::PageSlot;
use xenlend_lending::vcpu_slot::VcpuSlot;

use crate::broker_domain::BrokerDomain;
use crate::config::{Choice, Config};
use crate::coverage::Coverage;
use crate::guest;
use crate::guest::coverage::PageCoverage;
use crate::hands;
use crate::history::{Actor, Event};
use crate::invariants;
use crate::random::Random;
use crate::schedule::Source;
use crate::world::{Violation, World};
use crate::xen::PAGES;

/// What a history came to.
pub struct Outcome {
    /// The first thing that went wrong.
    pub violation: Option<Violation>,
    /// What happened.
    pub history: Vec<Event>,
    /// What happened, in words, if that was wanted.
    pub trace: Vec<String>,
    /// Which events have met which states.
    pub coverage: Coverage,
    /// Which have met which standing of a page with the borrower's driver.
    pub pages: PageCoverage,
}

/// Lets a history happen.
pub fn run(config: Config, source: Source, traced: bool) -> Outcome {
    let sim = World::new(config, source, traced);
    let mut pages = vec![PageSlot::ABSENT; PAGES as usize];
    let mut slots: Vec<_> = (0..config.vcpus).map(|_| VcpuSlot::default()).collect();
    let mut broker = BrokerDomain::new(&sim, &mut pages, &mut slots);
    let mut checked = 0;
    while let Some(actor) = sim.next_actor() {
        if actor == Actor::Broker {
            broker.turn();
        } else {
            sim.perform(actor);
        }
        invariants::check(&sim);
        let version = sim.xen.borrow().version;
        if actor == Actor::Broker || version != checked {
            checked = version;
            invariants::check_broker(&sim, &broker.broker);
            hands::check_sent_back(&sim, &broker.broker);
            guest::check::check_broker(&sim, &broker.broker);
        }
    }
    guest::check::check_rest(&sim, &broker.broker);
    sim.tasks.clear();
    let (violation, history, trace) = sim.result();
    let pages = sim.guest.coverage.take();
    Outcome { violation, history, trace, coverage: broker.coverage, pages }
}

/// The history of a seed, of so many steps at most.
pub fn run_seed(seed: u64, steps: usize, choice: Choice) -> Outcome {
    run(Config::new(seed, choice), Source::Random(Random::new(seed), steps), false)
}

/// A history again, or any part of it.
pub fn replay(seed: u64, history: Vec<Event>, choice: Choice, traced: bool) -> Outcome {
    run(Config::new(seed, choice), Source::Replay(history), traced)
}

/// A seed that fails.
pub struct Found {
    /// The seed.
    pub seed: u64,
    /// How.
    pub violation: Violation,
    /// What happened.
    pub history: Vec<Event>,
}

/// Many histories: their steps, what they covered, and the first that failed.
#[derive(Default)]
pub struct Explored {
    /// Steps taken in all.
    pub steps: usize,
    /// Histories.
    pub histories: usize,
    /// Of all.
    pub coverage: Coverage,
    /// Of all.
    pub pages: PageCoverage,
    /// The first that failed; nothing was looked at behind it.
    pub found: Option<Found>,
}

/// Lets the histories of seeds happen until one fails.
pub fn explore(seeds: Range<u64>, steps: usize, choice: Choice) -> Explored {
    let mut all = Explored::default();
    for seed in seeds {
        let outcome = run_seed(seed, steps, choice);
        all.steps += outcome.history.len();
        all.histories += 1;
        all.coverage.add(&outcome.coverage);
        all.pages.add(&outcome.pages);
        if let Some(violation) = outcome.violation {
            all.found = Some(Found { seed, violation, history: outcome.history });
            break;
        }
    }
    all
}

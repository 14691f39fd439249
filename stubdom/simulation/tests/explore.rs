// SPDX-License-Identifier: MIT OR Apache-2.0
//! A million steps and more, in which nothing may go wrong, and what they have reached.

use xenlend_simulation::config::Mode;
use xenlend_simulation::coverage::Coverage;
use xenlend_simulation::guest::coverage::PageCoverage;
use xenlend_simulation::history::to_text;
use xenlend_simulation::run::{explore, Explored};
use xenlend_simulation::shrink::shrink;

const STEPS: usize = 1000;

/// Explores and, if something is wrong, says how to see it again.
fn explore_soundly(mode: Mode, seeds: u64) -> Explored {
    let explored = explore(1..seeds + 1, STEPS, Some(mode), None);
    if let Some(found) = &explored.found {
        let shortest = shrink(found, Some(mode), None);
        panic!(
            "{:?}: {}\ncargo run -p xenlend-simulation -- --seed {} --mode {} --replay {}",
            found.violation.wrong,
            found.violation.text,
            found.seed,
            mode.name(),
            to_text(&shortest)
        );
    }
    explored
}

/// Everything in one test, since only the sum has to be complete.
#[test]
fn a_million_steps_break_nothing_and_meet_every_state_with_every_event() {
    let mut steps = 0;
    let (mut coverage, mut pages) = (Coverage::default(), PageCoverage::default());
    for (mode, seeds) in [
        (Mode::Calm, 300),
        (Mode::Rough, 1100),
        (Mode::LyingBroker, 200),
        (Mode::LyingLender, 1000),
        (Mode::LyingBorrower, 200),
    ] {
        let explored = explore_soundly(mode, seeds);
        steps += explored.steps;
        coverage.add(&explored.coverage);
        pages.add(&explored.pages);
    }
    println!("{steps} steps\n{coverage}\n{pages}");
    assert!(steps >= 1_000_000, "only {steps} steps were taken");
    assert_eq!(coverage.gaps(), [], "\n{coverage}");
    assert_eq!(pages.gaps(), [], "\n{pages}");
}

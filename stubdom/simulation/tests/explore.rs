// SPDX-License-Identifier: MIT OR Apache-2.0
//! A million steps and more, in which nothing may go wrong, and what they have reached.

use xenlend_simulation::config::{Choice, Mode};
use xenlend_simulation::coverage::Coverage;
use xenlend_simulation::guest::coverage::PageCoverage;
use xenlend_simulation::history::to_text;
use xenlend_simulation::run::{explore, Explored};
use xenlend_simulation::shrink::shrink;
use xenlend_xen_abi::lend::XenKind;

const STEPS: usize = 1000;

/// Explores and, if something is wrong, says how to see it again.
fn explore_soundly(choice: Choice, seeds: u64) -> Explored {
    let explored = explore(1..seeds + 1, STEPS, choice);
    if let Some(found) = &explored.found {
        let shortest = shrink(found, choice);
        panic!(
            "{:?}: {}\ncargo run -p xenlend-simulation -- --seed {}{} --replay {}",
            found.violation.wrong,
            found.violation.text,
            found.seed,
            choice.options(),
            to_text(&shortest)
        );
    }
    explored
}

/// Every mode in one test for each kind of Xen, since only the sum has to be complete.
fn explore_all(kind: XenKind, seeds: [(Mode, u64); 5]) {
    let mut steps = 0;
    let (mut coverage, mut pages) = (Coverage::default(), PageCoverage::default());
    for (mode, seeds) in seeds {
        let explored = explore_soundly(Choice::of(kind, mode), seeds);
        steps += explored.steps;
        coverage.add(&explored.coverage);
        pages.add(&explored.pages);
    }
    println!("{}: {steps} steps\n{coverage}\n{pages}", kind.name());
    assert!(steps >= 1_000_000, "only {steps} steps were taken");
    assert_eq!(coverage.gaps(), [], "\n{coverage}");
    assert_eq!(pages.gaps(), [], "\n{pages}");
}

#[test]
fn a_million_steps_break_nothing_and_meet_every_state_with_every_event() {
    let seeds = [
        (Mode::Calm, 150),
        (Mode::Rough, 550),
        (Mode::LyingBroker, 100),
        (Mode::LyingLender, 500),
        (Mode::LyingBorrower, 100),
    ];
    explore_all(XenKind::Stock, seeds);
}

#[test]
fn a_million_steps_on_lend_aware_xen_break_nothing_and_meet_every_state_with_every_event() {
    let seeds = [
        (Mode::Calm, 150),
        // Losses that the driver hears of are rare.
        (Mode::Rough, 5000),
        (Mode::LyingBroker, 100),
        (Mode::LyingLender, 500),
        (Mode::LyingBorrower, 100),
    ];
    explore_all(XenKind::LendAware, seeds);
}

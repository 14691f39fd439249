// SPDX-License-Identifier: MIT OR Apache-2.0
//! A history that fails becomes a short one that fails in the same way, and happens again as often as it is
//! wanted.

use xenlend_simulation::config::{Choice, Config, Mode};
use xenlend_simulation::fault::Fault;
use xenlend_simulation::history::{from_text, to_text};
use xenlend_simulation::run::{explore, replay, run_seed};
use xenlend_simulation::shrink::shrink;
use xenlend_xen_abi::lend::XenKind;

/// Events that the shortest histories may have: region, access, page-in and revocation are that long, since every
/// lock, hypercall and message is one.
const SHORT: [(Fault, Choice, usize); 11] = [
    (Fault::SkipUnmap, of(XenKind::Stock, Mode::Calm), 70),
    (Fault::RecordMirrorLate, of(XenKind::Stock, Mode::Calm), 70),
    (Fault::AnswerZeros, of(XenKind::Stock, Mode::Calm), 40),
    (Fault::IgnoreRepStos, of(XenKind::Stock, Mode::Calm), 90),
    (Fault::AcceptStalePresent, of(XenKind::Stock, Mode::LyingLender), 40),
    (Fault::MapAround, of(XenKind::Stock, Mode::Calm), 110),
    (Fault::IgnoreSerial, of(XenKind::Stock, Mode::Calm), 190),
    (Fault::LoseWant, of(XenKind::Stock, Mode::Calm), 90),
    (Fault::ForgetWaiter, of(XenKind::LendAware, Mode::Calm), 60),
    (Fault::LeaveWaiter, of(XenKind::LendAware, Mode::Rough), 100),
    (Fault::LendOver, of(XenKind::LendAware, Mode::LyingLender), 30),
];

const fn of(kind: XenKind, mode: Mode) -> Choice {
    Choice { mode: Some(mode), kind: Some(kind), fault: None }
}

#[test]
fn a_history_is_shrunk_to_a_short_one_that_fails_in_the_same_way() {
    for (fault, choice, limit) in SHORT {
        let with = choice.with(fault);
        let found = explore(1..2000, 1000, with).found.expect("the bug is found");
        let shortest = shrink(&found, with);
        println!("{fault:?}: {} events, then {}", found.history.len(), shortest.len());
        assert!(shortest.len() <= limit, "{fault:?}: {} events", shortest.len());
        assert!(shortest.len() < found.history.len());
        let again = replay(found.seed, shortest.clone(), with, false);
        assert_eq!(again.violation.map(|violation| violation.wrong), Some(found.violation.wrong));
        assert_eq!(again.history, shortest, "every event of it happens");
        // Without the bug the same history is sound.
        assert_eq!(replay(found.seed, shortest, choice, false).violation, None);
    }
}

#[test]
fn a_seed_makes_the_same_history_every_time_and_its_text_makes_it_again() {
    let all = XenKind::ALL.into_iter().flat_map(|kind| Mode::ALL.map(|mode| Choice::of(kind, mode)));
    for choice in all {
        for seed in 1..20 {
            let (first, second) = (run_seed(seed, 500, choice), run_seed(seed, 500, choice));
            assert!(first.history.len() > 100, "seed {seed} makes {} steps", first.history.len());
            assert_eq!(first.history, second.history);
            assert_eq!(first.coverage, second.coverage);
            let text = to_text(&first.history);
            let again = replay(seed, from_text(&text).unwrap(), choice, true);
            assert_eq!(to_text(&again.history), text);
            assert_eq!(again.coverage, first.coverage);
        }
    }
}

#[test]
fn the_seed_chooses_the_kind_of_xen_too() {
    let kinds: Vec<_> = (1..40).map(|seed| Config::new(seed, Choice::default()).kind).collect();
    assert!(XenKind::ALL.iter().all(|kind| kinds.contains(kind)));
    for (seed, kind) in (1..40).zip(kinds) {
        let chosen = Choice { kind: Some(kind), ..Choice::default() };
        assert_eq!(run_seed(seed, 100, Choice::default()).history, run_seed(seed, 100, chosen).history);
    }
}

#[test]
fn seeds_make_different_histories() {
    let of = |seed| run_seed(seed, 200, Choice::of(XenKind::Stock, Mode::Rough)).history;
    assert!((1..20).all(|seed| of(seed) != of(seed + 1)));
}

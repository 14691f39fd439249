// SPDX-License-Identifier: MIT OR Apache-2.0
//! A history that fails becomes a short one that fails in the same way, and happens again as often as it is
//! wanted.

use xenlend_simulation::config::Mode;
use xenlend_simulation::fault::Fault;
use xenlend_simulation::history::{from_text, to_text};
use xenlend_simulation::run::{explore, replay, run_seed};
use xenlend_simulation::shrink::shrink;

/// Events that the shortest histories may have: region, access, page-in and revocation are that long, since every
/// lock, hypercall and message is one.
const SHORT: [(Fault, Mode, usize); 8] = [
    (Fault::SkipUnmap, Mode::Calm, 70),
    (Fault::RecordMirrorLate, Mode::Calm, 70),
    (Fault::AnswerZeros, Mode::Calm, 40),
    (Fault::IgnoreRepStos, Mode::Calm, 90),
    (Fault::AcceptStalePresent, Mode::LyingLender, 40),
    (Fault::MapAround, Mode::Calm, 110),
    (Fault::IgnoreSerial, Mode::Calm, 190),
    (Fault::LoseWant, Mode::Calm, 90),
];

#[test]
fn a_history_is_shrunk_to_a_short_one_that_fails_in_the_same_way() {
    for (fault, mode, limit) in SHORT {
        let (mode, fault) = (Some(mode), Some(fault));
        let found = explore(1..2000, 1000, mode, fault).found.expect("the bug is found");
        let shortest = shrink(&found, mode, fault);
        println!("{fault:?}: {} events, then {}", found.history.len(), shortest.len());
        assert!(shortest.len() <= limit, "{fault:?}: {} events", shortest.len());
        assert!(shortest.len() < found.history.len());
        let again = replay(found.seed, shortest.clone(), mode, fault, false);
        assert_eq!(again.violation.map(|violation| violation.wrong), Some(found.violation.wrong));
        assert_eq!(again.history, shortest, "every event of it happens");
        // Without the bug the same history is sound.
        assert_eq!(replay(found.seed, shortest, mode, None, false).violation, None);
    }
}

#[test]
fn a_seed_makes_the_same_history_every_time_and_its_text_makes_it_again() {
    for mode in Mode::ALL.map(Some) {
        for seed in 1..20 {
            let (first, second) = (run_seed(seed, 500, mode, None), run_seed(seed, 500, mode, None));
            assert!(first.history.len() > 100, "seed {seed} makes {} steps", first.history.len());
            assert_eq!(first.history, second.history);
            assert_eq!(first.coverage, second.coverage);
            let text = to_text(&first.history);
            let again = replay(seed, from_text(&text).unwrap(), mode, None, true);
            assert_eq!(to_text(&again.history), text);
            assert_eq!(again.coverage, first.coverage);
        }
    }
}

#[test]
fn seeds_make_different_histories() {
    let of = |seed| run_seed(seed, 200, Some(Mode::Rough), None).history;
    assert!((1..20).all(|seed| of(seed) != of(seed + 1)));
}

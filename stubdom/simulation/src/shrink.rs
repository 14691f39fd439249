// SPDX-License-Identifier: MIT OR Apache-2.0
//! Finds the shortest history that still goes wrong in the same way, by leaving out more and more of it.

use crate::config::Choice;
use crate::history::Event;
use crate::run::{replay, Found};
use crate::world::Wrong;

/// Histories that are tried at most.
const TRIES: u32 = 6000;

/// The shortest history found. It fails in the same way.
pub fn shrink(found: &Found, choice: Choice) -> Vec<Event> {
    let mut tries = 0;
    let mut fails = |history: &[Event]| -> Option<Vec<Event>> {
        tries += 1;
        if tries > TRIES {
            return None;
        }
        let outcome = replay(found.seed, history.to_vec(), choice, false);
        let same = outcome.violation.is_some_and(|violation| violation.wrong == found.violation.wrong);
        // What happened is at most what was asked for: events that could not happen are gone.
        same.then_some(outcome.history)
    };
    let mut best = fails(&found.history).unwrap_or_else(|| found.history.clone());
    loop {
        let before = best.len();
        let mut chunk = (best.len() / 2).max(1);
        loop {
            let mut at = 0;
            while at < best.len() {
                let end = (at + chunk).min(best.len());
                let rest: Vec<Event> = best[..at].iter().chain(&best[end..]).cloned().collect();
                match fails(&rest) {
                    Some(shorter) if shorter.len() < best.len() => best = shorter,
                    _ => at += chunk,
                }
            }
            if chunk == 1 {
                break;
            }
            chunk /= 2;
        }
        if best.len() == before {
            return simplify(best, found.violation.wrong, &mut |history| fails(history));
        }
    }
}

/// Replaces what was drawn by zeros, where that makes no difference.
fn simplify(
    mut best: Vec<Event>,
    _: Wrong,
    fails: &mut impl FnMut(&[Event]) -> Option<Vec<Event>>,
) -> Vec<Event> {
    for at in 0..best.len() {
        if best.get(at).is_none_or(|event| event.draws.is_empty()) {
            continue;
        }
        let mut simpler = best.clone();
        simpler[at].draws.clear();
        if let Some(history) = fails(&simpler) {
            if history.len() <= best.len() {
                best = history;
            }
        }
    }
    best
}

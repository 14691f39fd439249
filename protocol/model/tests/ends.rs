// SPDX-License-Identifier: MIT OR Apache-2.0
//! No schedule goes on for ever: no state comes again. With it, that no state is stuck means that
//! whatever has begun ends.

use std::collections::HashMap;

use ahash::RandomState;
use stateright::Model;
use xenlend_model::scenario::{Scenario, SCENARIOS};
use xenlend_model::Protocol;

/// A state on the way from the first one, and the steps out of it that are not taken yet.
struct Open<M: Model> {
    state: M::State,
    name: u64,
    steps: Vec<M::Action>,
}

fn open(protocol: &Protocol, name: u64, state: <Protocol as Model>::State) -> Open<Protocol> {
    let mut steps = Vec::new();
    protocol.actions(&state, &mut steps);
    Open { state, name, steps }
}

/// Goes through every schedule; panics if one comes back to a state of its own.
fn ends(scenario: &Scenario) {
    let protocol = Protocol::sound(*scenario);
    // Two states of one name would hide what is behind one of them: unlikely with 64 bits.
    let hasher = RandomState::with_seeds(1, 2, 3, 4);
    // Whether the state is on the way to the one that is looked at now.
    let mut on_the_way: HashMap<u64, bool, _> = HashMap::with_hasher(hasher.clone());
    let mut way: Vec<Open<Protocol>> = Vec::new();
    for first in protocol.init_states() {
        let name = hasher.hash_one(&first);
        on_the_way.insert(name, true);
        way.push(open(&protocol, name, first));
    }
    while let Some(last) = way.last_mut() {
        let Some(step) = last.steps.pop() else {
            on_the_way.insert(last.name, false);
            way.pop();
            continue;
        };
        let Some(next) = protocol.next_state(&last.state, step) else { continue };
        let name = hasher.hash_one(&next);
        match on_the_way.get(&name) {
            Some(false) => {}
            Some(true) => panic!("{}: {step:?} leads back to {next:#?}", scenario.name),
            None => {
                on_the_way.insert(name, true);
                way.push(open(&protocol, name, next));
            }
        }
    }
    assert!(on_the_way.len() >= scenario.least_states);
}

/// Two halves, so that two processors have something to do.
#[test]
fn every_schedule_ends() {
    SCENARIOS.iter().step_by(2).for_each(ends);
}

#[test]
fn every_other_schedule_ends() {
    SCENARIOS.iter().skip(1).step_by(2).for_each(ends);
}

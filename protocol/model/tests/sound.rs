// SPDX-License-Identifier: MIT OR Apache-2.0
//! The protocol as it is, exhaustively.

use stateright::{Checker, Expectation, Model};
use xenlend_model::scenario::{Scenario, SCENARIOS};
use xenlend_model::Protocol;

fn explore(scenario: &Scenario) {
    let begun = std::time::Instant::now();
    let checker = Protocol::sound(*scenario).checker().spawn_bfs().join();
    println!("{}: {} states, depth {}, {:?}", scenario.name, checker.unique_state_count(), checker.max_depth(), begun.elapsed());
    let discoveries = checker.discoveries();
    for property in checker.model().properties() {
        if let (Expectation::Always, Some(path)) = (&property.expectation, discoveries.get(property.name)) {
            panic!("{}: not so: {}\n{path}", scenario.name, property.name);
        }
    }
    for (name, _) in discoveries.iter() {
        println!("   {name}");
    }
}

#[test]
fn all() {
    for s in SCENARIOS.iter() {
        explore(s);
    }
}

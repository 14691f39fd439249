// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every order of steps of the protocol, in each scenario: nothing that must hold is ever broken, and
//! what the scenario is there for is reached.

use stateright::{Checker, Expectation, Model};
use xenlend_model::scenario::{self, Scenario, SCENARIOS};
use xenlend_model::Protocol;

fn explore(scenario: &Scenario) {
    let checker = Protocol::sound(*scenario).checker().spawn_bfs().join();
    let discoveries = checker.discoveries();
    for property in checker.model().properties() {
        if let (Expectation::Always, Some(path)) = (&property.expectation, discoveries.get(property.name)) {
            panic!("{}: it does not hold that {}:\n{path}", scenario.name, property.name);
        }
    }
    for situation in scenario.reaches {
        assert!(discoveries.contains_key(situation), "{}: never reached: {situation}", scenario.name);
    }
    // Exhausted, and as much as there was.
    assert!(checker.is_done());
    let states = checker.unique_state_count();
    println!("{}: {states} states, at most {} steps deep", scenario.name, checker.max_depth());
    assert!(states >= scenario.least_states, "{}: {states} states only", scenario.name);
}

macro_rules! scenarios {
    ($($test:ident: $scenario:ident;)*) => {
        $(
            #[test]
            fn $test() {
                explore(&scenario::$scenario);
            }
        )*

        #[test]
        fn every_scenario_is_explored() {
            let explored = [$(scenario::$scenario.name),*];
            assert_eq!(explored, SCENARIOS.map(|scenario| scenario.name));
        }
    };
}

scenarios! {
    faults: FAULTS;
    repeated_writes: REPEATED;
    slow_broker: SLOW_BROKER;
    broker_dies: BROKER_DIES;
    borrower_dies: BORROWER_DIES;
    two_pages: TWO_PAGES;
    slow_broker_and_two_pages: SLOW_TWO_PAGES;
    the_end: THE_END;
    slow_end: SLOW_END;
    broker_dies_at_the_end: BROKER_DIES_AT_THE_END;
    borrower_dies_at_the_end: BORROWER_DIES_AT_THE_END;
    stale: STALE;
}

/// Each situation is some scenario's business: else nothing would be shown of it.
#[test]
fn every_situation_is_reached() {
    for property in Protocol::sound(scenario::FAULTS).properties() {
        if matches!(property.expectation, Expectation::Sometimes) {
            let reached = SCENARIOS.iter().any(|scenario| scenario.reaches.contains(&property.name));
            assert!(reached, "no scenario has to reach: {}", property.name);
        }
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! A lender that verifies every acknowledgement is safe from a broker that lies about them, and notices.

use xenlend_simulation::config::{Choice, Config, Mode};
use xenlend_simulation::fault::Fault;
use xenlend_simulation::random::Random;
use xenlend_simulation::run::run;
use xenlend_simulation::schedule::Source;
use xenlend_simulation::world::Wrong;
use xenlend_xen_abi::lend::XenKind;

#[test]
fn no_acknowledgement_that_is_a_lie_gets_past_the_check_mode() {
    let on = |kind, fault| Choice::of(kind, Mode::Rough).with(fault);
    for choice in [
        on(XenKind::Stock, Fault::SkipUnmap),
        on(XenKind::Stock, Fault::AcknowledgeFirst),
        on(XenKind::LendAware, Fault::SkipUnmap),
        on(XenKind::LendAware, Fault::AcknowledgeFirst),
        // There it can add nothing any more when the lender looks.
        on(XenKind::LendAware, Fault::AddAgain),
    ] {
        let mut condemned = 0;
        for seed in 1..200 {
            // Only acknowledgements are verified: an add that fails half-way would have it lie in another answer.
            let rough = Config::new(seed, choice);
            let config = Config { check: true, failing_hypercalls: 0, incidents: 0, ..rough };
            let outcome = run(config, Source::Random(Random::new(seed), 1000), true);
            if let Some(violation) = outcome.violation {
                panic!("{}, seed {seed}: {violation:?}", choice.options());
            }
            condemned += u32::from(outcome.trace.iter().any(|line| line.contains("Condemn(Lied)")));
        }
        assert!(condemned > 10, "{} was noticed {condemned} times", choice.options());
    }
}

#[test]
fn without_it_such_a_lie_is_a_stale_entry() {
    let shows = |seed| {
        let choice = Choice::of(XenKind::Stock, Mode::Calm).with(Fault::SkipUnmap);
        let config = Config { check: false, ..Config::new(seed, choice) };
        let outcome = run(config, Source::Random(Random::new(seed), 1000), false);
        outcome.violation.is_some_and(|violation| violation.wrong == Wrong::StaleEntry)
    };
    assert!((1..10).any(shows));
}

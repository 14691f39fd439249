// SPDX-License-Identifier: MIT OR Apache-2.0
//! Each known race, built in alone, is found: the property that it breaks has a counterexample. And each
//! property is broken by one: none holds because it says nothing.

use std::collections::BTreeSet;

use stateright::{Checker, Expectation, HasDiscoveries, Model};
use xenlend_model::scenario::{self, Scenario};
use xenlend_model::seed::Seed;
use xenlend_model::{names, Protocol};

fn find(scenario: Scenario, seed: Seed, name: &'static str) {
    let first = HasDiscoveries::AnyOf(BTreeSet::from([name]));
    let checker = Protocol::seeded(scenario, seed).checker().finish_when(first).spawn_bfs().join();
    let Some(path) = checker.discovery(name) else {
        let found: Vec<_> = checker.discoveries().into_keys().collect();
        panic!("{seed:?} in \"{}\" does not break \"{name}\"; found: {found:#?}", scenario.name);
    };
    println!("{seed:?} breaks \"{name}\":\n{path}");
}

macro_rules! seeds {
    ($($test:ident: $seed:ident in $scenario:ident breaks $name:ident;)*) => {
        const BROKEN: &[&str] = &[$(names::$name),*];

        $(
            #[test]
            fn $test() {
                find(scenario::$scenario, Seed::$seed, names::$name);
            }
        )*

        /// Does not compile while a seed is left out above, or is named twice.
        #[deny(unreachable_patterns)]
        #[allow(dead_code)]
        fn every_seed_has_a_test(seed: Seed) {
            match seed {
                $(Seed::$seed => {})*
            }
        }
    };
}

seeds! {
    acknowledge_before_unmap: AcknowledgeBeforeUnmap in FAULTS breaks FREED;
    unmap_skipped: UnmapSkipped in FAULTS breaks FREED;
    stale_accepted: StaleAccepted in STALE breaks FREED;
    table_kept_after_forced: TableKeptAfterForced in BROKER_DIES breaks BREACH;
    add_over_ready_stos: AddOverReadyStos in REPEATED breaks CRASH;
    add_over_accepted_stos: AddOverAcceptedStos in REPEATED breaks CRASH;
    add_over_answered_stos: AddOverAnsweredStos in REPEATED breaks CRASH;
    acknowledgement_awaits_borrower: AcknowledgementAwaitsBorrower in FAULTS breaks REVOKED;
    leave_without_draining: LeaveWithoutDraining in THE_END breaks INNOCENT;
    add_without_bracket: AddWithoutBracket in REPEATED breaks CRASH;
    bracket_over_fault: BracketOverFault in REPEATED breaks BRACKET;
    bracket_without_deadline: BracketWithoutDeadline in BROKER_DIES breaks BRACKET;
    bracket_kept_after_later: BracketKeptAfterLater in REPEATED breaks BRACKET;
    acknowledgement_in_worker: AcknowledgementInWorker in FAULTS breaks REVOKED;
    invalidation_without_deadline: InvalidationWithoutDeadline in BROKER_DIES breaks REVOKED;
    overtaken_posted: OvertakenPosted in FAULTS breaks FREED;
    listed_after_lookup: ListedAfterLookup in FAULTS breaks FREED;
    mirror_after_post: MirrorAfterPost in FAULTS breaks FREED;
    force_without_pause: ForceWithoutPause in SLOW_BROKER breaks FREED;
    resumed_with_present_unanswered: ResumedWithPresentUnanswered in SLOW_BROKER breaks FREED;
    deny_before_removal: DenyBeforeRemoval in SLOW_BROKER breaks REMOVABLE;
    broker_gone_leaves_entries: BrokerGoneLeavesEntries in BROKER_DIES breaks FREED;
    forced_not_awaited: ForcedNotAwaited in SLOW_TWO_PAGES breaks RESERVE;
    late_acknowledgement_is_breach: LateAcknowledgementIsBreach in SLOW_BROKER breaks BREACH;
    ended_before_force: EndedBeforeForce in SLOW_BROKER breaks BREACH;
    answer_dropped_while_forcing: AnswerDroppedWhileForcing in SLOW_TWO_PAGES breaks ANSWERED;
    detached_while_forcing: DetachedWhileForcing in SLOW_END breaks ANSWERED;
    no_supervisor: NoSupervisor in BROKER_DIES breaks ANSWERED;
}

/// What the seeds above break besides, as (property, seed, scenario).
const ALSO_BROKEN: &[(&str, Seed, Scenario)] = &[
    (names::IN_FLIGHT, Seed::ResumedWithPresentUnanswered, scenario::SLOW_BROKER),
    (names::MIRROR, Seed::MirrorAfterPost, scenario::FAULTS),
    (names::ENDED, Seed::UnmapSkipped, scenario::THE_END),
    (names::RESTS, Seed::AcknowledgementInWorker, scenario::FAULTS),
];

#[test]
fn seeds_break_the_other_properties() {
    for (name, seed, scenario) in ALSO_BROKEN {
        find(*scenario, *seed, name);
    }
}

#[test]
fn every_property_is_broken_by_some_seed() {
    for property in Protocol::sound(scenario::FAULTS).properties() {
        if matches!(property.expectation, Expectation::Always) {
            let also = ALSO_BROKEN.iter().any(|(name, _, _)| *name == property.name);
            assert!(also || BROKEN.contains(&property.name), "nothing breaks: {}", property.name);
        }
    }
}

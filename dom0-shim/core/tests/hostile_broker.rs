// SPDX-License-Identifier: MIT OR Apache-2.0
//! A broker that says what it likes, when it likes: the lender's event handler does bounded work, and no
//! word of it makes the lender forget what is present.
#![allow(missing_docs)]

mod support;

use proptest::prelude::*;
use support::{invalidate, present, Pair, USER};
use xenlend_protocol::frame::AperturePage;
use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::message::{AccessOperation, FromBroker, PresentOutcome};
use xenlend_protocol::refusal::{AddFailure, Blame, Breach, BreachKind, Refusal, RemoveFailure};
use xenlend_shim_core::link::{Drained, InvalidateStart, State};

/// vCPUs of the borrower, and so the most accesses at a time.
const VCPUS: u32 = 4;

fn access(id: u32, lease: LeaseId) -> FromBroker {
    let (page, operation) = (AperturePage(id), AccessOperation::Read { length: 8 });
    FromBroker::Access { id, lease, page, offset: 0, operation, wants_page: true }
}

#[test]
fn a_drain_takes_no_more_messages_than_it_is_told() {
    let mut pair = Pair::connected();
    let lease = pair.region(0, 0, 1024, USER);
    for id in 0..VCPUS {
        pair.say_unheard(access(id, lease));
    }
    assert_eq!(pair.link.drain(3), Drained { messages: 3, more: true });
    assert_eq!(pair.link.drain(3), Drained { messages: 1, more: false });
    assert_eq!(pair.link.status().counters.stage2_faults, u64::from(VCPUS));
}

#[test]
fn events_without_messages_cost_nothing() {
    let mut pair = Pair::connected();
    let lease = pair.region(0, 0, 1024, USER);
    present(&mut pair, lease, 0, 0x700, 8);
    let _ = pair.link.take_effects();
    let before = pair.link.status();
    for _ in 0..1000 {
        assert_eq!(pair.link.drain(64), Drained { messages: 0, more: false });
        let effects = pair.link.take_effects();
        assert!(!effects.notify && !effects.wake, "nobody is woken and nobody notified");
    }
    assert_eq!(pair.link.status(), before);
    assert_eq!(pair.next(), None);
}

/// Anything that can be encoded, often about what exists.
fn any_word() -> impl Strategy<Value = FromBroker> {
    let lease = (0_u16..3, 0_u32..3).prop_map(|(index, generation)| LeaseId { index, generation });
    let page = prop_oneof![0_u32..40, any::<u32>()].prop_map(AperturePage);
    let failure = (page.clone(), any::<u16>()).prop_map(|(page, errno)| RemoveFailure { page, errno });
    let removed = prop_oneof![any::<u32>().prop_map(Ok), failure.prop_map(Err)];
    let refusal = prop_oneof![
        Just(Refusal::NoSuchLease),
        Just(Refusal::IndexInUse),
        Just(Refusal::BadExtent),
        page.clone().prop_map(|page| Refusal::AlreadyPresent { page }),
    ];
    let outcome = prop_oneof![
        (any::<u16>(), any::<u32>())
            .prop_map(|(entries_2mib, entries_4kib)| PresentOutcome::Added { entries_2mib, entries_4kib }),
        Just(PresentOutcome::Later),
        Just(PresentOutcome::Stale),
        refusal.clone().prop_map(PresentOutcome::Refused),
        (page.clone(), any::<u16>())
            .prop_map(|(page, errno)| PresentOutcome::Failed(AddFailure { page, errno })),
    ];
    let small = 0_u32..4;
    prop_oneof![
        1 => any::<[u32; 2]>().prop_map(|[features, aperture_pages]| FromBroker::Welcome {
            version: 2, features, aperture_pages, lease_capacity: 64
        }),
        2 => (lease.clone(), prop_oneof![Just(Ok(())), refusal.prop_map(Err)])
            .prop_map(|(lease, result)| FromBroker::RegionSet { lease, result }),
        2 => (lease.clone(), removed.clone())
            .prop_map(|(lease, result)| FromBroker::RegionDropped { lease, result }),
        6 => (small.clone(), outcome).prop_map(|(ticket, outcome)| FromBroker::Presented { ticket, outcome }),
        6 => (0_u64..6, removed).prop_map(|(sequence, result)| FromBroker::Invalidated { sequence, result }),
        6 => (small, lease, page, 0_u16..4096, 0_u16..300, any::<bool>()).prop_map(
            |(id, lease, page, offset, length, wants_page)| FromBroker::Access {
                id, lease, page, offset, operation: AccessOperation::Read { length }, wants_page
            }
        ),
        1 => Just(FromBroker::Closed { breach: Breach { blame: Blame::Lender, kind: BreachKind::OutOfTurn } }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_broker_says_what_is_present_stays_known(
        words in prop::collection::vec(any_word(), 1..40),
        outstanding in 0_u32..3,
    ) {
        let mut pair = Pair::connected();
        let lease = pair.region(0, 0, 1024, USER);
        present(&mut pair, lease, 0, 0x700, 8);
        for page in 0..outstanding {
            let started = invalidate(&mut pair, lease, page, 1);
            prop_assert!(matches!(started, InvalidateStart::Posted(_)));
        }
        for word in words {
            pair.say(word);
            let run = pair.link.find_present(lease, AperturePage(0), 8);
            prop_assert!(run.is_some_and(|run| run.page.0 == 0 && run.count == 8), "{run:?}");
            // Work for the lender's thread: never more than the borrower's vCPUs can cause.
            let mut requests = Vec::new();
            while let Some(request) = pair.link.pop_request() {
                requests.push(request);
            }
            prop_assert!(requests.len() <= VCPUS as usize);
            for request in requests {
                pair.link.push_again(request);
            }
            if pair.link.needs_force().is_some() {
                prop_assert!(!matches!(pair.link.state(), State::Connected));
                prop_assert_eq!(pair.link.drain(64).messages, 0, "a link that failed hears no more");
            }
        }
    }
}

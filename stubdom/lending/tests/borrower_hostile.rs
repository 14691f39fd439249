// SPDX-License-Identifier: MIT OR Apache-2.0
//! A frontend that breaks its contract in every way there is loses its link, and nobody
//! else anything.

mod support;

use proptest::prelude::*;
use support::bench::{
    attach, borrower_hello, extent, invalidate, lease, present, read, set_region, wait_for, Bench, ATTACHMENT,
};
use xenlend_lending::borrower_link::BorrowerState;
use xenlend_lending::broker::LinkState;
use xenlend_protocol::frontend::{FromBorrower, ToBorrower, MAX_WAIT_PAGES};
use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::message::{FromBroker, PresentOutcome, ToBroker, WantedOutcome, MAX_WANTED, VERSION};
use xenlend_protocol::refusal::{Blame, Breach, BreachKind, Refusal};

fn by_borrower(kind: BreachKind) -> Breach {
    Breach { blame: Blame::Borrower, kind }
}

/// Two leases of 32 pages, both known to the borrower; page 1 is present, and a task waits
/// for page 5, for which the lender has been asked.
fn working() -> (Bench, LeaseId, u32) {
    let mut bench = Bench::new(64, 1);
    let id = lease(0, 1);
    for (index, first) in [(0, 0), (1, 32)] {
        let _ = bench.ask(set_region(lease(index, 1), first, 32));
    }
    assert_eq!(bench.attach().len(), 3);
    bench.present(id, 0, &[extent(1, 100, 1)]);
    assert_eq!(bench.hear(wait_for(id, 5, 1)), []);
    let Some(FromBroker::Want { ticket, .. }) = bench.link.to_lender.pop_front() else { panic!() };
    (bench, id, ticket)
}

/// The rest of the world goes on, and the borrower may come back with a new link.
fn check_the_others(mut bench: Bench, id: LeaseId, ticket: u32) {
    let added = PresentOutcome::Added { entries_2mib: 0, entries_4kib: 1 };
    let told = FromBroker::BorrowerClosed { attachment: ATTACHMENT };
    assert_eq!(bench.link.to_lender.drain(..).collect::<Vec<_>>(), [told], "the lender is told");
    assert_eq!(bench.present(id, 0, &[extent(2, 200, 1)]), added);
    assert_eq!(bench.invalidate(1, id, 0, 32), Ok(2), "what was present before is revoked as ever");
    bench.pages.insert(3, vec![9; 4096]);
    assert_eq!(bench.request(0, read(3 * 4096, 1)) & 0xff, 9, "accesses are completed");
    assert_eq!(bench.ask(ToBroker::Wanted { ticket, outcome: WantedOutcome::Present }), []);
    assert_eq!(bench.broker.link_state(), LinkState::Connected);
    // What the borrower has mapped of an ended lease is not known any more.
    let _ = bench.ask(ToBroker::DropRegion { lease: id });
    let answer = bench.ask(set_region(lease(2, 1), 0, 1));
    let refusal = Err(Refusal::Quarantined { index: 0 });
    assert_eq!(answer, [FromBroker::RegionSet { lease: lease(2, 1), result: refusal }]);
    bench.borrower.send_breach = None;
    bench.borrower.receive_breach = None;
    assert_eq!(bench.hear(FromBorrower::ZapDone { sequence: 1 }), [], "it is not listened to");
    assert_eq!(bench.broker.quarantined(), 1);

    let answer = bench.ask(ToBroker::DetachBorrower { attachment: ATTACHMENT });
    assert_eq!(answer, [FromBroker::BorrowerDetached { attachment: ATTACHMENT }]);
    let answer = bench.ask(set_region(lease(2, 1), 0, 1));
    assert_eq!(answer, [FromBroker::RegionSet { lease: lease(2, 1), result: Ok(()) }]);
    assert_eq!(bench.attach().len(), 3);
    bench.check();
}

#[test]
fn a_message_that_breaks_the_contract_ends_the_borrowers_link_only() {
    use BreachKind::{OutOfRange, OutOfTurn, SequenceBackwards, UnexpectedAnswer};
    let id = lease(0, 1);
    let hostile = [
        (vec![borrower_hello(64)], OutOfTurn),
        (vec![wait_for(id, 0, 0)], OutOfRange),
        (vec![wait_for(id, 0, u32::MAX)], OutOfRange),
        (vec![wait_for(id, 31, 2)], OutOfRange),
        (vec![wait_for(id, 32, 1)], OutOfRange),
        (vec![wait_for(id, u32::MAX, 1)], OutOfRange),
        (vec![wait_for(lease(1, 1), 31, 2)], OutOfRange),
        (vec![wait_for(lease(900, 1), u32::MAX, 2)], OutOfRange),
        (vec![FromBorrower::ZapDone { sequence: 2 }], UnexpectedAnswer),
        (vec![FromBorrower::ZapDone { sequence: u64::MAX }], UnexpectedAnswer),
        (
            vec![FromBorrower::ZapDone { sequence: 1 }, FromBorrower::ZapDone { sequence: 0 }],
            SequenceBackwards,
        ),
    ];
    for (messages, kind) in hostile {
        let (mut bench, id, ticket) = working();
        // One `Revoked` has been sent.
        assert_eq!(bench.invalidate(1, id, 1, 1), Ok(1));
        bench.present(id, 1, &[extent(1, 300, 1)]);
        assert_eq!(bench.told().len(), 1);
        bench.borrower.to_broker.extend(messages.clone());
        assert_eq!(bench.told(), [ToBorrower::Closed { breach: by_borrower(kind) }], "{messages:?}");
        assert_eq!(bench.broker.borrower_state(), BorrowerState::Closed(by_borrower(kind)));
        let told = FromBroker::BorrowerClosed { attachment: ATTACHMENT };
        assert_eq!(bench.link.to_lender.drain(..).collect::<Vec<_>>(), [told], "the lender is told");
        // `check_the_others` invalidates anew.
        bench.present(id, 1, &[extent(2, 200, 1)]);
        assert_eq!(bench.invalidate(2, id, 0, 32), Ok(2));
        assert_eq!(bench.ask(ToBroker::Wanted { ticket, outcome: WantedOutcome::Lost }), []);
        bench.check();
    }
}

#[test]
fn a_wait_for_more_pages_than_one_message_may_name_is_a_breach() {
    let working = || {
        let (mut bench, id) = Bench::with_lease(2048, 1);
        bench.attach();
        (bench, id)
    };
    let (mut bench, id) = working();
    assert_eq!(bench.hear(wait_for(id, 3, MAX_WAIT_PAGES)), []);
    let asked = bench.link.to_lender.pop_front();
    assert!(matches!(asked, Some(FromBroker::Want { count: MAX_WAIT_PAGES, .. })), "{asked:?}");
    for count in [MAX_WAIT_PAGES + 1, 2000] {
        let (mut bench, id) = working();
        let breach = by_borrower(BreachKind::OutOfRange);
        assert_eq!(bench.hear(wait_for(id, 3, count)), [ToBorrower::Closed { breach }], "{count} pages");
        let said = bench.link.to_lender.drain(..).collect::<Vec<_>>();
        assert!(matches!(said[..], [FromBroker::BorrowerClosed { .. }]), "{said:?}");
    }
}

#[test]
fn a_broken_ring_ends_the_borrowers_link_only() {
    for kind in [BreachKind::RingIndices, BreachKind::MessageLength, BreachKind::Undecodable] {
        let (mut bench, id, ticket) = working();
        bench.borrower.receive_breach = Some(kind);
        assert_eq!(bench.told(), [ToBorrower::Closed { breach: by_borrower(kind) }]);
        check_the_others(bench, id, ticket);
    }
    // Where nothing can be said not even the last word is.
    let (mut bench, id, ticket) = working();
    bench.borrower.send_breach = Some(BreachKind::RingIndices);
    assert_eq!(bench.hear(wait_for(id, 1, 1)), []);
    let closed = BorrowerState::Closed(by_borrower(BreachKind::RingIndices));
    assert_eq!(bench.broker.borrower_state(), closed);
    assert_eq!(bench.broker.counters().borrower_breaches, 1);
    check_the_others(bench, id, ticket);
}

#[test]
fn before_hello_only_a_true_hello_will_do() {
    let id = lease(0, 1);
    let hello = |gfn: u64, pages: u32| {
        let FromBorrower::Hello { aperture_gfn, aperture_pages, .. } = borrower_hello(64) else { panic!() };
        FromBorrower::Hello {
            oldest: VERSION,
            newest: VERSION,
            features: 0,
            aperture_gfn: aperture_gfn.wrapping_add(gfn),
            aperture_pages: aperture_pages.wrapping_add(pages),
        }
    };
    for (message, kind) in [
        (wait_for(id, 0, 1), BreachKind::OutOfTurn),
        (FromBorrower::ZapDone { sequence: 0 }, BreachKind::OutOfTurn),
        (hello(512, 0), BreachKind::OutOfRange),
        (hello(u64::MAX, 0), BreachKind::OutOfRange),
        (hello(0, 1), BreachKind::OutOfRange),
        (hello(0, u32::MAX), BreachKind::OutOfRange),
    ] {
        let mut bench = Bench::new(64, 1);
        let _ = bench.ask(set_region(id, 0, 32));
        let _ = bench.ask(attach(ATTACHMENT));
        assert_eq!(bench.hear(message), [ToBorrower::Closed { breach: by_borrower(kind) }], "{message:?}");
        assert_eq!(bench.hear(hello(0, 0)), [], "a closed link says no more");
        assert_eq!(bench.broker.link_state(), LinkState::Connected);
    }
}

#[test]
fn a_full_ring_keeps_the_last_word_until_there_is_room() {
    let (mut bench, id, ticket) = working();
    bench.borrower.room = 0;
    bench.borrower.receive_breach = Some(BreachKind::Undecodable);
    assert_eq!(bench.told(), []);
    bench.borrower.room = 1;
    assert_eq!(bench.told(), [ToBorrower::Closed { breach: by_borrower(BreachKind::Undecodable) }]);
    bench.borrower.room = 100;
    check_the_others(bench, id, ticket);
}

#[test]
fn pages_waited_for_before_their_lease_existed_are_nobodys_to_ask_for() {
    let (mut bench, ..) = working();
    // A lease that is none yet, so that nothing can be checked; and there is no room to say so.
    let unborn = lease(2, 1);
    bench.borrower.room = 0;
    assert_eq!(bench.hear(wait_for(unborn, 40, 4)), []);
    let _ = bench.ask(ToBroker::DropRegion { lease: lease(0, 1) });
    bench.borrower.room = 100;
    let told = bench.told();
    assert!(told
        .iter()
        .any(|told| matches!(told, ToBorrower::Unavailable { lease, .. } if *lease == unborn)));
    let sequence = told.iter().find_map(|told| match told {
        ToBorrower::Revoked { sequence, .. } => Some(*sequence),
        _ => None,
    });
    assert_eq!(bench.hear(FromBorrower::ZapDone { sequence: sequence.unwrap() }), []);
    // The same again, but now it is born, elsewhere, while the answer is in hand.
    bench.borrower.room = 0;
    assert_eq!(bench.hear(wait_for(unborn, 40, 4)), []);
    let set = bench.ask(set_region(unborn, 0, 8));
    assert_eq!(set, [FromBroker::RegionSet { lease: unborn, result: Ok(()) }]);
    bench.borrower.room = 100;
    let told = bench.told();
    assert!(
        told.iter().any(|told| matches!(told, ToBorrower::Unavailable { first, .. } if first.0 == 40)),
        "{told:?}"
    );
    assert!(bench.link.to_lender.is_empty(), "the lender is not asked for pages outside the lease");
    bench.check();
}

/// Mostly what a frontend may say, so that the link lives for a while.
fn any_message() -> impl Strategy<Value = FromBorrower> {
    let number = prop_oneof![4 => 0_u32..64, 1 => any::<u32>()];
    let id = (0_u16..3, 0_u32..3).prop_map(|(index, generation)| lease(index, generation));
    prop_oneof![
        40 => (0_u32..24, 1_u32..9).prop_map(|(page, count)| wait_for(lease(0, 1), page, count)),
        10 => (32_u32..56, 1_u32..9).prop_map(|(page, count)| wait_for(lease(1, 1), page, count)),
        1 => (id, number.clone(), number).prop_map(|(id, page, count)| wait_for(id, page, count)),
        1 => (0_u64..4).prop_map(|sequence| FromBorrower::ZapDone { sequence }),
        1 => Just(borrower_hello(64)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever a frontend says, and however little it listens: every invalidation is
    /// acknowledged in the turn that takes it, and no more than eight questions are open.
    #[test]
    fn whatever_the_borrower_says_revocation_does_not_notice(
        steps in prop::collection::vec((any_message(), 0_usize..6, 0_u32..64, any::<bool>()), 1..120),
    ) {
        let (mut bench, id, ticket) = working();
        let mut wants = vec![ticket];
        for (sequence, (message, room, page, answer)) in (1..).zip(steps) {
            bench.borrower.to_broker.push_back(message);
            bench.borrower.room = room;
            bench.borrower.to_borrower.clear();
            bench.run();
            if answer && !wants.is_empty() {
                let ticket = wants.remove(0);
                bench.link.to_broker.push_back(ToBroker::Wanted { ticket, outcome: WantedOutcome::Present });
            }
            bench.link.to_broker.push_back(invalidate(sequence, id, page, 4));
            let _ = bench.turn();
            let acknowledged = |said: &FromBroker| {
                matches!(said, FromBroker::Invalidated { sequence: answered, result: Ok(_) } if *answered == sequence)
            };
            prop_assert!(bench.link.to_lender.iter().any(acknowledged));
            bench.link.to_broker.push_back(present(1, id, sequence, &[extent(page % 32, u64::from(page), 1)]));
            if bench.borrower.attached && matches!(bench.broker.borrower_state(), BorrowerState::Closed(_)) {
                bench.link.to_broker.push_back(ToBroker::DetachBorrower { attachment: ATTACHMENT });
            }
            if !bench.borrower.attached {
                bench.borrower.room = 10;
                bench.link.to_broker.push_back(attach(ATTACHMENT));
                bench.run();
                bench.borrower.to_broker.push_back(borrower_hello(64));
            }
            bench.run();
            for said in bench.link.to_lender.drain(..) {
                let FromBroker::Want { ticket, lease, first, count, .. } = said else { continue };
                let here = bench.broker.leases().at_page(first.0).unwrap();
                prop_assert_eq!(here.id(), lease);
                prop_assert!(first.0 + count <= here.pages().end && count >= 1);
                wants.push(ticket);
            }
            prop_assert!(wants.len() <= MAX_WANTED);
            bench.check();
            prop_assert_eq!(bench.broker.link_state(), LinkState::Connected);
        }
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The borrower's link as a good frontend uses it: attach, hello, news of leases, waiting
//! for pages, quarantine, and the end of it.

mod support;

use support::bench::{
    attach, borrower_hello, extent, invalidate, lease, lost, present, set_region, wait_for, Bench, ATTACHMENT,
};
use xenlend_lending::borrower_link::BorrowerState;
use xenlend_lending::broker::Turn;
use xenlend_protocol::frame::AperturePage;
use xenlend_protocol::frontend::{FromBorrower, ToBorrower};
use xenlend_protocol::label::ClaimedLabel;
use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::message::{
    CacheMode, FromBroker, LossPolicy, Rights, ToBroker, WantedOutcome, MAX_WANTED, VERSION,
};
use xenlend_protocol::refusal::{AttachFailure, BreachKind, Refusal};

fn announced(lease: LeaseId, first: u32, count: u32) -> ToBorrower {
    ToBorrower::Lease {
        lease,
        first: AperturePage(first),
        count,
        rights: Rights::ReadWrite,
        loss: LossPolicy::Zeros,
        cache: CacheMode::WriteCombining,
        label: ClaimedLabel::default(),
    }
}

fn revoked(sequence: u64, lease: LeaseId, first: u32, count: u32, ended: bool) -> ToBorrower {
    ToBorrower::Revoked { sequence, lease, first: AperturePage(first), count, ended }
}

fn present_notice(lease: LeaseId, first: u32, count: u32) -> ToBorrower {
    ToBorrower::Present { lease, first: AperturePage(first), count }
}

fn lost_notice(lease: LeaseId, first: u32, count: u32) -> ToBorrower {
    ToBorrower::Lost { lease, first: AperturePage(first), count }
}

fn unavailable(lease: LeaseId, first: u32, count: u32) -> ToBorrower {
    ToBorrower::Unavailable { lease, first: AperturePage(first), count }
}

fn want(ticket: u32, lease: LeaseId, first: u32, count: u32) -> FromBroker {
    FromBroker::Want { ticket, lease, first: AperturePage(first), count, vcpu: false }
}

fn drop_region(lease: LeaseId) -> ToBroker {
    ToBroker::DropRegion { lease }
}

/// A lease over the whole aperture and a borrower that has been told of it.
fn connected(pages: u32) -> (Bench, LeaseId) {
    let (mut bench, id) = Bench::with_lease(pages, 1);
    let welcome = ToBorrower::Welcome { version: VERSION, features: 0 };
    assert_eq!(bench.attach(), [welcome, announced(id, 0, pages)]);
    (bench, id)
}

#[test]
fn an_attachment_is_one_at_a_time_and_ends_with_everything_let_go() {
    let mut bench = Bench::new(16, 1);
    for failure in [AttachFailure::Grant { errno: 22 }, AttachFailure::EventChannel { errno: 3 }] {
        bench.borrower.attach_failure = Some(failure);
        let answer = bench.ask(attach(1));
        assert_eq!(answer, [FromBroker::BorrowerAttached { attachment: 1, result: Err(failure) }]);
        assert_eq!(bench.broker.borrower_state(), BorrowerState::Detached);
    }
    let answer = bench.ask(attach(2));
    assert_eq!(answer, [FromBroker::BorrowerAttached { attachment: 2, result: Ok(()) }]);
    assert_eq!(bench.borrower.attached_with, Some(([11, 12, 13], 14)));
    assert_eq!(bench.broker.borrower_state(), BorrowerState::AwaitingHello);
    let in_use = FromBroker::BorrowerAttached { attachment: 3, result: Err(AttachFailure::InUse) };
    assert_eq!(bench.ask(attach(3)), [in_use]);
    // Another attachment's end is not this one's.
    let detached = |attachment| [FromBroker::BorrowerDetached { attachment }];
    assert_eq!(bench.ask(ToBroker::DetachBorrower { attachment: 3 }), detached(3));
    assert!(bench.borrower.attached);
    assert_eq!(bench.ask(ToBroker::DetachBorrower { attachment: 2 }), detached(2));
    assert!(!bench.borrower.attached);
    assert_eq!(bench.ask(ToBroker::DetachBorrower { attachment: 2 }), detached(2));
    assert_eq!(bench.attach(), [ToBorrower::Welcome { version: VERSION, features: 0 }]);
}

#[test]
fn two_unanswered_requests_about_the_attachment_are_a_breach_of_the_lender() {
    let mut bench = Bench::new(16, 1);
    bench.link.to_broker.extend([attach(1), ToBroker::DetachBorrower { attachment: 1 }]);
    bench.run();
    assert!(bench.is_closed());
    assert!(!bench.borrower.attached, "what was not begun is not done");
    let FromBroker::Closed { breach } = bench.link.to_lender[0] else { panic!() };
    assert_eq!(breach.kind, BreachKind::TooManyOutstanding);
}

#[test]
fn the_answer_about_an_attachment_waits_for_room() {
    let mut bench = Bench::new(16, 1);
    bench.link.room = 0;
    assert_eq!(bench.ask(attach(1)), []);
    bench.link.room = 10;
    bench.run();
    let answer = FromBroker::BorrowerAttached { attachment: 1, result: Ok(()) };
    assert_eq!(bench.link.to_lender, [answer]);
}

#[test]
fn without_a_common_version_nothing_is_told_until_it_attaches_anew() {
    let (mut bench, id) = Bench::with_lease(16, 1);
    let _ = bench.ask(attach(ATTACHMENT));
    let FromBorrower::Hello { features, aperture_gfn, aperture_pages, .. } = borrower_hello(16) else {
        panic!()
    };
    let (oldest, newest) = (VERSION + 1, VERSION + 2);
    let told = bench.hear(FromBorrower::Hello { oldest, newest, features, aperture_gfn, aperture_pages });
    assert_eq!(told, [ToBorrower::Incompatible { oldest: VERSION, newest: VERSION }]);
    assert_eq!(bench.hear(wait_for(id, 0, 1)), []);
    assert_eq!(bench.broker.borrower_state(), BorrowerState::Incompatible);
    let _ = bench.ask(ToBroker::DetachBorrower { attachment: ATTACHMENT });
    assert_eq!(bench.attach().len(), 2);
}

#[test]
fn leases_are_announced_and_their_end_is_told() {
    let mut bench = Bench::new(64, 1);
    let _ = bench.attach();
    let (first, second) = (lease(5, 1), lease(63, 1));
    let _ = bench.ask(set_region(first, 0, 16));
    assert_eq!(bench.told(), [announced(first, 0, 16)]);
    let _ = bench.ask(set_region(second, 16, 16));
    assert_eq!(bench.told(), [announced(second, 16, 16)]);
    let _ = bench.ask(drop_region(first));
    assert_eq!(bench.told(), [revoked(1, first, 0, 16, true)]);
    let _ = bench.ask(drop_region(second));
    assert_eq!(bench.told(), [revoked(2, second, 16, 16, true)]);
}

#[test]
fn a_wait_for_present_and_lost_pages_is_answered_at_once() {
    let (mut bench, id) = connected(64);
    bench.present(id, 0, &[extent(2, 100, 3), extent(5, 300, 2)]);
    let _ = bench.ask(lost(id, 7, 2));
    assert_eq!(bench.told(), [lost_notice(id, 7, 2)]);
    assert_eq!(bench.hear(wait_for(id, 2, 7)), [present_notice(id, 2, 5), lost_notice(id, 7, 2)]);
    assert_eq!(bench.link.to_lender, [], "the lender is not asked for what is there");
}

#[test]
fn a_wait_for_absent_pages_becomes_a_want_and_its_answer_a_notice() {
    let (mut bench, id) = connected(64);
    bench.present(id, 0, &[extent(4, 104, 1)]);
    assert_eq!(bench.hear(wait_for(id, 2, 5)), [present_notice(id, 4, 1)]);
    let asked: Vec<_> = bench.link.to_lender.drain(..).collect();
    let tickets: Vec<u32> = asked
        .iter()
        .map(|asked| match asked {
            FromBroker::Want { ticket, .. } => *ticket,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(asked, [want(tickets[0], id, 2, 2), want(tickets[1], id, 5, 2)]);
    assert_ne!(tickets[0], tickets[1]);
    // A second task on the same page shares the first one's question.
    assert_eq!(bench.hear(wait_for(id, 5, 1)), []);
    assert_eq!(bench.link.to_lender, []);
    bench.present(id, 0, &[extent(5, 200, 2)]);
    assert_eq!(bench.told(), [], "the answer tells of it");
    let answer = |bench: &mut Bench, ticket, outcome| {
        assert_eq!(bench.ask(ToBroker::Wanted { ticket, outcome }), []);
        bench.told()
    };
    // Page 4, present before, is told again with its neighbours.
    assert_eq!(answer(&mut bench, tickets[1], WantedOutcome::Present), [present_notice(id, 4, 3)]);
    assert_eq!(answer(&mut bench, tickets[0], WantedOutcome::Unavailable), [unavailable(id, 2, 2)]);
    assert!(!bench.is_closed());
}

#[test]
fn present_neighbours_in_the_same_2_mib_of_the_lease_are_told_too() {
    let mut bench = Bench::new(2048, 1);
    let _ = bench.attach();
    let (id, other) = (lease(0, 1), lease(1, 1));
    let _ = bench.ask(set_region(id, 100, 1400));
    let _ = bench.ask(set_region(other, 1500, 100));
    let _ = bench.told();
    // Not page 300; and across the ends of the lease and of two blocks.
    bench.present(id, 0, &[extent(100, 1, 200), extent(301, 1000, 1199)]);
    bench.present(other, 0, &[extent(1500, 5000, 100)]);
    assert_eq!(bench.hear(wait_for(id, 150, 1)), [present_notice(id, 100, 200)]);
    assert_eq!(bench.hear(wait_for(id, 400, 1)), [present_notice(id, 301, 512 - 301)]);
    assert_eq!(bench.hear(wait_for(id, 512, 1)), [present_notice(id, 512, 512)]);
    assert_eq!(bench.hear(wait_for(id, 1499, 1)), [present_notice(id, 1024, 1500 - 1024)]);
    assert_eq!(bench.hear(wait_for(id, 1000, 30)), [present_notice(id, 512, 1500 - 512)]);
    assert_eq!(bench.hear(wait_for(other, 1599, 1)), [present_notice(other, 1536, 64)]);
}

#[test]
fn a_page_that_came_and_went_is_called_revoked_and_a_lost_one_lost() {
    let (mut bench, id) = connected(64);
    let _ = bench.hear(wait_for(id, 0, 3));
    let [FromBroker::Want { ticket, .. }] = bench.link.to_lender.drain(..).collect::<Vec<_>>()[..] else {
        panic!()
    };
    bench.present(id, 0, &[extent(0, 100, 2)]);
    assert_eq!(bench.invalidate(1, id, 0, 1), Ok(1));
    assert_eq!(bench.told(), [revoked(1, id, 0, 1, false)]);
    let _ = bench.ask(lost(id, 2, 1));
    let told = bench.told();
    assert_eq!(told, [lost_notice(id, 2, 1)]);
    let _ = bench.ask(ToBroker::Wanted { ticket, outcome: WantedOutcome::Present });
    let notices = [revoked(2, id, 0, 1, false), present_notice(id, 1, 1), lost_notice(id, 2, 1)];
    assert_eq!(bench.told(), notices);
}

#[test]
fn at_most_eight_wants_are_unanswered_and_the_ring_is_left_alone_meanwhile() {
    let (mut bench, id) = connected(64);
    for page in 0..12 {
        bench.borrower.to_broker.push_back(wait_for(id, page * 2, 1));
    }
    bench.run();
    assert_eq!(bench.link.to_lender.len(), MAX_WANTED);
    assert_eq!(bench.borrower.to_broker.len(), 12 - MAX_WANTED - 1, "one more is held");
    // Revocation and news go on.
    bench.link.to_lender.clear();
    bench.present(id, 0, &[extent(40, 100, 1)]);
    assert_eq!(bench.invalidate(1, id, 40, 1), Ok(1));
    assert_eq!(bench.told(), [revoked(1, id, 40, 1, false)]);
    let asked = bench.ask(ToBroker::Wanted { ticket: 3, outcome: WantedOutcome::Unavailable });
    assert!(matches!(asked[..], [FromBroker::Want { first: AperturePage(16), .. }]), "{asked:?}");
    assert_eq!(bench.told(), [unavailable(id, 6, 1)]);
}

#[test]
fn a_want_waits_for_room_in_the_lenders_ring() {
    let (mut bench, id) = connected(64);
    bench.link.room = 0;
    bench.borrower.to_broker.extend([wait_for(id, 0, 1), wait_for(id, 2, 1)]);
    let turn = bench.broker.serve_borrower(&mut bench.xen, &mut bench.link, &mut bench.borrower, 64);
    assert_eq!(turn, Turn::WaitsForRoom);
    assert_eq!(bench.borrower.to_broker.len(), 1);
    bench.link.room = 8;
    bench.run();
    assert!(matches!(
        bench.link.to_lender.make_contiguous(),
        [FromBroker::Want { first: AperturePage(0), .. }, FromBroker::Want { first: AperturePage(2), .. }]
    ));
}

#[test]
fn an_answer_to_no_want_is_a_breach_of_the_lender() {
    for twice in [false, true] {
        let (mut bench, id) = connected(64);
        let mut ticket = 99;
        if twice {
            let _ = bench.hear(wait_for(id, 0, 1));
            let Some(FromBroker::Want { ticket: asked, .. }) = bench.link.to_lender.pop_front() else {
                panic!()
            };
            ticket = asked;
            let _ = bench.ask(ToBroker::Wanted { ticket, outcome: WantedOutcome::Lost });
            assert!(!bench.is_closed());
        }
        let answer = bench.ask(ToBroker::Wanted { ticket, outcome: WantedOutcome::Present });
        let FromBroker::Closed { breach } = answer[0] else { panic!("{answer:?}") };
        assert_eq!(breach.kind, BreachKind::UnexpectedAnswer);
    }
}

#[test]
fn a_lease_that_is_gone_is_unavailable_and_no_breach() {
    let (mut bench, id) = connected(64);
    let _ = bench.ask(drop_region(id));
    let _ = bench.told();
    let stale = [(id, 60), (lease(0, 9), 60), (lease(9, 9), 600), (lease(900, 9), 1 << 30)];
    for (stale, page) in stale {
        assert_eq!(bench.hear(wait_for(stale, page, 2)), [unavailable(stale, page, 2)]);
    }
    assert_eq!(bench.broker.borrower_state(), BorrowerState::Connected);
}

#[test]
fn pages_of_an_ended_lease_are_quarantined_until_the_zap_is_confirmed() {
    let mut bench = Bench::new(64, 1);
    let _ = bench.attach();
    let (old, other) = (lease(0, 1), lease(1, 1));
    for (id, first) in [(old, 0), (other, 32)] {
        let _ = bench.ask(set_region(id, first, 16));
        let _ = bench.told();
    }
    // The end of it finds no room: it is quarantined all the same.
    bench.borrower.room = 0;
    let _ = bench.ask(drop_region(old));
    let refused = |bench: &mut Bench, id, first, count| {
        let answer = bench.ask(set_region(id, first, count));
        let [FromBroker::RegionSet { result, .. }] = answer[..] else { panic!("{answer:?}") };
        result.err()
    };
    let quarantined = Some(Refusal::Quarantined { index: 0 });
    assert_eq!(refused(&mut bench, lease(2, 1), 15, 1), quarantined);
    assert_eq!(refused(&mut bench, lease(0, 2), 0, 17), quarantined);
    assert_eq!(refused(&mut bench, lease(2, 1), 16, 16), None, "other pages are free");
    bench.borrower.room = 100;
    assert_eq!(bench.told(), [revoked(1, old, 0, 16, true), announced(lease(2, 1), 16, 16)]);
    assert_eq!(refused(&mut bench, lease(3, 1), 0, 1), quarantined);
    // The index itself is free for other pages, and ends before the zap as well.
    assert_eq!(refused(&mut bench, lease(0, 3), 48, 16), None);
    assert_eq!(bench.told(), [announced(lease(0, 3), 48, 16)]);
    let _ = bench.ask(drop_region(lease(0, 3)));
    assert_eq!(bench.told(), [revoked(2, lease(0, 3), 48, 16, true)]);
    assert_eq!(bench.broker.quarantined(), 2);
    assert_eq!(bench.hear(FromBorrower::ZapDone { sequence: 1 }), []);
    assert_eq!(refused(&mut bench, lease(3, 1), 0, 16), None);
    assert_eq!(refused(&mut bench, lease(4, 1), 63, 1), quarantined);
    let _ = bench.hear(FromBorrower::ZapDone { sequence: 2 });
    assert_eq!(refused(&mut bench, lease(4, 1), 63, 1), None);
}

#[test]
fn quarantined_leases_count_against_the_capacity() {
    let mut bench = Bench::new(1024, 1);
    let _ = bench.attach();
    for index in 0..64 {
        let _ = bench.ask(set_region(lease(index, 1), u32::from(index), 1));
        let _ = bench.ask(drop_region(lease(index, 1)));
    }
    // Those that came and went before the borrower heard of them are not among them.
    let known = bench.broker.quarantined();
    assert_eq!(known, 64, "each was told of before it was dropped");
    let answer = bench.ask(set_region(lease(0, 2), 512, 1));
    let refusal = Refusal::Quarantined { index: 0 };
    assert_eq!(answer, [FromBroker::RegionSet { lease: lease(0, 2), result: Err(refusal) }]);
    let _ = bench.hear(FromBorrower::ZapDone { sequence: 1 });
    let answer = bench.ask(set_region(lease(0, 2), 512, 1));
    assert_eq!(answer, [FromBroker::RegionSet { lease: lease(0, 2), result: Ok(()) }]);
}

#[test]
fn a_lease_that_the_borrower_never_heard_of_is_never_mentioned_or_quarantined() {
    let mut bench = Bench::new(64, 1);
    let _ = bench.attach();
    bench.borrower.room = 0;
    let _ = bench.ask(set_region(lease(0, 1), 0, 16));
    let _ = bench.ask(drop_region(lease(0, 1)));
    let _ = bench.ask(set_region(lease(0, 2), 0, 16));
    bench.borrower.room = 100;
    assert_eq!(bench.told(), [announced(lease(0, 2), 0, 16)]);
    assert_eq!(bench.broker.quarantined(), 0);
    // Nor is one that lives, before it was told of: its waits are not served.
    bench.borrower.room = 0;
    let _ = bench.ask(set_region(lease(1, 1), 16, 16));
    bench.borrower.to_broker.push_back(wait_for(lease(1, 1), 16, 1));
    bench.run();
    assert_eq!(bench.link.to_lender, []);
}

#[test]
fn a_detached_link_frees_what_was_quarantined_and_its_wants_are_answered_once() {
    let mut bench = Bench::new(64, 1);
    let _ = bench.attach();
    let (old, id) = (lease(0, 1), lease(1, 1));
    for (id, first) in [(old, 0), (id, 16)] {
        let _ = bench.ask(set_region(id, first, 16));
    }
    let _ = bench.told();
    let _ = bench.ask(drop_region(old));
    let _ = bench.hear(wait_for(id, 16, 4));
    let Some(FromBroker::Want { ticket, .. }) = bench.link.to_lender.pop_front() else { panic!() };
    let answer = bench.ask(ToBroker::DetachBorrower { attachment: ATTACHMENT });
    assert_eq!(answer, [FromBroker::BorrowerDetached { attachment: ATTACHMENT }]);
    assert_eq!(bench.broker.quarantined(), 0);
    let welcome = ToBorrower::Welcome { version: VERSION, features: 0 };
    assert_eq!(bench.attach(), [welcome, announced(id, 16, 16)]);
    // The old link's answer is taken, and nobody is told of it.
    assert_eq!(bench.ask(ToBroker::Wanted { ticket, outcome: WantedOutcome::Present }), []);
    assert_eq!(bench.told(), []);
    assert!(!bench.is_closed());
}

#[test]
fn when_the_lender_is_gone_every_page_is_lost() {
    let (mut bench, id) = connected(64);
    bench.present(id, 0, &[extent(0, 100, 4)]);
    let _ = bench.hear(wait_for(id, 8, 1));
    bench.broker.lender_gone(&mut bench.xen);
    let told = bench.told();
    assert_eq!(told, [revoked(1, id, 0, 64, false), lost_notice(id, 0, 64), lost_notice(id, 8, 1)]);
    assert_eq!(bench.hear(wait_for(id, 8, 2)), [lost_notice(id, 8, 2)]);
    bench.check();
}

#[test]
fn a_revocation_is_told_as_wide_as_it_was_and_only_if_something_was_there() {
    let (mut bench, id) = connected(1024);
    assert_eq!(bench.invalidate(1, id, 0, 1024), Ok(0));
    assert_eq!(bench.told(), []);
    bench.present(id, 1, &[extent(512, 0x1000, 512)]);
    // One page of an entry of 2 MiB takes all of it.
    assert_eq!(bench.invalidate(2, id, 700, 1), Ok(512));
    assert_eq!(bench.told(), [revoked(1, id, 512, 512, false)]);
    bench.present(id, 2, &[extent(512, 0x1000, 512), extent(3, 9, 1)]);
    bench.xen.inner.remove_all_from_outside();
    let _ = bench.ask(ToBroker::Forced { sequence: 2 });
    assert_eq!(bench.told(), [revoked(2, id, 0, 1024, false)]);
}

#[test]
fn an_invalidation_is_acknowledged_whatever_room_the_borrower_leaves() {
    let (mut bench, id) = connected(1024);
    bench.borrower.room = 0;
    let mut sequence = 0;
    for round in 0..3 {
        // More ranges, apart from each other, than are kept one by one.
        for page in 0..100 {
            bench.present(id, sequence, &[extent(page * 4, u64::from(page) * 8 + round * 4096, 1)]);
            sequence += 1;
            assert_eq!(bench.invalidate(sequence, id, page * 4, 1), Ok(1));
        }
    }
    bench.check();
    bench.borrower.room = 1;
    assert_eq!(bench.told(), [revoked(1, id, 0, 1024, false)], "one word for all of it");
    assert_eq!(bench.told(), []);
}

#[test]
fn a_turn_does_no_more_for_the_borrower_than_it_is_told() {
    let (mut bench, id) = connected(64);
    for page in (0..64).step_by(2) {
        bench.present(id, 0, &[extent(page, u64::from(page), 1)]);
    }
    let _ = bench.ask(lost(id, 0, 0));
    for page in (1..64).step_by(2) {
        let _ = bench.ask(lost(id, page, 1));
    }
    let _ = bench.told();
    bench.borrower.to_broker.push_back(wait_for(id, 0, 64));
    let mut turn = || {
        let turn = bench.broker.serve_borrower(&mut bench.xen, &mut bench.link, &mut bench.borrower, 5);
        (turn, bench.borrower.to_borrower.len())
    };
    assert_eq!(turn(), (Turn::More, 4), "one message taken, four notices");
    assert_eq!(turn(), (Turn::More, 9));
}

#[test]
fn the_ring_may_be_full_at_every_single_message() {
    // The same history with room for one message a turn, and with room for all: of the
    // notices of one wait those of pages that are there may overtake the others.
    let history = |room: usize| {
        let (mut bench, id) = connected(64);
        bench.borrower.room = room;
        let mut told = Vec::new();
        let mut driver = support::fake_borrower::Driver::default();
        driver.take(&announced(id, 0, 64));
        let mut asked = 0;
        for step in 0..40_u32 {
            let page = step / 4 % 4 * 4;
            let mfn = u64::from(step) + 900;
            match step % 4 {
                0 => drop(bench.ask(present(
                    step,
                    id,
                    u64::from(step),
                    &[extent(page, mfn, 1), extent(page + 2, mfn + 9, 1)],
                ))),
                1 => bench.borrower.to_broker.push_back(wait_for(id, page, 3)),
                2 => drop(bench.ask(invalidate(u64::from(step), id, page, 8))),
                _ => {}
            }
            let mut of_step = Vec::new();
            for _ in 0..20 {
                bench.run();
                for said in bench.link.to_lender.drain(..).collect::<Vec<_>>() {
                    if let FromBroker::Want { ticket, .. } = said {
                        asked += 1;
                        let outcome = WantedOutcome::Unavailable;
                        bench.link.to_broker.push_back(ToBroker::Wanted { ticket, outcome });
                    }
                }
                for message in bench.borrower.to_borrower.drain(..) {
                    driver.take(&message);
                    of_step.push(format!("{message:?}"));
                }
            }
            of_step.sort();
            told.extend(of_step);
        }
        (told, asked)
    };
    let (told, asked) = history(usize::MAX);
    assert!(told.len() >= 20 && asked >= 10, "{} {asked}", told.len());
    assert_eq!(history(1), (told, asked));
}

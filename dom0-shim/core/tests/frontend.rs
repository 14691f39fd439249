// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the lender does for the borrower's frontend: wants and attachments.
#![allow(missing_docs, clippy::unnecessary_wraps)]

mod support;

use support::{force, invalidate, present, Pair, USER};
use xenlend_protocol::frame::AperturePage;
use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::message::{FromBroker, ToBroker, WantedOutcome, MAX_WANTED};
use xenlend_protocol::refusal::AttachFailure;
use xenlend_shim_core::link::{FrontendState, NextWant, NotAttached, NotSent, PageInEnd, Reason};

fn want(ticket: u32, lease: LeaseId, first: u32, count: u32) -> FromBroker {
    FromBroker::Want { ticket, lease, first: AperturePage(first), count, vcpu: false }
}

fn page_in(ticket: u32, lease: LeaseId, page: u32) -> Option<NextWant> {
    Some(NextWant::PageIn { ticket, lease, page: AperturePage(page) })
}

fn answer(ticket: u32, outcome: WantedOutcome) -> Option<NextWant> {
    Some(NextWant::Answer { ticket, outcome })
}

#[test]
fn a_want_is_brought_in_page_by_page_and_answered_behind_its_presents() {
    let mut pair = Pair::connected();
    let lease = pair.region(0, 0, 1024, USER);
    present(&mut pair, lease, 5, 50, 2);
    pair.say(want(9, lease, 4, 4));
    assert_eq!(pair.link.status().counters.wants, 1);
    assert_eq!(pair.link.next_want(), page_in(9, lease, 4));
    present(&mut pair, lease, 4, 40, 1);
    pair.link.on_want_served(9, AperturePage(4), PageInEnd::Present);
    assert_eq!(pair.link.next_want(), page_in(9, lease, 7), "what is present is passed over");
    // One that came and went is not brought in again: who took it has told the borrower.
    present(&mut pair, lease, 7, 70, 1);
    let _ = invalidate(&mut pair, lease, 7, 1);
    pair.link.on_want_served(9, AperturePage(7), PageInEnd::Present);
    assert_eq!(pair.link.next_want(), answer(9, WantedOutcome::Present));
    assert!(matches!(pair.next(), Some(ToBroker::Invalidate { .. })));
    assert_eq!(pair.link.post_wanted(9, WantedOutcome::Present), Ok(()));
    assert_eq!(pair.next(), Some(ToBroker::Wanted { ticket: 9, outcome: WantedOutcome::Present }));
    assert_eq!(pair.link.next_want(), None);
}

#[test]
fn a_want_that_cannot_be_had_is_unavailable_and_a_lost_one_lost() {
    let mut pair = Pair::connected();
    let lease = pair.region(0, 0, 64, USER);
    let gone = LeaseId { index: 3, generation: 7 };
    pair.say(want(1, lease, 0, 64));
    pair.say(want(2, gone, 1 << 31, 64));
    pair.link.on_want_served(1, AperturePage(0), PageInEnd::GaveUp);
    assert_eq!(pair.link.next_want(), answer(1, WantedOutcome::Unavailable));
    pair.link.post_wanted(1, WantedOutcome::Unavailable).unwrap();
    assert_eq!(pair.link.next_want(), answer(2, WantedOutcome::Unavailable));
    pair.link.post_wanted(2, WantedOutcome::Unavailable).unwrap();
    pair.say(want(3, lease, 0, 1));
    pair.link.declare_lost(lease).unwrap();
    assert_eq!(pair.link.next_want(), answer(3, WantedOutcome::Lost));
    let mut pair = Pair::connected();
    let lease = pair.region(0, 0, 64, USER);
    pair.say(want(4, lease, 0, 1));
    pair.link.begin_end(lease);
    assert_eq!(pair.link.next_want(), answer(4, WantedOutcome::Unavailable));
}

#[test]
fn a_want_that_is_told_later_lets_others_go_first_and_is_given_up_in_the_end() {
    let mut pair = Pair::connected();
    let lease = pair.region(0, 0, 64, USER);
    pair.say(want(1, lease, 0, 1));
    pair.say(want(2, lease, 8, 1));
    for _ in 0..4 {
        assert_eq!(pair.link.next_want(), page_in(1, lease, 0));
        pair.link.on_want_served(1, AperturePage(0), PageInEnd::Later);
        assert_eq!(pair.link.next_want(), page_in(2, lease, 8));
        pair.link.on_want_served(2, AperturePage(8), PageInEnd::Later);
    }
    assert_eq!(pair.link.next_want(), answer(1, WantedOutcome::Unavailable));
    pair.link.post_wanted(1, WantedOutcome::Unavailable).unwrap();
    assert_eq!(pair.link.next_want(), answer(2, WantedOutcome::Unavailable));
}

#[test]
fn accesses_are_never_behind_wants() {
    let mut pair = Pair::connected();
    let lease = pair.region(0, 0, 512, USER);
    for ticket in 0..MAX_WANTED as u32 {
        pair.say(want(ticket, lease, ticket, 1));
    }
    // The queue of the support has four places, and wants take none.
    for id in 0..4 {
        pair.access(id, lease, 100);
    }
    assert_eq!(pair.link.needs_force(), None);
    assert!(pair.link.pop_request().is_some());
    assert!(pair.link.has_requests());
}

#[test]
fn wants_that_break_the_contract_condemn_the_broker() {
    let broken = |messages: &dyn Fn(LeaseId) -> Vec<FromBroker>| {
        let mut pair = Pair::connected();
        let lease = pair.region(0, 8, 64, USER);
        for message in messages(lease) {
            assert_eq!(pair.link.needs_force(), None);
            pair.say(message);
        }
        assert_eq!(pair.link.needs_force(), Some(Reason::Breach));
    };
    broken(&|lease| vec![want(0, lease, 8, 0)]);
    broken(&|lease| vec![want(0, lease, 7, 1)]);
    broken(&|lease| vec![want(0, lease, 8, 65)]);
    broken(&|lease| vec![want(0, lease, 9, u32::MAX)]);
    broken(&|lease| vec![want(0, lease, 8, 1), want(0, lease, 9, 1)]);
    broken(&|lease| (0..=MAX_WANTED as u32).map(|ticket| want(ticket, lease, 8, 1)).collect());
}

#[test]
fn a_want_is_answered_behind_a_force_and_forgotten_with_the_broker() {
    let mut pair = Pair::connected();
    let lease = pair.region(0, 0, 64, USER);
    pair.say(want(1, lease, 0, 1));
    assert!(pair.link.begin_force(pair.link.cause(Reason::Deadline)));
    assert_eq!(pair.link.next_want(), answer(1, WantedOutcome::Unavailable), "nothing is lent now");
    assert_eq!(pair.link.post_wanted(1, WantedOutcome::Unavailable), Err(NotSent::Full));
    pair.link.end_force(false);
    assert_eq!(pair.link.post_wanted(1, WantedOutcome::Unavailable), Ok(()));
    assert_eq!(pair.link.next_want(), None);
    let mut pair = Pair::connected();
    let lease = pair.region(0, 0, 64, USER);
    pair.say(want(1, lease, 0, 1));
    force(&mut pair, Reason::Breach, false);
    assert_eq!(pair.link.post_wanted(1, WantedOutcome::Unavailable), Err(NotSent::Over));
    assert_eq!(pair.link.next_want(), None, "nobody is left to be answered");
}

/// The broker is asked to take a frontend; gives the attachment's name.
fn attach(pair: &mut Pair) -> u32 {
    assert_eq!(pair.link.post_attach_frontend([1, 2, 3], 4), Ok(()));
    assert_eq!(pair.link.frontend_state(), FrontendState::Attaching);
    match pair.next() {
        Some(ToBroker::AttachBorrower { attachment, ring_refs: [1, 2, 3], event_channel: 4 }) => attachment,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_frontend_is_attached_once_and_let_go() {
    let mut pair = Pair::connected();
    let first = attach(&mut pair);
    assert_eq!(pair.link.post_attach_frontend([1, 2, 3], 4), Err(NotAttached::Exists));
    let failure = AttachFailure::Grant { errno: 2 };
    pair.say(FromBroker::BorrowerAttached { attachment: first, result: Err(failure) });
    assert_eq!(pair.link.frontend_state(), FrontendState::Detached);
    assert_eq!(pair.link.frontend_failure(), Some(failure));
    let second = attach(&mut pair);
    assert_ne!(first, second, "a late answer names another attachment");
    pair.say(FromBroker::BorrowerAttached { attachment: second, result: Ok(()) });
    assert_eq!(pair.link.frontend_state(), FrontendState::Attached);
    assert_eq!(pair.link.frontend_failure(), None);
    assert_eq!(pair.link.status().counters.borrower_attached, 1);
    pair.say(FromBroker::BorrowerClosed { attachment: second });
    assert_eq!(pair.link.status().counters.borrower_attached, 2, "the administrator sees who broke it");
    assert_eq!(pair.link.post_attach_frontend([1, 2, 3], 4), Err(NotAttached::Exists));
    pair.link.post_detach_frontend().unwrap();
    assert_eq!(pair.next(), Some(ToBroker::DetachBorrower { attachment: second }));
    assert_eq!(pair.link.frontend_state(), FrontendState::Detaching);
    pair.say(FromBroker::BorrowerDetached { attachment: second });
    assert_eq!(pair.link.frontend_state(), FrontendState::Detached);
    assert_eq!(pair.link.status().counters.borrower_attached, 0);
    attach(&mut pair);
}

#[test]
fn answers_about_attachments_that_nobody_asked_for_are_breaches() {
    let told = |messages: &[FromBroker], asked: bool| {
        let mut pair = Pair::connected();
        if asked {
            assert_eq!(attach(&mut pair), 1);
        }
        for message in messages {
            pair.say(message.clone());
        }
        pair.link.needs_force()
    };
    let attached = |attachment| FromBroker::BorrowerAttached { attachment, result: Ok(()) };
    let detached = |attachment| FromBroker::BorrowerDetached { attachment };
    let closed = |attachment| FromBroker::BorrowerClosed { attachment };
    assert_eq!(told(&[attached(1), closed(1)], true), None);
    assert_eq!(told(&[attached(1)], true), None);
    for (messages, asked) in [
        (vec![attached(0)], false),
        (vec![attached(2)], true),
        (vec![attached(1), attached(1)], true),
        (vec![detached(0)], false),
        (vec![detached(1)], true),
        (vec![attached(1), detached(1)], true),
        (vec![closed(0)], false),
        (vec![closed(1)], true),
        (vec![attached(1), closed(1), closed(1)], true),
    ] {
        assert_eq!(told(&messages, asked), Some(Reason::Breach), "{messages:?}");
    }
}

#[test]
fn nothing_is_attached_to_a_broker_that_is_not_lending_but_a_detach_waits_for_it() {
    let mut pair = Pair::new();
    assert_eq!(pair.link.post_attach_frontend([1, 2, 3], 4), Err(NotAttached::NotSent(NotSent::Over)));
    let mut pair = Pair::connected();
    let attachment = attach(&mut pair);
    pair.say(FromBroker::BorrowerAttached { attachment, result: Ok(()) });
    assert!(pair.link.begin_force(pair.link.cause(Reason::Deadline)));
    assert_eq!(pair.link.post_detach_frontend(), Err(NotSent::Full));
    pair.link.end_force(false);
    assert_eq!(pair.link.post_detach_frontend(), Ok(()));
    let mut pair = Pair::connected();
    force(&mut pair, Reason::Breach, false);
    assert_eq!(pair.link.post_detach_frontend(), Err(NotSent::Over));
}

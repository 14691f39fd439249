// SPDX-License-Identifier: MIT OR Apache-2.0
//! Revocation by force, and what comes after it, against a broker that is played by the test.
#![allow(missing_docs)]

mod support;

use support::{extents, force, invalidate, page_in, present, Pair, USER};
use xenlend_protocol::frame::AperturePage;
use xenlend_protocol::message::{AccessOutcome, FromBroker, PresentOutcome, ToBroker};
use xenlend_protocol::refusal::{Refusal, RemoveFailure};
use xenlend_shim_core::invalidation::Standing;
use xenlend_shim_core::link::{
    Completion, ForceEnd, InvalidateStart, NotSent, PageInRefusal, Posted, PresentStanding, Reason, State,
};

#[test]
fn an_acknowledged_failure_calls_for_force() {
    let mut pair = Pair::connected();
    let lease = pair.region(0, 0, 1024, USER);
    present(&mut pair, lease, 5, 6, 1);
    let InvalidateStart::Posted(sequence) = invalidate(&mut pair, lease, 5, 1) else { panic!() };
    let failure = RemoveFailure { page: AperturePage(5), errno: 12 };
    pair.say(FromBroker::Invalidated { sequence, result: Err(failure) });
    assert_eq!(pair.link.invalidation_standing(sequence), Standing::Failed(failure));
    assert_eq!(pair.link.needs_force(), Some(Reason::RemoveFailed));
    let cause = pair.link.cause(Reason::RemoveFailed);
    assert_eq!(invalidate(&mut pair, lease, 5, 1), InvalidateStart::Force(cause));
}

#[test]
fn a_late_broker_is_resumed_and_lends_again_when_it_has_caught_up() {
    let mut pair = Pair::connected();
    let lease = pair.region(0, 0, 1024, USER);
    present(&mut pair, lease, 5, 6, 100);
    let InvalidateStart::Posted(sequence) = invalidate(&mut pair, lease, 5, 1) else { panic!() };
    assert_eq!(force(&mut pair, Reason::Deadline, false), (100, ForceEnd::Resume));
    assert_eq!(pair.link.invalidation_standing(sequence), Standing::Forced);
    assert_eq!(pair.link.state(), State::Forced);
    assert_eq!(pair.link.begin_page_in(lease, AperturePage(5)), Err(PageInRefusal::NotLending));
    assert!(matches!(pair.next(), Some(ToBroker::Invalidate { .. })));
    // It acknowledges what it finds in the ring, and only then reads of the force.
    let failure = RemoveFailure { page: AperturePage(5), errno: 22 };
    pair.say(FromBroker::Invalidated { sequence, result: Err(failure) });
    assert_eq!(pair.link.state(), State::Forced);
    assert_eq!(pair.next(), Some(ToBroker::Forced { sequence }));
    pair.link.drain(64);
    assert_eq!(pair.link.state(), State::Connected);
    present(&mut pair, lease, 5, 60, 100);
}

#[test]
fn old_acknowledgements_are_read_before_a_resumed_broker_lends_again() {
    let mut pair = Pair::connected();
    let lease = pair.region(0, 0, 1024, USER);
    present(&mut pair, lease, 5, 6, 2);
    let first = invalidate(&mut pair, lease, 5, 1);
    let second = invalidate(&mut pair, lease, 6, 1);
    let (InvalidateStart::Posted(first), InvalidateStart::Posted(second)) = (first, second) else { panic!() };
    force(&mut pair, Reason::Deadline, false);
    while pair.next().is_some() {}
    for sequence in [first, second] {
        let failure = RemoveFailure { page: AperturePage(5), errno: 22 };
        pair.say_unheard(FromBroker::Invalidated { sequence, result: Err(failure) });
    }
    assert!(pair.link.drain(1).more);
    assert_eq!(pair.link.state(), State::Forced, "one is left to be read");
    pair.link.drain(64);
    assert_eq!(pair.link.state(), State::Connected, "entries that the lender removed are none that stay");
    // Each of them was owed once.
    let failure = RemoveFailure { page: AperturePage(5), errno: 22 };
    pair.say(FromBroker::Invalidated { sequence: second, result: Err(failure) });
    assert_eq!(pair.link.needs_force(), Some(Reason::Breach));
}

#[test]
fn a_broker_that_has_read_of_the_force_lends_again_without_a_word() {
    let mut pair = Pair::connected();
    let lease = pair.region(0, 0, 1024, USER);
    force(&mut pair, Reason::Deadline, false);
    assert_eq!(pair.link.begin_page_in(lease, AperturePage(5)), Err(PageInRefusal::NotLending));
    while pair.next().is_some() {}
    assert!(pair.link.begin_page_in(lease, AperturePage(5)).is_ok());
}

#[test]
fn what_an_acknowledged_revocation_took_out_force_does_not_take_again() {
    let mut pair = Pair::connected();
    let lease = pair.region(0, 0, 1024, USER);
    present(&mut pair, lease, 5, 100, 10);
    assert!(pair.link.begin_force(pair.link.cause(Reason::Deadline)));
    let (_, run) = pair.link.force_next().unwrap();
    assert_eq!((run.page.0, run.count), (5, 10));
    assert_eq!(pair.link.take_present(lease, AperturePage(8), 2, true)[0].count, 2);
    let mut taken = Vec::new();
    while let Some(run) = pair.link.force_removed(lease, &run) {
        taken.push((run.page.0, run.mfn.0, run.count));
    }
    assert_eq!(taken, [(5, 100, 3), (10, 105, 5)]);
    assert_eq!(pair.link.status().counters.revoked_pages, 10);
    assert_eq!(pair.link.force_next(), None);
}

#[test]
fn a_delay_that_was_found_before_a_force_is_none_of_the_broker_that_was_resumed() {
    let mut pair = Pair::connected();
    let lease = pair.region(0, 0, 1024, USER);
    present(&mut pair, lease, 5, 6, 1);
    let InvalidateStart::Posted(sequence) = invalidate(&mut pair, lease, 5, 1) else { panic!() };
    let late = pair.link.cause(Reason::Deadline);
    let gone = pair.link.cause(Reason::BrokerGone);
    assert_eq!(force(&mut pair, Reason::Deadline, false).1, ForceEnd::Resume);
    pair.link.end_invalidate(sequence);
    assert!(!pair.link.begin_force(late), "not while it catches up");
    while pair.next().is_some() {}
    pair.link.drain(64);
    // A Present that such a verdict would find unanswered.
    let page_in = page_in(&mut pair, lease, 7);
    pair.link.post_present(&page_in, &extents(7, 8, 1), None);
    assert!(!pair.link.begin_force(late));
    assert_eq!(pair.link.state(), State::Connected);
    assert!(pair.link.begin_force(gone), "what does not pass holds whenever it was found");
}

#[test]
fn an_access_is_answered_behind_a_force_that_resumes_the_broker() {
    let mut pair = Pair::connected();
    pair.region(0, 0, 8, USER);
    let completion = Completion { id: 9, outcome: AccessOutcome::Written };
    assert!(pair.link.begin_force(pair.link.cause(Reason::Deadline)));
    assert_eq!(pair.link.post_completed(&completion), Err(NotSent::Full), "not given up");
    assert_eq!(pair.link.end_force(false), ForceEnd::Resume);
    assert_eq!(pair.link.post_completed(&completion), Ok(()));
    assert!(matches!(pair.next(), Some(ToBroker::Forced { .. })));
    assert!(matches!(pair.next(), Some(ToBroker::Completed { id: 9, .. })));
    assert!(pair.link.begin_force(pair.link.cause(Reason::Breach)));
    pair.link.end_force(false);
    assert_eq!(pair.link.post_completed(&completion), Err(NotSent::Over));
}

#[test]
fn a_broker_with_an_unanswered_present_is_never_resumed() {
    let mut pair = Pair::connected();
    let lease = pair.region(0, 0, 1024, USER);
    let page_in = page_in(&mut pair, lease, 5);
    pair.link.post_present(&page_in, &extents(5, 6, 1), None);
    assert_eq!(force(&mut pair, Reason::Deadline, false), (1, ForceEnd::Condemn(Reason::Deadline)));
    assert_eq!(pair.link.present_standing(), PresentStanding::Gone);
    assert_eq!(pair.link.state(), State::Condemned(Reason::Deadline));
    assert!(!pair.link.begin_force(pair.link.cause(Reason::Deadline)), "once is enough");
    let next = extents(7, 8, 1);
    assert_eq!(pair.link.post_present(&page_in, &next, None), Posted::Over);
}

#[test]
fn an_answered_present_does_not_condemn() {
    let mut pair = Pair::connected();
    let lease = pair.region(0, 0, 1024, USER);
    let page_in = page_in(&mut pair, lease, 5);
    pair.link.post_present(&page_in, &extents(5, 6, 1), None);
    let Some(ToBroker::Present { ticket, .. }) = pair.next() else { panic!() };
    pair.say(FromBroker::Presented { ticket, outcome: PresentOutcome::Later });
    assert_eq!(force(&mut pair, Reason::Deadline, false).1, ForceEnd::Resume);
}

#[test]
fn only_a_delay_is_forgiven() {
    for reason in [Reason::Breach, Reason::Lied, Reason::RemoveFailed, Reason::BrokerGone] {
        let mut pair = Pair::connected();
        pair.region(0, 0, 1024, USER);
        assert_eq!(force(&mut pair, reason, false).1, ForceEnd::Condemn(reason));
    }
    let mut pair = Pair::connected();
    assert_eq!(force(&mut pair, Reason::Deadline, true).1, ForceEnd::Condemn(Reason::BrokerGone));
    // A broker that cannot remove entries of a borrower that has died is not to blame.
    let mut pair = Pair::connected();
    pair.link.fail(Reason::RemoveFailed);
    let gone = Reason::BorrowerGone;
    assert_eq!(force(&mut pair, gone, false).1, ForceEnd::Condemn(gone));
}

#[test]
fn an_entry_that_the_broker_should_not_have_condemns_it() {
    let mut pair = Pair::connected();
    let lease = pair.region(0, 0, 1024, USER);
    let page_in = page_in(&mut pair, lease, 5);
    pair.link.post_present(&page_in, &extents(5, 6, 1), None);
    let Some(ToBroker::Present { ticket, .. }) = pair.next() else { panic!() };
    let refusal = Refusal::AlreadyPresent { page: AperturePage(5) };
    pair.say(FromBroker::Presented { ticket, outcome: PresentOutcome::Refused(refusal) });
    pair.link.end_present();
    assert_eq!(pair.link.needs_force(), Some(Reason::Breach));
    assert_eq!(force(&mut pair, Reason::Breach, false), (1, ForceEnd::Condemn(Reason::Breach)));
}

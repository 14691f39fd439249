// SPDX-License-Identifier: MIT OR Apache-2.0
//! Several workers on one link: what holds one of them up holds up its region and no other.
#![allow(missing_docs)]

mod support;

use support::{Pair, USER};
use xenlend_protocol::frame::AperturePage;
use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::message::{
    AccessOperation, AccessOutcome, FromBroker, ToBroker, WantedOutcome, MAX_WANTED,
};
use xenlend_shim_core::crew::{Lead, Owes};
use xenlend_shim_core::kind::Kind;
use xenlend_shim_core::link::{AskAgain, Completion, NextWant, PageInEnd};

/// Two regions, and a worker that leads.
fn two_regions(kind: Kind) -> (Pair, LeaseId, LeaseId) {
    let mut pair = Pair::connected_on(kind);
    let one = pair.region(0, 0, 64, USER);
    let other = pair.region(1, 512, 64, USER + (64 << 12));
    assert_eq!(pair.link.recruit(), Some(0));
    assert_eq!(pair.link.take_lead(0), Lead::Yes);
    let _ = pair.link.take_effects();
    (pair, one, other)
}

fn want(pair: &mut Pair, ticket: u32, lease: LeaseId, page: u32) {
    pair.say(FromBroker::Want { ticket, lease, first: AperturePage(page), count: 1, vcpu: false });
}

fn access(pair: &mut Pair, id: u32, lease: LeaseId, page: u32) {
    let operation = AccessOperation::Read { length: 4 };
    let page = AperturePage(page);
    pair.say(FromBroker::Access { id, lease, page, offset: 0, operation, wants_page: true });
}

#[test]
fn a_worker_in_one_region_leaves_the_other_to_the_next() {
    let (mut pair, one, other) = two_regions(Kind::Stock);
    access(&mut pair, 1, one, 3);
    assert_eq!(pair.link.pop_request().unwrap().lease, one);
    let hired = pair.link.enter_region(0, (one, Owes::Access(1)), false, 100);
    assert_eq!(hired, Some(1), "somebody has to lead");
    assert!(!pair.link.take_effects().relieve, "there is nothing else to do");

    access(&mut pair, 2, one, 4);
    assert!(!pair.link.take_effects().relieve, "nothing for another worker");
    access(&mut pair, 3, other, 513);
    assert!(pair.link.take_effects().relieve);
    assert_eq!(pair.link.take_lead(1), Lead::Yes);
    assert_eq!(pair.link.pop_request().unwrap().lease, other, "past what waits for the first region");
    assert_eq!(pair.link.pop_request(), None);
    assert_eq!(pair.link.enter_region(1, (other, Owes::Access(3)), false, 101), Some(2));

    // The first comes back and leads; what was passed over is its own again.
    assert_eq!(pair.link.leave_region(0), Owes::Access(1));
    assert_eq!(pair.link.take_lead(0), Lead::Yes);
    assert_eq!(pair.link.pop_request().unwrap().page, AperturePage(4));
}

#[test]
fn whoever_goes_inside_calls_another_to_what_is_left() {
    let (mut pair, one, other) = two_regions(Kind::Stock);
    access(&mut pair, 1, one, 3);
    access(&mut pair, 2, other, 513);
    drop(pair.link.pop_request());
    let _ = pair.link.take_effects();
    pair.link.enter_region(0, (one, Owes::Access(1)), false, 100);
    assert!(pair.link.take_effects().relieve, "an access of the other region is left");
    pair.link.leave_region(0);
    assert_eq!(pair.link.take_lead(0), Lead::Yes);
    drop(pair.link.pop_request());
    pair.link.enter_region(0, (other, Owes::Access(2)), true, 100);
    assert!(pair.link.take_effects().relieve, "there is something that the caller knows of");
}

#[test]
fn who_leads_is_woken_when_a_region_is_free_again() {
    let (mut pair, one, _) = two_regions(Kind::Stock);
    access(&mut pair, 1, one, 3);
    drop(pair.link.pop_request());
    pair.link.enter_region(0, (one, Owes::Access(1)), false, 100);
    access(&mut pair, 2, one, 3);
    assert_eq!(pair.link.take_lead(1), Lead::Yes);
    assert_eq!(pair.link.pop_request(), None);
    let _ = pair.link.take_effects();
    pair.link.leave_region(0);
    assert!(pair.link.take_effects().wake);
    assert!(pair.link.pop_request().is_some());
}

#[test]
fn wants_of_a_region_that_is_held_up_make_room_for_others_and_are_asked_for_again() {
    let (mut pair, one, other) = two_regions(Kind::LendAware);
    for ticket in 0..MAX_WANTED as u32 {
        want(&mut pair, ticket, one, ticket);
    }
    let Some(NextWant::PageIn { ticket: 0, page, .. }) = pair.link.next_want() else { panic!() };
    pair.link.enter_region(0, (one, Owes::Want(0)), false, 1000);
    assert!(pair.link.take_effects().relieve, "no place is left: somebody has to look at the time");
    assert_eq!(pair.link.next_want(), None);
    assert_eq!(pair.link.next_held_up(1099), None);
    assert_eq!(pair.link.held_up_in(1099), 1);

    let outcome = WantedOutcome::Waits;
    assert_eq!(pair.link.next_held_up(1100), Some(NextWant::Answer { ticket: 0, outcome }));
    pair.link.post_wanted(0, outcome).unwrap();
    assert_eq!(pair.next(), Some(ToBroker::Wanted { ticket: 0, outcome }));
    assert_eq!(pair.link.next_held_up(1100), None, "there is room");
    want(&mut pair, 9, other, 520);
    assert!(matches!(pair.link.next_want(), Some(NextWant::PageIn { ticket: 9, .. })));
    assert_eq!(pair.link.next_to_ask_again(), None, "the region is still held up");

    assert_eq!(pair.link.leave_region(0), Owes::Nothing, "answered already");
    pair.link.on_want_served(0, page, PageInEnd::Present);
    let again = AskAgain { lease: one, first: AperturePage(0), count: 64 };
    assert_eq!(pair.link.next_to_ask_again(), Some(again));
}

#[test]
fn nobody_asks_again_for_what_is_yet_to_be_answered() {
    let (mut pair, one, _) = two_regions(Kind::LendAware);
    for ticket in 0..MAX_WANTED as u32 {
        want(&mut pair, ticket, one, ticket);
    }
    pair.link.enter_region(0, (one, Owes::Want(0)), false, 0);
    let Some(NextWant::Answer { ticket, outcome }) = pair.link.next_held_up(100) else { panic!() };
    assert_eq!(pair.link.leave_region(0), Owes::Want(0));
    assert_eq!(pair.link.next_to_ask_again(), None);
    pair.link.post_wanted(ticket, outcome).unwrap();
    assert!(pair.link.next_to_ask_again().is_some());
}

#[test]
fn an_access_is_answered_by_the_worker_or_by_whoever_ends_the_region_and_never_by_both() {
    let (mut pair, one, _) = two_regions(Kind::Stock);
    access(&mut pair, 5, one, 3);
    drop(pair.link.pop_request());
    pair.link.enter_region(0, (one, Owes::Access(5)), false, 100);
    assert_eq!(pair.link.recall(one), Some((0, Some(5))));
    assert_eq!(pair.link.recall(one), Some((0, None)));
    assert!(!pair.link.claim_access(0));
    assert_eq!(pair.link.leave_region(0), Owes::Nothing);

    access(&mut pair, 6, one, 3);
    drop(pair.link.pop_request());
    pair.link.enter_region(0, (one, Owes::Access(6)), false, 100);
    assert!(pair.link.claim_access(0));
    assert_eq!(pair.link.recall(one), Some((0, None)));
    pair.link.post_completed(&Completion { id: 6, outcome: AccessOutcome::Lost }).unwrap();
}

#[test]
fn a_stale_worker_is_not_in_the_region_that_has_its_slot_now() {
    let (mut pair, one, _) = two_regions(Kind::Stock);
    access(&mut pair, 1, one, 3);
    drop(pair.link.pop_request());
    pair.link.enter_region(0, (one, Owes::Access(1)), false, 100);
    pair.link.begin_end(one);
    pair.link.post_drop(one).unwrap();
    drop(pair.next());
    pair.say(FromBroker::RegionDropped { lease: one, result: Ok(0) });
    drop(pair.link.remove_region(one));
    let new = pair.region(0, 0, 64, USER);
    access(&mut pair, 2, new, 3);
    assert_eq!(pair.link.pop_request().unwrap().lease, new);
}

#[test]
fn while_the_link_is_held_nobody_is_called_to_lead_and_the_last_one_out_tells() {
    let (mut pair, one, other) = two_regions(Kind::Stock);
    access(&mut pair, 1, one, 3);
    drop(pair.link.next_request());
    pair.link.enter_region(0, (one, Owes::Access(1)), false, 100);
    pair.link.hold();
    access(&mut pair, 2, other, 513);
    assert!(!pair.link.take_effects().relieve);
    assert!(pair.link.has_worker_inside());
    pair.link.leave_region(0);
    assert!(pair.link.take_effects().wake, "whoever holds the link waits for this");
    assert!(!pair.link.has_worker_inside());
}

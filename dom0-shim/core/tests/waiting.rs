// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pages that somebody else has to bring: what needs one is set aside, everything else goes on.
#![allow(missing_docs)]

mod support;

use support::{Pair, USER};
use xenlend_protocol::frame::AperturePage;
use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::message::{AccessOperation, FromBroker, ToBroker, WantedOutcome, MAX_WANTED};
use xenlend_shim_core::link::{NextWant, PageInEnd};
use xenlend_shim_core::request_queue::Work;

fn want(ticket: u32, lease: LeaseId, first: u32) -> FromBroker {
    FromBroker::Want { ticket, lease, first: AperturePage(first), count: 1, vcpu: false }
}

fn access(id: u32, lease: LeaseId, page: u32) -> FromBroker {
    let operation = AccessOperation::Read { length: 4 };
    FromBroker::Access { id, lease, page: AperturePage(page), offset: 0, operation, wants_page: true }
}

/// The id of the next access for the worker.
fn next_access(pair: &mut Pair) -> Option<u32> {
    pair.link.pop_request().map(|request| match request.work {
        Work::Access { id, .. } => id,
        Work::Again { .. } => panic!("no access"),
    })
}

#[test]
fn wants_that_wait_take_no_places_and_the_broker_asks_again() {
    let mut pair = Pair::connected();
    let lease = pair.region(0, 0, 64, USER);
    for ticket in 0..3 * MAX_WANTED as u32 {
        pair.say(want(ticket, lease, ticket));
        let page = AperturePage(ticket);
        assert_eq!(pair.link.next_want(), Some(NextWant::PageIn { ticket, lease, page }));
        pair.link.on_want_served(ticket, page, PageInEnd::Waits);
        assert_eq!(pair.link.begin_waiting(lease), ticket == 0, "one thread is enough");
        let outcome = WantedOutcome::Waits;
        assert_eq!(pair.link.next_want(), Some(NextWant::Answer { ticket, outcome }));
        pair.link.post_wanted(ticket, outcome).unwrap();
        assert_eq!(pair.next(), Some(ToBroker::Wanted { ticket, outcome }));
    }
    assert_eq!(pair.link.next_to_ask_again(), None, "somebody still waits");
    pair.link.end_waiting(lease);
    assert_eq!(pair.link.next_to_ask_again(), Some(lease));
    pair.link.post_ask_again(lease).unwrap();
    assert_eq!(pair.next(), Some(ToBroker::AskAgain { lease }));
    assert_eq!(pair.link.next_to_ask_again(), None);
    assert!(pair.link.begin_waiting(lease), "the next wait has a thread of its own");
}

#[test]
fn the_broker_asks_again_behind_every_answer() {
    let mut pair = Pair::connected();
    let lease = pair.region(0, 0, 64, USER);
    pair.say(want(1, lease, 1));
    pair.link.on_want_served(1, AperturePage(1), PageInEnd::Waits);
    assert!(pair.link.begin_waiting(lease));
    pair.link.end_waiting(lease);
    assert_eq!(pair.link.next_to_ask_again(), None, "the answer has not been given");
    pair.link.post_wanted(1, WantedOutcome::Waits).unwrap();
    assert_eq!(pair.link.next_to_ask_again(), Some(lease));
}

#[test]
fn accesses_that_wait_let_others_pass_and_keep_their_places() {
    let mut pair = Pair::connected();
    let hung = pair.region(0, 0, 16, USER);
    let other = pair.region(1, 16, 16, USER);
    pair.say(access(1, hung, 0));
    pair.say(access(2, other, 16));
    pair.say(access(3, hung, 1));
    let first = pair.link.pop_request().unwrap();
    pair.link.set_aside(first).unwrap();
    assert!(pair.link.begin_waiting(hung));
    assert_eq!(next_access(&mut pair), Some(2));
    let third = pair.link.pop_request().unwrap();
    pair.link.set_aside(third).unwrap();
    assert!(!pair.link.begin_waiting(hung));
    assert_eq!(next_access(&mut pair), None);
    pair.link.end_waiting(hung);
    assert_eq!((next_access(&mut pair), next_access(&mut pair)), (Some(1), Some(3)));
    assert_eq!(next_access(&mut pair), None);
}

#[test]
fn the_end_of_a_region_gives_back_what_was_set_aside_in_it() {
    let mut pair = Pair::connected();
    let lease = pair.region(0, 0, 16, USER);
    pair.say(access(1, lease, 0));
    let request = pair.link.pop_request().unwrap();
    pair.link.set_aside(request).unwrap();
    assert!(pair.link.begin_waiting(lease));
    assert_eq!(next_access(&mut pair), None);
    assert!(pair.link.begin_end(lease).is_some());
    assert_eq!(next_access(&mut pair), Some(1), "whoever it is of has to be answered");
    // The thread comes back when it has been told; and one that is to be begun finds nothing to wait for.
    pair.link.end_waiting(lease);
    assert!(!pair.link.begin_waiting(lease));
}

#[test]
fn whoever_ends_the_link_gets_every_access() {
    let mut pair = Pair::connected();
    let lease = pair.region(0, 0, 16, USER);
    pair.say(access(1, lease, 0));
    let request = pair.link.pop_request().unwrap();
    pair.link.set_aside(request).unwrap();
    pair.link.take_back_all();
    assert_eq!(next_access(&mut pair), Some(1));
}

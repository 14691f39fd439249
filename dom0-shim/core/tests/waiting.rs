// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pages that cannot be had now: what needs one is set aside, everything else goes on.
#![allow(missing_docs)]

mod support;

use proptest::prelude::*;
use support::{Pair, USER};
use xenlend_protocol::frame::AperturePage;
use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::message::{AccessOperation, FromBroker, ToBroker, WantedOutcome, MAX_WANTED};
use xenlend_shim_core::events;
use xenlend_shim_core::link::{
    AskAgain, InvalidateStart, NextWant, Obstacle, PageInEnd, ResolveError, MAX_THREADS,
    MAX_THREADS_OF_REGION, MAX_WAITS,
};
use xenlend_shim_core::request_queue::Work;
use xenlend_shim_core::uapi::{Resolve, ResolveAnswer};

const ANSWER: Obstacle = Obstacle::Answer;

fn want(ticket: u32, lease: LeaseId, first: u32, count: u32) -> FromBroker {
    FromBroker::Want { ticket, lease, first: AperturePage(first), count, vcpu: false }
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

/// The worker finds that a want's page cannot be had now. True if a thread is to be started.
fn obstruct(pair: &mut Pair, ticket: u32, obstacle: Obstacle, now: u64) -> bool {
    let Some(NextWant::PageIn { ticket: asked, lease, page }) = pair.link.next_want() else {
        panic!("no page of {ticket}")
    };
    assert_eq!(asked, ticket);
    pair.link.on_want_served(ticket, page, PageInEnd::Waits(obstacle));
    pair.link.begin_waiting(lease, page, obstacle, true, now)
}

fn answer_waits(pair: &mut Pair, ticket: u32) {
    let outcome = WantedOutcome::Waits;
    assert_eq!(pair.link.next_want(), Some(NextWant::Answer { ticket, outcome }));
    pair.link.post_wanted(ticket, outcome).unwrap();
    assert_eq!(pair.next(), Some(ToBroker::Wanted { ticket, outcome }));
}

/// A task waits for one page. True if a thread is to be started.
fn wait_for(pair: &mut Pair, ticket: u32, lease: LeaseId, page: u32, obstacle: Obstacle, now: u64) -> bool {
    pair.say(want(ticket, lease, page, 1));
    let starts = obstruct(pair, ticket, obstacle, now);
    answer_waits(pair, ticket);
    starts
}

/// The worker sets the next access aside. True if a thread is to be started.
fn set_aside(pair: &mut Pair, obstacle: Obstacle, now: u64) -> bool {
    let request = pair.link.pop_request().unwrap();
    let (lease, page) = (request.lease, request.page);
    pair.link.set_aside(request).unwrap();
    pair.link.begin_waiting(lease, page, obstacle, false, now)
}

/// The broker is asked to ask again for these pages and no others.
fn asked_again(pair: &mut Pair) -> Vec<u32> {
    let mut pages = Vec::new();
    while let Some(again) = pair.link.next_to_ask_again() {
        let AskAgain { lease, first, count } = again;
        pair.link.post_ask_again(again).unwrap();
        assert_eq!(pair.next(), Some(ToBroker::AskAgain { lease, first, count }));
        pages.extend(first.0..first.0 + count);
    }
    pages
}

fn interrupted(pair: &mut Pair, now: u64) -> Vec<u32> {
    std::iter::from_fn(|| pair.link.next_to_interrupt(now)).map(|(_, page)| page.0).collect()
}

#[test]
fn a_page_that_is_not_answered_holds_up_no_other_of_its_region() {
    let mut pair = Pair::connected();
    let lease = pair.region(0, 0, 64, USER);
    assert!(wait_for(&mut pair, 1, lease, 4, ANSWER, 0));
    assert!(wait_for(&mut pair, 2, lease, 0, ANSWER, 0), "a thread of its own");
    assert_eq!(asked_again(&mut pair), []);
    assert_eq!(pair.link.end_waiting(lease, AperturePage(0), 1), None);
    assert_eq!(asked_again(&mut pair), [0]);
}

#[test]
fn wants_that_wait_take_no_places() {
    let mut pair = Pair::connected();
    let lease = pair.region(0, 0, 64, USER);
    for ticket in 0..3 * MAX_WANTED as u32 {
        let starts = wait_for(&mut pair, ticket, lease, ticket, ANSWER, 0);
        assert_eq!(starts, ticket < MAX_THREADS_OF_REGION as u32);
    }
}

#[test]
fn the_rest_of_a_want_is_brought_in_past_a_page_that_waits() {
    let mut pair = Pair::connected();
    let lease = pair.region(0, 0, 64, USER);
    pair.say(want(7, lease, 0, 3));
    assert!(obstruct(&mut pair, 7, ANSWER, 0));
    let page_in = pair.link.begin_page_in(lease, AperturePage(1)).unwrap();
    pair.link.end_page_in(&page_in);
    assert_eq!(pair.link.next_want(), Some(NextWant::PageIn { ticket: 7, lease, page: AperturePage(1) }));
    pair.link.on_want_served(7, AperturePage(1), PageInEnd::Present);
    // What fails behind it is asked for by itself.
    pair.link.on_want_served(7, AperturePage(2), PageInEnd::GaveUp);
    answer_waits(&mut pair, 7);
    assert_eq!(asked_again(&mut pair), [2]);
}

#[test]
fn the_broker_asks_again_behind_every_answer() {
    let mut pair = Pair::connected();
    let lease = pair.region(0, 0, 64, USER);
    pair.say(want(1, lease, 1, 1));
    assert!(obstruct(&mut pair, 1, ANSWER, 0));
    pair.link.end_waiting(lease, AperturePage(1), 0);
    assert_eq!(pair.link.next_to_ask_again(), None, "the answer has not been given");
    answer_waits(&mut pair, 1);
    assert_eq!(asked_again(&mut pair), [1]);
}

#[test]
fn accesses_that_wait_let_others_pass_and_come_back_with_their_own_page() {
    let mut pair = Pair::connected();
    let hung = pair.region(0, 0, 16, USER);
    let other = pair.region(1, 16, 16, USER);
    pair.say(access(1, hung, 0));
    pair.say(access(2, other, 16));
    pair.say(access(3, hung, 1));
    assert!(set_aside(&mut pair, ANSWER, 0));
    assert_eq!(next_access(&mut pair), Some(2));
    assert!(set_aside(&mut pair, ANSWER, 0));
    assert_eq!(next_access(&mut pair), None);
    pair.link.end_waiting(hung, AperturePage(1), 0);
    assert_eq!((next_access(&mut pair), next_access(&mut pair)), (Some(3), None));
    pair.link.end_waiting(hung, AperturePage(0), 0);
    assert_eq!((next_access(&mut pair), next_access(&mut pair)), (Some(1), None));
}

#[test]
fn pages_beyond_the_threads_have_their_turns() {
    let mut pair = Pair::connected();
    let lease = pair.region(0, 0, 64, USER);
    let threads = MAX_THREADS_OF_REGION as u32;
    for page in 0..=threads {
        assert_eq!(wait_for(&mut pair, page, lease, page, ANSWER, 0), page < threads);
    }
    assert_eq!(interrupted(&mut pair, 99), []);
    assert_eq!(pair.link.look_again(99), 1, "milliseconds until a turn is over");
    assert_eq!(interrupted(&mut pair, 100)[0], 0, "the oldest first");
    assert_eq!(pair.link.end_waiting(lease, AperturePage(0), 100), Some((lease, AperturePage(threads))));
    assert_eq!(asked_again(&mut pair), [0], "whoever still wants it asks again");
}

#[test]
fn a_page_that_nobody_wants_any_more_is_forgotten() {
    let mut pair = Pair::connected();
    let lease = pair.region(0, 0, 64, USER);
    assert!(wait_for(&mut pair, 1, lease, 4, ANSWER, 0));
    assert_eq!(interrupted(&mut pair, 4999), []);
    assert_eq!(interrupted(&mut pair, 5000), [4]);
    assert_eq!(interrupted(&mut pair, 5000), [], "once");
    pair.link.end_waiting(lease, AperturePage(4), 5000);
    assert_eq!(asked_again(&mut pair), [4]);
    assert_eq!(pair.link.look_again(5000), 0, "nothing is left");
    assert!(wait_for(&mut pair, 2, lease, 4, ANSWER, 6000), "and asked for again it has a thread");
}

#[test]
fn a_write_that_is_not_permitted_waits_for_a_change() {
    let mut pair = Pair::connected();
    let lease = pair.region(0, 0, 16, USER);
    let changes = pair.link.region(lease).unwrap().changes;
    pair.say(access(1, lease, 3));
    assert!(!set_aside(&mut pair, Obstacle::Protection { changes }, 0), "no thread can help");
    let (_, event) = pair.link.greeting();
    assert!(event.is_some());
    assert_eq!(pair.link.events().last().unwrap().kind, events::REFUSED);
    assert_eq!(next_access(&mut pair), None);
    // Elsewhere, and then there.
    pair.link.note_change(lease, AperturePage(4), 4);
    assert_eq!(next_access(&mut pair), None);
    pair.link.note_change(lease, AperturePage(0), 4);
    assert_eq!(next_access(&mut pair), Some(1));
}

#[test]
fn each_write_that_begins_to_wait_is_told_of() {
    let mut pair = Pair::connected();
    let lease = pair.region(0, 0, 16, USER);
    let told = |pair: &Pair, page: u64| {
        let last = pair.link.events().last().unwrap();
        (last.kind, last.address) == (events::REFUSED, support::APERTURE_ADDRESS + page * 4096)
    };
    for page in [3, 4, 3] {
        let changes = pair.link.region(lease).unwrap().changes;
        pair.say(access(page, lease, page));
        assert!(!set_aside(&mut pair, Obstacle::Protection { changes }, 0));
        assert!(told(&pair, page.into()), "page {page}");
        // It may be written now, and is.
        pair.link.note_change(lease, AperturePage(0), 16);
        assert_eq!(next_access(&mut pair), Some(page));
    }
}

#[test]
fn a_page_may_be_waited_for_on_both_accounts() {
    let mut pair = Pair::connected();
    let lease = pair.region(0, 0, 16, USER);
    let changes = pair.link.region(lease).unwrap().changes;
    pair.say(access(1, lease, 3));
    assert!(!set_aside(&mut pair, Obstacle::Protection { changes }, 0));
    pair.say(access(2, lease, 3));
    assert!(set_aside(&mut pair, ANSWER, 0), "what a read needs somebody has to bring all the same");
    pair.link.end_waiting(lease, AperturePage(3), 0);
    assert_eq!((next_access(&mut pair), next_access(&mut pair)), (Some(1), Some(2)));
}

#[test]
fn a_change_between_look_and_wait_is_not_missed() {
    let mut pair = Pair::connected();
    let lease = pair.region(0, 0, 16, USER);
    let changes = pair.link.region(lease).unwrap().changes;
    pair.say(access(1, lease, 3));
    pair.say(want(1, lease, 5, 1));
    pair.link.note_change(lease, AperturePage(0), 16);
    assert!(!set_aside(&mut pair, Obstacle::Protection { changes }, 0));
    assert_eq!(next_access(&mut pair), Some(1));
    assert!(!obstruct(&mut pair, 1, Obstacle::Protection { changes }, 0));
    answer_waits(&mut pair, 1);
    assert_eq!(asked_again(&mut pair), [5]);
}

#[test]
fn what_no_notifier_tells_of_is_looked_at_now_and_then() {
    let mut pair = Pair::connected();
    let lease = pair.region(0, 0, 16, USER);
    let changes = pair.link.region(lease).unwrap().changes;
    pair.say(access(1, lease, 3));
    let obstacle = Obstacle::Protection { changes };
    assert!(!set_aside(&mut pair, obstacle, 0));
    let (mut now, mut looks) = (0, Vec::new());
    while looks.len() < 9 {
        now += u64::from(pair.link.look_again(now));
        pair.link.look_again(now);
        if next_access_again(&mut pair, obstacle, now) {
            looks.push(now);
        }
    }
    // Twice as far apart each time, and never more than a second.
    assert_eq!(looks, [10, 30, 70, 150, 310, 630, 1270, 2270, 3270]);
}

#[test]
fn the_process_may_say_that_nothing_will_come() {
    let mut pair = Pair::connected();
    let lease = pair.region(3, 0, 16, USER);
    let resolve = |answer, first: u64, pages: u64| Resolve {
        slot: 3,
        answer,
        guest_phys_addr: support::APERTURE_ADDRESS + first * 4096,
        memory_size: pages * 4096,
    };
    pair.say(access(1, lease, 3));
    pair.say(access(2, lease, 4));
    pair.say(want(1, lease, 5, 1));
    let changes = pair.link.region(lease).unwrap().changes;
    assert!(!set_aside(&mut pair, Obstacle::Protection { changes }, 0));
    assert!(set_aside(&mut pair, ANSWER, 0));
    assert!(obstruct(&mut pair, 1, ANSWER, 0));
    answer_waits(&mut pair, 1);
    let loss = |first, pages| resolve(ResolveAnswer::Loss, first, pages);
    assert_eq!(pair.link.resolve(&loss(0, 16), 2), Err(ResolveError::NoRegion), "another descriptor's");
    assert_eq!(pair.link.resolve(&loss(8, 9), 1), Err(ResolveError::Outside));
    assert_eq!(pair.link.resolve(&loss(8, 0), 1), Err(ResolveError::Outside));
    assert_eq!(pair.link.resolve(&resolve(ResolveAnswer::Retry, 0, 16), 1), Ok(()));
    assert_eq!(next_access(&mut pair), Some(1), "looks again");
    assert!(!pair.link.is_given_up(lease, AperturePage(3)));
    assert_eq!(pair.link.resolve(&loss(3, 3), 1), Ok(()));
    let mut recalled = interrupted(&mut pair, 0);
    recalled.sort_unstable();
    assert_eq!(recalled, [4, 5], "at once");
    for page in [4, 5] {
        pair.link.end_waiting(lease, AperturePage(page), 0);
        assert!(pair.link.is_given_up(lease, AperturePage(page)));
    }
    assert_eq!(next_access(&mut pair), Some(2));
    assert_eq!(asked_again(&mut pair), [5]);
    // What the module itself takes away, a page of zeros, changes nothing of the process's.
    let started = pair.link.start_invalidate(lease, AperturePage(5), 1, true);
    assert_eq!(started, InvalidateStart::Unrelated);
    assert!(pair.link.is_given_up(lease, AperturePage(3)));
    // Something else is there now.
    pair.link.note_change(lease, AperturePage(5), 1);
    assert!(!pair.link.is_given_up(lease, AperturePage(3)));
}

/// The worker looks and finds the same as before.
fn next_access_again(pair: &mut Pair, obstacle: Obstacle, now: u64) -> bool {
    let Some(request) = pair.link.pop_request() else { return false };
    let (lease, page) = (request.lease, request.page);
    pair.link.set_aside(request).unwrap();
    pair.link.begin_waiting(lease, page, obstacle, false, now);
    true
}

#[test]
fn the_end_of_a_region_gives_back_what_was_set_aside_in_it() {
    let mut pair = Pair::connected();
    let lease = pair.region(0, 0, 16, USER);
    pair.say(access(1, lease, 0));
    assert!(set_aside(&mut pair, ANSWER, 0));
    assert_eq!(next_access(&mut pair), None);
    assert!(pair.link.begin_end(lease).is_some());
    assert!(pair.link.has_to_stop(lease, AperturePage(0)));
    assert_eq!(next_access(&mut pair), Some(1), "whoever it is of has to be answered");
    // The thread comes back when it has been told; and one that is to be begun finds nothing to wait for.
    pair.link.end_waiting(lease, AperturePage(0), 0);
    assert!(!pair.link.begin_waiting(lease, AperturePage(0), ANSWER, false, 0));
    assert_eq!(asked_again(&mut pair), []);
}

#[test]
fn whoever_ends_the_link_gets_every_access() {
    let mut pair = Pair::connected();
    let lease = pair.region(0, 0, 16, USER);
    pair.say(access(1, lease, 0));
    assert!(set_aside(&mut pair, ANSWER, 0));
    pair.link.take_back_all();
    assert_eq!(next_access(&mut pair), Some(1));
}

#[test]
fn threads_of_one_link_are_bounded_in_total_and_what_finds_no_place_is_asked_for_again() {
    let mut pair = Pair::connected();
    let pages = MAX_THREADS_OF_REGION as u32;
    let regions = MAX_THREADS as u32 / pages + 1;
    let leases: Vec<LeaseId> = (0..regions)
        .map(|slot| pair.region(slot, slot * 64, 64, USER + u64::from(slot) * 64 * 4096))
        .collect();
    let mut started = 0;
    let mut ticket = 0;
    for page in 0..pages {
        for (slot, lease) in leases.iter().enumerate() {
            let page = slot as u32 * 64 + page;
            started += usize::from(wait_for(&mut pair, ticket, *lease, page, ANSWER, 0));
            ticket += 1;
        }
    }
    assert_eq!(started, MAX_THREADS);
    for page in pages..MAX_WAITS as u32 / regions + 2 {
        for (slot, lease) in leases.iter().enumerate() {
            assert!(!wait_for(&mut pair, ticket, *lease, slot as u32 * 64 + page, ANSWER, 0));
            ticket += 1;
        }
    }
    assert_eq!(asked_again(&mut pair), [], "nothing has become free");
    pair.link.end_waiting(leases[0], AperturePage(0), 1);
    let again = asked_again(&mut pair);
    assert!(again.contains(&0) && again.len() > 64, "those without a place too: {again:?}");
}

proptest! {
    /// 64 pages answered in any order: each that is answered goes on, whoever else waits.
    #[test]
    fn answers_may_come_in_any_order(order in Just((0..64).collect::<Vec<u32>>()).prop_shuffle()) {
        let mut pair = Pair::connected();
        let lease = pair.region(0, 0, 64, USER);
        let mut in_thread: Vec<u32> = Vec::new();
        for page in 0..64 {
            if wait_for(&mut pair, page, lease, page, ANSWER, 0) {
                in_thread.push(page);
            }
        }
        let (mut now, mut ticket, mut answered, mut done) = (0, 64, Vec::new(), Vec::new());
        for page in order {
            answered.push(page);
            // A full round of turns at the most.
            for _ in 0..200 {
                now += 100;
                let mut back = interrupted(&mut pair, now);
                back.extend(in_thread.iter().filter(|page| answered.contains(page)));
                back.sort_unstable();
                back.dedup();
                for page in back {
                    in_thread.retain(|other| *other != page);
                    if let Some((_, next)) = pair.link.end_waiting(lease, AperturePage(page), now) {
                        in_thread.push(next.0);
                    }
                }
                prop_assert!(in_thread.len() <= MAX_THREADS_OF_REGION);
                for page in asked_again(&mut pair) {
                    if answered.contains(&page) {
                        done.push(page);
                    } else if wait_for(&mut pair, ticket, lease, page, ANSWER, now) {
                        in_thread.push(page);
                    }
                    ticket += 1;
                }
                if done.contains(&page) {
                    break;
                }
            }
            prop_assert!(done.contains(&page), "page {page} was answered and nobody looked");
        }
    }
}

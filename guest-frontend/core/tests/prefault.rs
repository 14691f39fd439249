// SPDX-License-Identifier: MIT OR Apache-2.0
//! Requests to bring pages in, and their completion.

mod support;

use support::{lost, present, revoked, unavailable, wait_for, Bench};
use xenlend_front_core::events::{self, Event};
use xenlend_front_core::frontend::{PrefaultRefusal, Turn};
use xenlend_front_core::link::Answer;
use xenlend_front_core::page_set::Pages;
use xenlend_front_core::prefault::{ENDED, LOST, MAX_OF_ONE, MAX_PREFAULTS, PRESENT, UNAVAILABLE};
use xenlend_protocol::frontend::FromBorrower;
use xenlend_protocol::message::LossPolicy;
use xenlend_protocol::ring::Priority;

const OWNER: u64 = 5;

/// Takes the completion of the owner's request, which must be there.
fn completion(bench: &mut Bench) -> Event {
    let cursor = bench.driver.cursor();
    let (event, receipt) = bench.driver.next_event(OWNER, cursor).expect("no completion");
    assert_eq!(event.kind, events::PREFAULTED);
    assert!(bench.driver.acknowledge(receipt));
    assert!(!bench.driver.acknowledge(receipt), "another reader was first");
    event
}

fn is_complete(bench: &Bench) -> bool {
    bench.driver.next_event(OWNER, bench.driver.cursor()).is_some()
}

#[test]
fn it_asks_for_what_nobody_has_asked_for_and_completes_when_all_is_answered() {
    let (mut bench, id, serial) = Bench::with_lease(3, 0, 1024, LossPolicy::Zeros);
    bench.say(present(id, 100, 50));
    assert_eq!(bench.touch(serial, 200), Answer::Wait);
    assert_eq!(bench.said(), Some(wait_for(id, 200, 1)));
    bench.driver.prefault(OWNER, 42, Pages { first: 0, end: 700 }).unwrap();
    assert_eq!(bench.said(), Some(wait_for(id, 0, 200)));
    assert_eq!(bench.said(), Some(wait_for(id, 201, 499)));
    assert_eq!(bench.said(), None);
    bench.say(present(id, 0, 200));
    bench.say(present(id, 201, 499));
    assert!(!is_complete(&bench));
    bench.say(present(id, 200, 1));
    assert!(bench.driver.take_effects().wake);
    let event = completion(&mut bench);
    assert_eq!((event.status, event.value), (PRESENT, 42));
    assert_eq!((event.offset, event.bytes), (0, 700 * 4096));
    assert!(!is_complete(&bench));
}

#[test]
fn the_broker_answers_for_what_is_there_already() {
    let (mut bench, id, serial) = Bench::with_lease(3, 0, 64, LossPolicy::Zeros);
    bench.say(present(id, 0, 64));
    bench.driver.prefault(OWNER, 1, Pages { first: 8, end: 64 }).unwrap();
    assert_eq!(bench.said(), Some(wait_for(id, 8, 56)));
    assert_eq!(bench.said(), None);
    assert!(!is_complete(&bench));
    // Nobody who touches the page meanwhile waits for that answer.
    assert_eq!(bench.touch(serial, 8), Answer::Insert(Pages { first: 0, end: 64 }));
    // Another asks for nothing that is asked for already.
    bench.driver.prefault(OWNER + 1, 2, Pages { first: 0, end: 64 }).unwrap();
    assert_eq!(bench.said(), Some(wait_for(id, 0, 8)));
    assert_eq!(bench.said(), None);
    bench.say(present(id, 0, 64));
    assert_eq!(completion(&mut bench).status, PRESENT);
    assert!(bench.driver.next_event(OWNER + 1, bench.driver.cursor()).is_some());
}

#[test]
fn a_page_that_is_gone_though_it_seems_to_be_there_is_brought_in() {
    // Taken away before the request; the word of it comes before the answer.
    let (mut bench, id, _) = Bench::with_lease(3, 0, 64, LossPolicy::Zeros);
    bench.say(present(id, 0, 64));
    bench.driver.prefault(OWNER, 1, Pages { first: 0, end: 64 }).unwrap();
    assert_eq!(bench.said(), Some(wait_for(id, 0, 64)));
    bench.say(revoked(1, id, 60, 4, false));
    assert!(!is_complete(&bench));
    bench.say(present(id, 0, 60));
    assert!(!is_complete(&bench));
    let asked: Vec<_> = std::iter::from_fn(|| bench.said()).collect();
    assert_eq!(asked, [FromBorrower::ZapDone { sequence: 1 }, wait_for(id, 60, 4)]);
    bench.say(present(id, 0, 64));
    assert_eq!(completion(&mut bench).status, PRESENT);
}

#[test]
fn what_was_unavailable_is_asked_for_again() {
    let (mut bench, id, serial) = Bench::with_lease(3, 0, 2, LossPolicy::Zeros);
    assert_eq!(bench.touch(serial, 1), Answer::Wait);
    bench.say(unavailable(id, 1, 1));
    bench.say(present(id, 0, 1));
    assert_eq!(bench.touch(serial, 1), Answer::Insert(Pages { first: 0, end: 2 }), "the access decides");
    while bench.said().is_some() {}
    bench.driver.prefault(OWNER, 1, Pages { first: 0, end: 2 }).unwrap();
    assert_eq!(bench.said(), Some(wait_for(id, 0, 2)));
    bench.say(present(id, 0, 1));
    assert!(!is_complete(&bench));
    bench.say(present(id, 1, 1));
    assert_eq!(completion(&mut bench).status, PRESENT);
}

#[test]
fn what_was_said_before_the_request_is_no_answer_to_it() {
    let (mut bench, id, serial) = Bench::with_lease(3, 0, 64, LossPolicy::Zeros);
    assert_eq!(bench.touch(serial, 0), Answer::Wait);
    assert_eq!(bench.said(), Some(wait_for(id, 0, 1)));
    // It came, and went again, and the driver has heard of neither.
    for message in [present(id, 0, 1), revoked(1, id, 0, 1, false)] {
        bench.to_driver.send(&message, Priority::Reserved).unwrap();
    }
    bench.driver.prefault(OWNER, 1, Pages { first: 0, end: 1 }).unwrap();
    assert!(bench.driver.take_effects().work, "there is something to handle");
    assert_eq!(bench.driver.turn(), Turn::More);
    assert!(!is_complete(&bench));
    assert_eq!(bench.driver.turn(), Turn::Zap(Pages { first: 0, end: 1 }, Some(1)));
    bench.driver.zapped(Some(1));
    assert!(!is_complete(&bench));
    let asked: Vec<_> = std::iter::from_fn(|| bench.said()).collect();
    assert!(asked.contains(&wait_for(id, 0, 1)), "{asked:?}");
    bench.say(present(id, 0, 1));
    assert_eq!(completion(&mut bench).status, PRESENT);
}

#[test]
fn what_could_not_be_had_before_the_request_does_not_count() {
    let (mut bench, id, serial) = Bench::with_lease(3, 0, 2, LossPolicy::Zeros);
    assert_eq!(bench.touch(serial, 1), Answer::Wait);
    // Said before the request is made, and heard after it.
    bench.to_driver.send(&unavailable(id, 1, 1), Priority::Reserved).unwrap();
    bench.driver.prefault(OWNER, 1, Pages { first: 0, end: 2 }).unwrap();
    assert_eq!(bench.driver.turn(), Turn::More);
    let asked: Vec<_> = std::iter::from_fn(|| bench.said()).collect();
    assert_eq!(asked, [wait_for(id, 1, 1), wait_for(id, 0, 2)]);
    bench.say(present(id, 0, 2));
    assert_eq!(completion(&mut bench).status, PRESENT);
}

#[test]
fn little_is_outstanding_at_a_time() {
    let (mut bench, id, serial) = Bench::with_lease(3, 0, 4096, LossPolicy::Zeros);
    bench.driver.prefault(OWNER, 1, Pages { first: 0, end: 4096 }).unwrap();
    assert_eq!(bench.said(), Some(wait_for(id, 0, 512)));
    assert_eq!(bench.said(), Some(wait_for(id, 512, 512)));
    assert_eq!(bench.said(), None);
    // A task's own wait is not behind the rest of the request.
    bench.touch(serial, 4000);
    assert_eq!(bench.said(), Some(wait_for(id, 4000, 1)));
    for first in (0..4096).step_by(512) {
        bench.say(present(id, first, 512));
    }
    assert_eq!(completion(&mut bench).status, PRESENT);
}

#[test]
fn the_worst_answer_decides_the_status() {
    let (mut bench, id, _) = Bench::with_lease(3, 0, 64, LossPolicy::Zeros);
    bench.driver.prefault(OWNER, 1, Pages { first: 0, end: 64 }).unwrap();
    bench.say(present(id, 0, 60));
    bench.say(unavailable(id, 60, 4));
    assert_eq!(completion(&mut bench).status, UNAVAILABLE);
    bench.say(lost(id, 63, 1));
    bench.driver.prefault(OWNER, 2, Pages { first: 0, end: 64 }).unwrap();
    bench.say(present(id, 0, 63));
    assert_eq!(completion(&mut bench).status, LOST);
}

#[test]
fn what_was_taken_away_meanwhile_is_asked_for_again_a_few_times() {
    let (mut bench, id, _) = Bench::with_lease(3, 0, 64, LossPolicy::Zeros);
    bench.driver.prefault(OWNER, 1, Pages { first: 0, end: 64 }).unwrap();
    assert_eq!(bench.said(), Some(wait_for(id, 0, 64)));
    bench.say(revoked(1, id, 10, 1, false));
    bench.say(present(id, 0, 10));
    assert!(!is_complete(&bench));
    bench.say(present(id, 11, 53));
    let asked: Vec<_> = std::iter::from_fn(|| bench.said()).collect();
    assert_eq!(asked, [FromBorrower::ZapDone { sequence: 1 }, wait_for(id, 10, 1)]);
    bench.say(present(id, 10, 1));
    assert_eq!(completion(&mut bench).status, PRESENT);

    let (mut bench, id, _) = Bench::with_lease(3, 0, 1, LossPolicy::Zeros);
    bench.driver.prefault(OWNER, 1, Pages { first: 0, end: 1 }).unwrap();
    for sequence in 1..100 {
        if is_complete(&bench) {
            break;
        }
        bench.say(revoked(sequence, id, 0, 1, false));
    }
    assert_eq!(completion(&mut bench).status, UNAVAILABLE, "it must not go on for ever");
}

#[test]
fn what_another_has_asked_for_again_is_not_there_yet() {
    let (mut bench, id, serial) = Bench::with_lease(3, 0, 64, LossPolicy::Zeros);
    bench.driver.prefault(OWNER, 1, Pages { first: 0, end: 64 }).unwrap();
    bench.say(revoked(1, id, 10, 1, false));
    assert_eq!(bench.touch(serial, 10), Answer::Wait);
    bench.say(present(id, 0, 10));
    bench.say(present(id, 11, 53));
    assert!(!is_complete(&bench));
    bench.say(present(id, 10, 1));
    assert_eq!(completion(&mut bench).status, PRESENT);
}

#[test]
fn the_end_of_the_lease_is_an_answer() {
    let (mut bench, id, _) = Bench::with_lease(3, 0, 64, LossPolicy::Zeros);
    bench.driver.prefault(OWNER, 1, Pages { first: 0, end: 64 }).unwrap();
    bench.say(revoked(1, id, 0, 64, true));
    assert_eq!(completion(&mut bench).status, ENDED);
}

#[test]
fn requests_are_bounded_for_one_and_for_all() {
    let (mut bench, ..) = Bench::with_lease(3, 0, 4096, LossPolicy::Zeros);
    let mut ask = |owner, cookie| bench.driver.prefault(owner, cookie, Pages { first: 0, end: 1 });
    for cookie in 0..MAX_OF_ONE as u64 {
        assert_eq!(ask(OWNER, cookie), Ok(()));
    }
    assert_eq!(ask(OWNER, 99), Err(PrefaultRefusal::Full));
    let mut taken = MAX_OF_ONE;
    for owner in 100..200 {
        if ask(owner, 0).is_ok() {
            taken += 1;
        }
    }
    assert_eq!(taken, MAX_PREFAULTS);
    // A descriptor that is closed gives its places back.
    bench.driver.release(OWNER);
    assert_eq!(bench.driver.prefault(300, 0, Pages { first: 0, end: 1 }), Ok(()));
    assert_eq!(
        bench.driver.prefault(300, 0, Pages { first: 5000, end: 5001 }),
        Err(PrefaultRefusal::NoLease)
    );
}

#[test]
fn a_descriptor_that_is_closed_takes_no_other_requests_with_it() {
    let (mut bench, id, _) = Bench::with_lease(3, 0, 64, LossPolicy::Zeros);
    bench.driver.prefault(OWNER, 1, Pages { first: 0, end: 64 }).unwrap();
    bench.driver.release(OWNER + 1);
    bench.say(present(id, 0, 64));
    assert_eq!(completion(&mut bench).status, PRESENT);
}

#[test]
fn a_link_that_is_taken_away_ends_every_request() {
    let (mut bench, ..) = Bench::with_lease(3, 0, 64, LossPolicy::Zeros);
    bench.driver.prefault(OWNER, 1, Pages { first: 0, end: 64 }).unwrap();
    assert!(bench.driver.disconnect().is_some());
    assert_eq!(completion(&mut bench).status, ENDED);
}

#[test]
fn completions_go_to_whoever_asked() {
    let (mut bench, id, _) = Bench::with_lease(3, 0, 64, LossPolicy::Zeros);
    bench.say(present(id, 0, 64));
    bench.driver.prefault(OWNER, 1, Pages { first: 0, end: 64 }).unwrap();
    bench.say(present(id, 0, 64));
    assert!(bench.driver.next_event(OWNER + 1, bench.driver.cursor()).is_none());
    assert_eq!(completion(&mut bench).value, 1);
}

#[test]
fn prefaults_leave_room_for_a_task_that_sleeps() {
    let (mut bench, id, serial) = Bench::with_lease(0, 0, 4096, LossPolicy::Zeros);
    // Every other page is lost: each run asked for is one page, and fills the ring the sooner.
    for page in (1..4096).step_by(2) {
        bench.say(lost(id, page, 1));
    }
    for owner in 0..MAX_PREFAULTS as u64 {
        let first = owner as u32 * 64;
        let _ = bench.driver.prefault(owner, 0, Pages { first, end: first + 64 });
    }
    assert_eq!(bench.touch(serial, 4094), Answer::Wait, "it was asked for at once");
    let mut last = None;
    while let Some(said) = bench.said() {
        last = Some(said);
    }
    assert_eq!(last, Some(wait_for(id, 4094, 1)));
}

#[test]
fn one_that_is_declined_completes_and_asks_for_nothing() {
    let (mut bench, ..) = Bench::with_lease(0, 0, 64, LossPolicy::Zeros);
    bench.driver.take_effects();
    bench.driver.decline(OWNER, 7, Pages { first: 0, end: 64 }).unwrap();
    assert!(bench.driver.take_effects().wake);
    let event = completion(&mut bench);
    assert_eq!((event.status, event.value), (UNAVAILABLE, 7));
    assert_eq!(bench.said(), None);
    let nowhere = Pages { first: 5000, end: 5001 };
    assert_eq!(bench.driver.decline(OWNER, 8, nowhere), Err(PrefaultRefusal::NoLease));
}

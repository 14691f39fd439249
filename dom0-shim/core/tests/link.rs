// SPDX-License-Identifier: MIT OR Apache-2.0
//! The link against a broker that is played by the test.
#![allow(missing_docs)]

mod support;

use support::{
    extents, force, invalidate, page_in, present, request, Pair, APERTURE_PAGES, CALLER, OTHER_CALLER, USER,
};
use xenlend_protocol::frame::{AperturePage, Mfn};
use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::message::{
    AccessOperation, AccessOutcome, FromBroker, PresentOutcome, ToBroker, MAX_INVALIDATIONS, VERSION,
};
use xenlend_protocol::refusal::Refusal;
use xenlend_protocol::ring::{Priority, SendError};
use xenlend_shim_core::events;
use xenlend_shim_core::invalidation::Standing;
use xenlend_shim_core::kind::Kind;
use xenlend_shim_core::lendable::FrameKind;
use xenlend_shim_core::link::{
    Awaited, Completion, InvalidateStart, NotSent, PageInRefusal, Posted, PresentStanding, Reason, State,
};
use xenlend_shim_core::regions::{Caller, Plan, ProcessId, RegionError};
use xenlend_shim_core::window::{Window, WINDOW_PAGES};

#[test]
fn nothing_but_welcome_opens_a_link() {
    let mut pair = Pair::new();
    assert_eq!(pair.link.state(), State::Connecting);
    pair.say(FromBroker::RegionDropped { lease: LeaseId { index: 0, generation: 0 }, result: Ok(0) });
    assert_eq!(pair.link.needs_force(), Some(Reason::Breach));
    assert_eq!(Pair::connected().link.state(), State::Connected);
    let mut pair = Pair::new();
    pair.say(FromBroker::Incompatible { oldest: 3, newest: 4 });
    assert_eq!(pair.link.needs_force(), Some(Reason::Incompatible));
    let mut pair = Pair::new();
    let aperture_pages = APERTURE_PAGES - 1;
    pair.say(FromBroker::Welcome { version: VERSION, features: 0, aperture_pages, lease_capacity: 1 });
    assert_eq!(pair.link.needs_force(), Some(Reason::Incompatible));
}

#[test]
fn a_page_in_that_was_overtaken_posts_nothing() {
    let mut pair = Pair::connected();
    let lease = pair.region(0, 0, 1024, USER);
    let page_in = page_in(&mut pair, lease, 3);
    assert_eq!((page_in.first.0, page_in.count, page_in.user_address), (0, 512, USER));
    assert_eq!(invalidate(&mut pair, lease, 600, 1), InvalidateStart::Unrelated);
    assert!(pair.link.is_current(&page_in), "an unrelated invalidation does not restart it");
    assert_eq!(invalidate(&mut pair, lease, 511, 1), InvalidateStart::Unrelated);
    assert_eq!(pair.link.post_present(&page_in, &extents(3, 9, 1), None), Posted::Overtaken);
    assert_eq!(pair.next(), None);
    assert!(pair.link.restart_page_in(&page_in));
    assert!(matches!(pair.link.post_present(&page_in, &extents(3, 9, 1), None), Posted::Yes { .. }));
}

#[test]
fn pages_count_as_present_from_the_moment_that_they_are_posted() {
    let mut pair = Pair::connected();
    let lease = pair.region(0, 0, 1024, USER);
    let page_in = page_in(&mut pair, lease, 3);
    pair.link.post_present(&page_in, &extents(3, 9, 1), None);
    let InvalidateStart::Posted(sequence) = invalidate(&mut pair, lease, 3, 1) else { panic!("not posted") };
    assert!(matches!(pair.next(), Some(ToBroker::Present { sequence: 0, .. })));
    let Some(ToBroker::Invalidate { sequence: sent, first, count, .. }) = pair.next() else { panic!() };
    assert_eq!((sent, first.0, count), (sequence, 3, 1));
    pair.say(FromBroker::Invalidated { sequence, result: Ok(1) });
    assert_eq!(pair.link.invalidation_standing(sequence), Standing::Removed);
    assert!(pair.link.take_present(lease, AperturePage(3), 1, true).len() == 1);
    pair.link.end_invalidate(sequence);
    assert_eq!(invalidate(&mut pair, lease, 0, 1024), InvalidateStart::Unrelated);
}

#[test]
fn the_completion_goes_behind_the_present() {
    let mut pair = Pair::connected();
    let lease = pair.region(0, 0, 512, USER);
    let page_in = page_in(&mut pair, lease, 0);
    let completion = Completion { id: 77, outcome: AccessOutcome::Written };
    let posted = pair.link.post_present(&page_in, &extents(0, 512, 512), Some(&completion));
    assert_eq!(posted, Posted::Yes { completed: true });
    assert!(matches!(pair.next(), Some(ToBroker::Present { .. })));
    assert!(matches!(pair.next(), Some(ToBroker::Completed { id: 77, .. })));
    assert!(pair.link.take_effects().notify);
}

#[test]
fn only_one_present_is_unanswered() {
    let mut pair = Pair::connected();
    let lease = pair.region(0, 0, 1024, USER);
    let page_in = page_in(&mut pair, lease, 0);
    pair.link.post_present(&page_in, &extents(0, 5, 1), None);
    assert_eq!(pair.link.post_present(&page_in, &extents(1, 6, 1), None), Posted::Over);
}

#[test]
fn a_second_answer_to_a_present_changes_nothing_and_is_a_breach() {
    let mut pair = Pair::connected();
    let lease = pair.region(0, 0, 1024, USER);
    let page_in = page_in(&mut pair, lease, 0);
    pair.link.post_present(&page_in, &extents(0, 5, 1), None);
    let Some(ToBroker::Present { ticket, .. }) = pair.next() else { panic!() };
    pair.say(FromBroker::Presented { ticket, outcome: PresentOutcome::Stale });
    assert_eq!(pair.link.needs_force(), None);
    let added = PresentOutcome::Added { entries_2mib: 0, entries_4kib: 1 };
    pair.say(FromBroker::Presented { ticket, outcome: added });
    assert_eq!(pair.link.present_standing(), PresentStanding::Answered(PresentOutcome::Stale));
    assert_eq!(pair.link.needs_force(), Some(Reason::Breach));
}

#[test]
fn a_lookup_notices_an_entry_that_is_of_another_frame() {
    let mut pair = Pair::connected();
    let lease = pair.region(0, 0, 1024, USER);
    present(&mut pair, lease, 5, 100, 2);
    let page_in = page_in(&mut pair, lease, 9);
    let mut window = Window::new(vec![0; WINDOW_PAGES]);
    let mut look_up = |frames: [u64; 3]| {
        window.reset(page_in.first, page_in.count, page_in.page);
        for (page, mfn) in [5, 6, 9].into_iter().zip(frames) {
            window.put(AperturePage(page), Mfn(mfn), FrameKind::Ram);
        }
        let stale = pair.link.forget_present(&page_in, &mut window);
        (stale, [5, 6, 9].map(|page| window.get(AperturePage(page)).is_some()))
    };
    // What is present in the same frame is not presented again; what is not goes first.
    assert_eq!(look_up([100, 101, 7]), (None, [false, false, true]));
    assert_eq!(look_up([100, 102, 7]).0, Some(AperturePage(6)));
    assert_eq!(look_up([99, 101, 7]).0, Some(AperturePage(5)));
}

#[test]
fn a_broker_that_waits_for_room_is_told_when_there_is_some() {
    let mut pair = Pair::connected();
    let lease = pair.region(0, 0, 1024, USER);
    let access = |id| {
        let (page, operation) = (AperturePage(0), AccessOperation::Read { length: 8 });
        FromBroker::Access { id, lease, page, offset: 0, operation, wants_page: false }
    };
    let mut id = 0;
    while pair.sent.send(&access(id), Priority::Normal) != Err(SendError::Full) {
        id += 1;
    }
    let _ = pair.link.take_effects();
    // One is taken, and nothing is said about it: the notice is for the room alone.
    assert_eq!(pair.link.drain(1).messages, 1);
    assert!(pair.link.take_effects().notify, "it has said that it waits");
    assert_eq!(pair.sent.send(&access(id), Priority::Normal), Ok(()));
    assert_eq!(pair.link.drain(1).messages, 1);
    assert!(!pair.link.take_effects().notify, "it does not wait any more");
}

#[test]
fn a_part_of_a_2mib_entry_revokes_it_whole() {
    let mut pair = Pair::connected();
    let lease = pair.region(0, 0, 1024, USER);
    present(&mut pair, lease, 512, 1024, 512);
    assert_eq!(pair.link.status().counters.adds_2mib, 1);
    assert_eq!(pair.link.status().counters.present_pages, 512);
    let InvalidateStart::Posted(sequence) = invalidate(&mut pair, lease, 700, 1) else { panic!() };
    assert!(matches!(pair.next(), Some(ToBroker::Invalidate { .. })));
    pair.say(FromBroker::Invalidated { sequence, result: Ok(512) });
    let run = pair.link.take_present(lease, AperturePage(700), 1, true)[0];
    assert_eq!((run.page.0, run.count), (512, 512));
    assert_eq!(pair.link.status().counters.revoked_pages, 512);
    assert_eq!(pair.link.status().counters.present_pages, 0);
}

#[test]
fn who_may_not_sleep_hears_not_now_only_if_something_is_present() {
    let mut pair = Pair::connected();
    let lease = pair.region(0, 0, 1024, USER);
    present(&mut pair, lease, 5, 6, 1);
    let first = AperturePage(6);
    assert_eq!(pair.link.start_invalidate(lease, first, 100, false), InvalidateStart::Unrelated);
    let first = AperturePage(5);
    assert_eq!(pair.link.start_invalidate(lease, first, 1, false), InvalidateStart::WouldBlock);
    assert_eq!(pair.next(), None);
}

#[test]
fn invalidations_find_room_however_full_the_ring_is_and_no_more_than_it_holds() {
    let mut pair = Pair::connected();
    let lease = pair.region(0, 0, 1024, USER);
    for page in 0..20 {
        present(&mut pair, lease, page, u64::from(page) * 2, 1);
    }
    let mut filled = 0;
    let completion = Completion { id: 1, outcome: AccessOutcome::Written };
    while pair.link.post_completed(&completion).is_ok() {
        filled += 1;
    }
    assert!(filled > 100 && !pair.link.has_room());
    for page in 0..MAX_INVALIDATIONS as u32 {
        assert!(matches!(invalidate(&mut pair, lease, page, 1), InvalidateStart::Posted(_)));
    }
    assert_eq!(invalidate(&mut pair, lease, 19, 1), InvalidateStart::Busy);
    assert_eq!(pair.link.state(), State::Connected);
}

#[test]
fn a_later_leaves_the_pages_to_be_taken_out() {
    let mut pair = Pair::connected();
    let lease = pair.region(0, 0, 1024, USER);
    let page_in = page_in(&mut pair, lease, 5);
    pair.link.post_present(&page_in, &extents(5, 6, 2), None);
    let Some(ToBroker::Present { ticket, .. }) = pair.next() else { panic!() };
    pair.say(FromBroker::Presented { ticket: ticket.wrapping_add(1), outcome: PresentOutcome::Later });
    assert_eq!(pair.link.needs_force(), Some(Reason::Breach), "an answer to another ticket");
    let mut pair = Pair::connected();
    let lease = pair.region(0, 0, 1024, USER);
    let page_in = pair.link.begin_page_in(lease, AperturePage(5)).unwrap();
    pair.link.post_present(&page_in, &extents(5, 6, 2), None);
    let Some(ToBroker::Present { ticket, .. }) = pair.next() else { panic!() };
    pair.say(FromBroker::Presented { ticket, outcome: PresentOutcome::Later });
    pair.link.end_present();
    assert_eq!(pair.link.status().counters.laters, 1);
    assert_eq!(pair.link.take_present(lease, AperturePage(5), 2, false)[0].count, 2);
    assert_eq!(pair.link.status().counters.revoked_pages, 0);
}

#[test]
fn more_accesses_than_vcpus_can_cause_are_a_breach() {
    let mut pair = Pair::connected();
    let lease = pair.region(0, 0, 1024, USER);
    for id in 0..4 {
        pair.access(id, lease, id);
    }
    assert_eq!(pair.link.needs_force(), None);
    assert_eq!(pair.link.status().counters.stage2_faults, 4);
    pair.access(4, lease, 4);
    assert_eq!(pair.link.needs_force(), Some(Reason::Breach));
}

#[test]
fn an_access_that_leaves_its_page_is_a_breach() {
    for (offset, length) in [(4090, 8), (0, 0), (0, 300), (u16::MAX, 1)] {
        let mut pair = Pair::connected();
        let lease = pair.region(0, 0, 1024, USER);
        let (operation, page) = (AccessOperation::Read { length }, AperturePage(0));
        pair.say(FromBroker::Access { id: 1, lease, page, offset, operation, wants_page: true });
        assert_eq!(pair.link.needs_force(), Some(Reason::Breach), "{offset} + {length}");
    }
}

#[test]
fn broken_indices_of_the_broker_are_a_breach() {
    let mut pair = Pair::connected();
    pair.to_broker.move_consumed(4096);
    pair.link.activity();
    assert_eq!(pair.link.needs_force(), Some(Reason::Breach));
}

#[test]
fn the_rules_of_regions() {
    let mut pair = Pair::connected();
    pair.region(3, 512, 512, USER);
    let plan = |request| pair.link.plan_region(&request, CALLER);
    assert_eq!(plan(request(4, 1023, 1, USER)), Err(RegionError::Exists));
    assert_eq!(plan(request(4, 511, 2, USER)), Err(RegionError::Exists));
    assert!(matches!(plan(request(4, 1024, 1, USER)), Ok(Plan::Create(_))));
    assert!(matches!(plan(request(4, 511, 1, USER)), Ok(Plan::Create(_))));
    assert_eq!(plan(request(3, 512, 512, USER)), Ok(Plan::Nothing));
    assert_eq!(plan(request(3, 512, 511, USER)), Err(RegionError::Invalid), "no resize");
    assert_eq!(plan(request(3, 2048, 512, USER)), Err(RegionError::Invalid), "no move");
    assert_eq!(
        pair.link.plan_region(&request(3, 0, 0, 0), OTHER_CALLER),
        Err(RegionError::Exists),
        "another's slot"
    );
    assert!(matches!(plan(request(3, 0, 0, 0)), Ok(Plan::Delete(_))));
    assert_eq!(plan(request(5, 0, 0, USER)), Err(RegionError::Invalid), "nothing to delete");
    assert_eq!(plan(request(64, 0, 1, USER)), Err(RegionError::Invalid), "no such slot");
    assert_eq!(plan(request(5, APERTURE_PAGES - 1, 2, USER)), Err(RegionError::Invalid));
    assert_eq!(plan(request(5, 0, 1, USER + 1)), Err(RegionError::Invalid));
    assert_eq!(plan(request(5, 0, 2, (1 << 47) - 8192)), Err(RegionError::Invalid));
    assert_eq!(plan(request(5, 0, 2, u64::MAX - 4095)), Err(RegionError::Invalid));
    let flags = |flags| plan(xenlend_shim_core::uapi::RegionRequest { flags, ..request(5, 0, 1, USER) });
    assert_eq!(flags(1 << 1), Err(RegionError::Unsupported));
    assert_eq!(flags(1 << 9), Err(RegionError::Unsupported));
    assert_eq!(flags(1 << 0), Err(RegionError::Invalid));
    assert!(matches!(flags(1 << 8), Ok(Plan::Create(_))));
    let delete = xenlend_shim_core::uapi::RegionRequest { flags: 1 << 0, ..request(3, 0, 0, 0) };
    assert_eq!(plan(delete), Err(RegionError::Invalid), "what it does not know it does not do");
    let far = Caller { user_limit: (1 << 56) - 4096, ..CALLER };
    let high = request(5, 0, 2, 1 << 47);
    assert_eq!(plan(high), Err(RegionError::Invalid));
    assert!(matches!(pair.link.plan_region(&high, far), Ok(Plan::Create(_))), "five levels of tables");
}

#[test]
fn a_region_is_not_there_already_if_it_is_another_processs_or_lost() {
    let lent = request(0, 0, 8, USER);
    let child = Caller { process: ProcessId(12), ..CALLER };
    let mut pair = Pair::connected();
    let lease = pair.region(0, 0, 8, USER);
    assert_eq!(pair.link.plan_region(&lent, CALLER), Ok(Plan::Nothing));
    assert_eq!(pair.link.plan_region(&lent, child), Err(RegionError::OtherProcess));
    assert_eq!(pair.link.plan_region(&request(0, 0, 9, USER), child), Err(RegionError::Invalid));
    assert_eq!(pair.link.plan_region(&request(0, 0, 0, 0), child), Ok(Plan::Delete(lease)));
    pair.link.declare_lost(lease).unwrap();
    assert_eq!(pair.link.plan_region(&lent, CALLER), Err(RegionError::OtherProcess));
    // Where the lender presents zeros instead of a loss it is as gone.
    let mut pair = Pair::connected_on(Kind::LendAware);
    let lease = pair.region(0, 0, 8, USER);
    pair.link.declare_lost(lease).unwrap();
    assert_eq!(pair.link.plan_region(&lent, CALLER), Err(RegionError::OtherProcess));
    assert_eq!(pair.link.plan_region(&request(0, 0, 0, 0), CALLER), Ok(Plan::Delete(lease)));
}

#[test]
fn a_slot_that_is_used_again_has_another_generation() {
    let mut pair = Pair::connected();
    let lease = pair.region(0, 0, 1024, USER);
    present(&mut pair, lease, 5, 6, 1);
    let in_flight = page_in(&mut pair, lease, 9);
    assert!(pair.link.begin_end(lease).is_some());
    assert!(!pair.link.restart_page_in(&in_flight), "an ending region takes no more page-ins");
    pair.link.end_page_in(&in_flight);
    let InvalidateStart::Posted(sequence) = invalidate(&mut pair, lease, 0, 1024) else { panic!() };
    pair.say(FromBroker::Invalidated { sequence, result: Ok(1) });
    assert_eq!(pair.link.take_present(lease, AperturePage(0), 1024, true).len(), 1);
    pair.link.end_invalidate(sequence);
    pair.link.post_drop(lease).unwrap();
    assert!(!pair.link.is_dropped(lease));
    pair.say(FromBroker::RegionDropped { lease, result: Ok(0) });
    assert!(pair.link.is_dropped(lease));
    assert!(pair.link.remove_region(lease).is_some());
    while pair.next().is_some() {}
    let again = pair.region(0, 0, 1024, USER);
    assert_eq!((again.index, again.generation), (lease.index, lease.generation + 1));
    assert_eq!(pair.link.begin_page_in(lease, AperturePage(5)), Err(PageInRefusal::Gone));
    assert!(pair.link.region(lease).is_none());
}

#[test]
fn an_end_that_was_interrupted_can_be_made_again() {
    let mut pair = Pair::connected();
    let lease = pair.region(0, 0, 8, USER);
    assert!(pair.link.begin_end(lease).is_some());
    assert_eq!(pair.link.any_ending(), Some(lease));
    assert_eq!(pair.link.any_dropped(), None);
    assert!(pair.link.begin_force(pair.link.cause(Reason::Deadline)));
    assert_eq!(pair.link.post_drop(lease), Err(NotSent::Full), "the broker may be resumed with the lease");
    assert!(!pair.link.is_dropped(lease));
    pair.link.end_force(false);
    assert_eq!(pair.link.plan_region(&request(0, 0, 0, 0), CALLER), Ok(Plan::Delete(lease)));
    assert_eq!(pair.link.plan_region(&request(0, 0, 0, 0), OTHER_CALLER), Err(RegionError::Exists));
    assert_eq!(pair.link.plan_region(&request(0, 0, 8, USER), CALLER), Err(RegionError::Exists));
    pair.link.post_drop(lease).unwrap();
    assert_eq!(pair.link.any_ending(), None);
    assert_eq!(
        pair.link.plan_region(&request(0, 0, 0, 0), CALLER),
        Err(RegionError::Exists),
        "it is on its way"
    );
    pair.say(FromBroker::RegionDropped { lease, result: Ok(0) });
    assert_eq!(pair.link.any_dropped(), Some(lease));
    let mut pair = Pair::connected();
    let lease = pair.region(0, 0, 8, USER);
    pair.link.begin_end(lease);
    force(&mut pair, Reason::Breach, false);
    assert_eq!(pair.link.any_dropped(), Some(lease), "a condemned broker drops nothing");
}

#[test]
fn once_the_question_is_read_nothing_but_the_answer_counts() {
    let mut pair = Pair::connected();
    let lease = pair.region(0, 0, 8, USER);
    let completion = Completion { id: 1, outcome: AccessOutcome::Written };
    pair.link.post_completed(&completion).unwrap();
    pair.link.post_completed(&completion).unwrap();
    let position = pair.link.position();
    let mut seen = vec![pair.link.movements(Awaited::Answer(position))];
    for _ in 0..2 {
        pair.next();
        seen.push(pair.link.movements(Awaited::Answer(position)));
    }
    seen.dedup();
    assert_eq!(seen.len(), 3, "each step towards it counts");
    let activity = pair.link.activity();
    pair.access(1, lease, 0);
    pair.link.post_completed(&completion).unwrap();
    pair.next();
    assert_eq!(seen.last(), Some(&pair.link.movements(Awaited::Answer(position))));
    assert_ne!(pair.link.activity(), activity);
    force(&mut pair, Reason::Deadline, false);
    assert_ne!(
        seen.last(),
        Some(&pair.link.movements(Awaited::Answer(position))),
        "a resumed broker starts anew"
    );
}

#[test]
fn an_answer_about_a_lease_that_nobody_asked_for_is_a_breach() {
    let unknown = LeaseId { index: 9, generation: 1 };
    for message in [
        FromBroker::RegionDropped { lease: unknown, result: Ok(0) },
        FromBroker::RegionSet { lease: unknown, result: Ok(()) },
    ] {
        let mut pair = Pair::connected();
        pair.region(0, 0, 8, USER);
        pair.say(message);
        assert_eq!(pair.link.needs_force(), Some(Reason::Breach));
    }
    // A descriptor that was closed waits for nothing, but the answer was asked for.
    let mut pair = Pair::connected();
    let lease = pair.region(0, 0, 8, USER);
    pair.link.begin_end(lease);
    pair.link.post_drop(lease).unwrap();
    assert!(pair.link.remove_region(lease).is_some());
    pair.say(FromBroker::RegionDropped { lease, result: Ok(0) });
    assert_eq!(pair.link.needs_force(), None);
    pair.say(FromBroker::RegionDropped { lease, result: Ok(0) });
    assert_eq!(pair.link.needs_force(), Some(Reason::Breach), "once");
}

#[test]
fn a_refused_region_never_becomes_active() {
    let mut pair = Pair::connected();
    let new = pair.plan(0, 0, 8, USER);
    let mirror = xenlend_shim_core::mirror::Mirror::new(new.first, vec![0; 8], vec![0; 1]);
    pair.link.insert_region(&new, mirror);
    pair.link.post_set(new.lease).unwrap();
    let refusal = Refusal::TableFull { capacity: 0 };
    pair.say(FromBroker::RegionSet { lease: new.lease, result: Err(refusal) });
    assert_eq!(pair.link.set_answer(new.lease), Some(Err(refusal)));
    assert_eq!(pair.link.begin_page_in(new.lease, AperturePage(0)), Err(PageInRefusal::Gone));
}

#[test]
fn an_access_right_behind_the_yes_finds_its_region_active() {
    let mut pair = Pair::connected();
    let new = pair.plan(0, 0, 8, USER);
    let mirror = xenlend_shim_core::mirror::Mirror::new(new.first, vec![0; 8], vec![0; 1]);
    pair.link.insert_region(&new, mirror);
    pair.link.post_set(new.lease).unwrap();
    pair.say(FromBroker::RegionSet { lease: new.lease, result: Ok(()) });
    // The process that waits for the answer has not run yet.
    assert!(pair.link.begin_page_in(new.lease, AperturePage(0)).is_ok());
    pair.say(FromBroker::RegionSet { lease: new.lease, result: Ok(()) });
    assert_eq!(pair.link.needs_force(), Some(Reason::Breach), "an answer to nothing");
}

#[test]
fn a_lost_region_is_told_once_and_pages_nothing_in() {
    let mut pair = Pair::connected();
    let lease = pair.region(0, 0, 8, USER);
    pair.link.declare_lost(lease).unwrap();
    pair.link.declare_lost(lease).unwrap();
    assert!(matches!(pair.next(), Some(ToBroker::Lost { count: 8, .. })));
    assert_eq!(pair.next(), None);
    assert_eq!(pair.link.status().counters.lost_pages, 8);
    assert_eq!(pair.link.begin_page_in(lease, AperturePage(0)), Err(PageInRefusal::Gone));
}

#[test]
fn a_migration_is_a_change_of_kind() {
    let mut pair = Pair::connected();
    let lease = pair.region(0, 0, 8, USER);
    for kind in [FrameKind::Ram, FrameKind::Ram, FrameKind::Bar, FrameKind::Bar, FrameKind::Ram] {
        pair.link.note_first_page(lease, kind);
    }
    let counters = pair.link.status().counters;
    assert_eq!((counters.migrations_to_vram, counters.migrations_to_ram), (1, 1));
}

#[test]
fn a_repeated_event_is_told_once() {
    let mut pair = Pair::connected();
    let start = pair.link.events().end();
    for address in [0x1000, 0x1000, 0x2000, 0x1000] {
        pair.link.push_event(events::REFUSED, 0, address, 1);
    }
    let mut told = Vec::new();
    let mut cursor = start;
    while let Some((event, behind)) = pair.link.events().next(cursor) {
        told.push(event.address);
        cursor = behind;
    }
    assert_eq!(told, [0x1000, 0x2000, 0x1000]);
}

#[test]
fn bytes_of_the_process_map_to_pages_of_the_region() {
    let mut pair = Pair::connected();
    let lease = pair.region(0, 100, 8, USER);
    let region = pair.link.region(lease).unwrap();
    assert_eq!(region.pages_of(0, u64::MAX), Some((AperturePage(100), 8)));
    assert_eq!(region.pages_of(USER + 4096, USER + 4097), Some((AperturePage(101), 1)));
    assert_eq!(region.pages_of(USER + 4095, USER + 4097), Some((AperturePage(100), 2)));
    assert_eq!(region.pages_of(USER - 4096, USER), None);
    assert_eq!(region.pages_of(USER + 8 * 4096, u64::MAX), None);
    assert_eq!(region.user_address_of(AperturePage(107)), Some(USER + 7 * 4096));
    assert_eq!(region.user_address_of(AperturePage(108)), None);
    assert_eq!(region.user_address_of(AperturePage(99)), None);
}

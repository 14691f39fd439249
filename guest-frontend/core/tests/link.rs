// SPDX-License-Identifier: MIT OR Apache-2.0
//! The link: greeting, leases, touches, revocation, loss.

mod support;

use support::{lease, lost, present, revoked, unavailable, wait_for, Bench};
use xenlend_front_core::events;
use xenlend_front_core::frontend::{MapRefusal, Mapped, Turn};
use xenlend_front_core::link::{Answer, Phase, Touch, BY_BREACH, BY_BROKER, BY_VERSION};
use xenlend_front_core::page_set::Pages;
use xenlend_front_core::uapi::map::{Demand, MapName, MapRequest, MapType};
use xenlend_protocol::frame::AperturePage;
use xenlend_protocol::frontend::{FromBorrower, ToBorrower};
use xenlend_protocol::label::ClaimedLabel;
use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::message::{CacheMode, LossPolicy, Rights, VERSION};
use xenlend_protocol::refusal::{Blame, Breach, BreachKind};
use xenlend_protocol::ring::{Priority, RingMemory};

#[test]
fn the_driver_speaks_first_and_names_its_aperture() {
    let mut bench = Bench::greeting();
    let hello = bench.said();
    let expected = FromBorrower::Hello {
        oldest: VERSION,
        newest: VERSION,
        features: 0,
        aperture_gfn: support::APERTURE_GFN,
        aperture_pages: support::APERTURE_PAGES,
    };
    assert_eq!(hello, Some(expected));
    assert!(bench.driver.take_effects().notify);
    assert_eq!(bench.phase(), Phase::Greeting);
}

#[test]
fn an_incompatible_broker_ends_the_link() {
    let mut bench = Bench::greeting();
    let turn = bench.say(ToBorrower::Incompatible { oldest: 3, newest: 4 });
    assert_eq!(turn, Turn::Ended(BY_VERSION));
    assert_eq!(bench.driver.turn(), Turn::Idle, "said once");
}

#[test]
fn an_absent_page_is_asked_for_once_and_inserted_when_present() {
    let (mut bench, id, serial) = Bench::with_lease(3, 512, 512, LossPolicy::Zeros);
    assert_eq!(bench.touch(serial, 600), Answer::Wait);
    assert_eq!(bench.touch(serial, 600), Answer::Wait);
    assert_eq!(bench.said(), Some(wait_for(id, 600, 1)));
    assert_eq!(bench.said(), None);
    assert!(bench.driver.is_awaited(serial, 600));
    bench.driver.take_effects();
    bench.say(present(id, 600, 1));
    assert!(bench.driver.take_effects().wake);
    assert!(!bench.driver.is_awaited(serial, 600));
    assert_eq!(bench.touch(serial, 600), Answer::Insert(Pages { first: 600, end: 601 }));
}

#[test]
fn neighbours_come_along_inside_block_lease_and_mapping() {
    let (mut bench, id, serial) = Bench::with_lease(3, 520, 100, LossPolicy::Zeros);
    bench.say(present(id, 520, 100));
    assert_eq!(bench.touch(serial, 530), Answer::Insert(Pages { first: 520, end: 576 }));
    assert_eq!(bench.touch(serial, 600), Answer::Insert(Pages { first: 576, end: 620 }));
    let touch = Touch { serial, page: 530, mapping: Pages { first: 529, end: 533 } };
    assert_eq!(bench.driver.touch(&touch, false), Answer::Insert(Pages { first: 529, end: 533 }));
    bench.say(revoked(1, id, 531, 1, false));
    assert_eq!(bench.touch(serial, 530), Answer::Insert(Pages { first: 520, end: 531 }));
}

#[test]
fn a_touch_stays_inside_its_lease_and_its_mapping() {
    let (mut bench, id, serial) = Bench::with_lease(3, 0, 40, LossPolicy::Zeros);
    let next = LeaseId { index: 4, ..id };
    bench.say(lease(next, 40, 2000, LossPolicy::Zeros));
    bench.say(present(id, 0, 40));
    bench.say(present(next, 40, 2000));
    assert_eq!(
        bench.touch(serial, 30),
        Answer::Insert(Pages { first: 0, end: 40 }),
        "the block has both leases"
    );
    assert_eq!(bench.touch(serial, 41), Answer::Bus, "another lease's page");
    let mapping = Pages { first: 0, end: 4 };
    assert_eq!(bench.driver.touch(&Touch { serial, page: 5, mapping }, false), Answer::Bus, "not mapped");
    let mapping = Pages { first: 0, end: 2040 };
    let serial = bench.serial_of(next);
    let mut huge = |page| bench.driver.touch(&Touch { serial, page, mapping }, true);
    assert_eq!(huge(50), Answer::Smaller, "a part of the 2 MiB is another lease's");
    assert_eq!(huge(600), Answer::InsertHuge(512));
}

/// A program may map the aperture at any address: what is one block of it can be in two page tables.
#[test]
fn neighbours_come_along_only_inside_the_page_table_of_the_touch() {
    let (mut bench, id, serial) = Bench::with_lease(3, 0, 1024, LossPolicy::Zeros);
    bench.say(present(id, 0, 1024));
    let mapping = Pages { first: 0, end: 1024 };
    let mut touch = |page, slot| bench.driver.touch(&Touch::in_one_table(serial, page, mapping, slot), false);
    // The table's last entry is page 539's.
    assert_eq!(touch(530, 502), Answer::Insert(Pages { first: 512, end: 540 }));
    assert_eq!(touch(540, 0), Answer::Insert(Pages { first: 540, end: 576 }));
    assert_eq!(
        touch(3, 100),
        Answer::Insert(Pages { first: 0, end: 64 }),
        "its first are not the aperture's"
    );
    assert_eq!(touch(530, 18), Answer::Insert(Pages { first: 512, end: 576 }), "aligned as the aperture is");
    let huge = Touch::in_one_table(serial, 530, mapping, 18);
    assert_eq!(bench.driver.touch(&huge, true), Answer::InsertHuge(512));
}

#[test]
fn two_mib_are_inserted_at_once_only_when_whole_and_aligned() {
    let (mut bench, id, serial) = Bench::with_lease(3, 512, 1024, LossPolicy::Zeros);
    let huge = |bench: &mut Bench, page, first, end| {
        bench.driver.touch(&Touch { serial, page, mapping: Pages { first, end } }, true)
    };
    bench.say(present(id, 512, 511));
    assert_eq!(huge(&mut bench, 700, 512, 1536), Answer::Smaller);
    bench.say(present(id, 1023, 1));
    assert_eq!(huge(&mut bench, 700, 512, 1536), Answer::InsertHuge(512));
    assert_eq!(huge(&mut bench, 700, 513, 1536), Answer::Smaller);
    assert_eq!(huge(&mut bench, 1100, 512, 1536), Answer::Smaller);
}

#[test]
fn a_revoked_page_is_zapped_confirmed_and_asked_for_anew() {
    let (mut bench, id, serial) = Bench::with_lease(3, 0, 64, LossPolicy::Zeros);
    bench.say(present(id, 0, 64));
    assert_eq!(bench.touch(serial, 5), Answer::Insert(Pages { first: 0, end: 64 }));
    let turn = bench.say(revoked(1, id, 4, 4, false));
    assert_eq!(turn, Turn::Zap(Pages { first: 4, end: 8 }, Some(1)));
    assert_eq!(bench.said(), Some(FromBorrower::ZapDone { sequence: 1 }));
    assert_eq!(bench.touch(serial, 5), Answer::Wait);
    assert_eq!(bench.touch(serial, 8), Answer::Insert(Pages { first: 8, end: 64 }));
}

#[test]
fn a_zap_is_confirmed_only_after_it_was_done_and_for_all_before_it() {
    let (mut bench, id, _) = Bench::with_lease(3, 0, 64, LossPolicy::Zeros);
    for sequence in 1..=3 {
        bench
            .to_driver
            .send(&revoked(sequence, id, 0, 1, false), xenlend_protocol::ring::Priority::Reserved)
            .unwrap();
    }
    assert_eq!(bench.driver.turn(), Turn::Zap(Pages { first: 0, end: 1 }, Some(1)));
    assert_eq!(bench.said(), None);
    assert_eq!(bench.driver.turn(), Turn::Zap(Pages { first: 0, end: 1 }, Some(2)));
    bench.driver.zapped(Some(2));
    assert_eq!(bench.said(), Some(FromBorrower::ZapDone { sequence: 2 }));
    assert_eq!(bench.driver.turn(), Turn::Zap(Pages { first: 0, end: 1 }, Some(3)));
    bench.driver.zapped(Some(3));
    assert_eq!(bench.said(), Some(FromBorrower::ZapDone { sequence: 3 }));
}

#[test]
fn a_revocation_wakes_whoever_waits_and_he_asks_again() {
    let (mut bench, id, serial) = Bench::with_lease(3, 0, 64, LossPolicy::Zeros);
    assert_eq!(bench.touch(serial, 7), Answer::Wait);
    bench.say(revoked(1, id, 0, 64, false));
    assert!(bench.driver.take_effects().wake);
    assert!(!bench.driver.is_awaited(serial, 7));
    assert_eq!(bench.touch(serial, 7), Answer::Wait);
    assert_eq!(bench.said(), Some(wait_for(id, 7, 1)));
    assert_eq!(bench.said(), Some(FromBorrower::ZapDone { sequence: 1 }));
    assert_eq!(bench.said(), Some(wait_for(id, 7, 1)));
}

#[test]
fn an_ended_lease_is_a_bus_error_for_its_mappings_and_for_no_later_ones() {
    let (mut bench, id, serial) = Bench::with_lease(3, 0, 64, LossPolicy::Zeros);
    bench.say(present(id, 0, 64));
    assert_eq!(bench.say(revoked(1, id, 2, 1, true)), Turn::Zap(Pages { first: 0, end: 64 }, Some(1)));
    assert_eq!(bench.touch(serial, 0), Answer::Bus);
    let next = LeaseId { index: 3, generation: 2 };
    bench.say(lease(next, 0, 64, LossPolicy::Zeros));
    bench.say(present(next, 0, 64));
    assert_eq!(bench.touch(serial, 0), Answer::Bus, "a stale mapping must not show another's lease");
    let new_serial = bench.serial_of(next);
    assert!(matches!(bench.touch(new_serial, 0), Answer::Insert(_)));
    // Late notices of the old lease say nothing about the new one.
    bench.say(revoked(2, id, 0, 64, false));
    bench.say(lost(id, 0, 64));
    assert!(matches!(bench.touch(new_serial, 0), Answer::Insert(_)));
    assert_eq!(bench.phase(), Phase::Connected);
}

#[test]
fn the_same_ids_on_a_new_link_are_other_leases() {
    let (mut bench, id, serial) = Bench::with_lease(3, 0, 64, LossPolicy::Zeros);
    assert!(bench.driver.disconnect().is_some());
    assert_eq!(bench.touch(serial, 0), Answer::Bus);
    let mut bench = Bench::over(bench.driver);
    bench.welcome();
    bench.say(lease(id, 0, 64, LossPolicy::Zeros));
    bench.say(present(id, 0, 64));
    assert_eq!(bench.touch(serial, 0), Answer::Bus);
    let new_serial = bench.serial_of(id);
    assert!(matches!(bench.touch(new_serial, 0), Answer::Insert(_)));
}

#[test]
fn programs_are_told_of_a_loss() {
    let (mut bench, id, serial) = Bench::with_lease(3, 0, 64, LossPolicy::Zeros);
    let before = bench.driver.cursor();
    bench.say(lost(id, 2, 3));
    let (event, _) = bench.driver.next_event(9, before).expect("an event");
    assert_eq!((event.kind, event.value), (events::LOST, serial));
    assert_eq!((event.offset, event.bytes), (2 * 4096, 3 * 4096));
}

#[test]
fn a_lost_page_reads_as_zeros_or_faults_as_the_lease_says() {
    let (mut bench, id, serial) = Bench::with_lease(3, 0, 64, LossPolicy::Zeros);
    bench.touch(serial, 1);
    assert_eq!(bench.say(lost(id, 1, 1)), Turn::More);
    assert!(!bench.driver.is_awaited(serial, 1), "whoever waits for it goes on");
    assert_eq!(bench.touch(serial, 1), Answer::Insert(Pages { first: 1, end: 2 }));

    let (mut bench, id, serial) = Bench::with_lease(3, 0, 64, LossPolicy::Fault);
    bench.say(present(id, 0, 64));
    assert_eq!(bench.say(lost(id, 1, 1)), Turn::Zap(Pages { first: 1, end: 2 }, None));
    assert_eq!(bench.touch(serial, 1), Answer::Bus);
    assert_eq!(bench.touch(serial, 2), Answer::Insert(Pages { first: 2, end: 64 }));
    bench.say(revoked(1, id, 0, 64, false));
    assert_eq!(bench.touch(serial, 1), Answer::Bus, "lost is lost");
    assert_eq!(bench.touch(serial, 3), Answer::Wait);
    bench.say(lost(id, 3, 1));
    assert!(!bench.driver.is_awaited(serial, 3), "whoever waits for it gets the signal");
}

#[test]
fn an_unavailable_page_is_left_to_the_access() {
    let (mut bench, id, serial) = Bench::with_lease(3, 0, 64, LossPolicy::Fault);
    bench.touch(serial, 1);
    bench.driver.take_effects();
    bench.say(unavailable(id, 1, 1));
    assert!(bench.driver.take_effects().wake, "whoever waits for it goes on");
    assert_eq!(bench.touch(serial, 1), Answer::Insert(Pages { first: 1, end: 2 }));
    assert_eq!(bench.driver.counters().unavailable, 1);
}

#[test]
fn a_full_ring_makes_the_task_wait_for_room_and_wakes_it() {
    let (mut bench, id, serial) = Bench::with_lease(3, 0, 4096, LossPolicy::Zeros);
    let mut page = 0;
    while bench.touch(serial, page) == Answer::Wait {
        page += 1;
    }
    assert_eq!(bench.touch(serial, page), Answer::WaitForRoom);
    assert!(page > 100, "the ring has room for more than {page}");
    assert!(!bench.driver.is_awaited(serial, page));
    bench.driver.take_effects();
    for asked in 0..page {
        assert_eq!(bench.said(), Some(wait_for(id, asked, 1)));
    }
    assert!(bench.from_driver.take_wakeup(), "the broker was asked for a wake-up");
    assert_eq!(bench.driver.turn(), Turn::Idle);
    assert!(bench.driver.take_effects().wake);
    assert_eq!(bench.touch(serial, page), Answer::Wait);
}

#[test]
fn a_broker_that_waits_for_room_is_told_of_it() {
    let (mut bench, ..) = Bench::with_lease(3, 0, 64, LossPolicy::Zeros);
    // Of a lease that is over: nothing is answered.
    let stale = present(LeaseId { index: 9, generation: 7 }, 0, 1);
    bench.to_driver.send(&stale, Priority::Reserved).unwrap();
    bench.driver.take_effects();
    assert_eq!(bench.driver.turn(), Turn::More);
    assert!(!bench.driver.take_effects().notify, "nobody waits");
    while bench.to_driver.send(&stale, Priority::Reserved).is_ok() {}
    assert_eq!(bench.driver.turn(), Turn::More);
    assert!(bench.driver.take_effects().notify);
}

#[test]
fn a_zap_confirmation_waits_for_room_and_is_not_forgotten() {
    let (mut bench, id, serial) = Bench::with_lease(3, 0, 4096, LossPolicy::Zeros);
    let mut page = 0;
    while bench.touch(serial, page) == Answer::Wait {
        page += 1;
    }
    bench.say(revoked(1, id, 0, 1, false));
    let mut last = None;
    while let Some(message) = bench.said() {
        last = Some(message);
    }
    assert_eq!(last, Some(wait_for(id, page - 1, 1)));
    bench.driver.turn();
    assert_eq!(bench.said(), Some(FromBorrower::ZapDone { sequence: 1 }));
}

#[test]
fn a_zap_that_the_link_knows_nothing_of_is_not_confirmed() {
    // Of an earlier link.
    let (mut bench, id, _) = Bench::with_lease(3, 0, 64, LossPolicy::Zeros);
    bench.driver.zapped(Some(5));
    assert_eq!(bench.said(), None);
    // Begun before the end, and done behind it.
    bench.to_driver.send(&revoked(1, id, 0, 1, false), Priority::Reserved).unwrap();
    assert_eq!(bench.driver.turn(), Turn::Zap(Pages { first: 0, end: 1 }, Some(1)));
    let breach = Breach { blame: Blame::Borrower, kind: BreachKind::OutOfTurn };
    bench.say(ToBorrower::Closed { breach });
    bench.driver.zapped(Some(1));
    assert_eq!(bench.said(), None);
}

#[test]
fn a_mapping_needs_one_lease_that_allows_it() {
    let (mut bench, _, serial) = Bench::with_lease(3, 0, 64, LossPolicy::Zeros);
    bench.say(ToBorrower::Lease {
        lease: LeaseId { index: 4, generation: 1 },
        first: AperturePage(64),
        count: 64,
        rights: Rights::ReadOnly,
        loss: LossPolicy::Zeros,
        cache: CacheMode::WriteCombining,
        label: ClaimedLabel::default(),
    });
    bench.say(ToBorrower::Lease {
        lease: LeaseId { index: 5, generation: 1 },
        first: AperturePage(128),
        count: 64,
        rights: Rights::ReadWrite,
        loss: LossPolicy::Zeros,
        cache: CacheMode::WriteBack,
        label: ClaimedLabel::default(),
    });
    let map = |first, end, writes, executes| {
        let request = MapRequest { pages: Pages { first, end }, demand: Demand::AsItIs };
        bench.driver.map(request, writes, executes)
    };
    let name = MapName { serial, kind: MapType::WriteCombining };
    assert_eq!(map(0, 64, true, false), Ok(Mapped { name, may_write: true }));
    assert_eq!(map(0, 65, false, false), Err(MapRefusal::NoLease), "two leases");
    assert_eq!(map(300, 301, false, false), Err(MapRefusal::NoLease));
    assert_eq!(map(0, 0, false, false), Err(MapRefusal::NoLease));
    assert_eq!(map(0, 64, false, true), Err(MapRefusal::Access));
    assert_eq!(map(64, 65, true, false), Err(MapRefusal::Access));
    assert!(matches!(map(64, 65, false, false), Ok(Mapped { may_write: false, .. })));
}

#[test]
fn a_mapping_has_the_type_that_its_lease_allows() {
    let (mut bench, id, serial) = Bench::with_lease(3, 0, 64, LossPolicy::Zeros);
    let mut other = lease(LeaseId { index: 5, ..id }, 128, 64, LossPolicy::Zeros);
    if let ToBorrower::Lease { cache, .. } = &mut other {
        *cache = CacheMode::WriteBack;
    }
    bench.say(other);
    let map = |first, demand| {
        let request = MapRequest { pages: Pages { first, end: first + 1 }, demand };
        bench.driver.map(request, true, false).map(|mapped| mapped.name.kind)
    };
    assert_eq!(map(0, Demand::AsItIs), Ok(MapType::WriteCombining));
    assert_eq!(map(0, Demand::Uncached), Ok(MapType::Uncached));
    assert_eq!(map(0, Demand::Coherent), Err(MapRefusal::Type), "stores on it may change places");
    assert_eq!(map(128, Demand::AsItIs), Ok(MapType::WriteBack));
    assert_eq!(map(128, Demand::Coherent), Ok(MapType::WriteBack));
    assert_eq!(
        map(128, Demand::Uncached),
        Err(MapRefusal::Type),
        "it would be another type than the lender's"
    );
    for kind in [MapType::WriteCombining, MapType::Uncached, MapType::WriteBack] {
        let name = MapName { serial, kind };
        assert_eq!(MapName::of_number(name.to_number()), name);
        assert_eq!(kind.has_2mib(), kind == MapType::WriteCombining);
    }
}

#[test]
fn each_lease_has_the_label_that_it_was_announced_with() {
    let (mut bench, id, _) = Bench::with_lease(3, 0, 64, LossPolicy::Zeros);
    let other = LeaseId { index: 4, generation: 1 };
    bench.say(support::labelled(lease(other, 64, 64, LossPolicy::Zeros), b"fb 0"));
    let labels = |bench: &Bench| {
        let leases = bench.driver.link().unwrap().leases();
        leases.map(|lease| (lease.id, lease.label.as_str().to_owned())).collect::<Vec<_>>()
    };
    assert_eq!(labels(&bench), [(id, String::new()), (other, "fb 0".into())]);
    bench.say(revoked(1, other, 64, 64, true));
    let next = LeaseId { generation: 2, ..other };
    bench.say(lease(next, 64, 64, LossPolicy::Zeros));
    assert_eq!(labels(&bench), [(id, String::new()), (next, String::new())]);
}

#[test]
fn a_closed_link_ends_everything() {
    let (mut bench, _, serial) = Bench::with_lease(3, 0, 64, LossPolicy::Zeros);
    let start = bench.driver.cursor();
    assert_eq!(bench.touch(serial, 1), Answer::Wait);
    bench.driver.prefault(9, 77, Pages { first: 0, end: 64 }).unwrap();
    let breach = Breach { blame: Blame::Borrower, kind: BreachKind::OutOfTurn };
    assert_eq!(bench.say(ToBorrower::Closed { breach }), Turn::Ended(BY_BROKER));
    assert!(bench.driver.take_effects().wake);
    assert!(!bench.driver.is_awaited(serial, 1));
    assert_eq!(bench.touch(serial, 1), Answer::Bus);
    let (event, receipt) = bench.driver.next_event(9, start).unwrap();
    assert_eq!((event.kind, event.value, event.status), (events::PREFAULTED, 77, 3));
    assert!(bench.driver.acknowledge(receipt));
    let (event, _) = bench.driver.next_event(9, start).unwrap();
    assert_eq!((event.kind, event.value), (events::CLOSING, BY_BROKER));
    // A dead link wants no more turns of work.
    bench.driver.turn();
    assert!(!bench.driver.take_effects().work);
}

/// A breach that a touch finds has nobody's turn to end in: the work item is asked for one.
#[test]
fn a_breach_found_while_asking_wants_a_turn() {
    let (mut bench, _, serial) = Bench::with_lease(3, 0, 64, LossPolicy::Zeros);
    bench.driver.take_effects();
    bench.outbound.store_consumed(0x7000_0008);
    assert_eq!(bench.touch(serial, 1), Answer::Bus);
    assert!(bench.driver.take_effects().work);
    assert_eq!(bench.driver.turn(), Turn::Ended(BY_BREACH));
}

#[test]
fn a_lost_page_that_faults_is_mapped_with_no_neighbour_whatever_the_broker_says() {
    let (mut bench, id, serial) = Bench::with_lease(0, 0, 1024, LossPolicy::Fault);
    bench.say(lost(id, 3, 2));
    bench.say(present(id, 0, 1024));
    bench.say(unavailable(id, 4, 1));
    assert_eq!(bench.touch(serial, 1), Answer::Insert(Pages { first: 0, end: 3 }));
    assert_eq!(bench.touch(serial, 5), Answer::Insert(Pages { first: 5, end: 64 }));
    assert_eq!(bench.touch(serial, 3), Answer::Bus);
    assert_eq!(bench.touch(serial, 4), Answer::Bus);
}

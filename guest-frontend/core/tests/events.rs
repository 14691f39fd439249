// SPDX-License-Identifier: MIT OR Apache-2.0
//! The event stream: readers that share a descriptor, as `module/src/descriptor.rs` reads it, and floods.

mod support;

use proptest::prelude::*;
use support::{driver, present, revoked, tables, Bench, APERTURE_GFN, APERTURE_PAGES};
use xenlend_front_core::aperture::Aperture;
use xenlend_front_core::events::{self, Cursor, Event};
use xenlend_front_core::frontend::{Receipt, Turn};
use xenlend_front_core::link::{Link, Phase};
use xenlend_front_core::page_set::Pages;
use xenlend_front_core::prefault::MAX_PREFAULTS;
use xenlend_protocol::message::LossPolicy;
use xenlend_protocol::ring::plain_memory::PlainMemory;

const OWNER: u64 = 5;
/// Events that the bench's driver keeps.
const KEPT: usize = 64;

/// A descriptor: what its readers share.
struct Descriptor {
    cursor: Cursor,
}

/// A reader between looking and taking: others may have done both meanwhile.
#[derive(Default)]
struct Reader {
    looked: Option<(Cursor, Event, Receipt)>,
    got: Vec<Event>,
}

impl Reader {
    fn look(&mut self, bench: &Bench, descriptor: &Descriptor) {
        let before = descriptor.cursor;
        let next = bench.driver.next_event(OWNER, before);
        self.looked = next.map(|(event, receipt)| (before, event, receipt));
    }

    /// What it has copied out counts if nobody was faster.
    fn take(&mut self, bench: &mut Bench, descriptor: &mut Descriptor) {
        let Some((before, event, receipt)) = self.looked.take() else { return };
        let is_first = match receipt {
            Receipt::Place(behind) => {
                let is_first = descriptor.cursor == before;
                descriptor.cursor = if is_first { behind } else { descriptor.cursor };
                is_first
            }
            Receipt::Prefault { .. } => bench.driver.acknowledge(receipt),
        };
        if is_first {
            self.got.push(event);
        }
    }
}

proptest! {
    #[test]
    fn two_readers_of_a_descriptor_get_every_event_once(
        steps in proptest::collection::vec(0u8..6, 1..300),
    ) {
        let (mut bench, id, _) = Bench::with_lease(3, 0, 64, LossPolicy::Zeros);
        let mut descriptor = Descriptor { cursor: bench.driver.cursor() };
        let mut readers = [Reader::default(), Reader::default()];
        let (mut sequence, mut cookie) = (0, 0);
        for step in steps {
            match step {
                // Never more than are kept.
                0 if sequence < KEPT as u64 => {
                    sequence += 1;
                    bench.say(revoked(sequence, id, sequence as u32 % 64, 1, false));
                }
                1 if cookie < MAX_PREFAULTS as u64 => {
                    cookie += 1;
                    let begun = bench.driver.prefault(OWNER, cookie, Pages { first: 0, end: 1 });
                    cookie -= u64::from(begun.is_err());
                    // The broker answers at once, which completes it.
                    bench.say(present(id, 0, 1));
                }
                2 | 3 => readers[usize::from(step - 2)].look(&bench, &descriptor),
                4 | 5 => readers[usize::from(step - 4)].take(&mut bench, &mut descriptor),
                _ => {}
            }
            while bench.said().is_some() {}
        }
        // What is left one of them reads alone.
        readers[0].take(&mut bench, &mut descriptor);
        readers[1].take(&mut bench, &mut descriptor);
        loop {
            readers[0].look(&bench, &descriptor);
            if readers[0].looked.is_none() {
                break;
            }
            readers[0].take(&mut bench, &mut descriptor);
        }
        let got = || readers.iter().flat_map(|reader| &reader.got);
        let mut cookies: Vec<_> =
            got().filter(|event| event.kind == events::PREFAULTED).map(|event| event.value).collect();
        cookies.sort_unstable();
        prop_assert_eq!(cookies, (1..=cookie).collect::<Vec<_>>());
        let revocations = got().filter(|event| event.kind == events::REVOKED).count() as u64;
        prop_assert_eq!(revocations, sequence);
    }
}

#[test]
fn a_flood_of_events_costs_a_slow_reader_what_it_missed_and_no_memory() {
    let (mut bench, id, _) = Bench::with_lease(3, 0, 64, LossPolicy::Zeros);
    let slow = bench.driver.cursor();
    let mut quick = slow;
    for sequence in 1..=100_000 {
        bench.say(revoked(sequence, id, sequence as u32 % 64, 1, false));
        while bench.said().is_some() {}
        let (event, receipt) = bench.driver.next_event(OWNER, quick).expect("one for each");
        assert_eq!((event.kind, event.bytes), (events::REVOKED, 4096));
        let Receipt::Place(behind) = receipt else { panic!("{receipt:?}") };
        quick = behind;
    }
    assert_eq!(bench.driver.next_event(OWNER, quick), None);
    let (event, receipt) = bench.driver.next_event(OWNER, slow).unwrap();
    assert_eq!((event.kind, event.value), (events::LOOK_AGAIN, 100_000 - KEPT as u64));
    let Receipt::Place(mut cursor) = receipt else { panic!("{receipt:?}") };
    let mut left = 0;
    while let Some((event, Receipt::Place(behind))) = bench.driver.next_event(OWNER, cursor) {
        assert_eq!(event.kind, events::REVOKED);
        (left, cursor) = (left + 1, behind);
    }
    assert_eq!(left, KEPT);
    assert_eq!(bench.phase(), Phase::Connected);
}

#[test]
fn notifications_without_a_message_do_nothing_and_say_nothing() {
    let mut bench = Bench::connected();
    let _ = bench.driver.take_effects();
    let cursor = bench.driver.cursor();
    for _ in 0..100_000 {
        assert_eq!(bench.driver.turn(), Turn::Idle);
        let effects = bench.driver.take_effects();
        assert!(!effects.notify && !effects.wake && !effects.work, "{effects:?}");
    }
    assert_eq!(bench.driver.next_event(OWNER, cursor), None);
    assert_eq!(bench.said(), None);
    assert_eq!(bench.phase(), Phase::Connected);
}

#[test]
fn links_that_come_and_go_in_a_flood_leave_two_events_each() {
    let mut core = driver();
    let start = core.cursor();
    for _ in 0..KEPT / 2 {
        let mut bench = Bench::over(core);
        bench.welcome();
        assert!(bench.driver.disconnect().is_some());
        core = bench.driver;
    }
    let (mut cursor, mut kinds) = (start, Vec::new());
    while let Some((event, Receipt::Place(behind))) = core.next_event(OWNER, cursor) {
        kinds.push(event.kind);
        cursor = behind;
    }
    assert_eq!(kinds, [events::CONNECTED, events::CLOSING].repeat(KEPT / 2));
    let aperture = Aperture::check(APERTURE_GFN, APERTURE_PAGES.into(), 40).unwrap();
    let link = Link::new(aperture, PlainMemory::default(), PlainMemory::default(), tables(APERTURE_PAGES));
    assert!(core.connect(link).is_none(), "another one can come");
}

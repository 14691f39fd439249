// SPDX-License-Identifier: MIT OR Apache-2.0
//! Nonsense from the broker: every message in every state, garbled frames, wild indices, random
//! histories. The worst that comes of it is the end of the link.

mod support;

use std::collections::BTreeMap;

use proptest::prelude::*;
use support::{
    driver, labelled, lease, lost, present, revoked, unavailable, Bench, TestFrontend, APERTURE_PAGES,
};
use xenlend_front_core::frontend::Turn;
use xenlend_front_core::link::{Answer, Phase, Touch, BY_BREACH, BY_BROKER, BY_VERSION};
use xenlend_front_core::page_set::Pages;
use xenlend_protocol::frontend::ToBorrower;
use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::message::{LossPolicy, VERSION};
use xenlend_protocol::refusal::{Blame, Breach, BreachKind};
use xenlend_protocol::ring::{Priority, RingMemory};

const HERE: LeaseId = LeaseId { index: 3, generation: 1 };
const GONE: LeaseId = LeaseId { index: 3, generation: 7 };

fn closed() -> ToBorrower {
    ToBorrower::Closed { breach: Breach { blame: Blame::Borrower, kind: BreachKind::OutOfTurn } }
}

/// One of each kind, well formed, about the lease that exists in the connected state.
fn one_of_each() -> Vec<(&'static str, ToBorrower)> {
    vec![
        ("welcome", ToBorrower::Welcome { version: VERSION, features: 0 }),
        ("incompatible", ToBorrower::Incompatible { oldest: 3, newest: 3 }),
        ("lease", lease(LeaseId { index: 9, generation: 1 }, 1024, 64, LossPolicy::Zeros)),
        ("revoked", revoked(1, HERE, 0, 64, false)),
        ("ended", revoked(1, HERE, 0, 64, true)),
        ("present", present(HERE, 0, 64)),
        ("lost", lost(HERE, 0, 64)),
        ("unavailable", unavailable(HERE, 0, 64)),
        ("closed", closed()),
    ]
}

#[test]
fn every_message_in_every_state_has_its_result() {
    for (name, message) in one_of_each() {
        let mut bench = Bench::greeting();
        bench.say(message);
        let expected = match name {
            "welcome" => Phase::Connected,
            "incompatible" => Phase::Closed(BY_VERSION),
            "closed" => Phase::Closed(BY_BROKER),
            _ => Phase::Closed(BY_BREACH),
        };
        assert_eq!(bench.phase(), expected, "{name} while greeting");

        let (mut bench, ..) = Bench::with_lease(3, 0, 64, LossPolicy::Zeros);
        bench.say(message);
        let expected = match name {
            "welcome" | "incompatible" => Phase::Closed(BY_BREACH),
            "closed" => Phase::Closed(BY_BROKER),
            _ => Phase::Connected,
        };
        assert_eq!(bench.phase(), expected, "{name} while connected");

        let mut bench = Bench::connected();
        bench.say(closed());
        assert_eq!(bench.say(message), Turn::Idle, "{name} after the end");
        assert_eq!(bench.phase(), Phase::Closed(BY_BROKER), "{name} after the end");
    }
}

#[test]
fn what_cannot_be_ends_the_link() {
    let out = APERTURE_PAGES;
    let new = LeaseId { index: 9, generation: 1 };
    let cases = [
        ("a lease outside the aperture", lease(new, out - 1, 2, LossPolicy::Zeros)),
        ("a lease that wraps", lease(new, u32::MAX, 2, LossPolicy::Zeros)),
        ("an empty lease", lease(new, 1024, 0, LossPolicy::Zeros)),
        ("a lease over another", lease(new, 63, 2, LossPolicy::Zeros)),
        ("an index beyond the table", lease(LeaseId { index: 64, ..new }, 1024, 1, LossPolicy::Zeros)),
        ("an index in use", lease(GONE, 1024, 1, LossPolicy::Zeros)),
        ("the same lease with other terms", lease(HERE, 0, 64, LossPolicy::Fault)),
        ("pages outside the lease", present(HERE, 60, 5)),
        ("no pages", present(HERE, 60, 0)),
        ("lost outside the lease", lost(HERE, 64, 1)),
        ("unavailable outside the lease", unavailable(HERE, u32::MAX, 1)),
        ("revoked outside the lease", revoked(1, HERE, 63, 2, false)),
        ("sequence 0", revoked(0, HERE, 0, 1, false)),
    ];
    for (name, message) in cases {
        let (mut bench, _, serial) = Bench::with_lease(3, 0, 64, LossPolicy::Zeros);
        assert_eq!(bench.say(message), Turn::Ended(BY_BREACH), "{name}");
        assert_eq!(bench.touch(serial, 0), Answer::Bus, "{name}");
    }
    let (mut bench, ..) = Bench::with_lease(3, 0, 64, LossPolicy::Zeros);
    bench.say(revoked(5, HERE, 0, 1, false));
    assert_eq!(bench.say(revoked(5, HERE, 0, 1, false)), Turn::Ended(BY_BREACH), "a sequence twice");
    for bad in [&b"\x1b[2J"[..], b"two\nlines", b"\0", b"\xff\xfe", b"\x7f"] {
        let (mut bench, ..) = Bench::with_lease(3, 0, 64, LossPolicy::Zeros);
        let other = lease(LeaseId { index: 9, generation: 1 }, 1024, 64, LossPolicy::Zeros);
        assert_eq!(bench.say(labelled(other, bad)), Turn::Ended(BY_BREACH), "{bad:?}");
    }
    let mut bench = Bench::greeting();
    let turn = bench.say(ToBorrower::Welcome { version: VERSION + 1, features: 0 });
    assert_eq!(turn, Turn::Ended(BY_BREACH), "a version that was not offered");
    let mut bench = Bench::greeting();
    let turn = bench.say(ToBorrower::Welcome { version: VERSION, features: 1 });
    assert_eq!(turn, Turn::Ended(BY_BREACH), "a feature that was not offered");
}

#[test]
fn what_is_stale_or_repeated_does_nothing() {
    let (mut bench, _, serial) = Bench::with_lease(3, 0, 64, LossPolicy::Zeros);
    for message in [present(GONE, 4000, 400), lost(GONE, 0, 1), unavailable(GONE, 0, 1)] {
        assert_eq!(bench.say(message), Turn::More);
    }
    assert_eq!(bench.say(lease(HERE, 0, 64, LossPolicy::Zeros)), Turn::More, "announced twice");
    assert_eq!(bench.serial_of(HERE), serial);
    assert_eq!(bench.say(revoked(1, GONE, 4000, 400, true)), Turn::More, "nothing to zap");
    assert_eq!(bench.touch(serial, 0), Answer::Wait);
}

#[test]
fn wild_indices_and_garbled_frames_end_the_link() {
    for produced in [8, 4, 4104, u32::MAX, 0x8000_0000] {
        let (mut bench, ..) = Bench::with_lease(3, 0, 64, LossPolicy::Zeros);
        bench.inbound.store_produced(produced);
        let turn = bench.driver.turn();
        assert_eq!(turn, Turn::Ended(BY_BREACH), "{produced:#x}");
    }
}

/// What a random broker may say; small numbers, so that ranges and ids collide.
fn any_message() -> impl Strategy<Value = ToBorrower> {
    let id =
        (0_u16..70, 0_u32..4).prop_map(|(index, generation)| LeaseId { index: index % 5 * 16, generation });
    let range = (prop_oneof![0_u32..200, Just(u32::MAX - 3), Just(APERTURE_PAGES - 2)], 0_u32..100);
    let loss = prop_oneof![Just(LossPolicy::Zeros), Just(LossPolicy::Fault)];
    let grant = (id.clone(), 0_u32..30, 1_u32..60, loss)
        .prop_map(|(id, first, count, loss)| lease(id, first * 64, count, loss));
    prop_oneof![
        1 => Just(ToBorrower::Welcome { version: VERSION, features: 0 }),
        20 => grant,
        20 => (id.clone(), range.clone()).prop_map(|(id, (first, count))| present(id, first, count)),
        10 => (id.clone(), range.clone()).prop_map(|(id, (first, count))| lost(id, first, count)),
        10 => (id.clone(), range.clone()).prop_map(|(id, (first, count))| unavailable(id, first, count)),
        20 => (id, range, any::<bool>(), 1_u64..500)
            .prop_map(|(id, (first, count), ended, sequence)| revoked(sequence, id, first, count, ended)),
    ]
}

/// Touches everything and keeps the promise of the module: what may be inserted is in the model's page
/// table until it is zapped.
struct Tables {
    /// Page to serial of the lease that the entry belongs to.
    entries: BTreeMap<u32, u64>,
}

impl Tables {
    fn touch_all(&mut self, driver: &mut TestFrontend, serials: &[u64]) {
        for page in (0..2048).step_by(13) {
            for serial in serials {
                let mapping = Pages { first: 0, end: APERTURE_PAGES };
                let answer = driver.touch(&Touch { serial: *serial, page, mapping }, false);
                if let Answer::Insert(pages) = answer {
                    assert!(pages.contains(page));
                    let living = driver.link().unwrap().by_serial(*serial).expect("inserted without a lease");
                    assert!(living.pages.covers(pages), "beyond the lease");
                    self.entries.extend((pages.first..pages.end).map(|page| (page, *serial)));
                }
            }
        }
    }

    fn zap(&mut self, pages: Pages) {
        self.entries.retain(|page, _| !pages.contains(*page));
    }

    /// No entry is of a lease that is over.
    fn check(&self, driver: &TestFrontend) {
        for (page, serial) in &self.entries {
            let lease = driver.link().and_then(|link| link.by_serial(*serial));
            let lease =
                lease.unwrap_or_else(|| panic!("page {page} is mapped and its lease {serial} is over"));
            assert!(lease.pages.contains(*page));
        }
    }
}

proptest! {
    /// Whatever the broker says, no entry outlives the zap that its lease's end asked for, and
    /// nothing panics.
    #[test]
    fn random_histories_leave_no_entry_of_an_ended_lease(
        messages in prop::collection::vec(any_message(), 1..60),
    ) {
        let mut bench = Bench::connected();
        let mut tables = Tables { entries: BTreeMap::new() };
        let mut serials = Vec::new();
        for message in messages {
            bench.to_driver.send(&message, Priority::Reserved).unwrap();
            match bench.driver.turn() {
                Turn::Zap(pages, sequence) => {
                    // A touch between the message and the zap must not bring the old lease back.
                    let mut racing = Tables { entries: BTreeMap::new() };
                    racing.touch_all(&mut bench.driver, &serials);
                    racing.check(&bench.driver);
                    tables.zap(pages);
                    bench.driver.zapped(sequence);
                }
                Turn::Ended(_) => tables.zap(Pages { first: 0, end: APERTURE_PAGES }),
                Turn::Idle | Turn::More => {}
            }
            serials = bench.driver.link().unwrap().leases().map(|lease| lease.serial).chain(serials).collect();
            serials.sort_unstable();
            serials.dedup();
            tables.check(&bench.driver);
            tables.touch_all(&mut bench.driver, &serials);
            // The broker reads what it is asked.
            while bench.from_driver.receive::<xenlend_protocol::frontend::FromBorrower>().unwrap().is_some() {}
            bench.driver.turn();
        }
    }

    /// Bytes that are no messages.
    #[test]
    fn random_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 8..400), produced in 0_u32..60) {
        let mut bench = Bench::over(driver());
        bench.inbound.scribble(0, &bytes);
        bench.inbound.store_produced(produced * 8);
        for _ in 0..60 {
            if bench.driver.turn() == Turn::Idle {
                break;
            }
        }
    }
}

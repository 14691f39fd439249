// SPDX-License-Identifier: MIT OR Apache-2.0
//! The order of `up`, and that nothing is left of it wherever it fails.

use std::path::PathBuf;
use std::time::Duration;

use xenlend::BarAddress;

use super::domain::Life;
use super::down::down;
use super::failure::{Failure, ALREADY_UP, FAILED, NOTHING_SUCH, USAGE};
use super::fake_host::{FakeHost, SUPERVISOR};
use super::guest::{tests::pvh, Guest, Kind, Obstacle};
use super::record::{tests as records, Phase, Record};
use super::up::{up, UpRequest};

/// `xenlend up g1 --bar 0000:00:01.0/0`.
pub fn request() -> UpRequest {
    let bar = BarAddress { segment: 0, bus: 0, devfn: 8, bar: 0 };
    UpRequest {
        guest: "g1".to_owned(),
        bars: vec![("0000:00:01.0/0".to_owned(), bar)],
        aperture: None,
        max_aperture: 1 << 30,
        check: false,
        deadline_ms: 0,
        broker_of: None,
        image: PathBuf::from("/broker"),
        arguments: String::new(),
        timeout: Duration::from_secs(30),
        again: None,
    }
}

#[test]
fn the_order_is_that_of_the_design() {
    let mut host = FakeHost::new();
    let record = up(&mut host, &request()).unwrap();
    let mut effects = host.effects();
    effects.dedup();
    assert_eq!(
        effects,
        [
            "save_record",
            "create_broker",
            "save_record",
            "attach",
            "allow_bar",
            "write_node",
            "listen",
            "unpause",
            "await_connection",
            "write_node",
            "start_supervisor",
            "save_record",
        ]
    );
    assert_eq!(host.record("g1"), record);
    assert_eq!(record, Record { broker_domid: Some(8), ..records::up() });
    assert_eq!(record.supervisor, Some(SUPERVISOR));
    assert_eq!(host.world.links[&7], 8);
}

/// Number of effects and questions of an `up` that succeeds.
fn calls_of_up() -> usize {
    let mut host = FakeHost::new();
    up(&mut host, &request()).unwrap();
    host.calls.len()
}

#[test]
fn whichever_call_fails_nothing_is_left() {
    let calls = calls_of_up();
    assert!(calls > 25, "{calls}");
    for failing in 0..calls {
        let mut host = FakeHost::new();
        host.failing = vec![failing];
        let failure = up(&mut host, &request()).unwrap_err();
        assert!(matches!(failure, Failure::Host(_)), "call {failing}: {failure}");
        assert_eq!(host.world, FakeHost::new().world, "call {failing} ({})", host.calls[failing]);
    }
}

#[test]
fn when_undoing_fails_too_it_is_said_and_down_finishes_it() {
    let calls = calls_of_up();
    for first in 0..calls {
        let mut left = 0;
        for second in first + 1.. {
            let mut host = FakeHost::new();
            host.failing = vec![first, second];
            let failure = up(&mut host, &request()).unwrap_err();
            if second >= host.calls.len() {
                break;
            }
            let clean = host.world == FakeHost::new().world;
            let said = matches!(failure, Failure::NotUndone { .. });
            assert!(clean || said, "calls {first} and {second}: {failure}");
            left += usize::from(!clean);
            host.start_afresh();
            let result = down(&mut host, "g1");
            assert!(result.is_ok() || clean, "calls {first} and {second}: {result:?}");
            assert_eq!(host.world, FakeHost::new().world, "calls {first} and {second}");
        }
        let made_something = first > calls - 5;
        assert!(!made_something || left > 0, "call {first}");
    }
}

#[test]
fn a_second_up_says_so_and_changes_nothing() {
    let mut host = FakeHost::new();
    up(&mut host, &request()).unwrap();
    let before = host.world.clone();
    host.start_afresh();
    let failure = up(&mut host, &request()).unwrap_err();
    assert!(matches!(failure, Failure::AlreadyUp { broker: 8, .. }), "{failure}");
    assert_eq!(failure.exit_status(), ALREADY_UP);
    assert_eq!(host.effects(), [""; 0]);
    assert_eq!(host.world, before);
}

#[test]
fn what_a_killed_up_left_is_taken_away_first() {
    for known in [Some(8), None] {
        let mut host = FakeHost::new();
        up(&mut host, &request()).unwrap();
        let record = host.record_mut("g1");
        (record.phase, record.broker_domid, record.supervisor) = (Phase::Starting, known, None);
        let record = up(&mut host, &request()).unwrap();
        assert_eq!(record.broker_domid, Some(9));
        assert!(!host.world.lives.contains_key(&8));
        assert!(host.world.nodes.keys().all(|node| !node.starts_with("/local/domain/8/")));
        let backend = &host.world.nodes["/local/domain/7/device/xenlend/0/backend"];
        assert_eq!(backend, "/local/domain/9/backend/xenlend/7/0");
    }
}

#[test]
fn the_record_of_an_earlier_life_of_the_guest_is_no_obstacle() {
    let mut host = FakeHost::new();
    up(&mut host, &request()).unwrap();
    host.world.guests[0].domid = 20;
    host.world.lives.remove(&7);
    host.world.lives.insert(20, Life::Alive);
    let record = up(&mut host, &request()).unwrap();
    assert_eq!((record.guest_domid, record.broker_domid), (20, Some(9)));
    assert_eq!(host.world.links.keys().copied().collect::<Vec<_>>(), [20]);
}

#[test]
fn a_link_without_a_record_is_not_touched() {
    let mut host = FakeHost::new();
    host.world.links.insert(7, 99);
    let before = host.world.clone();
    let failure = up(&mut host, &request()).unwrap_err();
    assert!(matches!(failure, Failure::Unrecorded { .. }), "{failure}");
    assert!(failure.to_string().contains("99"), "{failure}");
    assert!(failure.remedy().contains("xenlend down g1"));
    assert_eq!(host.world, before);
}

#[test]
fn a_guest_whose_broker_died_must_be_started_again() {
    let mut host = FakeHost::new();
    up(&mut host, &request()).unwrap();
    host.world.lives.remove(&8);
    let failure = up(&mut host, &request()).unwrap_err();
    assert!(matches!(failure, Failure::BrokerDead { .. }), "{failure}");
    assert!(failure.remedy().contains("xl destroy g1"));
}

#[test]
fn wrong_guests_are_refused_before_anything_is_made() {
    let refused = |guest: Guest, life: Life| {
        let mut host = FakeHost::new();
        host.world.guests = vec![guest];
        host.world.lives.insert(7, life);
        let before = host.world.clone();
        let failure = up(&mut host, &request()).unwrap_err();
        assert_eq!(host.world, before);
        assert_eq!(host.effects(), [""; 0], "{failure}");
        failure
    };
    let failure = refused(Guest { kind: Kind::Pv, ..pvh() }, Life::Alive);
    assert!(matches!(failure, Failure::Guest(_)));
    assert_eq!(failure.exit_status(), FAILED);
    assert!(failure.remedy().contains("pvh"));
    let failure = refused(Guest { command_line: Some("quiet".to_owned()), ..pvh() }, Life::Alive);
    assert!(matches!(failure, Failure::Aperture(_)));
    let failure = refused(pvh(), Life::Crashed);
    assert!(failure.to_string().contains("is crashed"), "{failure}");
    let failure = refused(Guest { name: "other".to_owned(), ..pvh() }, Life::Alive);
    assert!(matches!(failure, Failure::NoSuchGuest(_)));
    assert_eq!(failure.exit_status(), NOTHING_SUCH);
}

#[test]
fn a_guest_that_claims_more_than_is_allowed_makes_dom0_do_nothing() {
    // Pages of 127 GiB and of 16 TiB; the guest may write anything there.
    for (pages, limit) in [("33292288", 1 << 30), ("4294967296", 1 << 30), ("33292288", 64 << 30)] {
        let mut host = FakeHost::new();
        host.world.guests[0].command_line = Some("console=hvc0".to_owned());
        host.world
            .nodes
            .insert("/local/domain/7/data/xenlend-aperture".to_owned(), format!("0x4000000 {pages}"));
        let before = host.world.clone();
        let failure = up(&mut host, &UpRequest { max_aperture: limit, ..request() }).unwrap_err();
        assert!(failure.to_string().contains(&format!("no more than {} MiB", limit >> 20)), "{failure}");
        assert_eq!(failure.exit_status(), FAILED);
        assert_eq!(host.effects(), [""; 0]);
        assert_eq!(host.world, before);
    }
}

#[test]
fn the_module_is_told_the_limit() {
    let mut host = FakeHost::new();
    up(&mut host, &UpRequest { max_aperture: 2 << 30, ..request() }).unwrap();
    assert_eq!(host.attached.unwrap().aperture_limit, 2 << 30);
}

#[test]
fn a_name_that_could_leave_the_directory_is_a_usage_error() {
    let mut host = FakeHost::new();
    let failure = up(&mut host, &UpRequest { guest: "../g1".to_owned(), ..request() }).unwrap_err();
    assert_eq!(failure.exit_status(), USAGE);
    assert!(host.calls.is_empty());
}

#[test]
fn a_guest_with_a_device_borrows_on_a_lend_aware_xen_only() {
    let passed_through = Guest { obstacles: vec![Obstacle::Passthrough], ..pvh() };
    for lend_aware in [false, true] {
        let mut host = FakeHost { lend_aware, ..FakeHost::new() };
        host.world.guests = vec![passed_through.clone()];
        let before = host.world.clone();
        match up(&mut host, &request()) {
            Ok(record) => assert!(lend_aware && record.lend_aware),
            Err(failure) => {
                assert!(!lend_aware && failure.to_string().contains("DMA"), "{failure}");
                assert_eq!(failure.exit_status(), FAILED);
                assert_eq!(host.effects(), [""; 0]);
                assert_eq!(host.world, before);
            }
        }
    }
    let shadow = Guest { obstacles: vec![Obstacle::Passthrough, Obstacle::NoHap], ..pvh() };
    let mut host = FakeHost { lend_aware: true, ..FakeHost::new() };
    host.world.guests = vec![shadow];
    assert!(up(&mut host, &request()).unwrap_err().to_string().contains("shadow paging"));
}

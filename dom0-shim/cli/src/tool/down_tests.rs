// SPDX-License-Identifier: MIT OR Apache-2.0
//! `down` in every state in which a link can be.

use super::domain::Life;
use super::down::{down, DownReport};
use super::failure::{Failure, NOTHING_SUCH};
use super::fake_host::{FakeHost, World};
use super::record::Phase;
use super::up::up;
use super::up_tests::request;

fn host_with_link() -> FakeHost {
    let mut host = FakeHost::new();
    up(&mut host, &request()).unwrap();
    host.start_afresh();
    host
}

/// The guest as it was before, nothing else.
fn assert_clean(host: &FakeHost) {
    assert_eq!(host.world, FakeHost::new().world);
}

#[test]
fn revoking_comes_first_and_the_record_goes_last() {
    let mut host = host_with_link();
    assert_eq!(down(&mut host, "g1").unwrap(), DownReport { broker: Some(8), dying_broker: None });
    let mut effects = host.effects();
    effects.dedup();
    let expected = ["detach", "await_departure", "remove_node", "destroy", "remove_node", "remove_record"];
    assert_eq!(effects, expected);
    assert_clean(&host);
}

#[test]
fn whichever_step_fails_a_second_down_finishes() {
    let mut host = host_with_link();
    down(&mut host, "g1").unwrap();
    for failing in 0..host.calls.len() {
        let mut host = host_with_link();
        host.failing = vec![failing];
        let first = down(&mut host, "g1");
        let failed = host.calls[failing].clone();
        // Questions about lives and the wait for the broker are not needed for the end.
        let harmless = ["life", "await_departure"].contains(&failed.as_str());
        assert_eq!(first.is_ok(), harmless, "{failed}");
        host.start_afresh();
        let second = down(&mut host, "g1");
        assert!(second.is_ok() || first.is_ok(), "{failed}: {second:?}");
        assert!(host.world.records.is_empty() && host.world.links.is_empty(), "{failed}");
        assert!(host.world.brokers.is_empty() && host.world.nodes.is_empty(), "{failed}");
    }
}

#[test]
fn a_dead_broker_is_no_obstacle() {
    let mut host = host_with_link();
    host.world.lives.remove(&8);
    host.world.brokers.clear();
    host.world.uuids.clear();
    host.world.nodes.clear();
    down(&mut host, "g1").unwrap();
    assert!(!host.has_called("await_departure"));
    assert_clean(&host);
}

#[test]
fn a_dead_guest_is_no_obstacle_and_needs_no_departure() {
    let mut host = host_with_link();
    host.kill_guest();
    down(&mut host, "g1").unwrap();
    assert!(!host.has_called("await_departure"));
    let mut dead = FakeHost::new();
    dead.kill_guest();
    assert_eq!(host.world, dead.world);
}

#[test]
fn a_broker_that_cannot_leave_is_destroyed_and_its_remains_are_reported() {
    let mut host = host_with_link();
    host.brokers_leave = false;
    assert_eq!(down(&mut host, "g1").unwrap(), DownReport { broker: Some(8), dying_broker: Some(8) });
    assert_eq!(host.world.lives[&8], Life::Dying);
}

#[test]
fn a_half_made_link_goes_whole() {
    let mut host = host_with_link();
    let record = host.record_mut("g1");
    (record.phase, record.broker_domid) = (Phase::Starting, None);
    down(&mut host, "g1").unwrap();
    assert_clean(&host);
}

#[test]
fn what_has_no_record_goes_too() {
    let mut host = host_with_link();
    host.world.records.clear();
    down(&mut host, "g1").unwrap();
    assert_clean(&host);
}

#[test]
fn where_there_is_nothing_it_says_so() {
    let mut host = FakeHost::new();
    let failure = down(&mut host, "g1").unwrap_err();
    assert!(matches!(failure, Failure::NotUp(_)), "{failure}");
    assert_eq!(failure.exit_status(), NOTHING_SUCH);
    host.world = World::default();
    let failure = down(&mut host, "g1").unwrap_err();
    assert!(matches!(failure, Failure::NoSuchGuest(_)), "{failure}");
    assert_eq!(failure.exit_status(), NOTHING_SUCH);
    assert_eq!(host.effects(), [""; 0]);
}

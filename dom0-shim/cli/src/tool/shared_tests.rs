// SPDX-License-Identifier: MIT OR Apache-2.0
//! A broker with several borrowers: who joins it, who leaves it, and that the last one takes it along.

use super::domain::Life;
use super::down::down;
use super::failure::{Failure, USAGE};
use super::fake_host::{FakeHost, World};
use super::guest::{
    tests::{pvh, uuid},
    Guest,
};
use super::record::Phase;
use super::up::{up, UpRequest};
use super::up_tests::request;

/// Guests g1 to g3 (domains 7, 17 and 27) run on lend-aware Xen.
fn three_guests() -> FakeHost {
    let mut host = FakeHost { lend_aware: true, next_domid: 100, ..FakeHost::new() };
    for (name, domid) in [("g2", 17), ("g3", 27)] {
        host.add(Guest { name: name.to_owned(), domid, uuid: uuid(domid), ..pvh() });
    }
    host
}

fn joining(guest: &str, other: &str) -> UpRequest {
    UpRequest { guest: guest.to_owned(), broker_of: Some(other.to_owned()), ..request() }
}

/// One broker for all three, the last one by way of the second.
pub fn three_borrowers() -> FakeHost {
    let mut host = three_guests();
    up(&mut host, &request()).unwrap();
    up(&mut host, &joining("g2", "g1")).unwrap();
    up(&mut host, &joining("g3", "g2")).unwrap();
    host
}

#[test]
fn what_a_broker_said_of_an_earlier_link_is_no_answer() {
    let mut host = three_guests();
    up(&mut host, &request()).unwrap();
    let stale = "/local/domain/100/xenlend/broker/more/17".to_owned();
    host.world.nodes.insert(stale.clone(), "failed".to_owned());
    up(&mut host, &joining("g2", "g1")).unwrap();
    assert!(!host.world.nodes.contains_key(&stale));
}

fn lines(world: &World) -> Vec<&str> {
    world.nodes.keys().filter_map(|path| path.strip_prefix("/local/domain/100/xenlend/more/")).collect()
}

#[test]
fn a_guest_joins_the_broker_of_another_and_of_one_that_has_joined() {
    let host = three_borrowers();
    assert_eq!(host.world.brokers.values().copied().collect::<Vec<_>>(), [100]);
    assert_eq!(host.world.links.values().copied().collect::<Vec<_>>(), [100, 100, 100]);
    assert_eq!(lines(&host.world), ["17", "27"]);
    let joined = |guest: &str| host.record(guest).joined;
    let of_g1 = || Some("g1".to_owned());
    assert_eq!([joined("g1"), joined("g2"), joined("g3")], [None, of_g1(), of_g1()]);
    assert_eq!(host.calls.iter().filter(|call| *call == "create_broker").count(), 1);
    assert_eq!(host.calls.iter().filter(|call| *call == "unpause").count(), 1);
}

#[test]
fn whoever_leaves_first_the_broker_stays_for_the_others_and_goes_with_the_last() {
    let orders = [["g1", "g2", "g3"], ["g1", "g3", "g2"], ["g2", "g1", "g3"], ["g3", "g2", "g1"]];
    for order in orders {
        let mut host = three_borrowers();
        for (gone, guest) in (1..).zip(order) {
            let domid = host.record(guest).guest_domid;
            down(&mut host, guest).unwrap();
            assert!(!host.world.links.contains_key(&domid) && !host.has_record(guest));
            let of_it = |path: &&String| path.contains(&format!("/{domid}/"));
            assert_eq!(host.world.nodes.keys().find(of_it), None, "{order:?}");
            assert_eq!(host.world.links.len(), 3 - gone, "{order:?}");
            assert_eq!(host.world.lives.contains_key(&100), gone < 3, "{order:?}");
        }
        assert_eq!(host.world, three_guests().world, "{order:?}");
    }
}

#[test]
fn the_nodes_of_the_others_stay() {
    let mut host = three_borrowers();
    down(&mut host, "g1").unwrap();
    assert_eq!(lines(&host.world), ["17", "27"]);
    assert!(host.world.nodes.contains_key("/local/domain/100/xenlend/broker"));
    assert!(host.world.nodes.keys().all(|path| !path.starts_with("/local/domain/100/xenlend/borrower")));
    down(&mut host, "g2").unwrap();
    assert_eq!(lines(&host.world), ["27"]);
}

#[test]
fn wherever_joining_fails_the_others_keep_what_they_have() {
    let mut host = three_guests();
    up(&mut host, &request()).unwrap();
    let before = host.world.clone();
    host.start_afresh();
    up(&mut host, &joining("g2", "g1")).unwrap();
    for failing in 0..host.calls.len() {
        let mut host = three_guests();
        up(&mut host, &request()).unwrap();
        host.start_afresh();
        host.failing = vec![failing];
        let failure = up(&mut host, &joining("g2", "g1")).unwrap_err();
        let mut after = host.world.clone();
        // The folder of lines may stay.
        after.nodes.remove("/local/domain/100/xenlend/more");
        assert_eq!(after, before, "call {failing}: {failure}");
    }
}

#[test]
fn wherever_leaving_fails_a_second_down_finishes_and_the_others_keep_what_they_have() {
    for guest in ["g1", "g2"] {
        let mut host = three_borrowers();
        host.start_afresh();
        down(&mut host, guest).unwrap();
        let after = host.world.clone();
        for failing in 0..host.calls.len() {
            let mut host = three_borrowers();
            host.start_afresh();
            host.failing = vec![failing];
            let first = down(&mut host, guest);
            assert_eq!(host.world.links.get(&27), Some(&100), "{guest}, call {failing}");
            host.start_afresh();
            let second = down(&mut host, guest);
            assert!(
                first.is_ok() || second.is_ok() || matches!(second, Err(Failure::NotUp(_))),
                "{guest}, call {failing}"
            );
            assert_eq!(host.world, after, "{guest}, call {failing}");
        }
    }
}

#[test]
fn a_broker_that_does_not_leave_one_is_not_destroyed_while_it_serves_others() {
    let mut host = three_borrowers();
    host.brokers_leave = false;
    let failure = down(&mut host, "g2").unwrap_err();
    assert!(failure.to_string().contains("has not left domain 17"), "{failure}");
    assert!(host.has_record("g2") && host.world.lives.contains_key(&100));
    // The guest's pages may still be mapped.
    assert!(host.world.nodes.keys().any(|path| path.starts_with("/local/domain/17/device/xenlend")));
}

#[test]
fn a_guest_whose_broker_died_is_no_reason_to_keep_it() {
    let mut host = three_borrowers();
    for guest in ["g2", "g3"] {
        host.record_mut(guest).phase = Phase::BrokerGone;
    }
    down(&mut host, "g1").unwrap();
    assert!(!host.world.lives.contains_key(&100));
}

#[test]
fn nobody_joins_where_that_cannot_be() {
    let refused = |host: &mut FakeHost, request: &UpRequest| {
        let before = host.world.clone();
        let failure = up(host, request).unwrap_err();
        assert_eq!(host.world, before, "{failure}");
        failure
    };
    let mut host = three_guests();
    let failure = refused(&mut host, &joining("g2", "g1"));
    assert!(matches!(failure, Failure::NotUp(_)), "{failure}");
    assert_eq!(refused(&mut host, &joining("g2", "g2")).exit_status(), USAGE);
    up(&mut host, &request()).unwrap();
    host.lend_aware = false;
    let failure = refused(&mut host, &joining("g2", "g1"));
    assert!(failure.to_string().contains("stock Xen"), "{failure}");
    host.lend_aware = true;
    host.world.nodes.remove("/local/domain/100/xenlend/broker/feature-more");
    let failure = refused(&mut host, &joining("g2", "g1"));
    assert!(failure.to_string().contains("too old"), "{failure}");
    host.world.lives.insert(100, Life::Crashed);
    let failure = refused(&mut host, &joining("g2", "g1"));
    assert!(matches!(failure, Failure::BrokerDead { .. }), "{failure}");
}

#[test]
fn a_broker_named_after_a_guest_that_has_left_it_is_not_taken_for_its_own() {
    let mut host = three_borrowers();
    down(&mut host, "g1").unwrap();
    let before = host.world.clone();
    let failure = up(&mut host, &request()).unwrap_err();
    assert!(failure.to_string().contains("serves g2, g3"), "{failure}");
    assert!(failure.remedy().contains("--broker-of g2"), "{}", failure.remedy());
    let failure = down(&mut host, "g1").unwrap_err();
    assert!(matches!(failure, Failure::NotUp(_)), "{failure}");
    assert_eq!(host.world, before);
    up(&mut host, &joining("g1", "g3")).unwrap();
    assert_eq!(host.world.links.len(), 3);
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names are anybody's: who a domain is, is its UUID and what only dom0 can write.

use super::domain::Life;
use super::down::{down, DownReport};
use super::failure::{Failure, NOTHING_SUCH};
use super::fake_host::{FakeHost, SUPERVISOR};
use super::guest::{
    tests::{pvh, uuid},
    Guest,
};
use super::status;
use super::up::{up, UpRequest};
use super::up_tests::request;
use super::watch::{Next, Occasion, Watch};

fn with_link() -> FakeHost {
    let mut host = FakeHost::new();
    up(&mut host, &request()).unwrap();
    host.start_afresh();
    host
}

/// The names that `status` shows.
fn shown(host: &mut FakeHost) -> Vec<(String, &'static str)> {
    let links: Vec<_> = host.world.links.clone().into_iter().collect();
    let link =
        |(borrower, broker): (u16, u16)| xenlend::Status { borrower, broker, state: 2, ..Default::default() };
    let links: Vec<_> = links.into_iter().map(link).collect();
    let recorded: Vec<_> = host.world.records.keys().copied().collect();
    let reports = status::collect(host, &recorded, &links, &mut |_| Ok(())).unwrap();
    reports.into_iter().map(|report| (report.guest, report.state)).collect()
}

#[test]
fn a_stranger_that_is_called_like_a_broker_is_never_touched() {
    let mut host = FakeHost::new();
    host.add_stranger("xenlend-g1", 50);
    let before = host.world.clone();
    let failure = up(&mut host, &request()).unwrap_err();
    assert!(matches!(failure, Failure::NameTaken { domid: 50, .. }), "{failure}");
    assert!(failure.remedy().contains("xl rename 50"), "{}", failure.remedy());
    assert_eq!(host.effects(), [""; 0]);
    let failure = down(&mut host, "g1").unwrap_err();
    assert!(matches!(failure, Failure::NotUp(_)), "{failure}");
    assert_eq!(host.world, before);
    // Also where there is something to take away: the record of an `up` that was killed before it made a broker.
    let mut host = with_link();
    host.destroy_quietly(8);
    host.add_stranger("xenlend-g1", 50);
    host.record_mut("g1").broker_domid = None;
    down(&mut host, "g1").unwrap();
    assert_eq!(host.world.lives.get(&50), Some(&Life::Alive));
    assert!(host.world.records.is_empty() && host.world.links.is_empty());
}

#[test]
fn a_broker_that_was_renamed_is_known_and_its_name_is_the_strangers() {
    for recorded in [true, false] {
        let mut host = with_link();
        host.world.brokers.remove("xenlend-g1");
        host.world.brokers.insert("other".to_owned(), 8);
        host.add_stranger("xenlend-g1", 50);
        if !recorded {
            host.world.records.clear();
        }
        assert_eq!(down(&mut host, "g1").unwrap(), DownReport { broker: Some(8), dying_broker: None });
        assert!(!host.world.lives.contains_key(&8), "recorded {recorded}");
        assert_eq!(host.world.lives.get(&50), Some(&Life::Alive));
    }
}

#[test]
fn without_a_record_only_what_dom0_has_written_makes_a_broker() {
    let mut host = with_link();
    host.world.records.clear();
    // The module's link names a domain that was never told that it serves this guest.
    host.world.nodes.retain(|path, _| !path.ends_with("/borrower/domid"));
    assert_eq!(down(&mut host, "g1").unwrap().broker, None);
    assert!(host.world.links.is_empty() && host.world.lives.contains_key(&8));
}

#[test]
fn a_renamed_guest_is_the_same_guest() {
    let mut host = with_link();
    host.world.guests[0].name = "new".to_owned();
    let failure = up(&mut host, &UpRequest { guest: "new".to_owned(), ..request() }).unwrap_err();
    assert!(matches!(failure, Failure::AlreadyUp { broker: 8, .. }), "{failure}");
    assert_eq!(shown(&mut host), [("new".to_owned(), "connected")]);
    let failure = down(&mut host, "g1").unwrap_err();
    assert_eq!(failure.exit_status(), NOTHING_SUCH);
    assert!(failure.to_string().contains("called new now") && failure.remedy().contains("new"), "{failure}");
    down(&mut host, "new").unwrap();
    assert!(host.world.records.is_empty() && host.world.links.is_empty() && host.world.brokers.is_empty());
}

#[test]
fn a_stranger_that_has_the_name_of_a_renamed_guest_has_nothing_of_it() {
    let mut host = with_link();
    host.world.guests[0].name = "new".to_owned();
    host.add(Guest { domid: 17, uuid: uuid(17), ..pvh() });
    let before = host.world.clone();
    let failure = down(&mut host, "g1").unwrap_err();
    assert!(matches!(failure, Failure::NotUp(_)), "{failure}");
    assert_eq!(host.world, before);
    // Its broker would be called as that of the other one is.
    let failure = up(&mut host, &request()).unwrap_err();
    assert!(
        matches!(failure, Failure::NameTaken { domid: 8, .. } | Failure::ServesOthers { broker: 8, .. }),
        "{failure}"
    );
    assert_eq!(host.world, before);
    let mut watch = Watch::new(&host.record("g1"), SUPERVISOR.pid);
    assert_eq!(watch.turn(&mut host, Occasion::Event, &mut |_| ()).unwrap(), Next::Wait);
    assert_eq!(host.world.lives.get(&17), Some(&Life::Alive));
}

#[test]
fn a_number_that_is_used_again_is_another_domain() {
    // Both have ended while nobody watched, and both numbers are others' now: g2's and its broker's.
    let mut host = with_link();
    let mut supervisor = Watch::new(&host.record("g1"), SUPERVISOR.pid);
    host.world.guests.clear();
    host.destroy_quietly(8);
    host.world.links.clear();
    host.world.nodes.clear();
    host.add(Guest { name: "g2".to_owned(), domid: 7, uuid: uuid(0x99), ..pvh() });
    host.next_domid = 8;
    up(&mut host, &UpRequest { guest: "g2".to_owned(), ..request() }).unwrap();
    host.record_mut("g2").broker_uuid = uuid(0xcc);
    host.world.uuids.insert(8, uuid(0xcc));
    let of_g2 = |host: &FakeHost| {
        let world = &host.world;
        (
            world.lives.clone(),
            world.links.clone(),
            world.nodes.clone(),
            world.records.get(&uuid(0x99)).cloned(),
        )
    };
    let before = of_g2(&host);
    assert_eq!(shown(&mut host), [("g1".to_owned(), "guest-gone"), ("g2".to_owned(), "connected")]);
    let mut other = host_with(&host);
    down(&mut other, "g1").unwrap();
    assert!(!other.has_record("g1"));
    assert_eq!(of_g2(&other), before);
    assert_eq!(supervisor.turn(&mut host, Occasion::Event, &mut |_| ()).unwrap(), Next::Leave);
    assert!(supervisor.guest_has_ended() && !host.has_record("g1"));
    assert_eq!(of_g2(&host), before);
}

fn host_with(host: &FakeHost) -> FakeHost {
    FakeHost { world: host.world.clone(), ..FakeHost::new() }
}

#[test]
fn a_second_guest_with_the_same_uuid_is_no_later_life_of_the_first() {
    let mut host = with_link();
    host.add(Guest { name: "copy".to_owned(), domid: 17, ..pvh() });
    let before = host.world.clone();
    let failure = up(&mut host, &UpRequest { guest: "copy".to_owned(), ..request() }).unwrap_err();
    assert!(matches!(failure, Failure::SameUuid { domid: 17, other: 7, .. }), "{failure}");
    assert!(failure.remedy().contains("uuid="));
    assert_eq!(host.world, before);
}

#[test]
fn a_guest_that_has_rebooted_is_brought_up_under_its_new_number() {
    let mut host = with_link();
    host.kill_guest();
    host.add(Guest { domid: 20, ..pvh() });
    let record = up(&mut host, &request()).unwrap();
    assert_eq!((record.guest_domid, record.broker_domid), (20, Some(9)));
    assert!(!host.world.lives.contains_key(&8), "the broker of its last domain");
    assert_eq!(host.world.records.len(), 1);
}

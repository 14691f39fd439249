// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the supervisor does at each end that a link can have.

use std::time::Duration;

use xenlend::LinkState;

use super::domain::{Life, Vcpu};
use super::fake_host::{FakeHost, SUPERVISOR};
use super::pace::Pace;
use super::record::Phase;
use super::up::up;
use super::up_tests::request;
use super::watch::{Next, Occasion, Watch};

fn watched() -> (FakeHost, Watch) {
    let mut host = FakeHost::new();
    let record = up(&mut host, &request()).unwrap();
    host.start_afresh();
    (host, Watch::new(&record, SUPERVISOR.pid))
}

fn turn(host: &mut FakeHost, watch: &mut Watch) -> (Next, String) {
    let mut log = String::new();
    let next = watch.turn(host, Occasion::Sample, &mut |line| log.push_str(&line)).unwrap();
    (next, log)
}

fn on(occasion: Occasion, host: &mut FakeHost, watch: &mut Watch) -> Next {
    watch.turn(host, occasion, &mut |_| ()).unwrap()
}

fn vcpu(waits: bool, time: &str) -> Vcpu {
    Vcpu { id: 1, waits, time: time.to_owned() }
}

#[test]
fn while_all_is_well_it_only_waits() {
    let (mut host, mut watch) = watched();
    let before = host.world.clone();
    // Once: a supervisor before this one may have ended between attaching and saying so.
    assert_eq!(turn(&mut host, &mut watch), (Next::Wait, String::new()));
    assert_eq!(host.effects(), ["detach_frontend"]);
    assert_eq!(host.world, before);
    host.start_afresh();
    assert_eq!(turn(&mut host, &mut watch), (Next::Wait, String::new()));
    assert_eq!(host.world, before);
    assert_eq!(host.effects(), [""; 0]);
}

#[test]
fn the_broker_dies_with_the_guest() {
    for life in [Life::Dying, Life::Gone] {
        let (mut host, mut watch) = watched();
        host.kill_guest();
        host.world.lives.insert(7, life);
        assert_eq!(turn(&mut host, &mut watch).0, Next::Leave);
        assert!(watch.guest_has_ended());
        let mut effects = host.effects();
        effects.dedup();
        assert_eq!(effects, ["detach", "remove_node", "destroy", "remove_node", "remove_record"]);
        assert!(host.world.nodes.is_empty(), "{:?}", host.world.nodes);
        assert!(host.world.links.is_empty() && host.world.brokers.is_empty());
    }
}

#[test]
fn a_broker_that_is_told_to_shut_down_leaves_and_the_guest_runs_on() {
    for (word, ends) in
        [("poweroff", true), ("halt", true), ("reboot", true), ("suspend", false), ("", false)]
    {
        let (mut host, mut watch) = watched();
        host.world.nodes.insert("/local/domain/8/control/shutdown".to_owned(), word.to_owned());
        let (next, log) = turn(&mut host, &mut watch);
        assert_eq!(next == Next::Leave, ends, "{word}: {log}");
        assert_eq!(host.world.links.is_empty(), ends, "{word}");
        assert_eq!(host.has_called("await_departure"), ends, "{word}");
        assert_eq!(host.world.lives.contains_key(&8), !ends, "{word}");
        assert_eq!(host.world.lives[&7], Life::Alive);
        assert!(!watch.guest_has_ended(), "nothing is to be brought up again");
    }
}

#[test]
fn a_failed_end_is_tried_again() {
    let (mut host, mut watch) = watched();
    host.kill_guest();
    turn(&mut host, &mut watch);
    let detach = host.calls.iter().position(|call| call == "detach").unwrap();
    let (mut host, mut watch) = watched();
    host.kill_guest();
    host.failing = vec![detach];
    let (next, log) = turn(&mut host, &mut watch);
    assert_eq!(next, Next::Sample);
    assert!(log.contains("cannot take the link away"), "{log}");
    assert_eq!(turn(&mut host, &mut watch).0, Next::Leave);
    assert!(host.world.links.is_empty() && host.world.records.is_empty());
}

#[test]
fn without_its_broker_the_guest_runs_on_and_the_module_keeps_its_link() {
    for life in [Life::Gone, Life::Dying, Life::Crashed] {
        let (mut host, mut watch) = watched();
        host.samples = vec![vec![vcpu(false, "1.0")]];
        host.world.lives.insert(8, life);
        let (next, log) = turn(&mut host, &mut watch);
        assert_eq!(next, Next::Sample, "{log}");
        assert!(host.world.links.contains_key(&7), "the module revokes by itself and knows the reason");
        assert_eq!(host.world.lives[&7], Life::Alive);
        let record = host.record("g1");
        assert_eq!(record.phase, Phase::BrokerGone);
        assert_eq!(record.last.unwrap().state, LinkState::Connected.raw(), "the module's last word is kept");
        assert_eq!(host.has_called("destroy"), life == Life::Crashed);
        for _ in 0..10 {
            assert_eq!(turn(&mut host, &mut watch).0, Next::Sample);
        }
        assert_eq!(host.world.lives[&7], Life::Alive);
    }
}

#[test]
fn a_guest_with_a_stuck_vcpu_is_destroyed() {
    let (mut host, mut watch) = watched();
    host.samples = vec![vec![vcpu(true, "1.0")]];
    host.world.lives.remove(&8);
    for _ in 0..6 {
        assert_eq!(turn(&mut host, &mut watch).0, Next::Sample);
        assert!(host.world.lives.contains_key(&7));
    }
    let (next, log) = turn(&mut host, &mut watch);
    assert_eq!(next, Next::Leave);
    assert!(log.contains("vCPUs [1] of guest g1"), "{log}");
    assert!(!host.world.lives.contains_key(&7) && host.world.records.is_empty());
}

#[test]
fn a_vcpu_that_only_waits_for_a_processor_is_not_stuck() {
    let (mut host, mut watch) = watched();
    host.world.lives.remove(&8);
    let mut samples = Vec::new();
    for n in 0..40 {
        // Five looks without progress, then some.
        samples.push(vec![vcpu(true, &format!("{}.0", n / 6))]);
    }
    host.samples = samples;
    for _ in 0..40 {
        assert_eq!(turn(&mut host, &mut watch).0, Next::Sample);
    }
    assert!(host.world.lives.contains_key(&7));
}

#[test]
fn different_vcpus_that_wait_in_turn_are_not_stuck() {
    let (mut host, mut watch) = watched();
    host.world.lives.remove(&8);
    let first = Vcpu { id: 0, waits: true, time: "1.0".to_owned() };
    let second = Vcpu { id: 1, waits: true, time: "1.0".to_owned() };
    let pattern = [vec![first.clone()], vec![first, second.clone()], vec![second]];
    host.samples = pattern.iter().cycle().take(30).cloned().collect();
    for _ in 0..30 {
        assert_eq!(turn(&mut host, &mut watch).0, Next::Sample);
    }
}

#[test]
fn looks_that_follow_each_other_at_once_make_nobody_stuck() {
    let (mut host, mut watch) = watched();
    host.samples = vec![vec![vcpu(true, "1.0")]];
    host.world.lives.remove(&8);
    assert_eq!(turn(&mut host, &mut watch).0, Next::Sample);
    host.start_afresh();
    for _ in 0..100 {
        assert_eq!(on(Occasion::Event, &mut host, &mut watch), Next::Sample);
        assert_eq!(on(Occasion::Wish, &mut host, &mut watch), Next::Wait);
    }
    assert!(!host.has_called("vcpus") && host.world.lives.contains_key(&7));
}

#[test]
fn a_guest_that_never_stops_writing_costs_dom0_a_bounded_amount_of_work() {
    let (mut host, mut watch) = watched();
    assert_eq!(on(Occasion::Event, &mut host, &mut watch), Next::Wait);
    host.start_afresh();
    let state = "/local/domain/7/device/xenlend/0/state".to_owned();
    let (mut pace, mut now, mut due) = (Pace::default(), Duration::ZERO, Duration::ZERO);
    // Another state each millisecond, for ten minutes.
    for written in 0..600_000_u32 {
        host.world.nodes.insert(state.clone(), (written * 5 % 7).to_string());
        now += Duration::from_millis(1);
        if now >= due {
            due = now + pace.delay(now);
            if due == now {
                assert_ne!(on(Occasion::Wish, &mut host, &mut watch), Next::Leave);
            }
        }
    }
    // At most 16 + 300 turns, each of a few questions to xenstored. xl is a process for each question.
    assert!(host.calls.len() < 316 * 8, "{}", host.calls.len());
    for call in ["life", "domains", "vcpus", "find_guest"] {
        assert!(!host.has_called(call), "{call}");
    }
}

#[test]
fn a_paused_guest_is_not_taken_for_stuck() {
    let (mut host, mut watch) = watched();
    host.samples = vec![vec![vcpu(true, "1.0")]];
    host.world.lives.remove(&8);
    host.world.lives.insert(7, Life::Paused);
    for _ in 0..10 {
        assert_eq!(turn(&mut host, &mut watch).0, Next::Sample);
    }
}

#[test]
fn a_condemned_broker_is_kept_but_a_guest_that_it_left_hanging_is_not() {
    let (mut host, mut watch) = watched();
    host.link_state = LinkState::Condemned;
    host.world.lives.insert(8, Life::Paused);
    host.samples = vec![vec![vcpu(false, "1.0")], vec![vcpu(true, "1.1")]];
    assert_eq!(turn(&mut host, &mut watch).0, Next::Sample);
    assert!(host.world.links.contains_key(&7), "the module knows the reason; it stays to be asked");
    while turn(&mut host, &mut watch).0 != Next::Leave {
        assert!(host.calls.len() < 100);
    }
    assert!(host.world.brokers.is_empty() && host.world.links.is_empty());
}

#[test]
fn a_link_that_is_not_its_own_is_left_alone() {
    let changes: [fn(&mut FakeHost); 3] = [
        |host| host.world.records.clear(),
        |host| host.record_mut("g1").guest_domid = 20,
        |host| host.record_mut("g1").supervisor = None,
    ];
    for change in changes {
        let (mut host, mut watch) = watched();
        change(&mut host);
        host.kill_guest();
        let before = host.world.clone();
        assert_eq!(turn(&mut host, &mut watch).0, Next::Leave);
        assert!(!watch.guest_has_ended(), "nothing is to be brought up again");
        assert_eq!(host.world, before);
    }
}

#[test]
fn on_a_lend_aware_xen_nobody_waits_for_a_broker_that_has_died() {
    let mut host = FakeHost { lend_aware: true, ..FakeHost::new() };
    let record = up(&mut host, &request()).unwrap();
    assert!(record.lend_aware);
    let mut watch = Watch::new(&record, SUPERVISOR.pid);
    host.world.lives.insert(8, Life::Gone);
    let (next, log) = turn(&mut host, &mut watch);
    assert_eq!(next, Next::Wait);
    assert!(log.contains("faults"), "{log}");
    // The module has dismissed the broker with the link; nobody is watched, let alone destroyed.
    assert!(host.has_called("detach") && host.world.links.is_empty());
    assert_eq!(host.record("g1").phase, Phase::BrokerGone);
    host.start_afresh();
    assert_eq!(turn(&mut host, &mut watch), (Next::Wait, String::new()));
    assert_eq!(host.effects(), [""; 0]);
}

#[test]
fn on_a_lend_aware_xen_a_condemned_broker_holds_no_vcpu() {
    let mut host = FakeHost { lend_aware: true, ..FakeHost::new() };
    let record = up(&mut host, &request()).unwrap();
    let mut watch = Watch::new(&record, SUPERVISOR.pid);
    host.link_state = LinkState::Condemned;
    host.samples = vec![vec![vcpu(true, "1.0")]];
    for _ in 0..10 {
        assert_eq!(turn(&mut host, &mut watch).0, Next::Wait);
    }
    assert_eq!(host.world.lives[&7], Life::Alive);
}

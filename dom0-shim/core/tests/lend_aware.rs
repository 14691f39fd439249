// SPDX-License-Identifier: MIT OR Apache-2.0
//! A link on a lend-aware Xen: what it agrees on, what its regions may be, and what a page is for which
//! there is nothing to lend.
#![allow(missing_docs)]

mod support;

use support::{extents, invalidate, page_in, present, request, Pair, APERTURE_PAGES, CALLER, USER};
use xenlend_protocol::frame::{AperturePage, Mfn};
use xenlend_protocol::label::ClaimedLabel;
use xenlend_protocol::message::{
    CacheMode, FromBroker, LossPolicy, PresentOutcome, Rights, ToBroker, WantedOutcome, FEATURE_LEND_AWARE,
    VERSION,
};
use xenlend_shim_core::events::LOST;
use xenlend_shim_core::kind::Kind;
use xenlend_shim_core::link::{InvalidateStart, NextWant, PageInEnd, Posted, Reason, State};
use xenlend_shim_core::mirror::{chunk_count, Mirror};
use xenlend_shim_core::regions::{Plan, RegionError};
use xenlend_shim_core::uapi::{REGION_LOSS_FAULT, REGION_READONLY, REGION_WRITE_BACK};

const LEND_AWARE: Kind = Kind::LendAware;

fn lease_with(pair: &mut Pair, flags: u32) -> (xenlend_protocol::lease_id::LeaseId, ToBroker) {
    let request = xenlend_shim_core::uapi::RegionRequest { flags, ..request(0, 0, 1024, USER) };
    let Ok(Plan::Create(new)) = pair.link.plan_region(&request, CALLER) else { panic!() };
    let mirror = Mirror::new(new.first, vec![0; 1024], vec![0; chunk_count(new.first, new.count)]);
    pair.link.insert_region(&new, mirror);
    pair.link.post_set(new.lease).unwrap();
    let asked = pair.next().unwrap();
    pair.say(FromBroker::RegionSet { lease: new.lease, result: Ok(()) });
    (new.lease, asked)
}

fn want(pair: &mut Pair, lease: xenlend_protocol::lease_id::LeaseId, page: u32) {
    want_for(pair, lease, page, true);
}

fn want_for(pair: &mut Pair, lease: xenlend_protocol::lease_id::LeaseId, page: u32, vcpu: bool) {
    pair.say(FromBroker::Want { ticket: 9, lease, first: AperturePage(page), count: 1, vcpu });
}

#[test]
fn both_sides_have_to_have_found_the_same_kind() {
    for (kind, features) in [(LEND_AWARE, 0), (Kind::Stock, FEATURE_LEND_AWARE), (LEND_AWARE, 3)] {
        let mut pair = Pair::on(kind);
        let Some(ToBroker::Hello { features: offered, .. }) = pair.next() else { panic!() };
        assert_eq!(offered, u32::from(kind == LEND_AWARE));
        let aperture_pages = APERTURE_PAGES;
        pair.say(FromBroker::Welcome { version: VERSION, features, aperture_pages, lease_capacity: 64 });
        assert_eq!(pair.link.needs_force(), Some(Reason::OtherXen), "{kind:?} {features}");
    }
    let mut pair = Pair::on(LEND_AWARE);
    pair.say(FromBroker::OtherKind { features: 0 });
    assert_eq!(pair.link.needs_force(), Some(Reason::OtherXen));
    assert_eq!(Pair::connected_on(LEND_AWARE).link.state(), State::Connected);
}

#[test]
fn what_belongs_to_stock_is_a_breach() {
    let mut pair = Pair::connected_on(LEND_AWARE);
    let lease = pair.region(0, 0, 1024, USER);
    pair.access(1, lease, 5);
    assert_eq!(pair.link.needs_force(), Some(Reason::Breach));
    let mut pair = Pair::connected_on(LEND_AWARE);
    let lease = pair.region(0, 0, 1024, USER);
    let page_in = page_in(&mut pair, lease, 5);
    pair.link.post_present(&page_in, &extents(5, 6, 1), None);
    let Some(ToBroker::Present { ticket, .. }) = pair.next() else { panic!() };
    pair.say(FromBroker::Presented { ticket, outcome: PresentOutcome::Later });
    assert_eq!(pair.link.needs_force(), Some(Reason::Breach));
}

#[test]
fn stops_of_a_vcpu_are_counted_apart_from_tasks_that_sleep() {
    for (vcpu, counts) in [(true, (1, 0)), (false, (0, 1))] {
        let mut pair = Pair::connected_on(LEND_AWARE);
        let (lease, _) = lease_with(&mut pair, 0);
        want_for(&mut pair, lease, 5, vcpu);
        let counters = pair.link.counters();
        assert_eq!((counters.stage2_faults, counters.wants), counts);
    }
    let mut pair = Pair::connected();
    let lease = pair.region(0, 0, 1024, USER);
    want_for(&mut pair, lease, 5, true);
    assert_eq!(pair.link.needs_force(), Some(Reason::Breach), "there a vCPU has its access done");
}

#[test]
fn regions_may_be_read_only_and_write_back() {
    let flags = REGION_READONLY | REGION_WRITE_BACK;
    let mut pair = Pair::connected_on(LEND_AWARE);
    let (lease, asked) = lease_with(&mut pair, flags);
    let expected = ToBroker::SetRegion {
        lease,
        first: AperturePage(0),
        count: 1024,
        rights: Rights::ReadOnly,
        loss: LossPolicy::Zeros,
        cache: CacheMode::WriteBack,
        label: ClaimedLabel::default(),
    };
    assert_eq!(asked, expected);
    assert!(pair.link.region(lease).unwrap().is_read_only());
    let stock = Pair::connected();
    for flags in [REGION_READONLY, REGION_WRITE_BACK] {
        let request = xenlend_shim_core::uapi::RegionRequest { flags, ..request(0, 0, 1024, USER) };
        assert_eq!(stock.link.plan_region(&request, CALLER), Err(RegionError::Unsupported));
    }
}

#[test]
fn a_hole_fails_by_the_loss_policy_fault() {
    let mut pair = Pair::connected_on(LEND_AWARE);
    let (lease, _) = lease_with(&mut pair, REGION_LOSS_FAULT);
    assert!(!pair.link.presents_zeros(lease));
    want(&mut pair, lease, 5);
    let page = AperturePage(5);
    assert_eq!(pair.link.next_want(), Some(NextWant::PageIn { ticket: 9, lease, page }));
    pair.link.on_want_served(9, page, PageInEnd::Refused);
    let outcome = WantedOutcome::Failed;
    assert_eq!(pair.link.next_want(), Some(NextWant::Answer { ticket: 9, outcome }));
}

#[test]
fn a_hole_on_stock_is_decided_by_an_access() {
    let mut pair = Pair::connected();
    let lease = pair.region(0, 0, 1024, USER);
    assert!(!pair.link.presents_zeros(lease));
    want_for(&mut pair, lease, 5, false);
    pair.link.on_want_served(9, AperturePage(5), PageInEnd::Refused);
    let outcome = WantedOutcome::Unavailable;
    assert_eq!(pair.link.next_want(), Some(NextWant::Answer { ticket: 9, outcome }));
}

#[test]
fn pages_of_zeros_are_told_apart_until_they_are_gone() {
    let mut pair = Pair::connected_on(LEND_AWARE);
    let (lease, _) = lease_with(&mut pair, 0);
    assert!(pair.link.presents_zeros(lease));
    present(&mut pair, lease, 4, 50, 1);
    for (page, mfn) in [(5, 51), (6, 52)] {
        let page_in = page_in(&mut pair, lease, page);
        let zeros = page_in.with_zeros();
        assert_eq!((zeros.first, zeros.count, zeros.zeros), (AperturePage(page), 1, true));
        assert_eq!(
            pair.link.post_present(&zeros, &extents(page, mfn, 1), None),
            Posted::Yes { completed: false }
        );
        let Some(ToBroker::Present { ticket, .. }) = pair.next() else { panic!() };
        let outcome = PresentOutcome::Added { entries_2mib: 0, entries_4kib: 1 };
        pair.say(FromBroker::Presented { ticket, outcome });
        pair.link.end_present();
        pair.link.end_page_in(&page_in);
    }
    assert!(matches!(invalidate(&mut pair, lease, 0, 512), InvalidateStart::Posted(_)));
    let mut taken = Vec::new();
    for run in pair.link.take_present(lease, AperturePage(0), 512, true) {
        taken.push((run.page.0, run.mfn, run.count, run.zeros));
    }
    assert_eq!(pair.link.take_present(lease, AperturePage(0), 512, true), []);
    assert_eq!(taken, [(4, Mfn(50), 1, false), (5, Mfn(51), 1, true), (6, Mfn(52), 1, true)]);
}

#[test]
fn a_lost_region_with_zeros_goes_on_without_the_broker_being_told() {
    let mut pair = Pair::connected_on(LEND_AWARE);
    let (lease, _) = lease_with(&mut pair, 0);
    let start = pair.link.events().end();
    pair.link.declare_lost(lease).unwrap();
    pair.link.declare_lost(lease).unwrap();
    assert_eq!(pair.next(), None);
    let (event, behind) = pair.link.events().next(start).unwrap();
    assert_eq!(event.kind, LOST);
    assert!(pair.link.events().next(behind).is_none(), "told once");
    assert_eq!(pair.link.status().counters.lost_pages, 1024);
    assert!(pair.link.begin_page_in(lease, AperturePage(5)).is_ok(), "zeros can be presented");
}

#[test]
fn a_lost_region_with_faults_is_the_brokers() {
    let mut pair = Pair::connected_on(LEND_AWARE);
    let (lease, _) = lease_with(&mut pair, REGION_LOSS_FAULT);
    pair.link.declare_lost(lease).unwrap();
    assert_eq!(pair.next(), Some(ToBroker::Lost { lease, first: AperturePage(0), count: 1024 }));
    assert!(pair.link.begin_page_in(lease, AperturePage(5)).is_err());
}

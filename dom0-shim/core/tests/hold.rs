// SPDX-License-Identifier: MIT OR Apache-2.0
//! A link that is held lends nothing and forgets nobody.
#![allow(missing_docs)]

mod support;

use support::{extents, invalidate, page_in, present, Pair, USER};
use xenlend_protocol::frame::AperturePage;
use xenlend_protocol::message::{FromBroker, ToBroker};
use xenlend_shim_core::kind::Kind;
use xenlend_shim_core::link::{InvalidateStart, NextWant, PageInRefusal, Posted};
use xenlend_shim_core::request_queue::Work;

#[test]
fn an_access_waits_until_the_link_is_released() {
    let mut pair = Pair::connected();
    let lease = pair.region(0, 0, 16, USER);
    pair.link.hold();
    pair.access(1, lease, 3);
    assert_eq!(pair.link.next_request(), None);
    pair.link.take_effects();
    pair.link.release();
    assert!(pair.link.take_effects().wake, "the worker sleeps");
    let request = pair.link.next_request().unwrap();
    assert!(matches!(request.work, Work::Access { id: 1, .. }));
}

#[test]
fn a_want_waits_until_the_link_is_released() {
    for kind in [Kind::Stock, Kind::LendAware] {
        let mut pair = Pair::connected_on(kind);
        let lease = pair.region(0, 0, 16, USER);
        pair.link.hold();
        pair.say(FromBroker::Want { ticket: 5, lease, first: AperturePage(2), count: 1, vcpu: false });
        assert_eq!(pair.link.next_want(), None);
        pair.link.release();
        let next = pair.link.next_want();
        assert_eq!(next, Some(NextWant::PageIn { ticket: 5, lease, page: AperturePage(2) }));
    }
}

#[test]
fn no_page_in_begins_or_goes_on_while_the_link_is_held() {
    let mut pair = Pair::connected();
    let lease = pair.region(0, 0, 16, USER);
    let begun = page_in(&mut pair, lease, 3);
    pair.link.hold();
    assert_eq!(pair.link.begin_page_in(lease, AperturePage(4)), Err(PageInRefusal::NotLending));
    assert!(!pair.link.restart_page_in(&begun));
    assert_eq!(pair.link.post_present(&begun, &extents(3, 77, 1), None), Posted::Over);
    assert_eq!(pair.next(), None);
    pair.link.end_page_in(&begun);
    pair.link.release();
    present(&mut pair, lease, 3, 77, 1);
}

#[test]
fn revocation_and_region_calls_go_on_while_the_link_is_held() {
    let mut pair = Pair::connected();
    let lease = pair.region(0, 0, 16, USER);
    present(&mut pair, lease, 3, 77, 1);
    pair.link.hold();
    assert!(matches!(invalidate(&mut pair, lease, 0, 16), InvalidateStart::Posted(_)));
    assert!(matches!(pair.next(), Some(ToBroker::Invalidate { .. })));
    pair.region(1, 64, 16, USER + 0x10_0000);
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a process calls its regions: checked, said to the broker, listed, and never changed.
#![allow(missing_docs)]

mod support;

use support::{request, Pair, CALLER, USER};
use xenlend_protocol::label::ClaimedLabel;
use xenlend_protocol::message::{FromBroker, ToBroker};
use xenlend_shim_core::mirror::Mirror;
use xenlend_shim_core::regions::{Plan, RegionError};
use xenlend_shim_core::uapi::{RegionInfo, RegionRequest};

fn labelled(slot: u32, first: u32, text: &[u8]) -> RegionRequest {
    RegionRequest { label: ClaimedLabel::new(text).unwrap(), ..request(slot, first, 4, USER) }
}

/// Makes the region, and gives the label that the broker was told.
fn make(pair: &mut Pair, request: &RegionRequest) -> ClaimedLabel {
    let Ok(Plan::Create(new)) = pair.link.plan_region(request, CALLER) else { panic!("{request:?}") };
    pair.link.insert_region(&new, Mirror::new(new.first, vec![0; 4], vec![0; 2]));
    pair.link.post_set(new.lease).unwrap();
    let Some(ToBroker::SetRegion { lease, label, .. }) = pair.next() else { panic!() };
    pair.say(FromBroker::RegionSet { lease, result: Ok(()) });
    label
}

#[test]
fn the_broker_is_told_the_label_of_each_region() {
    let mut pair = Pair::connected();
    for (slot, text) in [(4, &b"fb 0"[..]), (2, b""), (9, b"0123456789012345678901234567890")] {
        assert_eq!(make(&mut pair, &labelled(slot, slot * 8, text)).as_bytes(), text);
    }
}

#[test]
fn regions_are_listed_by_slot_with_their_labels() {
    let mut pair = Pair::connected();
    assert_eq!(pair.link.region_info(0), None);
    make(&mut pair, &labelled(4, 32, b"fb 0"));
    make(&mut pair, &labelled(2, 16, b""));
    let second = RegionInfo {
        slot: 4,
        flags: 0,
        guest_phys_addr: labelled(4, 32, b"").guest_phys_addr,
        memory_size: 4 * 4096,
        label: ClaimedLabel::new(b"fb 0").unwrap().check().unwrap(),
    };
    assert_eq!(pair.link.region_info(0).map(|info| info.slot), Some(2));
    for from in [3, 4] {
        assert_eq!(pair.link.region_info(from), Some(second));
    }
    for from in [5, 63, 64, u32::MAX] {
        assert_eq!(pair.link.region_info(from), None, "{from}");
    }
}

#[test]
fn a_label_that_cannot_be_shown_is_refused() {
    let pair = Pair::connected();
    for bad in [&b"\x1b[2J"[..], b"two\nlines", b"\xff"] {
        assert_eq!(pair.link.plan_region(&labelled(0, 0, bad), CALLER), Err(RegionError::BadLabel));
    }
}

#[test]
fn the_same_call_again_is_fine_and_another_label_is_not() {
    let mut pair = Pair::connected();
    make(&mut pair, &labelled(0, 0, b"one"));
    assert_eq!(pair.link.plan_region(&labelled(0, 0, b"one"), CALLER), Ok(Plan::Nothing));
    assert_eq!(pair.link.plan_region(&labelled(0, 0, b"two"), CALLER), Err(RegionError::Invalid));
    assert_eq!(pair.link.plan_region(&request(0, 0, 4, USER), CALLER), Err(RegionError::Invalid));
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the lender calls a lease: the borrower is told that lease's label, and none that could not be shown.

mod support;

use support::bench::{lease, set_region, Bench};
use xenlend_protocol::frontend::ToBorrower;
use xenlend_protocol::label::ClaimedLabel;
use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::message::{FromBroker, ToBroker};
use xenlend_protocol::refusal::Refusal;

fn labelled(id: LeaseId, first: u32, text: &[u8]) -> ToBroker {
    let mut message = set_region(id, first, 4);
    if let ToBroker::SetRegion { label, .. } = &mut message {
        *label = ClaimedLabel::new(text).unwrap();
    }
    message
}

/// The leases among what the borrower was told, with their labels.
fn told(messages: &[ToBorrower]) -> Vec<(LeaseId, String)> {
    let lease = |message: &ToBorrower| match message {
        ToBorrower::Lease { lease, label, .. } => {
            Some((*lease, String::from_utf8(label.as_bytes().to_vec()).unwrap()))
        }
        _ => None,
    };
    messages.iter().filter_map(lease).collect()
}

#[test]
fn each_lease_is_announced_with_its_own_label() {
    let mut bench = Bench::new(64, 1);
    for (index, text) in [(3, "scanout 0"), (1, ""), (7, "cursor")] {
        bench.ask(labelled(lease(index, 1), u32::from(index) * 8, text.as_bytes()));
    }
    let (first, second, third) = (lease(1, 1), lease(3, 1), lease(7, 1));
    let expected = [(first, String::new()), (second, "scanout 0".into()), (third, "cursor".into())];
    assert_eq!(told(&bench.attach()), expected);
    bench.ask(labelled(lease(2, 1), 48, b"a later one"));
    assert_eq!(told(&bench.told()), [(lease(2, 1), "a later one".into())]);
}

#[test]
fn a_label_ends_with_its_lease() {
    let mut bench = Bench::new(64, 1);
    bench.ask(labelled(lease(3, 1), 0, b"mine"));
    bench.ask(ToBroker::DropRegion { lease: lease(3, 1) });
    bench.ask(set_region(lease(3, 2), 0, 4));
    assert_eq!(told(&bench.attach()), [(lease(3, 2), String::new())]);
}

#[test]
fn a_label_that_cannot_be_shown_is_refused_and_nothing_is_lent() {
    let mut bench = Bench::new(64, 1);
    for bad in [&b"\x1b[2J"[..], b"two\nlines", b"\0", b"\xff\xfe", "gr\u{fc}n".as_bytes(), b"\x7f"] {
        let answer = bench.ask(labelled(lease(0, 1), 0, bad));
        let refused = FromBroker::RegionSet { lease: lease(0, 1), result: Err(Refusal::BadLabel) };
        assert_eq!(answer, [refused], "{bad:?}");
        assert_eq!(bench.broker.leases().living().count(), 0);
    }
    // Refused like any other: the id is as good as new.
    let answer = bench.ask(labelled(lease(0, 1), 0, b"good"));
    assert_eq!(answer, [FromBroker::RegionSet { lease: lease(0, 1), result: Ok(()) }]);
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The wire format, byte for byte, of the borrower's link and of what the lender and the broker say about
//! it. Worked out by hand as in `wire_golden.rs`, by the same rules.

mod wire_support;

use wire_support::{golden, LEASE};
use xenlend_protocol::frame::AperturePage;
use xenlend_protocol::frontend::{FromBorrower, ToBorrower};
use xenlend_protocol::label::ClaimedLabel;
use xenlend_protocol::message::{CacheMode, FromBroker, LossPolicy, Rights, ToBroker, WantedOutcome};
use xenlend_protocol::refusal::{AttachFailure, Blame, Breach, BreachKind};

#[test]
fn attaching() {
    // 8; attachment 300; an array is its elements only: 128, 8, 2^32-1; port 5
    golden(
        &ToBroker::AttachBorrower { attachment: 300, ring_refs: [128, 8, u32::MAX], event_channel: 5 },
        &[0x08, 0xac, 0x02, 0x80, 0x01, 0x08, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x05],
    );
    // 9; 300
    golden(&ToBroker::DetachBorrower { attachment: 300 }, &[0x09, 0xac, 0x02]);
    // 9; 128
    golden(&FromBroker::BorrowerDetached { attachment: 128 }, &[0x09, 0x80, 0x01]);
    // 8; 300; Ok 0
    golden(&FromBroker::BorrowerAttached { attachment: 300, result: Ok(()) }, &[0x08, 0xac, 0x02, 0x00]);
    // 8; 300; Err 1; the failure
    let failures: [(AttachFailure, &[u8]); 3] = [
        (AttachFailure::Grant { errno: 300 }, &[0x00, 0xac, 0x02]),
        (AttachFailure::EventChannel { errno: 128 }, &[0x01, 0x80, 0x01]),
        (AttachFailure::InUse, &[0x02]),
    ];
    for (failure, tail) in failures {
        let mut bytes = vec![0x08, 0xac, 0x02, 0x01];
        bytes.extend_from_slice(tail);
        golden(&FromBroker::BorrowerAttached { attachment: 300, result: Err(failure) }, &bytes);
    }
}

#[test]
fn wanting() {
    // 10; ticket 7; lease 3, 300; 512; 128; a task's or a vCPU's
    for (vcpu, last) in [(false, 0x00), (true, 0x01)] {
        golden(
            &FromBroker::Want { ticket: 7, lease: LEASE, first: AperturePage(512), count: 128, vcpu },
            &[0x0a, 0x07, 0x03, 0xac, 0x02, 0x80, 0x04, 0x80, 0x01, last],
        );
    }
    // 10; ticket 300; the outcome's place
    let outcomes = [
        WantedOutcome::Present,
        WantedOutcome::Lost,
        WantedOutcome::Unavailable,
        WantedOutcome::Waits,
        WantedOutcome::Failed,
    ];
    for (outcome, place) in outcomes.into_iter().zip(0x00..) {
        golden(&ToBroker::Wanted { ticket: 300, outcome }, &[0x0a, 0xac, 0x02, place]);
    }
    // 11; attachment 300
    golden(&FromBroker::BorrowerClosed { attachment: 300 }, &[0x0b, 0xac, 0x02]);
    // 11; lease 3, 300
    golden(
        &ToBroker::AskAgain { lease: LEASE, first: AperturePage(512), count: 128 },
        &[0x0b, 0x03, 0xac, 0x02, 0x80, 0x04, 0x80, 0x01],
    );
}

#[test]
fn from_the_borrower() {
    // 0; 1; 1; 0; gfn 0xfd3e8; 512
    golden(
        &FromBorrower::Hello {
            oldest: 1,
            newest: 1,
            features: 0,
            aperture_gfn: 0xfd3e8,
            aperture_pages: 512,
        },
        &[0x00, 0x01, 0x01, 0x00, 0xe8, 0xa7, 0x3f, 0x80, 0x04],
    );
    // 1; lease 3, 300; page 128; 512
    golden(
        &FromBorrower::WaitFor { lease: LEASE, page: AperturePage(128), count: 512 },
        &[0x01, 0x03, 0xac, 0x02, 0x80, 0x01, 0x80, 0x04],
    );
    // 2; 2^64-1
    golden(
        &FromBorrower::ZapDone { sequence: u64::MAX },
        &[0x02, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
    );
}

#[test]
fn to_the_borrower() {
    // 0; version 1; features 300
    golden(&ToBorrower::Welcome { version: 1, features: 300 }, &[0x00, 0x01, 0xac, 0x02]);
    // 1; 1; 2
    golden(&ToBorrower::Incompatible { oldest: 1, newest: 2 }, &[0x01, 0x01, 0x02]);
    // 2; lease 3, 300; 0; 512; ReadWrite 1; Fault 1; WriteCombining 0; 3 bytes
    golden(
        &ToBorrower::Lease {
            lease: LEASE,
            first: AperturePage(0),
            count: 512,
            rights: Rights::ReadWrite,
            loss: LossPolicy::Fault,
            cache: CacheMode::WriteCombining,
            label: ClaimedLabel::new(b"a~b").unwrap(),
        },
        &[0x02, 0x03, 0xac, 0x02, 0x00, 0x80, 0x04, 0x01, 0x01, 0x00, 0x03, b'a', b'~', b'b'],
    );
    // 3; sequence 128; lease 3, 300; 127; 1; true 1
    golden(
        &ToBorrower::Revoked { sequence: 128, lease: LEASE, first: AperturePage(127), count: 1, ended: true },
        &[0x03, 0x80, 0x01, 0x03, 0xac, 0x02, 0x7f, 0x01, 0x01],
    );
    // 4; lease 3, 300; 512; 128
    golden(
        &ToBorrower::Present { lease: LEASE, first: AperturePage(512), count: 128 },
        &[0x04, 0x03, 0xac, 0x02, 0x80, 0x04, 0x80, 0x01],
    );
    // 5; lease 3, 300; 1; 2
    golden(
        &ToBorrower::Lost { lease: LEASE, first: AperturePage(1), count: 2 },
        &[0x05, 0x03, 0xac, 0x02, 0x01, 0x02],
    );
    // 6; Borrower 1; Undecodable 2
    golden(
        &ToBorrower::Closed { breach: Breach { blame: Blame::Borrower, kind: BreachKind::Undecodable } },
        &[0x06, 0x01, 0x02],
    );
    // 7; lease 3, 300; 127; 512
    golden(
        &ToBorrower::Unavailable { lease: LEASE, first: AperturePage(127), count: 512 },
        &[0x07, 0x03, 0xac, 0x02, 0x7f, 0x80, 0x04],
    );
}

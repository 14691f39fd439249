// SPDX-License-Identifier: MIT OR Apache-2.0
//! Limits of the wire: the largest messages fit, and values that cannot be are refused.

use proptest::prelude::*;
use serde::Serialize;
use xenlend_protocol::codec::{decode, encode, TooLong, Undecodable};
use xenlend_protocol::extent::ClaimedExtent;
use xenlend_protocol::frame::{AperturePage, Mfn};
use xenlend_protocol::frontend::{FromBorrower, ToBorrower};
use xenlend_protocol::label::{ClaimedLabel, MAX_LABEL_BYTES};
use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::message::{
    AccessOperation, AccessOutcome, CacheMode, FromBroker, LossPolicy, PresentOutcome, Rights, ToBroker,
    WantedOutcome, MAX_ACCESS_BYTES, MAX_EXTENTS, MAX_MESSAGE_BYTES,
};
use xenlend_protocol::refusal::{
    AddFailure, AttachFailure, Blame, Breach, BreachKind, Refusal, RemoveFailure,
};
use xenlend_protocol::ring::layout::{MAX_FORCED_BYTES, MAX_INVALIDATE_BYTES};

const LEASE: LeaseId = LeaseId { index: u16::MAX, generation: u32::MAX };
const PAGE: AperturePage = AperturePage(u32::MAX);
const COUNT: u32 = u32::MAX;
const BREACH: Breach = Breach { blame: Blame::Broker, kind: BreachKind::TooManyOutstanding };

fn size<T: Serialize>(message: &T) -> usize {
    let mut buffer = [0; MAX_MESSAGE_BYTES];
    encode(message, &mut buffer).expect("the largest message must fit")
}

/// A label of the largest size.
fn label() -> ClaimedLabel {
    ClaimedLabel::new(&[0xff; MAX_LABEL_BYTES]).unwrap()
}

/// 256 bytes that no encoding makes shorter.
fn bytes() -> heapless::Vec<u8, MAX_ACCESS_BYTES> {
    [0xff; MAX_ACCESS_BYTES].into_iter().collect()
}

#[test]
fn the_largest_messages_to_the_broker_fit() {
    let extent = ClaimedExtent { page: PAGE, mfn: Mfn(u64::MAX), count: COUNT };
    let extents: heapless::Vec<_, MAX_EXTENTS> = [extent; MAX_EXTENTS].into_iter().collect();
    // Variant 1, u16 3, u32 5, u64 10, lease 8, length of 16 extents 1, of 256 bytes 2.
    let sizes = [
        (ToBroker::Hello { oldest: u16::MAX, newest: u16::MAX, features: u32::MAX }, 1 + 3 + 3 + 5),
        (
            ToBroker::SetRegion {
                lease: LEASE,
                first: PAGE,
                count: COUNT,
                rights: Rights::ReadWrite,
                loss: LossPolicy::Fault,
                cache: CacheMode::WriteBack,
                label: label(),
            },
            1 + 8 + 5 + 5 + 3 + 1 + 31,
        ),
        (ToBroker::DropRegion { lease: LEASE }, 1 + 8),
        (
            ToBroker::Present { ticket: u32::MAX, lease: LEASE, sequence: u64::MAX, extents },
            1 + 5 + 8 + 10 + 1 + 16 * (5 + 10 + 5),
        ),
        (
            ToBroker::Invalidate { sequence: u64::MAX, lease: LEASE, first: PAGE, count: COUNT },
            MAX_INVALIDATE_BYTES as usize,
        ),
        (ToBroker::Forced { sequence: u64::MAX }, MAX_FORCED_BYTES as usize),
        (
            ToBroker::Completed { id: u32::MAX, outcome: AccessOutcome::Read { bytes: bytes() } },
            1 + 5 + 1 + 2 + 256,
        ),
        (ToBroker::Lost { lease: LEASE, first: PAGE, count: COUNT }, 1 + 8 + 5 + 5),
        (
            ToBroker::AttachBorrower {
                attachment: u32::MAX,
                ring_refs: [u32::MAX; 3],
                event_channel: u32::MAX,
            },
            1 + 5 + 3 * 5 + 5,
        ),
        (ToBroker::DetachBorrower { attachment: u32::MAX }, 1 + 5),
        (ToBroker::Wanted { ticket: u32::MAX, outcome: WantedOutcome::Unavailable }, 1 + 5 + 1),
        (ToBroker::AskAgain { lease: LEASE, first: PAGE, count: COUNT }, 1 + 8 + 5 + 5),
    ];
    for (message, expected) in sizes {
        assert_eq!(size(&message), expected, "{message:?}");
    }
}

#[test]
fn the_largest_messages_from_the_broker_fit() {
    let failure = RemoveFailure { page: PAGE, errno: u16::MAX };
    let refusal = Refusal::OutsideAperture { aperture_pages: u32::MAX };
    let sizes = [
        (
            FromBroker::Welcome {
                version: u16::MAX,
                features: u32::MAX,
                aperture_pages: u32::MAX,
                lease_capacity: u16::MAX,
            },
            1 + 3 + 5 + 5 + 3,
        ),
        (FromBroker::Incompatible { oldest: u16::MAX, newest: u16::MAX }, 1 + 3 + 3),
        (FromBroker::OtherKind { features: u32::MAX }, 1 + 5),
        (FromBroker::RegionSet { lease: LEASE, result: Err(refusal) }, 1 + 8 + 1 + 1 + 5),
        (FromBroker::RegionDropped { lease: LEASE, result: Err(failure) }, 1 + 8 + 1 + 5 + 3),
        (
            FromBroker::Presented {
                ticket: u32::MAX,
                outcome: PresentOutcome::Added { entries_2mib: u16::MAX, entries_4kib: u32::MAX },
            },
            1 + 5 + 1 + 3 + 5,
        ),
        (
            FromBroker::Presented {
                ticket: u32::MAX,
                outcome: PresentOutcome::Failed(AddFailure { page: PAGE, errno: u16::MAX }),
            },
            1 + 5 + 1 + 5 + 3,
        ),
        (
            FromBroker::Presented { ticket: u32::MAX, outcome: PresentOutcome::Refused(refusal) },
            1 + 5 + 1 + 1 + 5,
        ),
        (FromBroker::Invalidated { sequence: u64::MAX, result: Err(failure) }, 1 + 10 + 1 + 5 + 3),
        (
            FromBroker::Access {
                id: u32::MAX,
                lease: LEASE,
                page: PAGE,
                offset: u16::MAX,
                operation: AccessOperation::Write { bytes: bytes() },
                wants_page: true,
            },
            1 + 5 + 8 + 5 + 3 + 1 + 2 + 256 + 1,
        ),
        (FromBroker::Closed { breach: BREACH }, 1 + 1 + 1),
        (
            FromBroker::BorrowerAttached {
                attachment: u32::MAX,
                result: Err(AttachFailure::EventChannel { errno: u16::MAX }),
            },
            1 + 5 + 1 + 1 + 3,
        ),
        (FromBroker::BorrowerDetached { attachment: u32::MAX }, 1 + 5),
        (
            FromBroker::Want { ticket: u32::MAX, lease: LEASE, first: PAGE, count: COUNT, vcpu: true },
            1 + 5 + 8 + 5 + 5 + 1,
        ),
    ];
    for (message, expected) in sizes {
        assert_eq!(size(&message), expected, "{message:?}");
        if matches!(message, FromBroker::Invalidated { .. }) {
            assert!(expected <= MAX_INVALIDATE_BYTES as usize, "the reserve is counted in Invalidates");
        }
    }
}

#[test]
fn the_largest_messages_of_the_borrower_fit() {
    let hello = FromBorrower::Hello {
        oldest: u16::MAX,
        newest: u16::MAX,
        features: u32::MAX,
        aperture_gfn: u64::MAX,
        aperture_pages: u32::MAX,
    };
    assert_eq!(size(&hello), 1 + 3 + 3 + 5 + 10 + 5);
    assert_eq!(size(&FromBorrower::WaitFor { lease: LEASE, page: PAGE, count: COUNT }), 1 + 8 + 5 + 5);
    assert_eq!(size(&FromBorrower::ZapDone { sequence: u64::MAX }), 1 + 10);
    let lease = ToBorrower::Lease {
        lease: LEASE,
        first: PAGE,
        count: COUNT,
        rights: Rights::ReadWrite,
        loss: LossPolicy::Fault,
        cache: CacheMode::WriteBack,
        label: label(),
    };
    assert_eq!(size(&lease), 1 + 8 + 5 + 5 + 3 + 1 + 31);
    let revoked =
        ToBorrower::Revoked { sequence: u64::MAX, lease: LEASE, first: PAGE, count: COUNT, ended: true };
    assert_eq!(size(&revoked), 1 + 10 + 8 + 5 + 5 + 1);
    assert_eq!(size(&ToBorrower::Present { lease: LEASE, first: PAGE, count: COUNT }), 1 + 8 + 5 + 5);
    assert_eq!(size(&ToBorrower::Unavailable { lease: LEASE, first: PAGE, count: COUNT }), 1 + 8 + 5 + 5);
    assert_eq!(size(&ToBorrower::Lost { lease: LEASE, first: PAGE, count: COUNT }), 1 + 8 + 5 + 5);
    assert_eq!(size(&ToBorrower::Welcome { version: u16::MAX, features: u32::MAX }), 1 + 3 + 5);
    assert_eq!(size(&ToBorrower::Incompatible { oldest: u16::MAX, newest: u16::MAX }), 1 + 3 + 3);
    assert_eq!(size(&ToBorrower::Closed { breach: BREACH }), 1 + 1 + 1);
}

#[test]
fn a_message_longer_than_the_limit_is_not_encoded() {
    let mut buffer = [0; 2 * MAX_MESSAGE_BYTES];
    assert_eq!(encode(&[[0u8; 32]; 12], &mut buffer), Ok(MAX_MESSAGE_BYTES));
    assert_eq!(encode(&([[0u8; 32]; 12], 0u8), &mut buffer), Err(TooLong));
    assert_eq!(encode(&ToBroker::Forced { sequence: 1 }, &mut buffer[..1]), Err(TooLong));
}

#[test]
fn more_elements_than_a_message_can_carry_are_refused() {
    // Present with 17 extents, each {0, 0, 1}; with 16 it is fine.
    for (count, fine) in [(16, true), (17, false), (127, false)] {
        let mut message = vec![0x03, 0, 0, 0, 0, count];
        message.extend([0, 0, 1].repeat(count as usize));
        assert_eq!(decode::<ToBroker>(&message).is_ok(), fine, "{count}");
    }
    // Completed, Read of 256 = 80 02 and of 257 = 81 02 bytes.
    for (low, length, fine) in [(0x80, 256, true), (0x81, 257, false)] {
        let mut message = vec![0x06, 0, 0, low, 0x02];
        message.resize(message.len() + length, 0);
        assert_eq!(decode::<ToBroker>(&message).is_ok(), fine, "{length}");
    }
}

#[test]
fn values_beyond_their_type_are_refused() {
    // Hello { oldest: 65535 = ff ff 03, .. } and one bit more.
    assert!(decode::<ToBroker>(&[0, 0xff, 0xff, 0x03, 0, 0]).is_ok());
    assert_eq!(decode::<ToBroker>(&[0, 0xff, 0xff, 0x07, 0, 0]), Err(Undecodable));
    // Forced { sequence: 2^64-1 } and one bit more, and a varint without end.
    let mut forced = vec![5];
    forced.extend([0xff; 9]);
    assert!(decode::<ToBroker>(&[&forced[..], &[0x01]].concat()).is_ok());
    assert_eq!(decode::<ToBroker>(&[&forced[..], &[0x03]].concat()), Err(Undecodable));
    assert_eq!(decode::<ToBroker>(&[&forced[..], &[0xff, 0x01]].concat()), Err(Undecodable));
    // Unknown variants of inner enums: rights 2, loss 2, cache 2 of SetRegion; outcome 3.
    assert!(decode::<ToBroker>(&[1, 0, 0, 0, 1, 1, 1, 1, 0]).is_ok());
    for place in 5..8 {
        let mut message = [1, 0, 0, 0, 1, 1, 1, 1, 0];
        message[place] = 2;
        assert_eq!(decode::<ToBroker>(&message), Err(Undecodable), "{place}");
    }
    assert_eq!(decode::<ToBroker>(&[6, 0, 3]), Err(Undecodable));
    // A label of more bytes than one can have.
    let labelled = |length: u8| [&[1, 0, 0, 0, 1, 1, 1, 1, length][..], &vec![b'x'; length.into()]].concat();
    assert!(decode::<ToBroker>(&labelled(31)).is_ok());
    assert_eq!(decode::<ToBroker>(&labelled(32)), Err(Undecodable));
    // A bool that is neither: Access { .., Read { 1 }, wants_page: 2 }.
    assert!(decode::<FromBroker>(&[6, 0, 0, 0, 0, 0, 0, 1, 1]).is_ok());
    assert_eq!(decode::<FromBroker>(&[6, 0, 0, 0, 0, 0, 0, 1, 2]), Err(Undecodable));
}

proptest! {
    /// Whatever the bytes, decoding ends; what it gives fits the wire again.
    #[test]
    fn any_bytes_decode_or_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..MAX_MESSAGE_BYTES)) {
        let mut bytes = bytes;
        if let Some(first) = bytes.first_mut() {
            *first %= 12;
        }
        if let Ok(message) = decode::<ToBroker>(&bytes) {
            prop_assert!(size(&message) <= bytes.len(), "an encoder writes the shortest form");
        }
        if let Ok(message) = decode::<FromBroker>(&bytes) {
            prop_assert!(size(&message) <= bytes.len());
        }
        let _ = decode::<FromBorrower>(&bytes);
        let _ = decode::<ToBorrower>(&bytes);
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The wire format, byte for byte: a changed encoding must fail here.
//!
//! The vectors were worked out by hand from postcard's rules and never copied from
//! output: an enum is the varint of its variant's place and then its fields in order;
//! u16, u32 and u64 are varints, seven bits a byte, lowest first, the top bit set on all
//! but the last; bool is 0 or 1; a sequence is the varint of its length and then its
//! elements; u8 is itself; Result is 0 and the value or 1 and the error; structs add nothing.
//!
//! Varints used below: 127 = 7f, 128 = 80 01, 300 = ac 02 (300 = 2*128 + 44), 384 = 80 03,
//! 512 = 80 04, 4095 = ff 1f, 65535 = ff ff 03, 2^32-1 = ff ff ff ff 0f,
//! 2^64-1 = ff nine times and 01, 0x12345678 = f8 ac d1 91 01 (its sevens from below:
//! 78 2c 51 11 01), mfn 0xfd3e8 = e8 a7 3f (68 27 3f), mfn 0x12f400 = 80 e8 4b (00 68 4b).

mod wire_support;

use wire_support::{golden, LEASE};
use xenlend_protocol::codec::{decode, Undecodable};
use xenlend_protocol::extent::ClaimedExtent;
use xenlend_protocol::frame::{AperturePage, Mfn};
use xenlend_protocol::frontend::{FromBorrower, ToBorrower};
use xenlend_protocol::label::ClaimedLabel;
use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::message::{
    AccessOperation, AccessOutcome, CacheMode, FromBroker, LossPolicy, PresentOutcome, Rights, ToBroker,
    WantedOutcome, FEATURE_LEND_AWARE,
};
use xenlend_protocol::refusal::{
    AddFailure, AttachFailure, Blame, Breach, BreachKind, Refusal, RemoveFailure,
};

#[test]
fn lender_hello() {
    // 0; 1; 2; 300
    golden(&ToBroker::Hello { oldest: 1, newest: 2, features: 300 }, &[0x00, 0x01, 0x02, 0xac, 0x02]);
}

#[test]
fn set_region() {
    // 1; lease 3, 300; 128; 512; ReadWrite 1; Fault 1; WriteBack 1; 4 bytes
    golden(
        &ToBroker::SetRegion {
            lease: LEASE,
            first: AperturePage(128),
            count: 512,
            rights: Rights::ReadWrite,
            loss: LossPolicy::Fault,
            cache: CacheMode::WriteBack,
            label: ClaimedLabel::new(b"fb 0").unwrap(),
        },
        &[0x01, 0x03, 0xac, 0x02, 0x80, 0x01, 0x80, 0x04, 0x01, 0x01, 0x01, 0x04, b'f', b'b', b' ', b'0'],
    );
    // 1; lease 65535, 2^32-1; 2^32-1; 0; ReadOnly 0; Zeros 0; WriteCombining 0; no bytes
    golden(
        &ToBroker::SetRegion {
            lease: LeaseId { index: u16::MAX, generation: u32::MAX },
            first: AperturePage(u32::MAX),
            count: 0,
            rights: Rights::ReadOnly,
            loss: LossPolicy::Zeros,
            cache: CacheMode::WriteCombining,
            label: ClaimedLabel::default(),
        },
        &[
            0x01, 0xff, 0xff, 0x03, 0xff, 0xff, 0xff, 0xff, 0x0f, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x00, 0x00,
            0x00, 0x00, 0x00,
        ],
    );
}

#[test]
fn drop_region() {
    // 2; lease 3, 300
    golden(&ToBroker::DropRegion { lease: LEASE }, &[0x02, 0x03, 0xac, 0x02]);
}

#[test]
fn present() {
    // 3; ticket 0x12345678; lease 3, 300; sequence 128; no extents
    golden(
        &ToBroker::Present {
            ticket: 0x1234_5678,
            lease: LEASE,
            sequence: 128,
            extents: [].into_iter().collect(),
        },
        &[0x03, 0xf8, 0xac, 0xd1, 0x91, 0x01, 0x03, 0xac, 0x02, 0x80, 0x01, 0x00],
    );
    // 3; ticket 7; lease 3, 300; sequence 2^64-1; 2 extents: {127, 0xfd3e8, 1}, {512, 0x12f400, 512}
    let extents = [
        ClaimedExtent { page: AperturePage(127), mfn: Mfn(0xfd3e8), count: 1 },
        ClaimedExtent { page: AperturePage(512), mfn: Mfn(0x0012_f400), count: 512 },
    ];
    golden(
        &ToBroker::Present {
            ticket: 7,
            lease: LEASE,
            sequence: u64::MAX,
            extents: extents.into_iter().collect(),
        },
        &[
            0x03, 0x07, 0x03, 0xac, 0x02, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 0x02,
            0x7f, 0xe8, 0xa7, 0x3f, 0x01, 0x80, 0x04, 0x80, 0xe8, 0x4b, 0x80, 0x04,
        ],
    );
}

#[test]
fn invalidate() {
    // 4; sequence 300; lease 3, 300; 0; 128
    golden(
        &ToBroker::Invalidate { sequence: 300, lease: LEASE, first: AperturePage(0), count: 128 },
        &[0x04, 0xac, 0x02, 0x03, 0xac, 0x02, 0x00, 0x80, 0x01],
    );
}

#[test]
fn forced() {
    // 5; 0x12345678
    golden(&ToBroker::Forced { sequence: 0x1234_5678 }, &[0x05, 0xf8, 0xac, 0xd1, 0x91, 0x01]);
}

#[test]
fn completed() {
    // 6; id 128; Read 0, 3 bytes: bytes are not varints
    golden(
        &ToBroker::Completed {
            id: 128,
            outcome: AccessOutcome::Read { bytes: [0x00, 0x80, 0xff].into_iter().collect() },
        },
        &[0x06, 0x80, 0x01, 0x00, 0x03, 0x00, 0x80, 0xff],
    );
    // 6; id 0; Written 1
    golden(&ToBroker::Completed { id: 0, outcome: AccessOutcome::Written }, &[0x06, 0x00, 0x01]);
    // 6; id 2^32-1; Lost 2
    golden(
        &ToBroker::Completed { id: u32::MAX, outcome: AccessOutcome::Lost },
        &[0x06, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x02],
    );
}

#[test]
fn lender_lost() {
    // 7; lease 3, 300; 512; 1
    golden(
        &ToBroker::Lost { lease: LEASE, first: AperturePage(512), count: 1 },
        &[0x07, 0x03, 0xac, 0x02, 0x80, 0x04, 0x01],
    );
}

#[test]
fn broker_welcome() {
    // 0; version 1; features 0; 0x12345678 pages; capacity 64 = 40
    golden(
        &FromBroker::Welcome { version: 1, features: 0, aperture_pages: 0x1234_5678, lease_capacity: 64 },
        &[0x00, 0x01, 0x00, 0xf8, 0xac, 0xd1, 0x91, 0x01, 0x40],
    );
}

#[test]
fn broker_incompatible() {
    // 1; 1; 300
    golden(&FromBroker::Incompatible { oldest: 1, newest: 300 }, &[0x01, 0x01, 0xac, 0x02]);
}

#[test]
fn lend_aware_is_bit_0() {
    // 0; 1; 1; 1
    golden(
        &ToBroker::Hello { oldest: 1, newest: 1, features: FEATURE_LEND_AWARE },
        &[0x00, 0x01, 0x01, 0x01],
    );
    // 0; version 1; features 1; 512 pages; capacity 64 = 40
    let features = FEATURE_LEND_AWARE;
    golden(
        &FromBroker::Welcome { version: 1, features, aperture_pages: 512, lease_capacity: 64 },
        &[0x00, 0x01, 0x01, 0x80, 0x04, 0x40],
    );
}

#[test]
fn broker_other_kind() {
    // 12 = 0c; 1
    golden(&FromBroker::OtherKind { features: FEATURE_LEND_AWARE }, &[0x0c, 0x01]);
    // 12; 0
    golden(&FromBroker::OtherKind { features: 0 }, &[0x0c, 0x00]);
}

#[test]
fn region_set_with_every_refusal() {
    // 2; lease 3, 300; Ok 0
    golden(&FromBroker::RegionSet { lease: LEASE, result: Ok(()) }, &[0x02, 0x03, 0xac, 0x02, 0x00]);
    // 2; lease; Err 1; the refusal
    let refusals: [(Refusal, &[u8]); 10] = [
        (Refusal::NoSuchLease, &[0x00]),
        (Refusal::IndexInUse, &[0x01]),
        (Refusal::TableFull { capacity: 300 }, &[0x02, 0xac, 0x02]),
        (Refusal::OutsideAperture { aperture_pages: 512 }, &[0x03, 0x80, 0x04]),
        (Refusal::Overlap { index: 128 }, &[0x04, 0x80, 0x01]),
        (Refusal::BadExtent, &[0x05]),
        (Refusal::AlreadyPresent { page: AperturePage(127) }, &[0x06, 0x7f]),
        (Refusal::Unsupported, &[0x07]),
        (Refusal::Quarantined { index: 300 }, &[0x08, 0xac, 0x02]),
        (Refusal::BadLabel, &[0x09]),
    ];
    for (refusal, tail) in refusals {
        let mut bytes = vec![0x02, 0x03, 0xac, 0x02, 0x01];
        bytes.extend_from_slice(tail);
        golden(&FromBroker::RegionSet { lease: LEASE, result: Err(refusal) }, &bytes);
    }
}

#[test]
fn region_dropped() {
    // 3; lease 3, 300; Ok 0, 512
    golden(
        &FromBroker::RegionDropped { lease: LEASE, result: Ok(512) },
        &[0x03, 0x03, 0xac, 0x02, 0x00, 0x80, 0x04],
    );
    // 3; lease; Err 1, page 128, errno 12
    golden(
        &FromBroker::RegionDropped {
            lease: LEASE,
            result: Err(RemoveFailure { page: AperturePage(128), errno: 12 }),
        },
        &[0x03, 0x03, 0xac, 0x02, 0x01, 0x80, 0x01, 0x0c],
    );
}

#[test]
fn presented_with_every_outcome() {
    // 4; ticket 300; the outcome
    let outcomes: [(PresentOutcome, &[u8]); 5] = [
        (
            PresentOutcome::Added { entries_2mib: 128, entries_4kib: 0x1234_5678 },
            &[0x00, 0x80, 0x01, 0xf8, 0xac, 0xd1, 0x91, 0x01],
        ),
        (PresentOutcome::Later, &[0x01]),
        (PresentOutcome::Stale, &[0x02]),
        (
            PresentOutcome::Refused(Refusal::AlreadyPresent { page: AperturePage(512) }),
            &[0x03, 0x06, 0x80, 0x04],
        ),
        (
            PresentOutcome::Failed(AddFailure { page: AperturePage(127), errno: 300 }),
            &[0x04, 0x7f, 0xac, 0x02],
        ),
    ];
    for (outcome, tail) in outcomes {
        let mut bytes = vec![0x04, 0xac, 0x02];
        bytes.extend_from_slice(tail);
        golden(&FromBroker::Presented { ticket: 300, outcome }, &bytes);
    }
}

#[test]
fn invalidated() {
    // 5; sequence 300; Ok 0, 0
    golden(&FromBroker::Invalidated { sequence: 300, result: Ok(0) }, &[0x05, 0xac, 0x02, 0x00, 0x00]);
    // 5; sequence 128; Err 1, page 512, errno 1
    golden(
        &FromBroker::Invalidated {
            sequence: 128,
            result: Err(RemoveFailure { page: AperturePage(512), errno: 1 }),
        },
        &[0x05, 0x80, 0x01, 0x01, 0x80, 0x04, 0x01],
    );
}

#[test]
fn access() {
    // 6; id 128; lease 3, 300; page 512; offset 4095; Read 0, 1 byte; true 1
    golden(
        &FromBroker::Access {
            id: 128,
            lease: LEASE,
            page: AperturePage(512),
            offset: 4095,
            operation: AccessOperation::Read { length: 1 },
            wants_page: true,
        },
        &[0x06, 0x80, 0x01, 0x03, 0xac, 0x02, 0x80, 0x04, 0xff, 0x1f, 0x00, 0x01, 0x01],
    );
    // 6; id 0; lease; page 0; offset 0; Write 1, 4 bytes; false 0
    golden(
        &FromBroker::Access {
            id: 0,
            lease: LEASE,
            page: AperturePage(0),
            offset: 0,
            operation: AccessOperation::Write { bytes: [0xde, 0xad, 0x00, 0x01].into_iter().collect() },
            wants_page: false,
        },
        &[0x06, 0x00, 0x03, 0xac, 0x02, 0x00, 0x00, 0x01, 0x04, 0xde, 0xad, 0x00, 0x01, 0x00],
    );
}

#[test]
fn closed_with_every_blame_and_breach() {
    let blames = [Blame::Lender, Blame::Borrower, Blame::Broker];
    let kinds = [
        BreachKind::RingIndices,
        BreachKind::MessageLength,
        BreachKind::Undecodable,
        BreachKind::OutOfTurn,
        BreachKind::UnexpectedAnswer,
        BreachKind::SequenceBackwards,
        BreachKind::TooManyOutstanding,
        BreachKind::StillMapped,
        BreachKind::OutOfRange,
    ];
    // 7; the blame's place; the kind's place
    for (blame, first) in blames.into_iter().zip([0x00, 0x01, 0x02]) {
        for (kind, second) in kinds.into_iter().zip(0x00..) {
            golden(&FromBroker::Closed { breach: Breach { blame, kind } }, &[0x07, first, second]);
        }
    }
}

/// Each variant added needs a vector, here or in `wire_golden_borrower.rs`: these matches
/// stop compiling when one is, and the first byte behind the last variant is none.
#[test]
fn no_variant_has_been_added_without_a_vector() {
    fn to_broker(message: &ToBroker) {
        use ToBroker::{
            AskAgain, AttachBorrower, Completed, DetachBorrower, DropRegion, Forced, Hello, Invalidate, Lost,
            Present, SetRegion, Wanted,
        };
        match message {
            Hello { .. }
            | SetRegion { .. }
            | DropRegion { .. }
            | Present { .. }
            | Invalidate { .. }
            | Forced { .. }
            | Completed { .. }
            | Lost { .. }
            | AttachBorrower { .. }
            | DetachBorrower { .. }
            | Wanted { .. }
            | AskAgain { .. } => {}
        }
    }
    fn from_broker(message: &FromBroker) {
        use FromBroker::{
            Access, BorrowerAttached, BorrowerClosed, BorrowerDetached, Closed, Incompatible, Invalidated,
            OtherKind, Presented, RegionDropped, RegionSet, Want, Welcome,
        };
        match message {
            Welcome { .. }
            | Incompatible { .. }
            | RegionSet { .. }
            | RegionDropped { .. }
            | Presented { .. }
            | Invalidated { .. }
            | Access { .. }
            | Closed { .. }
            | BorrowerAttached { .. }
            | BorrowerDetached { .. }
            | Want { .. }
            | BorrowerClosed { .. }
            | OtherKind { .. } => {}
        }
    }
    fn from_borrower(message: &FromBorrower) {
        use FromBorrower::{Hello, WaitFor, ZapDone};
        match message {
            Hello { .. } | WaitFor { .. } | ZapDone { .. } => {}
        }
    }
    fn to_borrower(message: &ToBorrower) {
        use ToBorrower::{Closed, Incompatible, Lease, Lost, Present, Revoked, Unavailable, Welcome};
        match message {
            Welcome { .. }
            | Incompatible { .. }
            | Lease { .. }
            | Revoked { .. }
            | Present { .. }
            | Lost { .. }
            | Closed { .. }
            | Unavailable { .. } => {}
        }
    }
    fn refusal(refusal: Refusal) {
        use Refusal::{
            AlreadyPresent, BadExtent, BadLabel, IndexInUse, NoSuchLease, OutsideAperture, Overlap,
            Quarantined, TableFull, Unsupported,
        };
        match refusal {
            NoSuchLease
            | IndexInUse
            | TableFull { .. }
            | OutsideAperture { .. }
            | Overlap { .. }
            | BadExtent
            | AlreadyPresent { .. }
            | Unsupported
            | Quarantined { .. }
            | BadLabel => {}
        }
    }
    fn breach(breach: Breach) {
        use BreachKind::{
            MessageLength, OutOfRange, OutOfTurn, RingIndices, SequenceBackwards, StillMapped,
            TooManyOutstanding, Undecodable, UnexpectedAnswer,
        };
        match (breach.blame, breach.kind) {
            (
                Blame::Lender | Blame::Borrower | Blame::Broker,
                RingIndices | MessageLength | Undecodable | OutOfTurn | UnexpectedAnswer | SequenceBackwards
                | TooManyOutstanding | StillMapped | OutOfRange,
            ) => {}
        }
    }
    fn of_messages(operation: &AccessOperation, access: &AccessOutcome, present: PresentOutcome) {
        use PresentOutcome::{Added, Failed, Later, Refused, Stale};
        match (operation, access, present) {
            (
                AccessOperation::Read { .. } | AccessOperation::Write { .. },
                AccessOutcome::Read { .. } | AccessOutcome::Written | AccessOutcome::Lost,
                Added { .. } | Later | Stale | Refused(_) | Failed(_),
            ) => {}
        }
    }
    fn of_attachments(failure: AttachFailure, wanted: WantedOutcome) {
        use AttachFailure::{EventChannel, Grant, InUse};
        match (failure, wanted) {
            (
                Grant { .. } | EventChannel { .. } | InUse,
                WantedOutcome::Present
                | WantedOutcome::Lost
                | WantedOutcome::Unavailable
                | WantedOutcome::Waits
                | WantedOutcome::Failed,
            ) => {}
        }
    }
    fn of_leases(rights: Rights, loss: LossPolicy, cache: CacheMode) {
        match (rights, loss, cache) {
            (
                Rights::ReadOnly | Rights::ReadWrite,
                LossPolicy::Zeros | LossPolicy::Fault,
                CacheMode::WriteCombining | CacheMode::WriteBack,
            ) => {}
        }
    }
    let _ = (to_broker, from_broker, from_borrower, to_borrower, refusal, breach, of_messages, of_leases);
    let _ = of_attachments;
    // Zeros enough for the fields of any message.
    for behind in [12, 13, 127] {
        let mut bytes = [0; 384];
        for length in 1..40 {
            bytes[0] = behind;
            assert_eq!(decode::<ToBroker>(&bytes[..length]), Err(Undecodable));
            // This direction has one more.
            bytes[0] = behind.max(13);
            assert_eq!(decode::<FromBroker>(&bytes[..length]), Err(Undecodable));
        }
    }
    for length in 1..40 {
        assert_eq!(decode::<FromBorrower>(&[&[3][..], &vec![0; length]].concat()), Err(Undecodable));
        assert_eq!(decode::<ToBorrower>(&[&[8][..], &vec![0; length]].concat()), Err(Undecodable));
    }
    // Behind the last place of each inner enum: blame, kind, refusal, present outcome, result.
    for bytes in [[7, 3, 0, 0], [7, 0, 9, 0], [4, 0, 3, 10], [4, 0, 5, 0], [5, 0, 2, 0], [8, 0, 2, 0]] {
        for length in 3..=4 {
            assert_eq!(decode::<FromBroker>(&bytes[..length]), Err(Undecodable), "{bytes:?}");
        }
    }
    // Attach failure, wanted outcome.
    assert_eq!(decode::<FromBroker>(&[8, 0, 1, 3]), Err(Undecodable));
    assert_eq!(decode::<FromBroker>(&[8, 0, 1, 3, 0]), Err(Undecodable));
    assert_eq!(decode::<ToBroker>(&[10, 0, 5]), Err(Undecodable));
}

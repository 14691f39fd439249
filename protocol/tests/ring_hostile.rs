// SPDX-License-Identifier: MIT OR Apache-2.0
//! Rings whose other end lies: indices and lengths that cannot be end the ring, for good,
//! and every shared field is read once for each operation.

mod support;

use proptest::prelude::*;
use support::ArrayRing;
use xenlend_protocol::message::{AccessOutcome, FromBroker, ToBroker, MAX_MESSAGE_BYTES};
use xenlend_protocol::refusal::BreachKind;
use xenlend_protocol::ring::layout::{frame_bytes, CAPACITY};
use xenlend_protocol::ring::{Consumer, Priority, Producer, SendError};

const FORCED: ToBroker = ToBroker::Forced { sequence: 1 };
/// A whole frame that holds `FORCED`: length 2, variant 5, sequence 1.
const FORCED_FRAME: [u8; 8] = [2, 0, 0, 0, 5, 1, 0, 0];

/// What the consumer says of a ring that holds these bytes and this index, twice.
fn received(bytes: &[u8], produced: u32) -> Result<Option<ToBroker>, BreachKind> {
    let ring = ArrayRing::default();
    ring.forge(bytes, produced);
    let mut consumer = Consumer::new(&ring);
    let first = consumer.receive();
    if first.is_err() {
        // A breach stays one, even if the other end repairs what it wrote.
        ring.forge(&FORCED_FRAME, 8);
        assert_eq!(consumer.receive::<ToBroker>(), first);
        assert!(!consumer.is_empty());
    }
    first
}

#[test]
fn the_control_of_these_tests_is_received() {
    assert_eq!(received(&FORCED_FRAME, 8), Ok(Some(FORCED)));
}

#[test]
fn a_produced_index_beyond_the_capacity_is_a_breach() {
    for produced in [CAPACITY + 8, 1 << 31, 0u32.wrapping_sub(8)] {
        assert_eq!(received(&FORCED_FRAME, produced), Err(BreachKind::RingIndices), "{produced:#x}");
    }
}

#[test]
fn an_unaligned_produced_index_is_a_breach() {
    for produced in (1..16).filter(|produced| produced % 8 != 0) {
        assert_eq!(received(&FORCED_FRAME, produced), Err(BreachKind::RingIndices), "{produced}");
    }
}

#[test]
fn a_produced_index_running_backwards_is_a_breach() {
    let ring = ArrayRing::default();
    ring.forge(&FORCED_FRAME, 24);
    let mut consumer = Consumer::new(&ring);
    assert_eq!(consumer.receive(), Ok(Some(FORCED)));
    // Still ahead of what was consumed, but behind what was promised.
    ring.produced.set(16);
    assert_eq!(consumer.receive::<ToBroker>(), Err(BreachKind::RingIndices));

    let ring = ArrayRing::default();
    ring.forge(&FORCED_FRAME, 8);
    let mut consumer = Consumer::new(&ring);
    assert_eq!(consumer.receive(), Ok(Some(FORCED)));
    ring.produced.set(0);
    assert!(!consumer.is_empty());
    assert_eq!(consumer.receive::<ToBroker>(), Err(BreachKind::RingIndices));
}

#[test]
fn a_length_of_0_or_too_long_or_past_what_was_produced_is_a_breach() {
    let too_long = MAX_MESSAGE_BYTES as u32 + 1;
    for (length, produced) in
        [(0, 8), (5, 8), (12, 8), (too_long, CAPACITY), (u32::MAX, CAPACITY), (u32::MAX - 11, CAPACITY)]
    {
        let mut frame = FORCED_FRAME;
        frame[..4].copy_from_slice(&length.to_le_bytes());
        assert_eq!(received(&frame, produced), Err(BreachKind::MessageLength), "{length} in {produced}");
    }
}

#[test]
fn bytes_that_are_no_message_are_a_breach() {
    // An unknown variant, a message with a byte behind it, a message without its end.
    for frame in [[1, 0, 0, 0, 99, 0, 0, 0], [3, 0, 0, 0, 5, 1, 0, 0], [2, 0, 0, 0, 5, 0x80, 0, 0]] {
        assert_eq!(received(&frame, 8), Err(BreachKind::Undecodable), "{frame:?}");
    }
}

#[test]
fn a_message_of_the_other_direction_is_no_message() {
    // Completed { id: 1, outcome: Lost } is Access cut short, on the other ring.
    let ring = ArrayRing::default();
    ring.forge(&[3, 0, 0, 0, 6, 1, 2, 0], 8);
    let mut consumer = Consumer::new(&ring);
    assert_eq!(consumer.receive::<FromBroker>(), Err(BreachKind::Undecodable));
}

#[test]
fn a_consumed_index_that_cannot_be_is_a_breach_for_good() {
    for consumed in [16, 1, 4, 7, 0u32.wrapping_sub(8), 1 << 31] {
        let ring = ArrayRing::default();
        let mut producer = Producer::new(&ring);
        producer.send(&FORCED, Priority::Normal).unwrap();
        ring.consumed.set(consumed);
        let breach = Err(SendError::Breach(BreachKind::RingIndices));
        assert_eq!(producer.send(&FORCED, Priority::Reserved), breach, "{consumed:#x}");
        ring.consumed.set(8);
        assert_eq!(producer.send(&FORCED, Priority::Reserved), breach);
        assert_eq!(producer.consumed(), Err(BreachKind::RingIndices));
        assert_eq!(producer.has_consumed(0), Err(BreachKind::RingIndices));
        assert_eq!(ring.produced.get(), 8, "nothing was sent");
    }
}

/// What the producer says of an index in the last of so many frames, `step` bytes from its beginning; `None` if
/// the frame is not that long. All before it have been consumed.
fn inside_the_last(frames: usize, step: u32) -> Option<Result<u32, BreachKind>> {
    let lengths = [0, 256, 40, 0, 200, 8, 120, 256, 3];
    let ring = ArrayRing::default();
    let mut producer = Producer::new(&ring);
    for frame in 0..frames {
        ring.consumed.set(producer.position());
        let bytes = core::iter::repeat_n(7, lengths[frame % lengths.len()]).collect();
        let message = ToBroker::Completed { id: 1, outcome: AccessOutcome::Read { bytes } };
        producer.send(&message, Priority::Normal).unwrap();
    }
    let index = ring.consumed.get() + step;
    ring.consumed.set(index);
    (index <= producer.position()).then(|| producer.consumed())
}

#[test]
fn a_consumed_index_inside_a_frame_is_a_breach() {
    let (mut inside, mut ends) = (0, 0);
    // So many that frames lie across the end of the page, and over older ones of other lengths.
    for frames in 1..120 {
        for step in (8..280).step_by(8) {
            match (inside_the_last(frames, step), inside_the_last(frames, step + 8)) {
                (Some(result), Some(_)) => {
                    assert_eq!(result, Err(BreachKind::RingIndices), "{step} of frame {frames}");
                    inside += 1;
                }
                (Some(result), None) => {
                    assert!(result.is_ok(), "the end of frame {frames}");
                    ends += 1;
                }
                (None, _) => break,
            }
        }
    }
    assert!(inside > 1000 && ends == 119, "{inside} inside, {ends} ends");
}

#[test]
fn a_consumed_index_running_backwards_is_a_breach() {
    let ring = ArrayRing::default();
    let mut producer = Producer::new(&ring);
    producer.send(&FORCED, Priority::Normal).unwrap();
    producer.send(&FORCED, Priority::Normal).unwrap();
    ring.consumed.set(16);
    assert_eq!(producer.consumed(), Ok(16));
    ring.consumed.set(8);
    assert_eq!(producer.consumed(), Err(BreachKind::RingIndices));
}

#[test]
fn each_shared_field_is_read_once_for_each_receive() {
    let ring = ArrayRing::default();
    let mut producer = Producer::new(&ring);
    let large = ToBroker::Completed {
        id: 1,
        outcome: xenlend_protocol::message::AccessOutcome::Read { bytes: [7; 256].iter().copied().collect() },
    };
    let mut consumer = Consumer::new(&ring);
    for round in 0..40 {
        producer.send(&large, Priority::Normal).unwrap();
        ring.forget_counts();
        assert_eq!(consumer.receive(), Ok(Some(large.clone())), "{round}");
        assert_eq!((ring.produced_loads.get(), ring.consumed_loads.get()), (1, 0));
        let reads = ring.data_reads.borrow();
        assert_eq!(reads.iter().max(), Some(&1), "no byte is read twice");
        assert_eq!(reads.iter().sum::<u32>(), frame_bytes(265), "no byte but the frame's");
    }
}

#[test]
fn a_send_reads_the_consumers_index_once_and_its_own_never() {
    let ring = ArrayRing::default();
    let mut producer = Producer::new(&ring);
    producer.send(&FORCED, Priority::Normal).unwrap();
    assert_eq!((ring.produced_loads.get(), ring.consumed_loads.get()), (0, 1));
    assert_eq!(ring.data_reads.borrow().iter().max(), Some(&0));
}

#[test]
fn an_index_that_changes_at_every_read_is_checked_as_it_was_used() {
    let ring = ArrayRing::default();
    ring.forge(&FORCED_FRAME, 8);
    ring.drift.set(1 << 20);
    let mut consumer = Consumer::new(&ring);
    assert_eq!(consumer.receive(), Ok(Some(FORCED)), "the first value was fine");
    assert_eq!(consumer.receive::<ToBroker>(), Err(BreachKind::RingIndices));
}

#[test]
fn overwriting_the_own_index_of_an_end_changes_nothing() {
    let ring = ArrayRing::default();
    let (mut producer, mut consumer) = (Producer::new(&ring), Consumer::new(&ring));
    producer.send(&FORCED, Priority::Normal).unwrap();
    assert_eq!(consumer.receive(), Ok(Some(FORCED)));
    ring.produced.set(0xdead_bee0);
    producer.send(&FORCED, Priority::Normal).unwrap();
    assert_eq!(ring.produced.get(), 16);
    ring.consumed.set(0xdead_bee0);
    assert_eq!(consumer.receive(), Ok(Some(FORCED)));
    assert_eq!(ring.consumed.get(), 16);
}

proptest! {
    /// Whatever the ring holds: an answer or a breach, no panic, no end without end.
    #[test]
    fn any_bytes_and_any_index_are_survived(
        bytes in prop::collection::vec(any::<u8>(), CAPACITY as usize),
        small_lengths in any::<bool>(),
        indices in prop::collection::vec(prop_oneof![0..=CAPACITY / 8, any::<u32>()], 1..20),
    ) {
        let ring = ArrayRing::default();
        let mut bytes = bytes;
        if small_lengths {
            for header in bytes.chunks_exact_mut(8) {
                header[1..4].fill(0);
                header[4] %= 9;
            }
        }
        let mut to_broker = Consumer::new(&ring);
        for index in indices {
            ring.forge(&bytes, index.wrapping_mul(8));
            let mut taken = 0;
            while let Ok(Some(_)) = to_broker.receive::<ToBroker>() {
                taken += 1;
                prop_assert!(taken <= CAPACITY / 8);
            }
        }
    }

    /// Whatever the consumer's index does: sends end as sent, full or breach, and never panic.
    #[test]
    fn any_consumed_index_is_survived(indices in prop::collection::vec(any::<u32>(), 1..100)) {
        let ring = ArrayRing::default();
        let mut producer = Producer::new(&ring);
        for index in indices {
            let small = index % (2 * CAPACITY);
            ring.consumed.set(if index % 2 == 0 { small } else { index });
            let _ = producer.send(&FORCED, Priority::Reserved);
            let _ = producer.has_consumed(index);
        }
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Rings between two ends that keep the contract: order, wrap-around, reserved space, wake-ups.

mod support;

use proptest::prelude::*;
use support::{largest_invalidate, ArrayRing};
use xenlend_protocol::message::{
    AccessOutcome, FromBroker, ToBroker, MAX_ACCESS_BYTES, MAX_INVALIDATIONS, VERSION,
};
use xenlend_protocol::refusal::{BreachKind, RemoveFailure};
use xenlend_protocol::ring::layout::{CAPACITY, MAX_FRAME_BYTES, RESERVED_BYTES};
use xenlend_protocol::ring::{Consumer, Priority, Producer, SendError};

fn hello(features: u32) -> ToBroker {
    ToBroker::Hello { oldest: VERSION, newest: VERSION, features }
}

fn completed(id: u32, length: usize) -> ToBroker {
    let bytes = std::iter::repeat_n(id as u8, length).collect();
    ToBroker::Completed { id, outcome: AccessOutcome::Read { bytes } }
}

/// Sends normal messages of this kind until one does not fit.
fn fill(producer: &mut Producer<&ArrayRing>, message: &ToBroker) -> u32 {
    let mut sent = 0;
    while producer.send(message, Priority::Normal).is_ok() {
        sent += 1;
    }
    sent
}

#[test]
fn an_empty_ring_gives_nothing() {
    let ring = ArrayRing::default();
    let mut consumer = Consumer::new(&ring);
    assert!(consumer.is_empty());
    assert_eq!(consumer.receive::<ToBroker>(), Ok(None));
}

#[test]
fn a_frame_is_length_then_message_then_zeros_to_a_multiple_of_8() {
    let ring = ArrayRing::default();
    ring.data.borrow_mut().fill(0xee);
    let mut producer = Producer::new(&ring);
    producer.send(&ToBroker::Forced { sequence: 300 }, Priority::Reserved).unwrap();
    // Length 3; Forced is variant 5; 300 is the varint ac 02.
    assert_eq!(ring.data.borrow()[..9], [3, 0, 0, 0, 5, 0xac, 0x02, 0, 0xee]);
    assert_eq!(ring.produced.get(), 8);
}

#[test]
fn messages_arrive_in_order_and_whole_across_the_end_of_the_data_area() {
    let ring = ArrayRing::default();
    let (mut producer, mut consumer) = (Producer::new(&ring), Consumer::new(&ring));
    for id in 0..200 {
        let message = completed(id, 1 + id as usize % MAX_ACCESS_BYTES);
        producer.send(&message, Priority::Normal).unwrap();
        assert!(!consumer.is_empty());
        assert_eq!(consumer.receive(), Ok(Some(message)));
    }
    assert!(ring.produced.get() > 2 * CAPACITY, "the ring must have wrapped");
}

#[test]
fn a_ring_full_of_normal_messages_still_takes_every_invalidation_and_forced() {
    for filler in [hello(0), hello(u32::MAX), completed(7, 100), completed(7, MAX_ACCESS_BYTES)] {
        let ring = ArrayRing::default();
        let mut producer = Producer::new(&ring);
        assert!(fill(&mut producer, &filler) > 0);
        // Fill what smaller messages can still use.
        fill(&mut producer, &hello(0));
        assert_eq!(producer.position(), CAPACITY - RESERVED_BYTES, "nothing but the reserve is left");
        for sequence in 0..MAX_INVALIDATIONS as u64 {
            producer.send(&largest_invalidate(sequence), Priority::Reserved).unwrap();
        }
        producer.send(&ToBroker::Forced { sequence: u64::MAX }, Priority::Reserved).unwrap();
        assert_eq!(ring.produced.get(), CAPACITY);
        let more = producer.send(&ToBroker::Forced { sequence: 0 }, Priority::Reserved);
        assert_eq!(more, Err(SendError::Full));

        let mut consumer = Consumer::new(&ring);
        let mut invalidations = 0;
        while let Some(message) = consumer.receive::<ToBroker>().unwrap() {
            invalidations += usize::from(matches!(message, ToBroker::Invalidate { .. }));
        }
        assert_eq!(invalidations, MAX_INVALIDATIONS);
    }
}

#[test]
fn a_ring_full_of_answers_still_takes_every_acknowledgement() {
    let ring = ArrayRing::default();
    let mut producer = Producer::new(&ring);
    let filler = FromBroker::Incompatible { oldest: 1, newest: 1 };
    while producer.send(&filler, filler.priority()).is_ok() {}
    for sequence in 0..MAX_INVALIDATIONS as u64 {
        let failure =
            RemoveFailure { page: xenlend_protocol::frame::AperturePage(u32::MAX), errno: u16::MAX };
        let message = FromBroker::Invalidated { sequence: u64::MAX - sequence, result: Err(failure) };
        producer.send(&message, message.priority()).unwrap();
    }
}

#[test]
fn only_revocation_may_use_the_reserve() {
    assert_eq!(largest_invalidate(0).priority(), Priority::Reserved);
    assert_eq!(ToBroker::Forced { sequence: 0 }.priority(), Priority::Reserved);
    assert_eq!(FromBroker::Invalidated { sequence: 0, result: Ok(0) }.priority(), Priority::Reserved);
    assert_eq!(hello(0).priority(), Priority::Normal);
    assert_eq!(completed(0, 1).priority(), Priority::Normal);
    assert_eq!(FromBroker::Incompatible { oldest: 0, newest: 0 }.priority(), Priority::Normal);
}

#[test]
fn a_message_that_is_too_long_is_refused_and_leaves_no_trace() {
    let ring = ArrayRing::default();
    let mut producer = Producer::new(&ring);
    let too_long = [[0xffu8; 32]; 13];
    assert_eq!(producer.send(&too_long, Priority::Normal), Err(SendError::TooLong));
    assert_eq!(ring.produced.get(), 0);
    assert_eq!(producer.position(), 0);
}

#[test]
fn a_sender_without_room_is_woken_by_the_drain() {
    let ring = ArrayRing::default();
    let (mut producer, mut consumer) = (Producer::new(&ring), Consumer::new(&ring));
    producer.send(&hello(1), Priority::Normal).unwrap();
    consumer.receive::<ToBroker>().unwrap().unwrap();
    assert!(!consumer.take_wakeup(), "nobody waits");

    fill(&mut producer, &hello(1));
    assert!(ring.waiting.get());
    consumer.receive::<ToBroker>().unwrap().unwrap();
    assert!(consumer.take_wakeup());
    assert!(!consumer.take_wakeup(), "said once");

    producer.send(&hello(2), Priority::Normal).unwrap();
    assert!(!ring.waiting.get(), "a sender that found room waits no more");
    consumer.receive::<ToBroker>().unwrap().unwrap();
    assert!(!consumer.take_wakeup());
}

#[test]
fn who_asks_for_room_for_any_message_is_woken_too() {
    let ring = ArrayRing::default();
    let (mut producer, mut consumer) = (Producer::new(&ring), Consumer::new(&ring));
    let largest = completed(1, MAX_ACCESS_BYTES);
    assert_eq!(producer.has_room_for_any(), Ok(true));
    assert!(!ring.waiting.get());
    while producer.has_room_for_any() == Ok(true) {
        producer.send(&largest, Priority::Normal).unwrap();
    }
    assert!(ring.waiting.get());
    // Small messages may still fit: the largest frame is what was asked for.
    assert!(producer.position() > CAPACITY - RESERVED_BYTES - MAX_FRAME_BYTES);
    while consumer.receive::<ToBroker>().unwrap().is_some() {}
    assert!(consumer.take_wakeup());
    assert_eq!(producer.has_room_for_any(), Ok(true));
    assert!(!ring.waiting.get());
    ring.consumed.set(7);
    assert_eq!(producer.has_room_for_any(), Err(BreachKind::RingIndices));
}

#[test]
fn room_made_between_the_look_and_the_announcement_is_found() {
    // A ring whose consumer drains at the very moment when the producer announces that it waits.
    struct Draining(ArrayRing);
    impl xenlend_protocol::ring::RingMemory for Draining {
        fn load_produced(&self) -> u32 {
            self.0.load_produced()
        }
        fn store_produced(&self, value: u32) {
            self.0.store_produced(value);
        }
        fn load_consumed(&self) -> u32 {
            self.0.load_consumed()
        }
        fn store_consumed(&self, value: u32) {
            self.0.store_consumed(value);
        }
        fn load_waiting(&self) -> bool {
            self.0.load_waiting()
        }
        fn store_waiting(&self, waits: bool) {
            if waits {
                self.0.consumed.set(self.0.produced.get());
            }
            self.0.store_waiting(waits);
        }
        fn read(&self, offset: u32, bytes: &mut [u8]) {
            self.0.read(offset, bytes);
        }
        fn write(&self, offset: u32, bytes: &[u8]) {
            self.0.write(offset, bytes);
        }
    }
    let ring = Draining(ArrayRing::default());
    let mut producer = Producer::new(&ring);
    for _ in 0..1000 {
        producer.send(&hello(1), Priority::Normal).unwrap();
    }
    assert!(!ring.0.waiting.get());
}

#[test]
fn the_sender_sees_how_far_the_other_end_is() {
    let ring = ArrayRing::default();
    let (mut producer, mut consumer) = (Producer::new(&ring), Consumer::new(&ring));
    producer.send(&hello(1), Priority::Normal).unwrap();
    let behind_first = producer.position();
    producer.send(&hello(2), Priority::Normal).unwrap();
    let behind_second = producer.position();
    assert_eq!(producer.has_consumed(0), Ok(true));
    assert_eq!(producer.has_consumed(behind_first), Ok(false));
    consumer.receive::<ToBroker>().unwrap().unwrap();
    assert_eq!(producer.consumed(), Ok(behind_first));
    assert_eq!(producer.has_consumed(behind_first), Ok(true));
    assert_eq!(producer.has_consumed(behind_second), Ok(false));
    consumer.receive::<ToBroker>().unwrap().unwrap();
    assert_eq!(producer.has_consumed(behind_second), Ok(true));
}

proptest! {
    /// Any order of sends and receives gives the messages back, each once, in order.
    #[test]
    fn what_goes_in_comes_out(steps in prop::collection::vec((any::<bool>(), 1..=MAX_ACCESS_BYTES), 1..400)) {
        let ring = ArrayRing::default();
        let (mut producer, mut consumer) = (Producer::new(&ring), Consumer::new(&ring));
        let mut expected = std::collections::VecDeque::new();
        for (id, (send, length)) in steps.into_iter().enumerate() {
            if send {
                let message = completed(id as u32, length);
                match producer.send(&message, Priority::Normal) {
                    Ok(()) => expected.push_back(message),
                    Err(error) => {
                        prop_assert_eq!(error, SendError::Full);
                        prop_assert!(expected.len() >= 9, "a ring this empty has room");
                    }
                }
            } else {
                prop_assert_eq!(consumer.is_empty(), expected.is_empty());
                prop_assert_eq!(consumer.receive::<ToBroker>().unwrap(), expected.pop_front());
            }
        }
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The rings under loom: every interleaving of the two ends, and every older value that the memory
//! model lets a load see. The ends, their order of accesses and their fences are the production code;
//! only the atomics are loom's. The last tests weaken one access each, and loom must find that.

mod loom_cells;

use loom::sync::Notify;
use loom_cells::{ring, LoomCells, Weakness};
use std::sync::Arc;
use xenlend_protocol::extent::ClaimedExtent;
use xenlend_protocol::frame::{AperturePage, Mfn};
use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::message::{AccessOutcome, FromBroker, ToBroker, MAX_EXTENTS};
use xenlend_protocol::ring::atomics::AtomicRing;
use xenlend_protocol::ring::layout::{frame_bytes, CAPACITY, MAX_FRAME_BYTES, RESERVED_BYTES};
use xenlend_protocol::ring::{Consumer, Priority, Producer, SendError};

/// Ends over a data area of `C` bytes.
type Sending<const C: u32> = Producer<AtomicRing<LoomCells<C>>>;
type Receiving<const C: u32> = Consumer<AtomicRing<LoomCells<C>>>;

/// Room for two frames of any size and for the reserve.
const SMALL: u32 = 512;
/// Room for a normal message of any size.
const MEDIUM: u32 = 1024;

/// A message whose frame has this size: header, variant, id, outcome, two bytes of length.
fn message(id: u8, frame: u32) -> ToBroker {
    let varint_of_length = if frame - 8 < 128 { 1 } else { 2 };
    let length = (frame - 4 - 3 - varint_of_length) as usize;
    let message = ToBroker::Completed {
        id: u32::from(id),
        outcome: AccessOutcome::Read { bytes: std::iter::repeat_n(id, length).collect() },
    };
    let mut buffer = [0; 384];
    let encoded = xenlend_protocol::codec::encode(&message, &mut buffer).unwrap();
    assert_eq!(frame_bytes(encoded as u32), frame);
    message
}

/// The largest message that there is: a frame of 352 bytes.
fn largest_present(id: u32) -> ToBroker {
    let extent = ClaimedExtent { page: AperturePage(u32::MAX), mfn: Mfn(u64::MAX), count: u32::MAX };
    ToBroker::Present {
        ticket: u32::MAX - id,
        lease: LeaseId { index: u16::MAX, generation: u32::MAX },
        sequence: u64::MAX,
        extents: std::iter::repeat_n(extent, MAX_EXTENTS).collect(),
    }
}

fn invalidate(sequence: u64) -> ToBroker {
    let lease = LeaseId { index: 1, generation: 1 };
    ToBroker::Invalidate { sequence, lease, first: AperturePage(0), count: 1 }
}

/// Sends without a wait and takes it out again: moves both indices on.
fn pass<const C: u32>(producer: &mut Sending<C>, consumer: &mut Receiving<C>, frame: u32) {
    let message = message(0, frame);
    producer.send(&message, Priority::Reserved).unwrap();
    assert_eq!(consumer.receive(), Ok(Some(message)));
}

/// Sends as the lender's kernel and the broker do: sleeps when there is no room, and notifies.
fn send_all<const C: u32>(
    producer: &mut Sending<C>,
    messages: &[ToBroker],
    priority: Priority,
    room: &Notify,
    sent: &Notify,
) {
    for message in messages {
        loop {
            match producer.send(message, priority) {
                Ok(()) => break,
                Err(SendError::Full) => room.wait(),
                Err(error) => panic!("{error:?}"),
            }
        }
        sent.notify();
    }
}

/// Receives these messages in this order as the other end does: drains, notifies a producer that
/// waits, sleeps.
fn receive_all<const C: u32>(
    consumer: &mut Receiving<C>,
    messages: &[ToBroker],
    room: &Notify,
    sent: &Notify,
) {
    let mut expected = messages.iter();
    loop {
        while let Some(received) = consumer.receive::<ToBroker>().unwrap() {
            assert_eq!(Some(&received), expected.next());
        }
        if consumer.take_wakeup() {
            room.notify();
        }
        if expected.len() == 0 {
            return;
        }
        sent.wait();
    }
}

/// Two frames, the first of which continues at the start of the data area, between two ends that sleep.
fn frames_across_the_end(weakness: Weakness) {
    let (mut producer, mut consumer) = ring::<SMALL>(weakness);
    pass(&mut producer, &mut consumer, 256);
    pass(&mut producer, &mut consumer, SMALL - 256 - 16);
    let messages = [message(1, 24), message(2, 16)];
    let (room, sent) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let sender = {
        let (room, sent, messages) = (room.clone(), sent.clone(), messages.clone());
        loom::thread::spawn(move || send_all(&mut producer, &messages, Priority::Normal, &room, &sent))
    };
    receive_all(&mut consumer, &messages, &room, &sent);
    sender.join().unwrap();
    assert!(consumer.is_empty());
}

/// A full ring whose producer has one more frame, over the place of the first: it sleeps until the
/// other end wakes it, in whatever order room, announcement and looks follow each other.
fn full_ring(weakness: Weakness) {
    let (mut producer, mut consumer) = ring::<SMALL>(weakness);
    pass(&mut producer, &mut consumer, 48);
    let messages = [message(1, 264), message(2, SMALL - 264), message(3, 24)];
    for message in &messages[..2] {
        producer.send(message, Priority::Reserved).unwrap();
    }
    let (room, sent) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let sender = {
        let (room, sent, last) = (room.clone(), sent.clone(), messages[2..].to_vec());
        loom::thread::spawn(move || send_all(&mut producer, &last, Priority::Reserved, &room, &sent))
    };
    receive_all(&mut consumer, &messages, &room, &sent);
    sender.join().unwrap();
    assert!(consumer.is_empty());
}

#[test]
fn frames_arrive_whole_and_in_order_across_the_end() {
    loom::model(|| frames_across_the_end(Weakness::None));
}

#[test]
fn a_producer_that_waits_for_room_is_always_woken() {
    loom::model(|| full_ring(Weakness::None));
}

#[test]
fn who_asks_for_room_for_any_message_is_always_woken() {
    loom::model(|| {
        let (mut producer, mut consumer) = ring::<MEDIUM>(Weakness::None);
        // One step of the alignment more than leaves room for any message.
        let before = [message(1, 152), message(2, MEDIUM - MAX_FRAME_BYTES - RESERVED_BYTES + 8 - 152)];
        for message in &before {
            producer.send(message, Priority::Normal).unwrap();
        }
        let room = Arc::new(Notify::new());
        let sender = {
            let room = room.clone();
            loom::thread::spawn(move || {
                while !producer.has_room_for_any().unwrap() {
                    room.wait();
                }
            })
        };
        for message in before {
            assert_eq!(consumer.receive(), Ok(Some(message)));
        }
        assert_eq!(consumer.receive::<ToBroker>(), Ok(None));
        if consumer.take_wakeup() {
            room.notify();
        }
        sender.join().unwrap();
    });
}

/// A ring as large as the real one, full of the largest messages. Too many steps for all
/// interleavings: those with at most two preemptions.
#[test]
fn a_producer_that_waits_for_room_in_a_whole_page_is_woken() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(|| {
        let (mut producer, mut consumer) = ring::<CAPACITY>(Weakness::None);
        for _ in 0..14 {
            pass(&mut producer, &mut consumer, 256);
        }
        let mut messages: Vec<_> = (0..11).map(largest_present).collect();
        messages.push(message(11, CAPACITY - 11 * 352));
        for message in &messages {
            producer.send(message, Priority::Reserved).unwrap();
        }
        messages.push(message(12, 64));
        let (room, sent) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let sender = {
            let (room, sent, last) = (room.clone(), sent.clone(), messages[12..].to_vec());
            loom::thread::spawn(move || send_all(&mut producer, &last, Priority::Reserved, &room, &sent))
        };
        receive_all(&mut consumer, &messages, &room, &sent);
        sender.join().unwrap();
    });
}

#[test]
fn an_invalidation_never_waits_in_a_ring_full_of_normal_messages() {
    loom::model(|| {
        let (mut producer, mut consumer) = ring::<SMALL>(Weakness::None);
        let first = message(1, SMALL - RESERVED_BYTES);
        producer.send(&first, Priority::Normal).unwrap();
        let sender = loom::thread::spawn(move || {
            // Whether there is room for one more normal message is the consumer's to decide.
            let late = message(2, 16);
            let sent = producer.send(&late, Priority::Normal);
            assert!(matches!(sent, Ok(()) | Err(SendError::Full)), "{sent:?}");
            assert_eq!(producer.send(&invalidate(1), Priority::Reserved), Ok(()));
            sent.is_ok().then_some(late)
        });
        let mut received = Vec::new();
        while let Some(message) = consumer.receive::<ToBroker>().unwrap() {
            received.push(message);
        }
        let late = sender.join().unwrap();
        while let Some(message) = consumer.receive::<ToBroker>().unwrap() {
            received.push(message);
        }
        let expected: Vec<_> = [first].into_iter().chain(late).chain([invalidate(1)]).collect();
        assert_eq!(received, expected);
    });
}

/// What `Forced` rests on: who sees that a message was consumed, and then drains its own ring, has all
/// answers to what was before that message.
fn answers_before_forced(weakness: Weakness) {
    let (mut lender_sends, mut broker_receives) = ring::<SMALL>(weakness);
    let (mut broker_sends, mut lender_receives) = ring::<SMALL>(Weakness::None);
    lender_sends.send(&invalidate(1), Priority::Reserved).unwrap();
    lender_sends.send(&ToBroker::Forced { sequence: 1 }, Priority::Reserved).unwrap();
    let behind_forced = lender_sends.position();
    let answer = FromBroker::Invalidated { sequence: 1, result: Ok(0) };
    let broker = {
        let answer = answer.clone();
        loom::thread::spawn(move || {
            while let Some(message) = broker_receives.receive::<ToBroker>().unwrap() {
                if let ToBroker::Invalidate { .. } = message {
                    broker_sends.send(&answer, Priority::Reserved).unwrap();
                }
            }
        })
    };
    if lender_sends.has_consumed(behind_forced).unwrap() {
        assert_eq!(lender_receives.receive(), Ok(Some(answer)));
    }
    broker.join().unwrap();
    assert_eq!(lender_sends.has_consumed(behind_forced), Ok(true));
}

#[test]
fn answers_to_what_is_before_a_consumed_message_are_there() {
    loom::model(|| answers_before_forced(Weakness::None));
}

/// Loom finds a fault in the model when this access is weaker than the production code's.
#[track_caller]
fn found(weakness: Weakness, model: fn(Weakness), complaint: &str) {
    let result = std::panic::catch_unwind(|| loom::model(move || model(weakness)));
    let said = result.expect_err("loom found nothing");
    let text = said
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| said.downcast_ref::<&str>().copied())
        .unwrap_or_default();
    assert!(text.contains(complaint), "{text}");
}

#[test]
fn a_producer_without_its_fence_is_found_to_sleep_for_ever() {
    found(Weakness::ProducerWithoutFence, full_ring, "deadlock");
}

#[test]
fn a_consumer_without_its_fence_is_found_to_let_the_producer_sleep() {
    found(Weakness::ConsumerWithoutFence, full_ring, "deadlock");
}

#[test]
fn an_index_produced_without_release_is_found() {
    found(Weakness::ProducedRelaxed, frames_across_the_end, "Causality violation");
}

#[test]
fn an_index_consumed_without_release_is_found() {
    found(Weakness::ConsumedRelaxed, full_ring, "Causality violation");
}

#[test]
fn an_index_consumed_without_release_is_found_to_hide_answers() {
    found(Weakness::ConsumedRelaxed, answers_before_forced, "left == right");
}

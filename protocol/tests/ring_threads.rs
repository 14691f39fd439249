// SPDX-License-Identifier: MIT OR Apache-2.0
//! The rings over real shared memory, with the two ends on two threads that sleep
//! and wake each other as two domains do: no message and no wake-up is lost.

use std::sync::mpsc::{sync_channel, Receiver, SyncSender};

use xenlend_protocol::message::{AccessOutcome, ToBroker};
use xenlend_protocol::ring::shared_page::{Direction, SharedRing};
use xenlend_protocol::ring::{Consumer, Producer, SendError};

const MESSAGES: u32 = 20_000;

#[repr(align(4096))]
struct Page([u8; 4096]);

/// An event channel: a pending bit, and a sleep until it is set.
fn event_channel() -> (SyncSender<()>, Receiver<()>) {
    sync_channel(1)
}

fn notify(channel: &SyncSender<()>) {
    // A full channel is an event that is pending already; the other end may have had
    // all its messages and be gone.
    let _ = channel.try_send(());
}

fn message(id: u32) -> ToBroker {
    let length = 1 + id as usize % 256;
    ToBroker::Completed {
        id,
        outcome: AccessOutcome::Read { bytes: std::iter::repeat_n(id as u8, length).collect() },
    }
}

#[test]
fn two_ends_that_sleep_lose_neither_messages_nor_wake_ups() {
    for direction in [Direction::ToBroker, Direction::ToLender] {
        let (mut control, mut data) = (Box::new(Page([0; 4096])), Box::new(Page([0; 4096])));
        let (control, data) = (control.0.as_mut_ptr(), data.0.as_mut_ptr());
        // SAFETY: both pages outlive the threads, which are joined below, and are accessed
        // through these two values only.
        let (sending, receiving) =
            unsafe { (SharedRing::new(control, data, direction), SharedRing::new(control, data, direction)) };
        let (to_consumer, consumer_sleeps) = event_channel();
        let (to_producer, producer_sleeps) = event_channel();

        std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut producer = Producer::new(sending);
                for id in 0..MESSAGES {
                    let message = message(id);
                    loop {
                        match producer.send(&message, message.priority()) {
                            Ok(()) => break,
                            Err(SendError::Full) => producer_sleeps.recv().unwrap(),
                            Err(error) => panic!("{error:?}"),
                        }
                    }
                    notify(&to_consumer);
                }
            });
            scope.spawn(move || {
                let mut consumer = Consumer::new(receiving);
                let mut expected = 0;
                while expected < MESSAGES {
                    while let Some(received) = consumer.receive::<ToBroker>().unwrap() {
                        assert_eq!(received, message(expected));
                        expected += 1;
                    }
                    if consumer.take_wakeup() {
                        notify(&to_producer);
                    }
                    if expected < MESSAGES {
                        consumer_sleeps.recv().unwrap();
                    }
                }
            });
        });
    }
}

#[test]
fn the_two_rings_of_a_link_share_a_control_page_without_overlap() {
    let (mut control, mut first, mut second) =
        (Box::new(Page([0; 4096])), Box::new(Page([0; 4096])), Box::new(Page([0; 4096])));
    let (control, first, second) = (control.0.as_mut_ptr(), first.0.as_mut_ptr(), second.0.as_mut_ptr());
    // SAFETY: the pages outlive the rings, which are used by this thread only.
    let ring = |data, direction| unsafe { SharedRing::new(control, data, direction) };
    let mut lender_sends = Producer::new(ring(first, Direction::ToBroker));
    let mut broker_sends = Producer::new(ring(second, Direction::ToLender));
    let mut broker_receives = Consumer::new(ring(first, Direction::ToBroker));
    let mut lender_receives = Consumer::new(ring(second, Direction::ToLender));
    for id in 0..500 {
        lender_sends.send(&message(id), message(id).priority()).unwrap();
        broker_sends.send(&message(!id), message(!id).priority()).unwrap();
        assert_eq!(broker_receives.receive(), Ok(Some(message(id))));
        assert_eq!(lender_receives.receive(), Ok(Some(message(!id))));
    }
}

#[test]
fn the_fields_are_where_the_specification_says() {
    use xenlend_protocol::ring::RingMemory;
    let (mut control, mut data) = (Box::new(Page([0; 4096])), Box::new(Page([0; 4096])));
    let (control_at, data_at) = (control.0.as_mut_ptr(), data.0.as_mut_ptr());
    // SAFETY: the pages outlive the rings, which are used by this thread only.
    let ring = |direction| unsafe { SharedRing::new(control_at, data_at, direction) };
    for (direction, offset) in [(Direction::ToBroker, 0), (Direction::ToLender, 256)] {
        ring(direction).store_produced(0x0403_0201 + offset);
        ring(direction).store_waiting(true);
        ring(direction).store_consumed(0x1413_1211 + offset);
    }
    // The borrower's link has the same two places, each written by the other two sides.
    assert_eq!(ring(Direction::ToBorrower).load_produced(), 0x0403_0201);
    assert_eq!(ring(Direction::FromBorrower).load_produced(), 0x0403_0301);
    ring(Direction::ToBroker).write(4088, &[1, 2, 3, 4, 5, 6, 7, 8]);
    let mut expected = [0; 4096];
    for (at, bytes) in [
        (0, [1, 2, 3, 4]),
        (64, [1, 0, 0, 0]),
        (128, [0x11, 0x12, 0x13, 0x14]),
        (256, [1, 3, 3, 4]),
        (320, [1, 0, 0, 0]),
        (384, [0x11, 0x13, 0x13, 0x14]),
    ] {
        expected[at..at + 4].copy_from_slice(&bytes);
    }
    assert_eq!(control.0, expected);
    assert_eq!(data.0[4088..], [1, 2, 3, 4, 5, 6, 7, 8]);
    assert!(data.0[..4088].iter().all(|byte| *byte == 0));
}

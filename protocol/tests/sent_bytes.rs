// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a sender puts into shared memory is the message and zeros: nothing that lay in its memory before,
//! and nothing outside the frame.

mod support;

use std::path::Path;

use serde::de::DeserializeOwned;
use serde::Serialize;
use support::ArrayRing;
use xenlend_protocol::codec::decode;
use xenlend_protocol::message::{FromBroker, ToBroker};
use xenlend_protocol::ring::layout::CAPACITY;
use xenlend_protocol::ring::{Priority, Producer};

/// Sends every message of a folder of encoded ones into memory full of something else.
fn send_all<T: DeserializeOwned + Serialize>(folder: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(folder);
    let ring = ArrayRing::default();
    let mut producer = Producer::new(&ring);
    let mut messages = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let encoded = std::fs::read(entry.unwrap().path()).unwrap();
        ring.data.borrow_mut().fill(0xee);
        let start = producer.position();
        producer.send(&decode::<T>(&encoded).unwrap(), Priority::Normal).unwrap();
        ring.consumed.set(producer.position());

        let mut frame = (encoded.len() as u32).to_le_bytes().to_vec();
        frame.extend(&encoded);
        frame.resize(frame.len().next_multiple_of(8), 0);
        assert_eq!(producer.position().wrapping_sub(start) as usize, frame.len());
        let mut expected = [0xee; CAPACITY as usize];
        for (at, byte) in (start..).zip(frame) {
            expected[(at % CAPACITY) as usize] = byte;
        }
        assert_eq!(*ring.data.borrow(), expected);
        messages += 1;
    }
    assert!(messages > 5);
}

#[test]
fn the_message_and_zeros_and_nothing_else() {
    send_all::<ToBroker>("to_broker");
    send_all::<FromBroker>("from_broker");
}

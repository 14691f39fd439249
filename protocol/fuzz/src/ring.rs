// SPDX-License-Identifier: MIT OR Apache-2.0
//! Both ends of a ring whose other end writes what it likes when it likes: every load takes the next of
//! the fuzzer's bytes, so that no two loads need agree.

use std::cell::RefCell;

use serde::de::DeserializeOwned;
use xenlend_protocol::message::{AccessOutcome, FromBroker, ToBroker, MAX_ACCESS_BYTES};
use xenlend_protocol::refusal::BreachKind;
use xenlend_protocol::ring::layout::{CAPACITY, MAX_FRAME_BYTES, RESERVED_BYTES};
use xenlend_protocol::ring::{Consumer, Priority, Producer, RingMemory, SendError};

use crate::Stream;

/// What happened to the memory since it was looked at last.
#[derive(Default)]
struct Accesses {
    /// What the loads of the other end's index gave.
    indices: Vec<u32>,
    bytes_read: u32,
    bytes_written: u32,
    produced: Option<u32>,
    consumed: Option<u32>,
    announced: bool,
}

/// The memory of a ring.
struct Hostile<'a> {
    stream: RefCell<Stream<'a>>,
    accesses: RefCell<Accesses>,
}

impl<'a> Hostile<'a> {
    fn new(stream: Stream<'a>) -> Self {
        Self { stream: RefCell::new(stream), accesses: RefCell::default() }
    }

    fn index(&self) -> u32 {
        let index = u32::from_le_bytes(self.stream.borrow_mut().take());
        self.accesses.borrow_mut().indices.push(index);
        index
    }

    /// A copy stays inside the data area.
    fn check(offset: u32, length: usize) {
        assert!(offset % 8 == 0 && length % 8 == 0);
        assert!(offset as usize + length <= CAPACITY as usize, "{offset} + {length}");
    }
}

impl RingMemory for Hostile<'_> {
    fn load_produced(&self) -> u32 {
        self.index()
    }
    fn store_produced(&self, value: u32) {
        assert_eq!(self.accesses.borrow_mut().produced.replace(value), None);
    }
    fn load_consumed(&self) -> u32 {
        self.index()
    }
    fn store_consumed(&self, value: u32) {
        assert_eq!(self.accesses.borrow_mut().consumed.replace(value), None);
    }
    fn load_waiting(&self) -> bool {
        self.stream.borrow_mut().byte() % 2 != 0
    }
    fn store_waiting(&self, waits: bool) {
        self.accesses.borrow_mut().announced |= waits;
    }
    fn read(&self, offset: u32, bytes: &mut [u8]) {
        Self::check(offset, bytes.len());
        self.accesses.borrow_mut().bytes_read += bytes.len() as u32;
        bytes.fill_with(|| self.stream.borrow_mut().byte());
    }
    fn write(&self, offset: u32, bytes: &[u8]) {
        Self::check(offset, bytes.len());
        self.accesses.borrow_mut().bytes_written += bytes.len() as u32;
    }
}

/// The receiving end. The first byte says of which direction.
pub fn consumer(bytes: &[u8]) {
    let mut stream = Stream(bytes);
    match stream.byte() {
        0 => receive_all::<ToBroker>(stream),
        _ => receive_all::<FromBroker>(stream),
    }
}

fn receive_all<T: DeserializeOwned>(stream: Stream) {
    let memory = Hostile::new(stream);
    let mut consumer = Consumer::new(&memory);
    let (mut consumed, mut promised, mut broken) = (0u32, 0, None);
    while !memory.stream.borrow().is_empty() {
        let result = consumer.receive::<T>();
        let accesses = memory.accesses.take();
        assert_eq!((accesses.produced, accesses.announced, accesses.bytes_written), (None, false, 0));
        if let Some(kind) = broken {
            assert_eq!(result.err(), Some(kind), "a broken ring stays broken");
            assert!(accesses.indices.is_empty() && accesses.bytes_read == 0);
            return;
        }
        let [produced] = accesses.indices[..] else { panic!("one look, one load") };
        // The contract: a multiple of 8, not backwards, at most the capacity ahead.
        let available = produced.wrapping_sub(consumed);
        let fine = produced % 8 == 0 && available >= promised && available <= CAPACITY;
        assert_eq!(matches!(result, Err(BreachKind::RingIndices)), !fine);
        assert!(
            accesses.bytes_read <= MAX_FRAME_BYTES && accesses.bytes_read <= if fine { available } else { 0 }
        );
        let is_frame = accesses.bytes_read > 0 && !matches!(result, Err(BreachKind::MessageLength));
        assert_eq!(accesses.consumed, is_frame.then(|| consumed.wrapping_add(accesses.bytes_read)));
        if is_frame {
            consumed = consumed.wrapping_add(accesses.bytes_read);
        }
        promised = produced.wrapping_sub(consumed);
        broken = result.err();
        let _ = consumer.take_wakeup();
    }
}

/// The sending end. Operations and the other end's index take turns in the bytes.
pub fn producer(bytes: &[u8]) {
    let memory = Hostile::new(Stream(bytes));
    let mut producer = Producer::new(&memory);
    let (mut consumed, mut broken) = (0u32, None);
    let mut ends = Vec::new();
    while !memory.stream.borrow().is_empty() {
        let [operation, length] = memory.stream.borrow_mut().take();
        let before = producer.position();
        let result = match operation % 4 {
            0 | 1 => {
                let priority = if operation & 1 == 0 { Priority::Normal } else { Priority::Reserved };
                let sent = producer.send(&message(usize::from(length)), priority);
                match sent {
                    Ok(()) | Err(SendError::Full) => Ok(()),
                    Err(SendError::Breach(kind)) => Err(kind),
                    Err(SendError::TooLong) => panic!("no message here is too long"),
                }
            }
            2 => producer.has_room_for_any().map(|_| ()),
            _ => producer.has_consumed(before.wrapping_sub(u32::from(length) * 8)).map(|_| ()),
        };
        let accesses = memory.accesses.take();
        assert_eq!((accesses.consumed, accesses.bytes_read), (None, 0));
        let sent = producer.position().wrapping_sub(before);
        assert_eq!(accesses.produced, (sent > 0).then(|| producer.position()));
        assert_eq!(accesses.bytes_written, sent);
        if let Some(kind) = broken {
            assert_eq!(result, Err(kind), "a broken ring stays broken");
            assert!(accesses.indices.is_empty() && sent == 0);
            return;
        }
        // The contract: where it was, or where a frame ends that was sent.
        let fine = |index: &u32| {
            let advance = index.wrapping_sub(consumed);
            let fine = advance == 0 || (advance <= before.wrapping_sub(consumed) && ends.contains(index));
            consumed = if fine { *index } else { consumed };
            fine
        };
        let fine = accesses.indices.iter().all(fine);
        assert_eq!(result, if fine { Ok(()) } else { Err(BreachKind::RingIndices) });
        // A second look, behind the announcement that the producer waits; none after a breach.
        let looks = accesses.indices.len();
        assert!(looks == 1 || (looks == 2 && accesses.announced));
        let kept = if operation % 4 == 0 { RESERVED_BYTES } else { 0 };
        assert!(sent == 0 || producer.position().wrapping_sub(consumed) <= CAPACITY - kept);
        broken = result.err();
        if sent > 0 {
            ends.push(producer.position());
        }
    }
}

/// A message with so many bytes.
fn message(length: usize) -> ToBroker {
    let bytes = std::iter::repeat_n(1, length.min(MAX_ACCESS_BYTES)).collect();
    ToBroker::Completed { id: 1, outcome: AccessOutcome::Read { bytes } }
}

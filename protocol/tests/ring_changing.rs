// SPDX-License-Identifier: MIT OR Apache-2.0
//! Both ends over memory that gives another value at every read: each field that the other end writes is
//! read once for each look at it, what was read then is what counts, and nothing outside the frame is touched.

mod changing;

use changing::{Accesses, Changing};
use proptest::prelude::*;
use xenlend_protocol::message::{AccessOutcome, FromBroker, ToBroker, MAX_ACCESS_BYTES};
use xenlend_protocol::refusal::BreachKind;
use xenlend_protocol::ring::atomics::AtomicRing;
use xenlend_protocol::ring::layout::{frame_bytes, CAPACITY};
use xenlend_protocol::ring::{Consumer, Priority, Producer, RingMemory, SendError};

/// The offsets of the words of a frame, in order.
fn words_of(index: u32, frame: u32) -> Vec<usize> {
    (0..frame / 8).map(|word| (index.wrapping_add(word * 8) % CAPACITY) as usize).collect()
}

fn sorted(mut offsets: Vec<usize>) -> Vec<usize> {
    offsets.sort_unstable();
    offsets
}

/// What an end may have done in one receive from `consumed`: the index behind it, or what is wrong.
fn judge_receive<T>(
    accesses: &Accesses,
    consumed: u32,
    broken: bool,
    result: &Result<Option<T>, BreachKind>,
) -> Result<u32, String> {
    let wrong = |what: &str| Err(format!("{what}: {accesses:?}"));
    if accesses.produced_loads != u32::from(!broken) {
        return wrong("the producer's index is read once");
    }
    if accesses.consumed_loads != 0 {
        return wrong("the own index is never read back");
    }
    if !accesses.word_stores.is_empty() || !accesses.produced_stores.is_empty() {
        return wrong("a consumer writes its index only");
    }
    if accesses.word_loads.values().any(|loads| *loads > 1) {
        return wrong("a word of the frame is read once");
    }
    let header = accesses.words.first().map(|word| *word as u32);
    let touched: Vec<usize> = accesses.word_loads.keys().copied().collect();
    match (result, header) {
        (Ok(Some(_)) | Err(BreachKind::Undecodable), Some(length)) if !broken => {
            let frame = frame_bytes(length);
            if touched != sorted(words_of(consumed, frame)) {
                return wrong("the frame is what its header, read once, said");
            }
            if accesses.consumed_stores != [consumed.wrapping_add(frame)] {
                return wrong("the index goes behind the frame that was read");
            }
            if accesses.waiting_loads != 1 {
                return wrong("whether the producer waits is read once");
            }
            Ok(consumed.wrapping_add(frame))
        }
        (Err(BreachKind::MessageLength), Some(_)) if !broken => {
            if touched != words_of(consumed, 8) || !accesses.consumed_stores.is_empty() {
                return wrong("of a frame that cannot be only the header is read");
            }
            Ok(consumed)
        }
        (Ok(None) | Err(_), None) => {
            if accesses.waiting_loads != 0 || !accesses.consumed_stores.is_empty() {
                return wrong("without a frame nothing is touched");
            }
            Ok(consumed)
        }
        _ => wrong("the answer does not follow from what was read"),
    }
}

/// What an end may have done in one send to `produced`: the index behind it, or what is wrong.
fn judge_send(
    accesses: &Accesses,
    produced: u32,
    frame: u32,
    broken: bool,
    result: Result<(), SendError>,
) -> Result<u32, String> {
    let wrong = |what: &str| Err(format!("{what}: {accesses:?}"));
    // The second look is the one behind the announcement that the producer waits.
    let looks = if broken { 0 } else { 1 + u32::from(accesses.waiting_stores.contains(&1)) };
    if accesses.consumed_loads != looks {
        return wrong("the consumer's index is read once for each look");
    }
    if accesses.produced_loads + accesses.waiting_loads != 0 || !accesses.word_loads.is_empty() {
        return wrong("a producer reads the consumer's index only");
    }
    if !accesses.consumed_stores.is_empty() {
        return wrong("a producer does not write the consumer's index");
    }
    let touched: Vec<usize> = accesses.word_stores.keys().copied().collect();
    if result.is_err() {
        let trace = !touched.is_empty() || !accesses.produced_stores.is_empty();
        return if trace { wrong("nothing of it is in the ring") } else { Ok(produced) };
    }
    if touched != sorted(words_of(produced, frame)) || accesses.word_stores.values().any(|stores| *stores > 1)
    {
        return wrong("the frame's words are written, each once");
    }
    let behind = produced.wrapping_add(frame);
    if accesses.produced_stores == [behind] {
        Ok(behind)
    } else {
        wrong("the index goes behind the frame")
    }
}

/// Receives so often, and says how many messages came.
fn receive_judged<T: serde::de::DeserializeOwned>(
    memory: impl RingMemory,
    source: &changing::Source,
    times: u32,
) -> Result<u32, String> {
    let mut consumer = Consumer::new(memory);
    let (mut consumed, mut broken, mut taken) = (0, false, 0);
    for _ in 0..times {
        let result = consumer.receive::<T>();
        consumed = judge_receive(&source.take(), consumed, broken, &result)?;
        broken |= result.is_err();
        taken += u32::from(matches!(result, Ok(Some(_))));
        let _ = consumer.take_wakeup();
        if source.take().waiting_loads != 0 {
            return Err("a wake-up is not looked up again".into());
        }
    }
    let empty = consumer.is_empty();
    let looked = source.take();
    if looked.produced_loads != u32::from(!broken) || !looked.words.is_empty() || (broken && empty) {
        return Err("whether it is empty takes one look".into());
    }
    Ok(taken)
}

fn message(length: usize) -> ToBroker {
    ToBroker::Completed {
        id: 1,
        outcome: AccessOutcome::Read { bytes: std::iter::repeat_n(9, length).collect() },
    }
}

/// Sends messages of these lengths, and says how many went.
fn send_judged(
    memory: impl RingMemory,
    source: &changing::Source,
    lengths: &[(usize, bool)],
) -> Result<u32, String> {
    let mut producer = Producer::new(memory);
    let (mut produced, mut broken, mut sent) = (0, false, 0);
    for (length, reserved) in lengths {
        let message = message(*length);
        let mut buffer = [0; 384];
        let encoded = xenlend_protocol::codec::encode(&message, &mut buffer).map_err(|_| "too long")?;
        let priority = if *reserved { Priority::Reserved } else { Priority::Normal };
        let result = producer.send(&message, priority);
        produced = judge_send(&source.take(), produced, frame_bytes(encoded as u32), broken, result)?;
        broken |= matches!(result, Err(SendError::Breach(_)));
        let known = producer.has_consumed(produced);
        if source.take().consumed_loads != u32::from(!broken) {
            return Err("one look at the consumer's index is one load".into());
        }
        broken |= known.is_err();
        sent += u32::from(result.is_ok());
    }
    Ok(sent)
}

/// Where values come from: words of all kinds, so many that they do not repeat soon.
fn choices() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec(any::<u64>(), 1..400)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn a_consumer_reads_each_field_once_whatever_it_reads(choices in choices(), to_broker: bool) {
        let (cells, source) = Changing::new(choices);
        let ring = AtomicRing::over(cells);
        let judged = if to_broker {
            receive_judged::<ToBroker>(ring, &source, 60)
        } else {
            receive_judged::<FromBroker>(ring, &source, 60)
        };
        prop_assert!(judged.is_ok(), "{judged:?}");
    }

    #[test]
    fn a_producer_reads_each_field_once_whatever_it_reads(
        choices in choices(),
        lengths in prop::collection::vec((0..=MAX_ACCESS_BYTES, any::<bool>()), 1..60),
    ) {
        let (cells, source) = Changing::new(choices);
        let judged = send_judged(AtomicRing::over(cells), &source, &lengths);
        prop_assert!(judged.is_ok(), "{judged:?}");
    }
}

/// Memory whose user looks at an index or at bytes twice, as a compiler may with plain memory.
struct Twice<M> {
    memory: M,
    indices: bool,
}

impl<M: RingMemory> RingMemory for Twice<M> {
    fn load_produced(&self) -> u32 {
        if self.indices {
            self.memory.load_produced();
        }
        self.memory.load_produced()
    }
    fn store_produced(&self, value: u32) {
        self.memory.store_produced(value);
    }
    fn load_consumed(&self) -> u32 {
        if self.indices {
            self.memory.load_consumed();
        }
        self.memory.load_consumed()
    }
    fn store_consumed(&self, value: u32) {
        self.memory.store_consumed(value);
    }
    fn load_waiting(&self) -> bool {
        self.memory.load_waiting()
    }
    fn store_waiting(&self, waits: bool) {
        self.memory.store_waiting(waits);
    }
    fn read(&self, offset: u32, bytes: &mut [u8]) {
        self.memory.read(offset, bytes);
        if !self.indices {
            self.memory.read(offset, bytes);
        }
    }
    fn write(&self, offset: u32, bytes: &[u8]) {
        self.memory.write(offset, bytes);
    }
}

/// Words that make an end take what it reads for honest: indices that go on, and frames of `Forced`.
fn honest() -> Vec<u64> {
    (0..1000).map(|turn| (turn % 8 * 8) << 32 | 2).collect()
}

#[test]
fn ends_that_read_something_else_every_time_go_on_while_it_could_be_true() {
    let (cells, source) = Changing::new(honest());
    assert_eq!(receive_judged::<ToBroker>(AtomicRing::over(cells), &source, 600), Ok(600));
    let (cells, source) = Changing::new(honest());
    let lengths: Vec<_> = (0..600).map(|turn| (150 + turn % 100, false)).collect();
    let sent = send_judged(AtomicRing::over(cells), &source, &lengths).unwrap();
    assert!((100..600).contains(&sent), "{sent}: the ring must have been full now and then");
}

#[test]
fn a_value_that_is_read_twice_is_noticed() {
    for indices in [true, false] {
        let (cells, source) = Changing::new(honest());
        let twice = Twice { memory: AtomicRing::over(cells), indices };
        let judged = receive_judged::<ToBroker>(twice, &source, 1);
        assert!(judged.is_err_and(|what| what.contains("is read once")), "{indices}");
    }
    let (cells, source) = Changing::new(honest());
    let twice = Twice { memory: AtomicRing::over(cells), indices: true };
    let judged = send_judged(twice, &source, &[(1, false), (1, false)]);
    assert!(judged.is_err_and(|what| what.contains("is read once")));
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Waits for a broker that is honest, slow, or does as little as it can: in simulated time.
#![allow(missing_docs)]

mod support;

use support::{invalidate, present, Pair, USER};
use xenlend_protocol::frame::AperturePage;
use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::message::{AccessOutcome, FromBroker, MAX_INVALIDATIONS};
use xenlend_shim_core::invalidation::Standing;
use xenlend_shim_core::link::{Awaited, Completion, InvalidateStart, NotSent, Reason, State};
use xenlend_shim_core::patience::{For, Patience, Verdict, MOST_DEADLINES};

const DEADLINE: u64 = 3000;

/// What the broker does, again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broker {
    /// Takes one whole message.
    Takes,
    /// Takes so many, and answers the invalidations among them.
    Serves(u32),
    /// Takes 8 bytes, which is less than a message.
    TakesBytes,
    /// Acknowledges an invalidation that never was.
    AcknowledgesNothing,
    /// Acknowledges what it has acknowledged before.
    AcknowledgesAgain,
    /// Acknowledges one that is outstanding, the newest first.
    AcknowledgesAnother,
    /// Asks for an access: lawful, and no answer to anybody.
    Asks,
    /// Takes one message, then says something.
    TakesAndAsks,
    /// Nothing.
    Sleeps,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// The acknowledgement of an invalidation behind a full ring.
    Invalidation,
    /// Room in a full ring.
    Room,
    /// A place among eight invalidations.
    Place,
}

struct Bench {
    pair: Pair,
    lease: LeaseId,
    sequences: Vec<u64>,
    accesses: u32,
}

impl Bench {
    /// Sixteen pages are present, and the ring is full of the smallest messages.
    fn new() -> Self {
        let mut pair = Pair::connected();
        let lease = pair.region(0, 0, 1024, USER);
        for page in 0..16 {
            present(&mut pair, lease, page, 0x700 + 2 * u64::from(page), 1);
        }
        let completion = Completion { id: 1, outcome: AccessOutcome::Lost };
        while pair.link.post_completed(&completion) != Err(NotSent::Full) {}
        Self { pair, lease, sequences: Vec::new(), accesses: 0 }
    }

    fn invalidate(&mut self) -> InvalidateStart {
        let started = invalidate(&mut self.pair, self.lease, self.sequences.len() as u32, 1);
        if let InvalidateStart::Posted(sequence) = started {
            self.sequences.push(sequence);
        }
        started
    }

    fn acknowledge(&mut self, sequence: u64) {
        self.pair.say(FromBroker::Invalidated { sequence, result: Ok(1) });
    }

    fn act(&mut self, broker: Broker) {
        match broker {
            Broker::Sleeps => {}
            Broker::Takes => drop(self.pair.next()),
            Broker::TakesBytes => self.pair.to_broker.move_consumed(8),
            Broker::Serves(messages) => {
                for _ in 0..messages {
                    let taken = self.pair.next();
                    if let Some(xenlend_protocol::message::ToBroker::Invalidate { sequence, .. }) = taken {
                        self.acknowledge(sequence);
                    }
                }
            }
            Broker::AcknowledgesNothing => self.acknowledge(0),
            Broker::AcknowledgesAgain => self.acknowledge(self.sequences[0]),
            Broker::AcknowledgesAnother => {
                let waiting =
                    |sequence: &&u64| self.pair.link.invalidation_standing(**sequence) == Standing::Waiting;
                if let Some(sequence) = self.sequences.iter().rev().find(waiting).copied() {
                    self.acknowledge(sequence);
                }
            }
            Broker::Asks | Broker::TakesAndAsks => {
                if broker == Broker::TakesAndAsks {
                    drop(self.pair.next());
                }
                self.accesses += 1;
                self.pair.access(self.accesses, self.lease, 0);
                // The worker takes it, and finds no room for the answer.
                drop(self.pair.link.pop_request());
            }
        }
    }

    /// Waits as the module does, while the broker acts every `period` ms. Gives how long that took, and
    /// whether what was waited for came.
    fn wait(&mut self, wait: Wait, whom: For, broker: Broker, period: u64) -> (u64, bool) {
        let sequence = match (wait, self.invalidate()) {
            (_, InvalidateStart::Posted(sequence)) => sequence,
            other => panic!("{other:?}"),
        };
        let position = self.pair.link.position();
        if wait == Wait::Place {
            for _ in 1..MAX_INVALIDATIONS {
                assert!(matches!(self.invalidate(), InvalidateStart::Posted(_)));
            }
        }
        let mut patience = Patience::new(DEADLINE as u32, whom);
        let (mut now, mut acts_at) = (0, period);
        loop {
            self.pair.link.drain(64);
            let link = &mut self.pair.link;
            let (found, awaited) = match wait {
                Wait::Invalidation => {
                    (link.invalidation_standing(sequence) != Standing::Waiting, Awaited::Answer(position))
                }
                Wait::Room => (link.has_room(), Awaited::Room),
                Wait::Place => {
                    // Nobody takes the acknowledged ones off the list but their own notifiers, which do.
                    for of in &self.sequences {
                        if link.invalidation_standing(*of) == Standing::Removed && *of != sequence {
                            link.end_invalidate(*of);
                        }
                    }
                    let started = link.start_invalidate(self.lease, AperturePage(15), 1, true);
                    if let InvalidateStart::Posted(other) = started {
                        // Somebody else is faster each time.
                        self.sequences.push(other);
                    }
                    (matches!(started, InvalidateStart::Force(_)), Awaited::Place)
                }
            };
            assert!(now <= 20 * DEADLINE, "{wait:?}, {broker:?} every {period} ms: no end");
            if found || self.pair.link.needs_force().is_some() {
                return (now, found && self.pair.link.needs_force().is_none());
            }
            let _ = self.pair.link.take_effects();
            match self.pair.link.keep_waiting(awaited, &mut patience, now) {
                Verdict::Expired => return (now, false),
                // It looks again at once.
                Verdict::Wait(_) if self.pair.link.take_effects().wake => {}
                Verdict::Wait(ms) => now = (now + u64::from(ms)).min(acts_at),
            }
            if now == acts_at {
                self.act(broker);
                acts_at += period;
            }
        }
    }
}

const JUST_IN_TIME: u64 = DEADLINE - 1;

/// Whatever it does, and whenever.
const ADVERSARIES: [(Wait, Broker); 13] = [
    (Wait::Invalidation, Broker::Takes),
    (Wait::Invalidation, Broker::TakesBytes),
    (Wait::Invalidation, Broker::AcknowledgesNothing),
    (Wait::Invalidation, Broker::Asks),
    (Wait::Invalidation, Broker::TakesAndAsks),
    (Wait::Invalidation, Broker::Sleeps),
    (Wait::Room, Broker::Takes),
    (Wait::Room, Broker::TakesBytes),
    (Wait::Room, Broker::AcknowledgesNothing),
    (Wait::Room, Broker::Asks),
    (Wait::Place, Broker::AcknowledgesAnother),
    (Wait::Place, Broker::AcknowledgesNothing),
    (Wait::Place, Broker::Asks),
];

#[test]
fn no_broker_stretches_a_wait() {
    for (wait, broker) in ADVERSARIES {
        for period in [1, 10, DEADLINE / 2, JUST_IN_TIME, DEADLINE + 1] {
            for (whom, most) in [(For::Nobody, MOST_DEADLINES * DEADLINE), (For::End(0), DEADLINE)] {
                let (took, _) = Bench::new().wait(wait, whom, broker, period);
                assert!(took <= most, "{wait:?}, {broker:?} every {period} ms: {took} ms");
            }
        }
    }
}

#[test]
fn what_brings_no_wait_nearer_to_its_end_moves_nothing() {
    for (wait, broker) in
        [(Wait::Invalidation, Broker::Asks), (Wait::Room, Broker::Asks), (Wait::Place, Broker::Asks)]
    {
        let (took, found) = Bench::new().wait(wait, For::Nobody, broker, JUST_IN_TIME);
        assert_eq!((took, found), (DEADLINE, false), "{wait:?}, {broker:?}");
    }
}

#[test]
fn half_messages_and_acknowledgements_of_nothing_are_breaches_at_once() {
    for broker in [Broker::TakesBytes, Broker::AcknowledgesNothing] {
        let mut bench = Bench::new();
        // The first messages in the ring are of 8 bytes: those are whole.
        let _ = bench.invalidate();
        while bench.pair.next().is_some() {}
        let (took, found) = bench.wait(Wait::Invalidation, For::Nobody, broker, 1000);
        assert_eq!((took, found), (1000, false), "{broker:?}");
        assert_eq!(bench.pair.link.needs_force(), Some(Reason::Breach), "{broker:?}");
    }
    let mut bench = Bench::new();
    let _ = bench.invalidate();
    bench.acknowledge(bench.sequences[0]);
    assert_eq!(bench.pair.link.state(), State::Connected);
    bench.act(Broker::AcknowledgesAgain);
    assert_eq!(bench.pair.link.needs_force(), Some(Reason::Breach));
}

#[test]
fn a_broker_under_load_is_waited_for_behind_everything_that_can_be_in_front() {
    // 32 messages in a turn, and each turn takes so long that others had the processor for most of it.
    for turn_ms in [10, 100, DEADLINE / 4 - 1] {
        let (took, found) = Bench::new().wait(Wait::Invalidation, For::Nobody, Broker::Serves(32), turn_ms);
        assert!(found, "{turn_ms} ms a turn: given up after {took} ms");
        assert!(took >= 14 * turn_ms, "the ring was full");
    }
}

#[test]
fn a_call_has_one_deadline_left_when_somebody_wants_to_end_something() {
    let mut pair = Pair::connected();
    let mut patience = Patience::new(DEADLINE as u32, For::Call);
    let mut moving = |pair: &mut Pair, now| {
        pair.link.greet().unwrap();
        pair.next();
        pair.link.keep_waiting(Awaited::Room, &mut patience, now)
    };
    assert_ne!(moving(&mut pair, 0), Verdict::Expired);
    pair.link.begin_ending(500);
    pair.link.begin_ending(700);
    assert!(pair.link.is_ending());
    assert_ne!(moving(&mut pair, 3499), Verdict::Expired);
    assert_eq!(moving(&mut pair, 3500), Verdict::Expired, "counted from the first");
    pair.link.finish_ending();
    assert!(pair.link.is_ending(), "one is left");
    pair.link.finish_ending();
    assert!(!pair.link.is_ending());
}

#[test]
fn all_that_the_death_of_a_process_revokes_has_one_deadline_together() {
    let mut pair = Pair::connected();
    let (one, other) = (pair.region(0, 0, 8, USER), pair.region(1, 8, 8, USER));
    let ends_at = |pair: &mut Pair, lease, from: u64| {
        let mut patience = Patience::new(DEADLINE as u32, For::Notifier(lease));
        let mut now = from;
        loop {
            // It moves all the time.
            pair.link.greet().unwrap();
            pair.next();
            match pair.link.keep_waiting(Awaited::Room, &mut patience, now) {
                Verdict::Expired => return now,
                Verdict::Wait(ms) => now += u64::from(ms),
            }
        }
    };
    assert_eq!(ends_at(&mut pair, one, 100), 100 + MOST_DEADLINES * DEADLINE);
    pair.link.note_death(one, DEADLINE, 20_000);
    assert_eq!(ends_at(&mut pair, one, 20_000), 20_000 + DEADLINE);
    pair.link.note_death(other, DEADLINE, 22_000);
    assert_eq!(ends_at(&mut pair, other, 22_000), 20_000 + DEADLINE, "not one deadline for each region");
    // It did not die after all.
    let late = 20_000 + 2 * DEADLINE;
    assert_eq!(ends_at(&mut pair, one, late), late + MOST_DEADLINES * DEADLINE);
    pair.link.note_death(one, DEADLINE, late);
    assert_eq!(ends_at(&mut pair, other, late), late + DEADLINE);
}

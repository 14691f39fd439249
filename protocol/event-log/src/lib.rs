// SPDX-License-Identifier: MIT OR Apache-2.0
//! A fixed log of events that every descriptor reads at its own place.
//!
//! Both kernel modules tell programs what happens through one: the lender's of a link, the borrower's of
//! its driver. What an event says is each module's own.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

use core::ops::DerefMut;

/// What a log keeps.
pub trait Logged: Copy {
    /// What a reader is told that was too slow for so many events.
    fn missed(count: u64) -> Self;
}

/// Place of one reader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor(u64);

/// The last events.
#[derive(Debug)]
pub struct EventLog<S> {
    events: S,
    written: u64,
}

impl<E: Logged, S: DerefMut<Target = [E]>> EventLog<S> {
    /// An empty log over memory for at least one event.
    pub fn new(events: S) -> Self {
        Self { events, written: 0 }
    }

    /// Adds an event.
    pub fn push(&mut self, event: E) {
        let place = self.place(self.written);
        if let Some(cell) = self.events.get_mut(place) {
            *cell = event;
            self.written = self.written.saturating_add(1);
        }
    }

    /// The newest event.
    pub fn last(&self) -> Option<E> {
        self.at(self.written.checked_sub(1)?)
    }

    /// Where a reader starts that wants only what comes from now on.
    pub fn end(&self) -> Cursor {
        Cursor(self.written)
    }

    /// The next event for a reader and its place behind it. One that was too slow is told so, once, instead
    /// of all that it has missed.
    pub fn next(&self, cursor: Cursor) -> Option<(E, Cursor)> {
        let oldest = self.written.saturating_sub(self.events.len() as u64);
        if cursor.0 < oldest {
            return Some((E::missed(oldest.saturating_sub(cursor.0)), Cursor(oldest)));
        }
        if cursor.0 >= self.written {
            return None;
        }
        Some((self.at(cursor.0)?, Cursor(cursor.0.saturating_add(1))))
    }

    fn at(&self, number: u64) -> Option<E> {
        self.events.get(self.place(number)).copied()
    }

    fn place(&self, number: u64) -> usize {
        number.checked_rem(self.events.len() as u64).unwrap_or(0) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::{EventLog, Logged};

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Event {
        Number(u64),
        Missed(u64),
    }

    impl Logged for Event {
        fn missed(count: u64) -> Self {
            Self::Missed(count)
        }
    }

    fn log_of(events: u64) -> EventLog<Vec<Event>> {
        let mut log = EventLog::new(vec![Event::Number(u64::MAX); 4]);
        (0..events).for_each(|number| log.push(Event::Number(number)));
        log
    }

    #[test]
    fn each_reader_sees_every_event_once_and_in_order() {
        let mut log = log_of(0);
        let early = log.end();
        assert_eq!(log.last(), None);
        log.push(Event::Number(1));
        let late = log.end();
        log.push(Event::Number(2));
        assert_eq!(log.last(), Some(Event::Number(2)));
        let (first, behind) = log.next(early).unwrap();
        let (second, behind) = log.next(behind).unwrap();
        assert_eq!((first, second), (Event::Number(1), Event::Number(2)));
        assert_eq!(log.next(behind), None);
        assert_eq!(log.next(late), Some((Event::Number(2), behind)));
    }

    #[test]
    fn a_slow_reader_learns_once_how_many_it_missed() {
        let start = log_of(0).end();
        let log = log_of(10);
        let (told, behind) = log.next(start).unwrap();
        assert_eq!(told, Event::Missed(6));
        assert_eq!(log.next(behind).unwrap().0, Event::Number(6));
    }

    #[test]
    fn a_reader_that_is_just_fast_enough_misses_nothing() {
        let start = log_of(0).end();
        assert_eq!(log_of(4).next(start).unwrap().0, Event::Number(0));
    }
}

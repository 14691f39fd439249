// SPDX-License-Identifier: MIT OR Apache-2.0
//! The event stream of the driver: a fixed log that every descriptor reads at its own place.

use core::ops::DerefMut;

/// What `read()` gives: `struct xenlend_guest_event`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// One of the kinds below.
    pub kind: u32,
    /// Depends on the kind.
    pub status: u32,
    /// First byte of the aperture that is concerned.
    pub offset: u64,
    /// How many bytes are.
    pub bytes: u64,
    /// Depends on the kind.
    pub value: u64,
}

/// `XENLEND_GUEST_EVENT_CONNECTED`
pub const CONNECTED: u32 = 1;
/// `XENLEND_GUEST_EVENT_LEASE`
pub const LEASE: u32 = 2;
/// `XENLEND_GUEST_EVENT_ENDED`
pub const ENDED: u32 = 3;
/// `XENLEND_GUEST_EVENT_REVOKED`
pub const REVOKED: u32 = 4;
/// `XENLEND_GUEST_EVENT_LOST`
pub const LOST: u32 = 5;
/// `XENLEND_GUEST_EVENT_CLOSING`
pub const CLOSING: u32 = 6;
/// `XENLEND_GUEST_EVENT_PREFAULTED`
pub const PREFAULTED: u32 = 7;
/// `XENLEND_GUEST_EVENT_LOOK_AGAIN`
pub const LOOK_AGAIN: u32 = 8;

/// Events that are kept.
pub const MAX_EVENTS: usize = 256;

/// Place of one reader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor(u64);

/// The last events.
#[derive(Debug)]
pub struct EventLog<S> {
    events: S,
    written: u64,
}

impl<S: DerefMut<Target = [Event]>> EventLog<S> {
    /// An empty log over memory for at least one event.
    pub fn new(events: S) -> Self {
        Self { events, written: 0 }
    }

    /// Adds an event.
    pub fn push(&mut self, event: Event) {
        let place = self.place(self.written);
        if let Some(cell) = self.events.get_mut(place) {
            *cell = event;
            self.written = self.written.saturating_add(1);
        }
    }

    /// Where a reader starts that wants only what comes from now on.
    pub fn end(&self) -> Cursor {
        Cursor(self.written)
    }

    /// The next event for a reader and its place behind it. One that was too slow is told to look again,
    /// once, instead of all that it has missed.
    pub fn next(&self, cursor: Cursor) -> Option<(Event, Cursor)> {
        let oldest = self.written.saturating_sub(self.events.len() as u64);
        if cursor.0 < oldest {
            let dropped = oldest.saturating_sub(cursor.0);
            return Some((Event { kind: LOOK_AGAIN, value: dropped, ..Event::default() }, Cursor(oldest)));
        }
        if cursor.0 >= self.written {
            return None;
        }
        Some((self.at(cursor.0)?, Cursor(cursor.0.saturating_add(1))))
    }

    fn at(&self, number: u64) -> Option<Event> {
        self.events.get(self.place(number)).copied()
    }

    fn place(&self, number: u64) -> usize {
        number.checked_rem(self.events.len() as u64).unwrap_or(0) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(value: u64) -> Event {
        Event { kind: LOST, value, ..Event::default() }
    }

    #[test]
    fn a_reader_sees_every_event_once_and_in_order() {
        let mut log = EventLog::new(vec![Event::default(); 4]);
        let start = log.end();
        log.push(event(1));
        log.push(event(2));
        let (first, behind) = log.next(start).unwrap();
        let (second, behind) = log.next(behind).unwrap();
        assert_eq!((first, second), (event(1), event(2)));
        assert_eq!(log.next(behind), None);
    }

    #[test]
    fn a_slow_reader_is_told_to_look_again_once() {
        let mut log = EventLog::new(vec![Event::default(); 4]);
        let start = log.end();
        for value in 0..10 {
            log.push(event(value));
        }
        let (overflow, behind) = log.next(start).unwrap();
        assert_eq!((overflow.kind, overflow.value), (LOOK_AGAIN, 6));
        assert_eq!(log.next(behind).unwrap().0, event(6));
    }
}

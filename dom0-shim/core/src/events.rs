// SPDX-License-Identifier: MIT OR Apache-2.0
//! The event stream of a link: a fixed log that every bound descriptor reads at its own place.

use core::ops::DerefMut;

/// What `read()` gives: `struct xenlend_event`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// `XENLEND_EVENT_*`.
    pub kind: u32,
    /// Region slot, where one is concerned.
    pub slot: u32,
    /// First byte of the borrower's address space, where one is concerned.
    pub address: u64,
    /// Depends on the kind.
    pub value: u64,
}

/// `XENLEND_EVENT_CONNECTED`
pub const CONNECTED: u32 = 1;
/// `XENLEND_EVENT_LOST`
pub const LOST: u32 = 2;
/// `XENLEND_EVENT_BROKER_FORCED`
pub const BROKER_FORCED: u32 = 3;
/// `XENLEND_EVENT_BROKER_CONDEMNED`
pub const BROKER_CONDEMNED: u32 = 4;
/// `XENLEND_EVENT_DETACHED`
pub const DETACHED: u32 = 5;
/// `XENLEND_EVENT_REFUSED`
pub const REFUSED: u32 = 6;
/// `XENLEND_EVENT_OVERFLOW`
pub const OVERFLOW: u32 = 7;

/// Place of one reader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor(u64);

/// The last events of a link.
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

    /// Adds an event. One that repeats the last says nothing new and is left out, so
    /// that a borrower which touches one bad page all the time cannot push out the others.
    pub fn push(&mut self, event: Event) {
        if self.written > 0 && self.at(self.written.saturating_sub(1)) == Some(event) {
            return;
        }
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

    /// Whether there is something for this reader.
    pub fn has(&self, cursor: Cursor) -> bool {
        cursor.0 < self.written
    }

    /// The next event for this reader; first an `OVERFLOW` if it was too slow.
    pub fn take(&self, cursor: &mut Cursor) -> Option<Event> {
        let oldest = self.written.saturating_sub(self.events.len() as u64);
        if cursor.0 < oldest {
            let dropped = oldest.saturating_sub(cursor.0);
            cursor.0 = oldest;
            return Some(Event { kind: OVERFLOW, slot: 0, address: 0, value: dropped });
        }
        if cursor.0 >= self.written {
            return None;
        }
        let event = self.at(cursor.0);
        cursor.0 = cursor.0.saturating_add(1);
        event
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
        Event { kind: LOST, slot: 1, address: 0, value }
    }

    #[test]
    fn each_reader_sees_every_event_once_and_in_order() {
        let mut log = EventLog::new(vec![Event::default(); 4]);
        let (mut early, late);
        early = log.end();
        log.push(event(1));
        late = log.end();
        log.push(event(2));
        assert_eq!(log.take(&mut early), Some(event(1)));
        assert_eq!(log.take(&mut early), Some(event(2)));
        assert_eq!(log.take(&mut early), None);
        let mut late = late;
        assert_eq!(log.take(&mut late), Some(event(2)));
        assert!(!log.has(late));
    }

    #[test]
    fn a_slow_reader_learns_how_many_it_missed() {
        let mut log = EventLog::new(vec![Event::default(); 4]);
        let mut cursor = log.end();
        for value in 0..10 {
            log.push(event(value));
        }
        let overflow = log.take(&mut cursor).unwrap();
        assert_eq!((overflow.kind, overflow.value), (OVERFLOW, 6));
        assert_eq!(log.take(&mut cursor), Some(event(6)));
    }

    #[test]
    fn a_repeated_event_is_told_once() {
        let mut log = EventLog::new(vec![Event::default(); 4]);
        let mut cursor = log.end();
        log.push(event(5));
        log.push(event(5));
        assert_eq!(log.take(&mut cursor), Some(event(5)));
        assert_eq!(log.take(&mut cursor), None);
    }
}

// SPDX-License-Identifier: MIT OR GPL-2.0 WITH Linux-syscall-note
//! The events of a descriptor.

use crate::layout::{self, RawEvent};

/// How a request to bring pages in ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrefaultStatus {
    /// All there, or were a moment ago.
    Present,
    /// A page is lost.
    Lost,
    /// A page could not be had now; it may still be touched.
    Unavailable,
    /// The lease is over.
    Ended,
    /// Of a kind that this crate does not know: a newer driver.
    Unknown(u32),
}

/// Why all leases are over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClosingReason {
    /// The broker was taken away, or the driver unbound.
    Backend,
    /// The broker ended the link.
    Broker,
    /// The broker broke the protocol.
    Breach,
    /// No common protocol version.
    Version,
    /// Of a kind that this crate does not know: a newer driver.
    Unknown(u64),
}

/// What happened. Offsets are bytes of the aperture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "fields: the pages, and the lease by its serial")]
pub enum Event {
    /// A broker answered.
    Connected { protocol_version: u64 },
    /// There is a lease.
    Lease { offset: u64, bytes: u64, serial: u64 },
    /// The lease is over.
    Ended { offset: u64, bytes: u64, serial: u64 },
    /// These pages have moved; the next touch asks for them.
    Revoked { offset: u64, bytes: u64, serial: u64 },
    /// These pages will never come back.
    Lost { offset: u64, bytes: u64, serial: u64 },
    /// All leases are over.
    Closing { reason: ClosingReason },
    /// A request of this descriptor has ended.
    Prefaulted { offset: u64, bytes: u64, cookie: u64, status: PrefaultStatus },
    /// Events were dropped: list the leases anew.
    LookAgain { dropped: u64 },
    /// Of a kind that this crate does not know: a newer driver.
    Unknown(RawEvent),
}

impl Event {
    /// The whole events in these bytes, as read(2) gives them.
    pub fn parse_all(bytes: &[u8]) -> Vec<Self> {
        bytes.chunks_exact(size_of::<RawEvent>()).filter_map(parse).map(Self::from).collect()
    }
}

fn parse(bytes: &[u8]) -> Option<RawEvent> {
    let word = |at: usize| bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes);
    let double = |at: usize| bytes.get(at..at + 8)?.try_into().ok().map(u64::from_ne_bytes);
    Some(RawEvent {
        kind: word(0)?,
        status: word(4)?,
        offset: double(8)?,
        bytes: double(16)?,
        value: double(24)?,
    })
}

impl From<RawEvent> for Event {
    fn from(raw: RawEvent) -> Self {
        let RawEvent { kind, status, offset, bytes, value } = raw;
        let serial = value;
        match kind {
            layout::EVENT_CONNECTED => Self::Connected { protocol_version: value },
            layout::EVENT_LEASE => Self::Lease { offset, bytes, serial },
            layout::EVENT_ENDED => Self::Ended { offset, bytes, serial },
            layout::EVENT_REVOKED => Self::Revoked { offset, bytes, serial },
            layout::EVENT_LOST => Self::Lost { offset, bytes, serial },
            layout::EVENT_CLOSING => Self::Closing {
                reason: match value {
                    1 => ClosingReason::Backend,
                    2 => ClosingReason::Broker,
                    3 => ClosingReason::Breach,
                    4 => ClosingReason::Version,
                    other => ClosingReason::Unknown(other),
                },
            },
            layout::EVENT_PREFAULTED => Self::Prefaulted {
                offset,
                bytes,
                cookie: value,
                status: match status {
                    0 => PrefaultStatus::Present,
                    1 => PrefaultStatus::Lost,
                    2 => PrefaultStatus::Unavailable,
                    3 => PrefaultStatus::Ended,
                    other => PrefaultStatus::Unknown(other),
                },
            },
            layout::EVENT_LOOK_AGAIN => Self::LookAgain { dropped: value },
            _ => Self::Unknown(raw),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_told_apart_and_a_torn_event_is_dropped() {
        let mut stream = Vec::new();
        for (kind, status, value) in [(1_u32, 0_u32, 1_u64), (4, 0, 9), (6, 0, 3), (7, 2, 42), (99, 0, 0)] {
            stream.extend(kind.to_ne_bytes());
            stream.extend(status.to_ne_bytes());
            stream.extend(0x1000_u64.to_ne_bytes());
            stream.extend(0x2000_u64.to_ne_bytes());
            stream.extend(value.to_ne_bytes());
        }
        stream.extend([1, 0, 0]);
        let (offset, bytes) = (0x1000, 0x2000);
        assert_eq!(
            Event::parse_all(&stream),
            [
                Event::Connected { protocol_version: 1 },
                Event::Revoked { offset, bytes, serial: 9 },
                Event::Closing { reason: ClosingReason::Breach },
                Event::Prefaulted { offset, bytes, cookie: 42, status: PrefaultStatus::Unavailable },
                Event::Unknown(RawEvent { kind: 99, status: 0, offset, bytes, value: 0 }),
            ]
        );
    }
}

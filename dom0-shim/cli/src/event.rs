// SPDX-License-Identifier: MIT OR Apache-2.0
//! The events of a bound descriptor.

use crate::layout::{self, RawEvent};
use crate::words::{FrameRefusal, Reason};

/// What happened to the link or to a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The broker answered.
    Connected {
        /// The protocol version chosen.
        protocol_version: u64,
    },
    /// Pages of a region are lost.
    Lost {
        /// Slot of the region.
        slot: u32,
        /// First byte, guest-physical.
        address: u64,
        /// Number of bytes.
        bytes: u64,
    },
    /// The deadline passed and the lender revoked by itself; the broker goes on.
    BrokerForced,
    /// The broker is held for good.
    BrokerCondemned {
        /// Why.
        reason: Reason,
    },
    /// The link is gone.
    Detached,
    /// A frame may not be lent.
    Refused {
        /// Slot of the region.
        slot: u32,
        /// First byte, guest-physical.
        address: u64,
        /// Why not.
        refusal: FrameRefusal,
    },
    /// Events were dropped.
    Overflow {
        /// How many.
        dropped: u64,
    },
    /// Of a kind that this crate does not know: a newer module.
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
    Some(RawEvent { kind: word(0)?, slot: word(4)?, address: double(8)?, value: double(16)? })
}

impl From<RawEvent> for Event {
    fn from(raw: RawEvent) -> Self {
        let RawEvent { kind, slot, address, value } = raw;
        match kind {
            layout::EVENT_CONNECTED => Self::Connected { protocol_version: value },
            layout::EVENT_LOST => Self::Lost { slot, address, bytes: value },
            layout::EVENT_BROKER_FORCED => Self::BrokerForced,
            layout::EVENT_BROKER_CONDEMNED => {
                Self::BrokerCondemned { reason: Reason::from_raw(value as u32) }
            }
            layout::EVENT_DETACHED => Self::Detached,
            layout::EVENT_REFUSED => {
                Self::Refused { slot, address, refusal: FrameRefusal::from_raw(value as u32) }
            }
            layout::EVENT_OVERFLOW => Self::Overflow { dropped: value },
            _ => Self::Unknown(raw),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(kind: u32, slot: u32, address: u64, value: u64) -> Vec<u8> {
        let mut bytes = kind.to_ne_bytes().to_vec();
        bytes.extend(slot.to_ne_bytes());
        bytes.extend(address.to_ne_bytes());
        bytes.extend(value.to_ne_bytes());
        bytes
    }

    #[test]
    fn every_kind_is_told_apart_and_a_torn_event_is_dropped() {
        let mut stream = bytes(1, 0, 0, 1);
        stream.extend(bytes(2, 3, 0x1000, 4096));
        stream.extend(bytes(4, 0, 0, 3));
        stream.extend(bytes(6, 1, 0x2000, 3));
        stream.extend(bytes(99, 1, 2, 3));
        stream.extend([1, 0, 0]);
        assert_eq!(
            Event::parse_all(&stream),
            [
                Event::Connected { protocol_version: 1 },
                Event::Lost { slot: 3, address: 0x1000, bytes: 4096 },
                Event::BrokerCondemned { reason: Reason::Breach },
                Event::Refused { slot: 1, address: 0x2000, refusal: FrameRefusal::Msix },
                Event::Unknown(RawEvent { kind: 99, slot: 1, address: 2, value: 3 }),
            ]
        );
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! One direction of a link: a byte ring in shared memory, one producer, one consumer.
//!
//! Indices count bytes, run freely through `u32` and are multiples of 8. Each end
//! keeps its own index privately and never reads the shared copy of it back; what
//! the other end wrote is a claim, read once for each operation and checked.
//!
//! What the caller has to do:
//! - after a successful send (or several): notify the event channel;
//! - after draining: if [`Consumer::take_wakeup`] says so, notify as well, because
//!   the producer found no room and waits.

pub mod atomics;
mod consumer;
mod frame_ends;
pub mod layout;
#[cfg(feature = "plain-memory")]
pub mod plain_memory;
mod producer;
pub mod shared_page;

pub use consumer::Consumer;
pub use producer::{Producer, SendError};

/// Which part of the ring a message may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// Leaves [`layout::RESERVED_BYTES`] free.
    Normal,
    /// May use all of the ring: `Invalidate`, `Forced`, `Invalidated`, and everything on the
    /// borrower's link, where nothing is reserved.
    Reserved,
}

/// The memory of one direction of a link.
///
/// The other end writes to it at any time: no two reads of one field need agree.
pub trait RingMemory {
    /// Bytes of the data area; a power of two. Only a model that explores every
    /// interleaving of the two ends has less than a page.
    const CAPACITY: u32 = layout::CAPACITY;

    /// Bytes produced so far. Acquire.
    fn load_produced(&self) -> u32;
    /// Publishes what has been produced. Release.
    fn store_produced(&self, value: u32);
    /// Bytes consumed so far. Acquire.
    fn load_consumed(&self) -> u32;
    /// Publishes what has been consumed. Release.
    fn store_consumed(&self, value: u32);
    /// Whether the producer waits for room. Ordered after every earlier access to
    /// the ring, of either kind (a full fence before it).
    fn load_waiting(&self) -> bool;
    /// Says whether the producer waits for room. Ordered before every later access
    /// to the ring, of either kind (a full fence after it).
    fn store_waiting(&self, waits: bool);
    /// Copies out of the data area. `offset` and the length are multiples of 8, and
    /// `offset` plus the length is at most [`Self::CAPACITY`].
    fn read(&self, offset: u32, bytes: &mut [u8]);
    /// Copies into the data area, under the same rules.
    fn write(&self, offset: u32, bytes: &[u8]);
}

impl<M: RingMemory> RingMemory for &M {
    const CAPACITY: u32 = M::CAPACITY;

    fn load_produced(&self) -> u32 {
        (**self).load_produced()
    }
    fn store_produced(&self, value: u32) {
        (**self).store_produced(value);
    }
    fn load_consumed(&self) -> u32 {
        (**self).load_consumed()
    }
    fn store_consumed(&self, value: u32) {
        (**self).store_consumed(value);
    }
    fn load_waiting(&self) -> bool {
        (**self).load_waiting()
    }
    fn store_waiting(&self, waits: bool) {
        (**self).store_waiting(waits);
    }
    fn read(&self, offset: u32, bytes: &mut [u8]) {
        (**self).read(offset, bytes);
    }
    fn write(&self, offset: u32, bytes: &[u8]) {
        (**self).write(offset, bytes);
    }
}

/// Offset of `index` in a data area of `capacity` bytes, and the bytes from there to its
/// end: what one copy may take at most.
fn contiguous(index: u32, capacity: u32) -> (u32, u32) {
    let offset = index & capacity.wrapping_sub(1);
    (offset, capacity.wrapping_sub(offset))
}

#[cfg(test)]
mod tests {
    use super::layout::CAPACITY;
    use super::shared_page::{Direction, SharedRing};
    use super::{Consumer, Priority, Producer, RingMemory};
    use crate::message::ToBroker;

    /// Needs ends that start near the end of `u32`, so it cannot be an outside test.
    #[test]
    #[allow(unsafe_code)]
    fn indices_run_through_the_end_of_u32() {
        #[repr(align(4096))]
        struct Page([u8; 4096]);
        let (mut control, mut data) = (Page([0; 4096]), Page([0; 4096]));
        let (control, data) = (control.0.as_mut_ptr(), data.0.as_mut_ptr());
        // SAFETY: both pages outlive the rings and nothing else touches them.
        let ring = || unsafe { SharedRing::new(control, data, Direction::ToLender) };
        let start = 0u32.wrapping_sub(CAPACITY / 2 + 8);
        ring().store_produced(start);
        ring().store_consumed(start);
        let mut producer = Producer::starting_at(ring(), start);
        let mut consumer = Consumer::starting_at(ring(), start);
        for round in 0..1000u64 {
            for step in 0..20 {
                let message = ToBroker::Forced { sequence: u64::MAX - round * 20 - step };
                producer.send(&message, Priority::Normal).unwrap();
            }
            let behind = producer.position();
            for step in 0..20 {
                assert_eq!(producer.has_consumed(behind), Ok(false));
                let expected = ToBroker::Forced { sequence: u64::MAX - round * 20 - step };
                assert_eq!(consumer.receive(), Ok(Some(expected)));
            }
            assert_eq!(producer.has_consumed(behind), Ok(true));
            assert!(consumer.is_empty());
        }
        assert!(producer.position() < start, "the indices must have wrapped");
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The sending end of a ring.

use serde::Serialize;

use super::frame_ends::FrameEnds;
use super::layout::{frame_bytes, ALIGNMENT, HEADER_BYTES, MAX_FRAME_BYTES, RESERVED_BYTES};
use super::{contiguous, Priority, RingMemory};
use crate::codec;
use crate::refusal::BreachKind;

/// Why a message was not sent. Nothing of it is in the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// No room now. The consumer has been asked for a wake-up.
    Full,
    /// The consumer broke the contract; every later send says so too.
    Breach(BreachKind),
    /// The message is larger than [`MAX_MESSAGE_BYTES`](crate::message::MAX_MESSAGE_BYTES).
    TooLong,
}

/// The sending end of a ring.
#[derive(Debug)]
pub struct Producer<M> {
    memory: M,
    /// Bytes sent; the shared copy is never read back.
    produced: u32,
    /// The consumer's index when it was last read.
    consumed_seen: u32,
    /// Where the frames that are in the ring end.
    ends: FrameEnds,
    /// What the shared `waiting` field says.
    waiting: bool,
    broken: Option<BreachKind>,
}

impl<M: RingMemory> Producer<M> {
    /// The sending end of a ring on which nothing has been sent: its pages are zero.
    pub fn new(memory: M) -> Self {
        Self::at(memory, 0)
    }

    /// As [`Self::new`], for a ring on which both indices stand at `index`.
    #[cfg(test)]
    pub(super) fn starting_at(memory: M, index: u32) -> Self {
        Self::at(memory, index)
    }

    fn at(memory: M, index: u32) -> Self {
        let ends = FrameEnds::default();
        Self { memory, produced: index, consumed_seen: index, ends, waiting: false, broken: None }
    }

    /// Puts a message into the ring. The caller notifies the event channel after it.
    ///
    /// # Errors
    /// [`SendError::Full`] if it does not fit now.
    pub fn send<T: Serialize>(&mut self, message: &T, priority: Priority) -> Result<(), SendError> {
        let mut frame = [0; MAX_FRAME_BYTES as usize];
        let used = encode_frame(message, &mut frame)?;
        let frame = frame.get(..used as usize).ok_or(SendError::TooLong)?;
        if !self.has_room(used, priority).map_err(SendError::Breach)? {
            return Err(SendError::Full);
        }
        let (offset, contiguous_bytes) = contiguous(self.produced, M::CAPACITY);
        let (head, tail) = frame.split_at(frame.len().min(contiguous_bytes as usize));
        self.memory.write(offset, head);
        if !tail.is_empty() {
            self.memory.write(0, tail);
        }
        self.ends.record(self.produced, used, M::CAPACITY);
        self.produced = self.produced.wrapping_add(used);
        self.memory.store_produced(self.produced);
        Ok(())
    }

    /// Whether a message of any size and of normal priority fits now. If not, the
    /// consumer has been asked for a wake-up.
    ///
    /// # Errors
    /// If the consumer's index cannot be.
    pub fn has_room_for_any(&mut self) -> Result<bool, BreachKind> {
        self.has_room(MAX_FRAME_BYTES, Priority::Normal)
    }

    /// Bytes sent so far, modulo 2^32: names the place behind the last message.
    pub fn position(&self) -> u32 {
        self.produced
    }

    /// The consumer's index. It moves by whole frames only, so any change of it is at least one message
    /// taken.
    ///
    /// # Errors
    /// If the index cannot be.
    pub fn consumed(&mut self) -> Result<u32, BreachKind> {
        self.check_consumed()?;
        Ok(self.consumed_seen)
    }

    /// Whether everything before `position` has been consumed. `position` is a value
    /// that [`Self::position`] gave less than 2^31 bytes ago.
    ///
    /// # Errors
    /// If the consumer's index cannot be.
    pub fn has_consumed(&mut self, position: u32) -> Result<bool, BreachKind> {
        self.check_consumed()?;
        let outstanding = self.produced.wrapping_sub(self.consumed_seen);
        Ok(self.produced.wrapping_sub(position) >= outstanding)
    }

    fn has_room(&mut self, frame: u32, priority: Priority) -> Result<bool, BreachKind> {
        let kept = match priority {
            Priority::Normal => RESERVED_BYTES,
            Priority::Reserved => 0,
        };
        let needed = frame.saturating_add(kept);
        let mut room = self.free_bytes()? >= needed;
        if !room && !self.waiting {
            // Say so first, then look again: either we see the room that the consumer
            // made, or it sees that we wait.
            self.waiting = true;
            self.memory.store_waiting(true);
            room = self.free_bytes()? >= needed;
        }
        if room && self.waiting {
            self.waiting = false;
            self.memory.store_waiting(false);
        }
        Ok(room)
    }

    fn free_bytes(&mut self) -> Result<u32, BreachKind> {
        self.check_consumed()?;
        Ok(M::CAPACITY.saturating_sub(self.produced.wrapping_sub(self.consumed_seen)))
    }

    /// Reads the consumer's index once: it may only move from where it was towards ours, and stand only
    /// where a frame ends.
    fn check_consumed(&mut self) -> Result<(), BreachKind> {
        if let Some(kind) = self.broken {
            return Err(kind);
        }
        let claimed = self.memory.load_consumed();
        let outstanding_before = self.produced.wrapping_sub(self.consumed_seen);
        let advance = claimed.wrapping_sub(self.consumed_seen);
        let whole = advance == 0 || self.ends.is_end(claimed, M::CAPACITY);
        if advance > outstanding_before || claimed % ALIGNMENT != 0 || !whole {
            self.broken = Some(BreachKind::RingIndices);
            return Err(BreachKind::RingIndices);
        }
        self.consumed_seen = claimed;
        Ok(())
    }
}

fn encode_frame<T: Serialize>(
    message: &T,
    frame: &mut [u8; MAX_FRAME_BYTES as usize],
) -> Result<u32, SendError> {
    let (header, body) = frame.split_at_mut(HEADER_BYTES as usize);
    let length = codec::encode(message, body).map_err(|codec::TooLong| SendError::TooLong)? as u32;
    header.copy_from_slice(&length.to_le_bytes());
    Ok(frame_bytes(length))
}

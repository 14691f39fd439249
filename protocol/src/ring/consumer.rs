// SPDX-License-Identifier: MIT OR Apache-2.0
//! The receiving end of a ring.

use serde::de::DeserializeOwned;

use super::layout::{frame_bytes, ALIGNMENT, HEADER_BYTES, MAX_FRAME_BYTES};
use super::{contiguous, RingMemory};
use crate::codec;
use crate::message::MAX_MESSAGE_BYTES;
use crate::refusal::BreachKind;

/// The receiving end of a ring.
#[derive(Debug)]
pub struct Consumer<M> {
    memory: M,
    /// Bytes taken; the shared copy is never read back.
    consumed: u32,
    /// The producer's index when it was last read.
    produced_seen: u32,
    wakeup: bool,
    broken: Option<BreachKind>,
}

impl<M: RingMemory> Consumer<M> {
    /// The receiving end of a ring on which nothing has been sent: its pages are zero.
    pub fn new(memory: M) -> Self {
        Self { memory, consumed: 0, produced_seen: 0, wakeup: false, broken: None }
    }

    /// As [`Self::new`], for a ring on which both indices stand at `index`.
    #[cfg(test)]
    pub(super) fn starting_at(memory: M, index: u32) -> Self {
        Self { memory, consumed: index, produced_seen: index, wakeup: false, broken: None }
    }

    /// Takes the next message out of the ring, if there is one.
    ///
    /// # Errors
    /// If the producer broke the contract; every later call says so too.
    pub fn receive<T: DeserializeOwned>(&mut self) -> Result<Option<T>, BreachKind> {
        if let Some(kind) = self.broken {
            return Err(kind);
        }
        let result = self.receive_one();
        if let Err(kind) = result {
            self.broken = Some(kind);
        }
        result
    }

    /// Whether nothing has been sent that was not received. A broken ring is not
    /// empty: [`Self::receive`] says what is wrong.
    pub fn is_empty(&mut self) -> bool {
        if self.broken.is_some() {
            return false;
        }
        match self.available() {
            Ok(bytes) => bytes == 0,
            Err(kind) => {
                self.broken = Some(kind);
                false
            }
        }
    }

    /// Whether the producer has found no room and waits for a notification. Says yes
    /// once; to be asked after draining.
    pub fn take_wakeup(&mut self) -> bool {
        core::mem::take(&mut self.wakeup)
    }

    fn receive_one<T: DeserializeOwned>(&mut self) -> Result<Option<T>, BreachKind> {
        let available = self.available()?;
        if available == 0 {
            return Ok(None);
        }
        let mut frame = [0; MAX_FRAME_BYTES as usize];
        let length = self.copy_frame(available, &mut frame)?;
        self.consumed = self.consumed.wrapping_add(frame_bytes(length));
        self.memory.store_consumed(self.consumed);
        self.wakeup |= self.memory.load_waiting();
        let end = HEADER_BYTES.saturating_add(length) as usize;
        let message = frame.get(HEADER_BYTES as usize..end).ok_or(BreachKind::MessageLength)?;
        codec::decode(message).map(Some).map_err(|codec::Undecodable| BreachKind::Undecodable)
    }

    /// Copies the next frame, each of its bytes once, and gives the message's length.
    fn copy_frame(
        &self,
        available: u32,
        frame: &mut [u8; MAX_FRAME_BYTES as usize],
    ) -> Result<u32, BreachKind> {
        let (first_word, _) = frame.split_at_mut(ALIGNMENT as usize);
        self.memory.read(contiguous(self.consumed, M::CAPACITY).0, first_word);
        let (header, _) = frame.split_first_chunk().ok_or(BreachKind::MessageLength)?;
        let length = u32::from_le_bytes(*header);
        if length == 0 || length as usize > MAX_MESSAGE_BYTES || frame_bytes(length) > available {
            return Err(BreachKind::MessageLength);
        }
        let rest = frame
            .get_mut(ALIGNMENT as usize..frame_bytes(length) as usize)
            .ok_or(BreachKind::MessageLength)?;
        let (offset, contiguous_bytes) = contiguous(self.consumed.wrapping_add(ALIGNMENT), M::CAPACITY);
        let split = rest.len().min(contiguous_bytes as usize);
        let (head, tail) = rest.split_at_mut(split);
        if !head.is_empty() {
            self.memory.read(offset, head);
        }
        if !tail.is_empty() {
            self.memory.read(0, tail);
        }
        Ok(length)
    }

    /// Reads the producer's index once: it may only move on, and not past the ring's capacity.
    fn available(&mut self) -> Result<u32, BreachKind> {
        let claimed = self.memory.load_produced();
        let available = claimed.wrapping_sub(self.consumed);
        let available_before = self.produced_seen.wrapping_sub(self.consumed);
        if available < available_before || available > M::CAPACITY || claimed % ALIGNMENT != 0 {
            return Err(BreachKind::RingIndices);
        }
        self.produced_seen = claimed;
        Ok(available)
    }
}

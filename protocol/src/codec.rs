// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bounded encoding and decoding of one message, in postcard's format.

use serde::de::DeserializeOwned;
use serde::Serialize;

use crate::message::MAX_MESSAGE_BYTES;

/// The message does not fit [`MAX_MESSAGE_BYTES`] or the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

/// The bytes are no message, or more than one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Undecodable;

/// Encodes a message into the front of `buffer` and gives its length in bytes.
///
/// # Errors
/// If it is longer than [`MAX_MESSAGE_BYTES`] or than the buffer.
pub fn encode<T: Serialize>(message: &T, buffer: &mut [u8]) -> Result<usize, TooLong> {
    let limit = buffer.len().min(MAX_MESSAGE_BYTES);
    let space = buffer.get_mut(..limit).ok_or(TooLong)?;
    postcard::to_slice(message, space).map(|used| used.len()).map_err(|_| TooLong)
}

/// Decodes the one message that `bytes` hold.
///
/// # Errors
/// If they are no message of that type or something follows it.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Undecodable> {
    match postcard::take_from_bytes(bytes) {
        Ok((message, [])) => Ok(message),
        _ => Err(Undecodable),
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Encoding and decoding of single xenstore messages.

use crate::errno;

/// Bytes of a message's header (`struct xsd_sockmsg`).
pub const HEADER_BYTES: usize = 16;
/// Most bytes that may follow it (`XENSTORE_PAYLOAD_MAX`).
pub const PAYLOAD_BYTES_MAX: usize = 4096;

/// Message types used here (`enum xsd_sockmsg_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum MessageType {
    /// Lists the children of a node.
    Directory = 1,
    /// Reads a node.
    Read = 2,
    /// Reads a node's permissions.
    GetPermissions = 3,
    /// Sets a watch.
    Watch = 4,
    /// Ends a watch.
    Unwatch = 5,
    /// Begins a transaction.
    TransactionStart = 6,
    /// Ends one.
    TransactionEnd = 7,
    /// Writes a node.
    Write = 11,
    /// Makes an empty node.
    MakeDirectory = 12,
    /// Removes a node and its children.
    Remove = 13,
    /// Sets a node's permissions.
    SetPermissions = 14,
    /// From xenstored, unasked: a watch fired.
    WatchEvent = 15,
    /// From xenstored: the request failed.
    Error = 16,
}

impl MessageType {
    /// The type of a number, if it is one used here.
    pub fn from_number(number: u32) -> Option<Self> {
        use MessageType::{
            Directory, Error, GetPermissions, MakeDirectory, Read, Remove, SetPermissions, TransactionEnd,
            TransactionStart, Unwatch, Watch, WatchEvent, Write,
        };
        [
            Directory,
            Read,
            GetPermissions,
            Watch,
            Unwatch,
            TransactionStart,
            TransactionEnd,
            Write,
            MakeDirectory,
            Remove,
            SetPermissions,
            WatchEvent,
            Error,
        ]
        .into_iter()
        .find(|kind| *kind as u32 == number)
    }
}

/// A header (`struct xsd_sockmsg`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// [`MessageType`] as a number.
    pub kind: u32,
    /// Chosen by the asker, echoed in the answer.
    pub request_id: u32,
    /// 0 outside transactions.
    pub transaction_id: u32,
    /// Bytes that follow.
    pub length: u32,
}

/// A message did not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodeError {
    /// The payload is longer than [`PAYLOAD_BYTES_MAX`].
    TooLong {
        /// Its length in bytes.
        length_bytes: usize,
    },
    /// The buffer is shorter than the message.
    NoRoom {
        /// Bytes needed.
        needed_bytes: usize,
    },
}

/// Bytes that are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// A payload longer than xenstore allows: the connection is beyond repair.
    TooLong {
        /// The length claimed.
        length_bytes: u32,
    },
    /// A reply that is not shaped as its type demands.
    Malformed,
}

impl Header {
    /// The header's bytes.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let words = [self.kind, self.request_id, self.transaction_id, self.length];
        for (chunk, word) in bytes.chunks_exact_mut(4).zip(words) {
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// The header in these bytes.
    ///
    /// # Errors
    /// If it claims a payload that xenstore does not allow.
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, DecodeError> {
        let mut words = [0u32; 4];
        for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(4)) {
            *word = chunk.iter().rev().fold(0, |value, &byte| (value << 8) | u32::from(byte));
        }
        let [kind, request_id, transaction_id, length] = words;
        if length as usize > PAYLOAD_BYTES_MAX {
            return Err(DecodeError::TooLong { length_bytes: length });
        }
        Ok(Self { kind, request_id, transaction_id, length })
    }

    /// Writes a whole message, its payload the concatenation of `parts` (terminating zeros are the
    /// caller's: `Write` takes a value without one), and returns its length.
    ///
    /// # Errors
    /// If the payload is too long, or the buffer too short.
    pub fn encode_message(
        kind: MessageType,
        request_id: u32,
        transaction_id: u32,
        parts: &[&[u8]],
        buffer: &mut [u8],
    ) -> Result<usize, EncodeError> {
        let length_bytes = parts.iter().fold(0usize, |sum, part| sum.saturating_add(part.len()));
        if length_bytes > PAYLOAD_BYTES_MAX {
            return Err(EncodeError::TooLong { length_bytes });
        }
        let needed_bytes = HEADER_BYTES.saturating_add(length_bytes);
        let target = buffer.get_mut(..needed_bytes).ok_or(EncodeError::NoRoom { needed_bytes })?;
        let header = Self { kind: kind as u32, request_id, transaction_id, length: length_bytes as u32 };
        let head = header.encode();
        let source = head.iter().chain(parts.iter().flat_map(|part| part.iter()));
        for (to, from) in target.iter_mut().zip(source) {
            *to = *from;
        }
        Ok(needed_bytes)
    }
}

/// Without the one terminating zero that some replies have.
fn without_terminator(payload: &[u8]) -> &[u8] {
    payload.strip_suffix(b"\0").unwrap_or(payload)
}

/// The error number that an [`MessageType::Error`] reply carries as a name; EINVAL for a name that
/// this source does not know.
pub fn error_number(payload: &[u8]) -> u16 {
    errno::from_name(without_terminator(payload)).unwrap_or(errno::EINVAL)
}

/// The names in a [`MessageType::Directory`] reply.
pub fn children(payload: &[u8]) -> impl Iterator<Item = &[u8]> {
    without_terminator(payload).split(|&byte| byte == 0).filter(|name| !name.is_empty())
}

/// Path and token of a [`MessageType::WatchEvent`].
///
/// # Errors
/// If it is not two strings, each with its terminating zero.
pub fn watch_event(payload: &[u8]) -> Result<(&[u8], &[u8]), DecodeError> {
    let mut strings = payload.strip_suffix(b"\0").ok_or(DecodeError::Malformed)?.split(|&byte| byte == 0);
    match (strings.next(), strings.next(), strings.next()) {
        (Some(path), Some(token), None) => Ok((path, token)),
        _ => Err(DecodeError::Malformed),
    }
}

/// Puts one message together from bytes that arrive in pieces, into a buffer of `N` bytes. A payload
/// longer than that is consumed, and its excess dropped.
pub struct Reassembly<const N: usize> {
    head: [u8; HEADER_BYTES],
    payload: [u8; N],
    taken_bytes: usize,
}

impl<const N: usize> Reassembly<N> {
    /// Nothing yet.
    pub const fn new() -> Self {
        Self { head: [0; HEADER_BYTES], payload: [0; N], taken_bytes: 0 }
    }

    /// Bytes still missing: of the header first, then of the payload. Never feed more than this.
    ///
    /// # Errors
    /// As [`Header::decode`].
    pub fn missing_bytes(&self) -> Result<usize, DecodeError> {
        if self.taken_bytes < HEADER_BYTES {
            return Ok(HEADER_BYTES.saturating_sub(self.taken_bytes));
        }
        let total = HEADER_BYTES.saturating_add(Header::decode(&self.head)?.length as usize);
        Ok(total.saturating_sub(self.taken_bytes))
    }

    /// Takes the next byte.
    pub fn feed(&mut self, byte: u8) {
        let slot = match self.taken_bytes.checked_sub(HEADER_BYTES) {
            None => self.head.get_mut(self.taken_bytes),
            Some(index) => self.payload.get_mut(index),
        };
        if let Some(slot) = slot {
            *slot = byte;
        }
        self.taken_bytes = self.taken_bytes.saturating_add(1);
    }

    /// The message, once nothing is missing, and whether its payload was cut.
    ///
    /// # Errors
    /// As [`Header::decode`].
    pub fn message(&self) -> Result<(Header, &[u8], bool), DecodeError> {
        let header = Header::decode(&self.head)?;
        let length = (header.length as usize).min(N);
        Ok((header, self.payload.get(..length).unwrap_or(&[]), header.length as usize > N))
    }

    /// Begins the next message.
    pub fn reset(&mut self) {
        self.taken_bytes = 0;
    }
}

impl<const N: usize> Default for Reassembly<N> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_write_has_a_terminated_path_and_a_bare_value() {
        let mut buffer = [0xff; 32];
        let length =
            Header::encode_message(MessageType::Write, 7, 0, &[b"a/b", b"\0", b"12"], &mut buffer).unwrap();
        assert_eq!(length, 22);
        assert_eq!(
            buffer[..length],
            [11, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, b'a', b'/', b'b', 0, b'1', b'2']
        );
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut buffer = [0; 20];
        let long = [0u8; PAYLOAD_BYTES_MAX + 1];
        assert_eq!(
            Header::encode_message(MessageType::Read, 0, 0, &[&long], &mut buffer),
            Err(EncodeError::TooLong { length_bytes: 4097 })
        );
        assert_eq!(
            Header::encode_message(MessageType::Read, 0, 0, &[b"12345"], &mut buffer),
            Err(EncodeError::NoRoom { needed_bytes: 21 })
        );
    }

    #[test]
    fn a_length_beyond_the_limit_is_no_header() {
        let header = Header { kind: 2, request_id: 0, transaction_id: 0, length: 4097 };
        assert_eq!(Header::decode(&header.encode()), Err(DecodeError::TooLong { length_bytes: 4097 }));
    }

    #[test]
    fn replies_are_taken_apart() {
        assert_eq!(error_number(b"ENOENT\0"), errno::ENOENT);
        assert_eq!(error_number(b"EWHAT\0"), errno::EINVAL);
        let names: Vec<&[u8]> = children(b"lender\0borrower\0").collect();
        assert_eq!(names, [&b"lender"[..], b"borrower"]);
        assert_eq!(children(b"").count(), 0);
        assert_eq!(watch_event(b"@releaseDomain\0t\0"), Ok((&b"@releaseDomain"[..], &b"t"[..])));
        assert_eq!(watch_event(b"path\0token"), Err(DecodeError::Malformed));
        assert_eq!(watch_event(b"path\0token\0more\0"), Err(DecodeError::Malformed));
    }

    #[test]
    fn an_excess_is_consumed_and_reported() {
        let mut message = Reassembly::<4>::new();
        let mut buffer = [0; 32];
        let length = Header::encode_message(MessageType::Read, 1, 0, &[b"123456"], &mut buffer).unwrap();
        for byte in &buffer[..length] {
            assert_ne!(message.missing_bytes(), Ok(0));
            message.feed(*byte);
        }
        assert_eq!(message.missing_bytes(), Ok(0));
        let (header, payload, cut) = message.message().unwrap();
        assert_eq!((header.length, payload, cut), (6, &b"1234"[..], true));
    }

    proptest! {
        #[test]
        fn a_message_survives_the_wire(
            request_id: u32, transaction_id: u32, payload in proptest::collection::vec(any::<u8>(), 0..300)
        ) {
            let mut buffer = [0; 400];
            let length = Header::encode_message(
                MessageType::Write, request_id, transaction_id, &[&payload], &mut buffer).unwrap();
            let mut message = Reassembly::<300>::new();
            for byte in &buffer[..length] {
                prop_assert!(message.missing_bytes().unwrap() > 0);
                message.feed(*byte);
            }
            prop_assert_eq!(message.missing_bytes(), Ok(0));
            let (header, got, cut) = message.message().unwrap();
            prop_assert_eq!(header.request_id, request_id);
            prop_assert_eq!(header.transaction_id, transaction_id);
            prop_assert_eq!(MessageType::from_number(header.kind), Some(MessageType::Write));
            prop_assert_eq!(got, &payload[..]);
            prop_assert!(!cut);
        }

        #[test]
        fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut message = Reassembly::<16>::new();
            for byte in &bytes {
                match message.missing_bytes() {
                    Ok(0) => message.reset(),
                    Ok(_) => message.feed(*byte),
                    Err(_) => break,
                }
            }
            let _ = message.message();
            let _ = watch_event(&bytes);
            let _ = children(&bytes).count();
            let _ = error_number(&bytes);
        }
    }
}

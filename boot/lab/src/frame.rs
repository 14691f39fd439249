// SPDX-License-Identifier: MIT OR Apache-2.0
//! Messages on a byte stream: a little-endian length, then the message in postcard.

use std::io::{self, Read, Write};

use serde::{de::DeserializeOwned, Serialize};

/// The largest message that is sent or believed, in bytes.
pub const LIMIT: usize = 4 << 20;

/// The most payload that one message should carry, in bytes: larger data goes in pieces, so that
/// nobody's output waits long for somebody else's.
pub const CHUNK: usize = 64 << 10;

/// Sends one message.
///
/// # Errors
/// Those of the stream; `InvalidData` for a message that is too long.
pub fn send<T: Serialize>(stream: &mut impl Write, message: &T) -> io::Result<()> {
    let mut bytes = vec![0; 4];
    bytes = postcard::to_extend(message, bytes)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    let length = bytes.len() - 4;
    if length > LIMIT {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("message of {length} bytes")));
    }
    bytes[..4].copy_from_slice(&(length as u32).to_le_bytes());
    stream.write_all(&bytes)
}

/// Waits for one message.
///
/// # Errors
/// Those of the stream, with `UnexpectedEof` when the peer has gone; `InvalidData` for nonsense.
pub fn receive<T: DeserializeOwned>(stream: &mut impl Read) -> io::Result<T> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length) as usize;
    if length > LIMIT {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("message of {length} bytes")));
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes)?;
    postcard::from_bytes(&bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests {
    use super::{receive, send, LIMIT};

    #[test]
    fn a_message_comes_back_as_it_was_sent() {
        let sent = (7_u32, vec![0_u8, 255, 10, 13], "text".to_owned());
        let mut bytes = Vec::new();
        send(&mut bytes, &sent).unwrap();
        let got: (u32, Vec<u8>, String) = receive(&mut bytes.as_slice()).unwrap();
        assert_eq!(got, sent);
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_before_it_is_allocated() {
        let bytes = (LIMIT as u32 + 1).to_le_bytes();
        let error = receive::<u32>(&mut bytes.as_slice()).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_cut_message_is_the_end_of_the_stream() {
        let mut bytes = Vec::new();
        send(&mut bytes, &"hello".to_owned()).unwrap();
        bytes.pop();
        let error = receive::<String>(&mut bytes.as_slice()).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
    }
}

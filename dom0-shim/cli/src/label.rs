// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a region is called.

use std::fmt;
use std::io;

use crate::layout::LABEL_BYTES;

/// A label: at most 31 bytes. Whether they are printable ASCII is for the module to say.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Label([u8; LABEL_BYTES]);

impl Label {
    /// # Errors
    /// `InvalidInput`: it is too long, or has a zero in it.
    pub fn new(text: &str) -> io::Result<Self> {
        let mut bytes = [0; LABEL_BYTES];
        let refused = |what| io::Error::new(io::ErrorKind::InvalidInput, what);
        if text.len() >= LABEL_BYTES {
            return Err(refused(format!(
                "a label has at most {} bytes, not {}",
                LABEL_BYTES - 1,
                text.len()
            )));
        }
        if text.contains('\0') {
            return Err(refused("a label has no zero in it".to_owned()));
        }
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Ok(Self(bytes))
    }

    pub(crate) fn from_raw(bytes: [u8; LABEL_BYTES]) -> Self {
        Self(bytes)
    }

    pub(crate) fn raw(self) -> [u8; LABEL_BYTES] {
        self.0
    }
}

impl fmt::Display for Label {
    /// Escaped, if it is of a region that is yet to be made and not printable.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap_or(LABEL_BYTES);
        for byte in &self.0[..end] {
            match byte {
                b' '..=b'~' => write!(f, "{}", char::from(*byte))?,
                _ => write!(f, "{}", byte.escape_ascii())?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_ends_with_a_zero_in_its_field() {
        let label = Label::new(&"x".repeat(31)).unwrap();
        assert_eq!(label.raw()[30..], [b'x', 0]);
        assert_eq!(label.to_string(), "x".repeat(31));
        let error = Label::new(&"x".repeat(32)).unwrap_err().to_string();
        assert_eq!(error, "a label has at most 31 bytes, not 32");
        assert!(Label::new("a\0b").is_err());
        assert_eq!(Label::new("a\x1bb").unwrap().to_string(), "a\\x1bb");
    }
}

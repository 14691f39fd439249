// SPDX-License-Identifier: MIT OR Apache-2.0
//! The name that a lease has for people: short, printable ASCII, so that it can be shown as it is.

use core::fmt;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes that a label can have.
pub const MAX_LABEL_BYTES: usize = 31;
/// Bytes of the field of a uAPI that holds one: there is always a zero behind it.
pub const LABEL_FIELD_BYTES: usize = MAX_LABEL_BYTES + 1;

/// A label as a peer wrote it: any bytes.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct ClaimedLabel {
    length: u8,
    bytes: [u8; MAX_LABEL_BYTES],
}

/// A label: printable ASCII (0x20 to 0x7e), and maybe none at all.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Label(ClaimedLabel);

/// A byte of a label is not printable ASCII.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unprintable;

impl ClaimedLabel {
    /// `None` if there are more than [`MAX_LABEL_BYTES`].
    pub fn new(label: &[u8]) -> Option<Self> {
        let mut bytes = [0; MAX_LABEL_BYTES];
        bytes.get_mut(..label.len())?.copy_from_slice(label);
        Some(Self { length: label.len() as u8, bytes })
    }

    /// The label of a uAPI's field: it ends at the first zero, and nothing but zeros is behind that.
    pub fn from_field(field: &[u8; LABEL_FIELD_BYTES]) -> Option<Self> {
        let end = field.iter().position(|byte| *byte == 0)?;
        let (label, behind) = field.split_at_checked(end)?;
        behind.iter().all(|byte| *byte == 0).then(|| Self::new(label))?
    }

    /// What the peer wrote.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }

    /// The label.
    ///
    /// # Errors
    /// If it could not be shown as it is.
    pub fn check(&self) -> Result<Label, Unprintable> {
        let printable = self.as_bytes().iter().all(|byte| matches!(byte, b' '..=b'~'));
        printable.then_some(Label(*self)).ok_or(Unprintable)
    }
}

impl Label {
    /// For people.
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(self.0.as_bytes()).unwrap_or_default()
    }

    /// For a uAPI: the label and zeros.
    pub fn to_field(&self) -> [u8; LABEL_FIELD_BYTES] {
        let mut field = [0; LABEL_FIELD_BYTES];
        for (cell, byte) in field.iter_mut().zip(self.0.as_bytes()) {
            *cell = *byte;
        }
        field
    }
}

impl From<Label> for ClaimedLabel {
    fn from(label: Label) -> Self {
        label.0
    }
}

impl fmt::Debug for ClaimedLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.as_bytes().escape_ascii())
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for ClaimedLabel {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.as_bytes())
    }
}

impl<'de> Deserialize<'de> for ClaimedLabel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = ClaimedLabel;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "at most {MAX_LABEL_BYTES} bytes")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<ClaimedLabel, E> {
                ClaimedLabel::new(bytes).ok_or_else(|| E::invalid_length(bytes.len(), &self))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

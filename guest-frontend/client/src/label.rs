// SPDX-License-Identifier: MIT OR GPL-2.0 WITH Linux-syscall-note
//! What the lender calls a lease.

use std::fmt;

use crate::layout::LABEL_BYTES;

/// A label: printable ASCII, as the driver promises, and maybe empty.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Label([u8; LABEL_BYTES]);

impl Label {
    pub(crate) fn from_raw(bytes: [u8; LABEL_BYTES]) -> Self {
        Self(bytes)
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap_or(LABEL_BYTES);
        std::str::from_utf8(&self.0[..end]).unwrap_or_default()
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_what_is_before_the_first_zero() {
        let mut bytes = [0; LABEL_BYTES];
        assert_eq!(Label::from_raw(bytes).as_str(), "");
        bytes[..4].copy_from_slice(b"fb 0");
        assert_eq!(Label::from_raw(bytes).to_string(), "fb 0");
        assert_eq!(Label::from_raw([b'x'; LABEL_BYTES]).as_str(), "x".repeat(32));
    }
}

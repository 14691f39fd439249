// SPDX-License-Identifier: MIT OR Apache-2.0
//! The enumerations of `xenlend.h`: a word for programs and a sentence for people each.

use std::fmt;

macro_rules! wire_words {
    ($(#[$meta:meta])* $name:ident { $($variant:ident = $value:literal, $word:literal, $text:literal;)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $(#[doc = $text] $variant,)+
            /// A number that this program does not know: a newer module.
            Unknown(u32),
        }

        impl $name {
            /// From the number in the header.
            pub fn from_raw(raw: u32) -> Self {
                match raw { $($value => Self::$variant,)+ other => Self::Unknown(other) }
            }

            /// The number in the header.
            pub fn raw(self) -> u32 {
                match self { $(Self::$variant => $value,)+ Self::Unknown(raw) => raw }
            }

            /// One stable word, for programs.
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ Self::Unknown(_) => "unknown" }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$variant => f.write_str($text),)+
                    Self::Unknown(raw) => write!(f, "number {raw}, which this program does not know"),
                }
            }
        }
    };
}

wire_words! {
    /// `enum xenlend_link_state`.
    LinkState {
        Connecting = 1, "connecting", "the broker has not answered yet";
        Connected = 2, "connected", "connected";
        Forced = 3, "forced", "resumed after a forced revocation, not heard from yet";
        Condemned = 4, "condemned", "the broker is held for good";
    }
}

wire_words! {
    /// `enum xenlend_reason`.
    Reason {
        None = 0, "none", "nothing is wrong";
        Deadline = 1, "deadline", "the broker made no progress on an invalidation within the deadline";
        BrokerGone = 2, "broker-gone", "the broker's domain has died";
        Breach = 3, "breach", "the broker broke the protocol";
        Incompatible = 4, "incompatible", "module and broker have no protocol version in common";
        RemoveFailed = 5, "remove-failed", "the broker could not remove an entry";
        Lied = 6, "lied", "the broker acknowledged an invalidation without removing the entries";
        BorrowerGone = 7, "borrower-gone", "the guest's domain has died";
        OtherXen = 8, "other-xen", "module and broker have found different kinds of Xen";
    }
}

wire_words! {
    /// `enum xenlend_frame_refusal`.
    FrameRefusal {
        Foreign = 1, "foreign", "the frame belongs to another domain";
        OtherMmio = 2, "other-mmio", "MMIO outside every allowed BAR";
        Msix = 3, "msix", "the page holds an MSI-X table";
        Special = 4, "special", "no frame of ordinary RAM";
        Readonly = 5, "readonly", "the mapping is not writable";
        Unmapped = 6, "unmapped", "nothing can be faulted in there";
        Secret = 7, "secret", "memory of memfd_secret, which its process hides from everybody";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_survive_the_way_there_and_back() {
        for raw in 0..10 {
            assert_eq!(Reason::from_raw(raw).raw(), raw);
            assert_eq!(LinkState::from_raw(raw).raw(), raw);
            assert_eq!(FrameRefusal::from_raw(raw).raw(), raw);
        }
        assert_eq!(Reason::from_raw(6), Reason::Lied);
        assert_eq!(Reason::from_raw(9), Reason::Unknown(9));
    }
}

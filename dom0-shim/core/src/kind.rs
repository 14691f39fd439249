// SPDX-License-Identifier: MIT OR Apache-2.0
//! The two kinds of Xen, and what the lender does on one and not on the other.

use xenlend_protocol::message::FEATURE_LEND_AWARE;

use crate::uapi::{REGION_READONLY, REGION_WRITE_BACK, STATUS_LEND_AWARE};

/// Features of a lend-aware Xen without which this lender does not use it: a fault waits, and a loss is
/// precise.
const NEEDED: u32 = 0b11;
/// A read-only lease is possible.
const FEATURE_READ_ONLY: u32 = 1 << 2;
/// RAM is lent write-back.
const FEATURE_WRITE_BACK: u32 = 1 << 3;

/// What the running Xen can do for a borrower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Frames are mapped as MMIO.
    Stock,
    /// Xen knows lent frames; its feature bits.
    LendAware(u32),
}

impl Kind {
    /// From the answer to the query, or `None` if Xen does not know that call.
    pub fn of(features: Option<u32>) -> Self {
        match features {
            Some(features) if features & NEEDED == NEEDED => Self::LendAware(features),
            _ => Self::Stock,
        }
    }

    /// Whether Xen knows lent frames.
    pub fn is_lend_aware(self) -> bool {
        matches!(self, Self::LendAware(_))
    }

    /// How processes are told.
    pub fn status_flags(self) -> u32 {
        match self {
            Self::Stock => 0,
            Self::LendAware(_) => STATUS_LEND_AWARE,
        }
    }

    /// What `Hello` offers, and `Welcome` has to take: nothing more and nothing less.
    pub fn wire_features(self) -> u32 {
        match self {
            Self::Stock => 0,
            Self::LendAware(_) => FEATURE_LEND_AWARE,
        }
    }

    /// Whether the borrower is paused around each add: stock Xen kills it if one of its vCPUs faults just
    /// then.
    pub fn pauses_around_adds(self) -> bool {
        self == Self::Stock
    }

    /// Whether the broker is paused before the lender revokes without it. A lend-aware Xen lets nobody add
    /// a frame once it is withdrawn, so nothing of the broker that is in flight matters.
    pub fn pauses_broker(self) -> bool {
        self == Self::Stock
    }

    /// Whether the lender does accesses for the borrower.
    pub fn completes_accesses(self) -> bool {
        self == Self::Stock
    }

    /// Flags of a region that mean nothing here.
    pub fn unsupported_flags(self) -> u32 {
        let Self::LendAware(features) = self else { return REGION_READONLY | REGION_WRITE_BACK };
        let without = |feature, flag| if features & feature == 0 { flag } else { 0 };
        without(FEATURE_READ_ONLY, REGION_READONLY) | without(FEATURE_WRITE_BACK, REGION_WRITE_BACK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_xen_that_cannot_retry_is_used_like_a_stock_one() {
        assert_eq!(Kind::of(None), Kind::Stock);
        assert_eq!(Kind::of(Some(0)), Kind::Stock);
        assert_eq!(Kind::of(Some(0b1101)), Kind::Stock);
        assert_eq!(Kind::of(Some(0b0011)), Kind::LendAware(3));
    }

    #[test]
    fn flags_are_refused_that_this_xen_cannot_give() {
        let both = REGION_READONLY | REGION_WRITE_BACK;
        assert_eq!(Kind::Stock.unsupported_flags(), both);
        assert_eq!(Kind::LendAware(0b0011).unsupported_flags(), both);
        assert_eq!(Kind::LendAware(0b0111).unsupported_flags(), REGION_WRITE_BACK);
        assert_eq!(Kind::LendAware(0b1111).unsupported_flags(), 0);
    }
}

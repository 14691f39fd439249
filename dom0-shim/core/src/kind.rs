// SPDX-License-Identifier: MIT OR Apache-2.0
//! The two kinds of Xen, and what the lender does on one and not on the other.

use xenlend_protocol::message::FEATURE_LEND_AWARE;
use xenlend_xen_abi::lend::{MissingFeatures, XenKind};

use crate::uapi::{REGION_READONLY, REGION_WRITE_BACK, STATUS_LEND_AWARE};

/// What the running Xen can do for a borrower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Frames are mapped as MMIO.
    Stock,
    /// Xen knows lent frames.
    LendAware,
}

impl Kind {
    /// From the features in the answer to the query, or `None` if Xen does not know that call.
    ///
    /// # Errors
    /// A Xen with some of the required features only: patched, but not for this lender.
    pub fn of(features: Option<u32>) -> Result<Self, MissingFeatures> {
        Ok(match XenKind::of(features)? {
            XenKind::Stock => Self::Stock,
            XenKind::LendAware => Self::LendAware,
        })
    }

    /// Whether Xen knows lent frames.
    pub fn is_lend_aware(self) -> bool {
        matches!(self, Self::LendAware)
    }

    /// How processes are told.
    pub fn status_flags(self) -> u32 {
        match self {
            Self::Stock => 0,
            Self::LendAware => STATUS_LEND_AWARE,
        }
    }

    /// What `Hello` offers, and `Welcome` has to take: nothing more and nothing less.
    pub fn wire_features(self) -> u32 {
        match self {
            Self::Stock => 0,
            Self::LendAware => FEATURE_LEND_AWARE,
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
        match self {
            Self::Stock => REGION_READONLY | REGION_WRITE_BACK,
            Self::LendAware => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use xenlend_xen_abi::lend::REQUIRED;

    #[test]
    fn a_xen_that_can_only_part_of_it_is_used_for_nothing() {
        assert_eq!(Kind::of(None), Ok(Kind::Stock));
        assert_eq!(Kind::of(Some(REQUIRED)), Ok(Kind::LendAware));
        assert_eq!(Kind::of(Some(0b0011)), Err(MissingFeatures { has: 0b0011 }));
    }

    #[test]
    fn flags_are_refused_that_this_xen_cannot_give() {
        assert_eq!(Kind::Stock.unsupported_flags(), REGION_READONLY | REGION_WRITE_BACK);
        assert_eq!(Kind::LendAware.unsupported_flags(), 0);
    }
}

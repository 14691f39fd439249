// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names of leases: an index and a generation, so that a stale name is noticed.

use serde::{Deserialize, Serialize};

/// Name of a lease on one link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LeaseId {
    /// Place in the lease table; equals the lender's region slot.
    pub index: u16,
    /// Rises each time the place is used again.
    pub generation: u32,
}

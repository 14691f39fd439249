// SPDX-License-Identifier: MIT OR Apache-2.0
//! What this Xen can give to a lease: policy that is not the protocol's business.

use xenlend_protocol::message::{CacheMode, Rights, FEATURE_LEND_AWARE};
use xenlend_protocol::refusal::Refusal;

/// What this Xen can give: one of the two constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Entries can be made read-only.
    pub read_only: bool,
    /// Entries can be write-back.
    pub write_back: bool,
    /// An access to an absent page waits and is run again; nobody does it for the vCPU.
    pub faults_retry: bool,
}

impl Capabilities {
    /// Stock Xen: `p2m_mmio_direct` entries are read-write, and write-combining at best.
    pub const STOCK: Self = Self { read_only: false, write_back: false, faults_retry: false };
    /// Lend-aware Xen.
    pub const LEND_AWARE: Self = Self { read_only: true, write_back: true, faults_retry: true };

    /// The feature bits of a link on this Xen.
    pub fn features(&self) -> u32 {
        if self.faults_retry {
            FEATURE_LEND_AWARE
        } else {
            0
        }
    }

    /// Whether a lease of this kind can be had.
    ///
    /// # Errors
    /// [`Refusal::Unsupported`] if not.
    pub fn check(&self, rights: Rights, cache: CacheMode) -> Result<(), Refusal> {
        let rights_fit = rights == Rights::ReadWrite || self.read_only;
        let cache_fits = cache == CacheMode::WriteCombining || self.write_back;
        if rights_fit && cache_fits {
            Ok(())
        } else {
            Err(Refusal::Unsupported)
        }
    }
}

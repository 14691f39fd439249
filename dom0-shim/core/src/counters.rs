// SPDX-License-Identifier: MIT OR Apache-2.0
//! Cumulative counts of one link: `struct xenlend_counters`.

/// The counts, in the order of the uAPI.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Notifier calls that touched present pages.
    pub invalidations: u64,
    /// Notifier calls that cost no message.
    pub unrelated_invalidations: u64,
    /// Pages revoked.
    pub revoked_pages: u64,
    /// Stops of a vCPU: Access messages of the broker, and Want messages for vCPUs.
    pub stage2_faults: u64,
    /// Lookups that ended in a Present.
    pub page_ins: u64,
    /// 2 MiB entries added.
    pub adds_2mib: u64,
    /// 4 KiB entries added.
    pub adds_4kib: u64,
    /// Presents that were answered Later.
    pub laters: u64,
    /// Page-ins that an invalidation overtook.
    pub retries: u64,
    /// A region's first page came back in a BAR after RAM.
    pub migrations_to_vram: u64,
    /// A region's first page came back in RAM after a BAR.
    pub migrations_to_ram: u64,
    /// Mapping hypercalls that the lender made itself.
    pub dom0_mapping_hypercalls: u64,
    /// Times that the borrower was paused for an add.
    pub pause_brackets: u64,
    /// Messages to the broker.
    pub messages_sent: u64,
    /// Messages from it.
    pub messages_received: u64,
    /// Times that the lender revoked by itself.
    pub forced_revocations: u64,
    /// Entries that were still there after an acknowledgement.
    pub lies: u64,
    /// Permission withdrawals that Xen refused.
    pub deny_failures: u64,
    /// Pages declared lost.
    pub lost_pages: u64,
    /// Lookups that ended in a frame that may not be lent.
    pub refused_frames: u64,
    /// Pages present now.
    pub present_pages: u64,
    /// Bytes of all regions now.
    pub lent_bytes: u64,
    /// Longest revocation.
    pub revoke_ns_max: u64,
    /// Median.
    pub revoke_ns_p50: u64,
    /// 99th percentile.
    pub revoke_ns_p99: u64,
    /// Want messages of the broker for tasks.
    pub wants: u64,
    /// 1 while the broker serves a frontend of the borrower.
    pub borrower_attached: u64,
}

/// Number of counts.
pub const COUNT: usize = 27;

impl Counters {
    /// The counts in the order of the uAPI.
    pub fn in_order(&self) -> [u64; COUNT] {
        [
            self.invalidations,
            self.unrelated_invalidations,
            self.revoked_pages,
            self.stage2_faults,
            self.page_ins,
            self.adds_2mib,
            self.adds_4kib,
            self.laters,
            self.retries,
            self.migrations_to_vram,
            self.migrations_to_ram,
            self.dom0_mapping_hypercalls,
            self.pause_brackets,
            self.messages_sent,
            self.messages_received,
            self.forced_revocations,
            self.lies,
            self.deny_failures,
            self.lost_pages,
            self.refused_frames,
            self.present_pages,
            self.lent_bytes,
            self.revoke_ns_max,
            self.revoke_ns_p50,
            self.revoke_ns_p99,
            self.wants,
            self.borrower_attached,
        ]
    }
}

/// Adds to a count.
pub fn add(count: &mut u64, more: u64) {
    *count = count.saturating_add(more);
}

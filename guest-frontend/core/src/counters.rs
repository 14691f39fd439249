// SPDX-License-Identifier: MIT OR Apache-2.0
//! What has happened since the driver was loaded.

/// `struct xenlend_guest_counters`, in its order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "documented in the header")]
pub struct Counters {
    pub guest_page_faults: u64,
    pub zaps: u64,
    pub pages_inserted: u64,
    pub entries_2mib: u64,
    pub waits: u64,
    pub prefaults: u64,
    pub bus_errors: u64,
    pub unavailable: u64,
    pub forced_insertions: u64,
    pub messages_sent: u64,
    pub messages_received: u64,
    pub links: u64,
}

/// Number of counters.
pub const COUNT: usize = 12;

impl Counters {
    /// All of them, in the order of the structure.
    #[must_use]
    pub fn values(&self) -> [u64; COUNT] {
        [
            self.guest_page_faults,
            self.zaps,
            self.pages_inserted,
            self.entries_2mib,
            self.waits,
            self.prefaults,
            self.bus_errors,
            self.unavailable,
            self.forced_insertions,
            self.messages_sent,
            self.messages_received,
            self.links,
        ]
    }
}

/// Counts on.
pub fn add(counter: &mut u64, count: u64) {
    *counter = counter.saturating_add(count);
}

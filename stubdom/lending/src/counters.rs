// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the broker has done so far, in numbers. They saturate and decide nothing.

/// Counters since the broker started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// `Invalidate` messages handled.
    pub invalidations: u64,
    /// Pages removed from the borrower's second stage, for whatever reason.
    pub pages_removed: u64,
    /// Entries that Xen refused to remove.
    pub remove_failures: u64,
    /// `Forced` messages handled.
    pub forced: u64,
    /// `Present` messages that added everything.
    pub presents_added: u64,
    /// `Present` messages answered `Later`.
    pub presents_later: u64,
    /// `Present` messages answered `Stale`.
    pub presents_stale: u64,
    /// `Present` messages refused.
    pub presents_refused: u64,
    /// `Present` messages that Xen made fail.
    pub presents_failed: u64,
    /// 2 MiB entries added.
    pub entries_2mib: u64,
    /// 4 KiB entries added.
    pub entries_4kib: u64,
    /// Requests of the borrower's vCPUs that were completed.
    pub requests: u64,
    /// Of these, those of a kind or shape that this broker does not serve.
    pub unknown_requests: u64,
    /// Faults answered: run the instruction again.
    pub faults_retried: u64,
    /// Faults answered: lost.
    pub faults_lost: u64,
    /// Faults answered: a write refused.
    pub faults_refused: u64,
    /// `Access` messages sent to the lender.
    pub accesses: u64,
    /// Pieces of accesses outside every lease.
    pub unleased_pieces: u64,
    /// Pieces of accesses that ended by a loss policy.
    pub lost_pieces: u64,
    /// Of these, those whose lender asked for a fault, which stock Xen cannot raise.
    pub faults_not_raised: u64,
    /// Pieces dropped because the borrower has no RAM where it said.
    pub borrower_memory_errors: u64,
    /// Times that a message found no room and was kept.
    pub ring_full: u64,
    /// `Want` messages sent to the lender.
    pub wants: u64,
    /// Messages taken from the borrower.
    pub borrower_messages: u64,
    /// Messages said to the borrower.
    pub notices: u64,
    /// Times that a message to the borrower found no room and was kept, or became a bit.
    pub borrower_ring_full: u64,
    /// Times that the borrower broke its link's contract.
    pub borrower_breaches: u64,
}

/// Adds to a counter.
pub(crate) fn count(counter: &mut u64, by: u64) {
    *counter = counter.saturating_add(by);
}

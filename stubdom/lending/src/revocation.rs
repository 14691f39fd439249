// SPDX-License-Identifier: MIT OR Apache-2.0
//! Takes present pages away. What returns `Ok` is what may be acknowledged.
//!
//! Waits for nobody, allocates nothing, and is linear in the pages named. An entry of
//! 2 MiB goes whole, because removing a part of it would split it, which can fail.

use heapless::Vec;
use xenlend_protocol::frame::AperturePage;
use xenlend_protocol::refusal::RemoveFailure;

use crate::counters::{count, Counters};
use crate::hypervisor::{Hypervisor, Partial, MAX_RUNS};
use crate::lending_table::{FrameRun, LendingTable, PageRange};

/// Removes every entry that has a page in the range; gives the number of pages removed.
///
/// # Errors
/// Xen refused: that page and those after it are still mapped, and the table says so.
pub(crate) fn remove_pages(
    table: &mut LendingTable<'_>,
    hypervisor: &mut impl Hypervisor,
    counters: &mut Counters,
    range: PageRange,
) -> Result<u32, RemoveFailure> {
    remove_runs(table, hypervisor, counters, LendingTable::next_run, range)
}

/// Removes the pages in the range that the present request has added.
///
/// # Errors
/// As [`remove_pages`].
pub(crate) fn remove_fresh_pages(
    table: &mut LendingTable<'_>,
    hypervisor: &mut impl Hypervisor,
    counters: &mut Counters,
    range: PageRange,
) -> Result<u32, RemoveFailure> {
    remove_runs(table, hypervisor, counters, LendingTable::next_fresh_run, range)
}

fn remove_runs<'t>(
    table: &mut LendingTable<'t>,
    hypervisor: &mut impl Hypervisor,
    counters: &mut Counters,
    next_run: impl Fn(&LendingTable<'t>, PageRange) -> Option<FrameRun>,
    range: PageRange,
) -> Result<u32, RemoveFailure> {
    let mut left = table.widen(range);
    let mut removed: u32 = 0;
    loop {
        let mut runs = Vec::<FrameRun, MAX_RUNS>::new();
        while let Some(run) = next_run(table, left).filter(|_| !runs.is_full()) {
            left.first = run.pages.end;
            // Always room: it is not full.
            let _ = runs.push(run);
        }
        if runs.is_empty() {
            return Ok(removed);
        }
        let outcome = hypervisor.remove(&runs);
        let pages_in_runs = runs.iter().fold(0_u32, |sum, run| sum.saturating_add(run.pages.page_count()));
        let done = match outcome {
            Ok(()) => pages_in_runs,
            // A failure leaves at least one page, whatever the number says.
            Err(Partial { done, .. }) => done.min(pages_in_runs.saturating_sub(1)),
        };
        let still_mapped = set_absent(table, &runs, done);
        removed = removed.saturating_add(done);
        count(&mut counters.pages_removed, u64::from(done));
        if let (Err(Partial { errno, .. }), Some(page)) = (outcome, still_mapped) {
            count(&mut counters.remove_failures, 1);
            return Err(RemoveFailure { page: AperturePage(page), errno: errno.0 });
        }
    }
}

/// Records so many pages of the runs as removed; gives the first one that was not.
fn set_absent(table: &mut LendingTable<'_>, runs: &[FrameRun], done: u32) -> Option<u32> {
    let mut left = done;
    for FrameRun { pages, .. } in runs {
        let done_here = left.min(pages.page_count());
        let end = pages.first.saturating_add(done_here);
        table.set_absent(PageRange { first: pages.first, end });
        if done_here < pages.page_count() {
            return Some(end);
        }
        left = left.saturating_sub(done_here);
    }
    None
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Takes present pages away. What returns `Ok` is what may be acknowledged.
//!
//! Waits for nobody, allocates nothing, and is linear in the pages named. An entry of
//! 2 MiB goes whole, because removing a part of it would split it, which can fail.

use xenlend_protocol::frame::AperturePage;
use xenlend_protocol::refusal::RemoveFailure;

use crate::counters::{count, Counters};
use crate::hypervisor::{Hypervisor, Partial};
use crate::lending_table::{LendingTable, PageRange, PresentRun};

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
    next_run: impl Fn(&LendingTable<'t>, PageRange) -> Option<PresentRun>,
    range: PageRange,
) -> Result<u32, RemoveFailure> {
    let mut left = table.widen(range);
    let mut removed: u32 = 0;
    while let Some(PresentRun { pages, mfn }) = next_run(table, left) {
        let pages_in_run = pages.page_count();
        let outcome = hypervisor.remove(AperturePage(pages.first), mfn, pages_in_run);
        let done = match outcome {
            Ok(()) => pages_in_run,
            // A failure leaves at least one page, whatever the number says.
            Err(Partial { done, .. }) => done.min(pages_in_run.saturating_sub(1)),
        };
        let end = pages.first.saturating_add(done);
        table.set_absent(PageRange { first: pages.first, end });
        removed = removed.saturating_add(done);
        count(&mut counters.pages_removed, u64::from(done));
        if let Err(Partial { errno, .. }) = outcome {
            count(&mut counters.remove_failures, 1);
            return Err(RemoveFailure { page: AperturePage(end), errno: errno.0 });
        }
        left.first = end;
    }
    Ok(removed)
}

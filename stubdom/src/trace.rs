// SPDX-License-Identifier: MIT OR Apache-2.0
//! A small ring of what happened last, for the last words and for a memory dump (symbol `TRACE`).

use core::fmt;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use xenlend_lending::hypervisor::Partial;
use xenlend_lending::lending_table::PageRange;

/// Records kept.
const RECORDS: usize = 256;
/// Records that the last words quote.
const QUOTED: usize = 12;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Event {
    /// The event loop begins; the number of borrowers.
    Started = 1,
    /// Entries added: first page, pages.
    Added = 2,
    /// Entries removed: first page, pages.
    Removed = 3,
    /// Xen refused an add: page, error number.
    AddFailed = 4,
    /// Xen refused a removal: page, error number.
    RemoveFailed = 5,
    /// A request was completed: vCPU, address.
    Completed = 6,
    /// A page of the borrower's RAM could not be mapped: frame, error number.
    BorrowerMemory = 7,
    /// The lender's end of the event channel is gone.
    LenderGone = 8,
    /// The link is up, or over: system time.
    LinkChanged = 9,
    /// The borrower's link is attached, up, over or detached: system time.
    BorrowerChanged = 10,
}

struct Ring {
    next: AtomicUsize,
    records: [[AtomicU64; 3]; RECORDS],
}

#[no_mangle]
static TRACE: Ring =
    Ring { next: AtomicUsize::new(0), records: [const { [const { AtomicU64::new(0) }; 3] }; RECORDS] };

/// Notes an event with two numbers.
pub fn record(event: Event, first: u64, second: u64) {
    let index = TRACE.next.fetch_add(1, Ordering::Relaxed) % RECORDS;
    for (field, value) in TRACE.records[index].iter().zip([event as u64, first, second]) {
        field.store(value, Ordering::Relaxed);
    }
}

/// Notes how a change of entries ended.
pub fn record_outcome(pages: PageRange, result: Result<(), Partial>, done: Event, failed: Event) {
    let first = u64::from(pages.first);
    match result {
        Ok(()) => record(done, first, u64::from(pages.page_count())),
        Err(Partial { done, errno }) => record(failed, first + u64::from(done), u64::from(errno.0)),
    }
}

/// The newest records, as one line.
pub struct Newest;

impl fmt::Display for Newest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let next = TRACE.next.load(Ordering::Relaxed);
        for number in next.saturating_sub(QUOTED)..next {
            let [event, first, second] =
                TRACE.records[number % RECORDS].each_ref().map(|field| field.load(Ordering::Relaxed));
            write!(formatter, " {event}:{first:x},{second:x}")?;
        }
        Ok(())
    }
}

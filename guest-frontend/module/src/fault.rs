// SPDX-License-Identifier: MIT OR Apache-2.0
//! A program touches a page that its page table does not have.
//!
//! Insertion happens under the driver's mutex, which every revocation takes before it zaps. The wait
//! happens under no lock at all.

use xenlend_front_core::aperture::Aperture;
use xenlend_front_core::counters::add;
use xenlend_front_core::link::{Answer, Link as CoreLink, Touch};
use xenlend_front_core::page_set::Pages;

use crate::driver::{Driver, State};
use crate::kernel_api::fault::{Fault, Outcome, Reply, BUS, FALLBACK, NOPAGE, OUT_OF_MEMORY};
use crate::kernel_api::wait::{Mode, Seen, Woken};

/// What follows the look under the mutex.
enum Next {
    Done(Outcome),
    /// Not without a page table.
    MakeTable,
    /// The task may not wait, and is told to retry.
    Retry,
    Wait {
        seen: Seen,
        for_room: bool,
    },
}

/// Handles it.
pub fn handle(driver: &Driver, fault: Fault<'_>, huge: bool) -> Reply {
    let Some(touch) = fault.touch() else { return fault.answer(BUS) };
    if huge && !fault.has_2mib() {
        return fault.answer(FALLBACK);
    }
    let mut next = look(driver, &fault, &touch, huge, true);
    if matches!(next, Next::MakeTable) {
        if !fault.make_table() {
            return fault.answer(OUT_OF_MEMORY);
        }
        next = look(driver, &fault, &touch, huge, false);
    }
    match next {
        Next::Done(outcome) => fault.answer(outcome),
        // Not said twice; if it were, the touch would be made again.
        Next::MakeTable => fault.answer(NOPAGE),
        Next::Retry => fault.retry(),
        Next::Wait { seen, for_room } => sleep(driver, fault, &touch, seen, for_room),
    }
}

/// Looks at the touch under the mutex, and maps what is there. The first look leaves it at that if a page table
/// is missing: one made before it is known that a page is there would keep 2 MiB from being mapped at once.
fn look(driver: &Driver, fault: &Fault<'_>, touch: &Touch, huge: bool, is_first: bool) -> Next {
    driver.locked(|state| {
        let Some(aperture) = state.core.link().map(CoreLink::aperture) else { return Next::Done(BUS) };
        let answer = state.core.touch(touch, huge);
        if is_first && matches!(answer, Answer::Insert(_)) && !fault.has_table() {
            return Next::MakeTable;
        }
        let counters = state.core.counters();
        // A touch that must be retried has been counted, and one of 2 MiB is counted as what it becomes.
        if answer != Answer::Smaller && !fault.is_retry() {
            add(&mut counters.guest_page_faults, 1);
        }
        match answer {
            Answer::Insert(pages) => Next::Done(insert(state, fault, aperture, touch.page, pages)),
            Answer::InsertHuge(_) => {
                let outcome = fault.insert_huge(aperture);
                add(&mut counters.entries_2mib, u64::from(outcome == NOPAGE));
                Next::Done(outcome)
            }
            Answer::Smaller => Next::Done(FALLBACK),
            Answer::Bus => {
                add(&mut counters.bus_errors, 1);
                Next::Done(BUS)
            }
            Answer::Wait | Answer::WaitForRoom if fault.may_wait() => {
                add(&mut counters.waits, 1);
                Next::Wait { seen: driver.seen(), for_room: answer == Answer::WaitForRoom }
            }
            Answer::Wait | Answer::WaitForRoom if fault.must_not_wait() => Next::Retry,
            Answer::Wait | Answer::WaitForRoom => {
                // Whoever can neither wait nor retry gets the page as it is: the second stage completes
                // the access, as it does for a guest without this driver.
                add(&mut counters.forced_insertions, 1);
                Next::Done(fault.insert(touch.page, aperture))
            }
        }
    })
}

/// Maps a run: the touched page decides, the others come along if they can.
fn insert(state: &mut State, fault: &Fault<'_>, aperture: Aperture, touched: u32, pages: Pages) -> Outcome {
    let outcome = fault.insert(touched, aperture);
    let mut inserted = u64::from(outcome == NOPAGE);
    if outcome == NOPAGE {
        for page in (pages.first..pages.end).filter(|page| *page != touched) {
            if fault.insert(page, aperture) != NOPAGE {
                break;
            }
            inserted += 1;
        }
    }
    add(&mut state.core.counters().pages_inserted, inserted);
    outcome
}

/// Lets go of the fault's locks and waits until the page has been answered for, or there may be room to
/// ask, or a signal comes: any for a program's own instruction, which stops, freezes or runs its
/// handler then, SIGKILL for the kernel's accesses. The touch is tried again in any case.
fn sleep(driver: &Driver, fault: Fault<'_>, touch: &Touch, mut seen: Seen, for_room: bool) -> Reply {
    let mode = if fault.heeds_signals() { Mode::Interruptible } else { Mode::Killable };
    let unlocked = match fault.unlock() {
        Ok(unlocked) => unlocked,
        Err(fault) => return fault.retry(),
    };
    while driver.wait(seen, mode) == Woken::Yes && !for_room {
        let (is_awaited, now) =
            driver.locked(|state| (state.core.is_awaited(touch.serial, touch.page), driver.seen()));
        if !is_awaited {
            break;
        }
        seen = now;
    }
    unlocked.retry()
}

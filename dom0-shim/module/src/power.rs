// SPDX-License-Identifier: MIT OR Apache-2.0
//! The sleep of the lender's machine: nothing is lent from before programs are frozen until they
//! run again.
//!
//! Guests go on meanwhile. What they had would be memory of devices that sleep, and what they ask
//! for would be brought in through drivers that sleep.

use crate::errno::{Errno, EBUSY};
use crate::kernel_api::now_ms;
use crate::kernel_api::shared::Shared;
use crate::kernel_api::wait::Mode;
use crate::leases;
use crate::link::Link;
use crate::links::Links;
use crate::log_warning;

/// Takes everything back; what guests ask for waits from now on.
///
/// # Errors
/// `EBUSY` if a driver's fault handler keeps a worker longer than the link's deadline. Everything
/// goes on then.
pub fn sleep(links: &Links) -> Result<(), Errno> {
    links.hold(true);
    let mut next = Some(0);
    while let Some(link) = next.and_then(|borrower| links.find_from(borrower)) {
        if !settle(&link) {
            log_warning!("dom{}: a page is being brought in: no suspend now", link.borrower);
            links.hold(false);
            return Err(EBUSY);
        }
        leases::revoke_all(&link);
        next = link.borrower.checked_add(1);
    }
    Ok(())
}

/// Goes on with what guests have asked for.
pub fn wake_up(links: &Links) {
    links.hold(false);
}

/// Waits until no worker touches anything of a process any more. Threads that wait for somebody
/// else make nothing present, and stay where they are.
fn settle(link: &Shared<Link>) -> bool {
    let end = now_ms().saturating_add(link.deadline_ms.into());
    loop {
        let (busy, seen) = link.locked(|state| (state.core.has_worker_inside(), link.seen()));
        let left = end.saturating_sub(now_ms());
        if !busy || left == 0 {
            return !busy;
        }
        link.wait(seen, u32::try_from(left).unwrap_or(u32::MAX), Mode::Uninterruptible);
    }
}

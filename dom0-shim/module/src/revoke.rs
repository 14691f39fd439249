// SPDX-License-Identifier: MIT OR Apache-2.0
//! Revocation: from a notifier, from the end of a region, from a page-in that finds a stale entry.
//!
//! When a function here says that it is done, no second-stage entry of the borrower names a frame of
//! the range, and no message in flight can make one.

use xenlend_protocol::frame::AperturePage;
use xenlend_protocol::lease_id::LeaseId;
use xenlend_shim_core::counters::add;
use xenlend_shim_core::invalidation::Standing;
use xenlend_shim_core::link::{Awaited, Cause, InvalidateStart, Reason};
use xenlend_shim_core::patience::{For, Patience};

use crate::force::{self, Found};
use crate::kernel_api::region::Notified;
use crate::kernel_api::wait::Mode;
use crate::kernel_api::{now_ms, now_ns};
use crate::link::{Link, State, WaitEnd};
use crate::log_error;

/// Pages to revoke.
#[derive(Clone, Copy)]
pub struct Pages {
    /// The lease.
    pub lease: LeaseId,
    /// First page.
    pub first: AperturePage,
    /// Number of pages.
    pub count: u32,
}

/// The MMU notifier's callback for bytes `start .. end` of the process. False: not now.
pub fn on_notifier(
    link: &Link,
    lease: LeaseId,
    start: u64,
    end: u64,
    may_sleep: bool,
    notified: &Notified,
) -> bool {
    let began = now_ns();
    let (pages, first_step) = link.locked(|state| {
        // Both under one lock: a page-in either sees the new sequence or is marked.
        notified.set_sequence();
        let pages = state.core.region(lease).and_then(|region| region.pages_of(start, end));
        let pages = pages.map(|(first, count)| Pages { lease, first, count });
        let step = pages.map_or(InvalidateStart::Unrelated, |pages| {
            state.core.note_change(pages.lease, pages.first, pages.count);
            begin(state, &pages, may_sleep)
        });
        if step == InvalidateStart::Unrelated {
            state.core.count_unrelated();
        }
        (pages, step)
    });
    let Some(pages) = pages else { return true };
    if first_step == InvalidateStart::Unrelated {
        return true;
    }
    let mut patience = link.patience(For::Notifier(lease));
    let done = carry_on(link, &pages, first_step, &mut patience, Some(notified));
    if done {
        let took = now_ns().saturating_sub(began);
        link.locked(|state| state.core.record_revocation(took));
    }
    done
}

/// Revokes pages; sleeps.
pub fn revoke(link: &Link, pages: &Pages) {
    revoke_within(link, pages, &mut link.patience(For::Nobody));
}

/// The same as a part of some larger work.
pub fn revoke_within(link: &Link, pages: &Pages, patience: &mut Patience) {
    let first_step = link.locked(|state| begin(state, pages, true));
    let _ = carry_on(link, pages, first_step, patience, None);
}

fn begin(state: &mut State, pages: &Pages, may_sleep: bool) -> InvalidateStart {
    state.core.start_invalidate(pages.lease, pages.first, pages.count, may_sleep)
}

/// What the end of a process revokes, in all of its regions, has one deadline together.
fn note_death(link: &Link, state: &mut State, lease: LeaseId, notified: Option<&Notified>) {
    if notified.is_some_and(Notified::is_of_death) {
        state.core.note_death(lease, u64::from(link.deadline_ms), now_ms());
    }
}

fn carry_on(
    link: &Link,
    pages: &Pages,
    first_step: InvalidateStart,
    patience: &mut Patience,
    notified: Option<&Notified>,
) -> bool {
    let mut step = first_step;
    loop {
        match step {
            InvalidateStart::Unrelated => return true,
            InvalidateStart::WouldBlock => return false,
            InvalidateStart::Posted(sequence) => {
                let failed = finish(link, pages, sequence, patience, notified);
                if let Some(cause) = failed {
                    force::revoke_all(link, cause);
                }
                // Only now: an answer that comes just before the force is still owed to somebody, and the
                // reserve of the ring has this message in it.
                link.locked(|state| state.core.end_invalidate(sequence));
                if failed.is_none() {
                    return true;
                }
            }
            InvalidateStart::Busy => {
                // Others have the reserve; each of them ends within its own patience.
                let result = link.wait_within(Mode::Uninterruptible, patience, |state| {
                    note_death(link, state, pages.lease, notified);
                    match begin(state, pages, true) {
                        InvalidateStart::Busy => Err(Awaited::Place),
                        other => Ok(other),
                    }
                });
                match result {
                    Ok(next) => {
                        step = next;
                        continue;
                    }
                    Err(end) => force::after(link, end),
                }
            }
            InvalidateStart::Force(cause) => force::revoke_all(link, cause),
        }
        step = link.locked(|state| begin(state, pages, true));
    }
}

/// Waits for the acknowledgement and acts on it. Gives a reason if force is needed.
fn finish(
    link: &Link,
    pages: &Pages,
    sequence: u64,
    patience: &mut Patience,
    notified: Option<&Notified>,
) -> Option<Cause> {
    let mut behind = None;
    let standing = link.wait_within(Mode::Uninterruptible, patience, |state| {
        note_death(link, state, pages.lease, notified);
        let position = *behind.get_or_insert(state.core.position());
        match (state.core.invalidation_standing(sequence), state.core.needs_force()) {
            // Something else broke meanwhile: nobody will answer.
            (Standing::Waiting, Some(reason)) => Ok(Err(state.core.cause(reason))),
            (Standing::Waiting, None) => Err(Awaited::Answer(position)),
            (standing, _) => Ok(Ok((standing, state.core.cause(Reason::RemoveFailed)))),
        }
    });
    match standing {
        Ok(Ok((Standing::Removed, _))) => {}
        // Everything is gone already, this range too.
        Ok(Ok((Standing::Forced, _))) => return None,
        Ok(Ok((Standing::Failed(_) | Standing::Waiting, cause)) | Err(cause))
        | Err(WaitEnd::Deadline(cause) | WaitEnd::BrokerGone(cause)) => return Some(cause),
        // Nothing interrupts this wait; if it did, nothing would be known.
        Err(WaitEnd::Signal) => return Some(link.locked(|state| state.core.cause(Reason::Deadline))),
    }
    let honest = !link.check || check(link, pages);
    clear(link, pages, true);
    if honest {
        None
    } else {
        Some(link.locked(|state| state.core.cause(Reason::Lied)))
    }
}

/// Takes what is known to be removed out of the mirror, and withdraws the permissions.
pub fn clear(link: &Link, pages: &Pages, revoked: bool) {
    let take = |state: &mut State| state.core.take_present(pages.lease, pages.first, pages.count, revoked);
    loop {
        let runs = link.locked(take);
        if runs.is_empty() {
            break;
        }
        force::take_back(link, &runs);
    }
}

/// Check mode: removes from this domain what the broker says it has removed. False if
/// something was still there.
fn check(link: &Link, pages: &Pages) -> bool {
    let mut honest = true;
    let mut from = pages.first;
    let end = pages.first.0.saturating_add(pages.count);
    while from.0 < end {
        let left = end.saturating_sub(from.0);
        let Some(run) = link.locked(|state| state.core.find_present(pages.lease, from, left)) else { break };
        match force::verify(link, &run) {
            Found::Mapped(0) => {}
            Found::DomainGone => break,
            Found::Mapped(mapped) => {
                honest = false;
                link.locked(|state| add(&mut state.core.counters().lies, u64::from(mapped)));
                log_error!(
                    "dom{}: the broker dom{} acknowledged {} pages at {:#x} that were still mapped",
                    link.borrower,
                    link.broker,
                    mapped,
                    link.aperture.address_of(run.page)
                );
            }
            Found::Stuck(error) => force::end_borrower(link, &run, error),
        }
        from = AperturePage(run.page.0.saturating_add(run.count));
    }
    honest
}

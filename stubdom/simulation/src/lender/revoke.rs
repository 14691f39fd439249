// SPDX-License-Identifier: MIT OR Apache-2.0
//! Revocation, from a notifier or the end of a region: `dom0-shim/module/src/revoke.rs`.

use xenlend_protocol::frame::AperturePage;
use xenlend_protocol::lease_id::LeaseId;
use xenlend_shim_core::invalidation::Standing;
use xenlend_shim_core::link::{Awaited, Cause, InvalidateStart, PresentStanding, Reason};
use xenlend_shim_core::patience::For;

use super::force::{self, Found};
use super::link::{locked, patience, wait_within, Mode, Patience, WaitEnd};
use super::{frames, RegionObject, State};
use crate::fault::Fault;
use crate::world::{Sim, DEADLINE_MS};

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

/// The notifier's callback for bytes `start .. end` of the process. False: not now.
pub async fn on_notifier(
    sim: &Sim,
    object: &RegionObject,
    (start, end): (u64, u64),
    may_sleep: bool,
    is_of_death: bool,
) -> bool {
    let mirror_is_late = sim.config.has(Fault::RecordMirrorLate);
    let (pages, first_step) = locked(sim, |state| {
        object.invalidating.set(object.invalidating.get() + 1);
        let pages = state.core.region(object.lease).and_then(|region| region.pages_of(start, end));
        let pages = pages.map(|(first, count)| Pages { lease: object.lease, first, count });
        let unrecorded = mirror_is_late && state.core.present_standing() == PresentStanding::Waiting;
        let step = match pages {
            Some(pages) if !unrecorded => {
                state.core.note_change(pages.lease, pages.first, pages.count);
                begin(state, &pages, may_sleep)
            }
            _ => InvalidateStart::Unrelated,
        };
        (pages, step)
    })
    .await;
    sim.note(|| format!("notifier of lease {:?}: {first_step:?}", object.lease));
    let Some(pages) = pages else { return true };
    carry_on(sim, &pages, first_step, &mut patience(For::Notifier(object.lease)), is_of_death).await
}

/// Revokes pages; sleeps.
pub async fn revoke(sim: &Sim, pages: &Pages) {
    revoke_within(sim, pages, &mut patience(For::Nobody)).await;
}

/// The same as a part of some larger work.
pub async fn revoke_within(sim: &Sim, pages: &Pages, patience: &mut Patience) {
    let first_step = locked(sim, |state| begin(state, pages, true)).await;
    let _ = carry_on(sim, pages, first_step, patience, false).await;
}

fn begin(state: &mut State, pages: &Pages, may_sleep: bool) -> InvalidateStart {
    state.core.start_invalidate(pages.lease, pages.first, pages.count, may_sleep)
}

/// What the end of a process revokes, in all of its regions, has one deadline together.
fn note_death(sim: &Sim, state: &mut State, lease: LeaseId, is_of_death: bool) {
    if is_of_death {
        state.core.note_death(lease, u64::from(DEADLINE_MS), sim.now_ms.get());
    }
}

async fn carry_on(
    sim: &Sim,
    pages: &Pages,
    first_step: InvalidateStart,
    patience: &mut Patience,
    is_of_death: bool,
) -> bool {
    let mut step = first_step;
    loop {
        match step {
            InvalidateStart::Unrelated => return true,
            InvalidateStart::WouldBlock => return false,
            InvalidateStart::Posted(sequence) => {
                if sim.config.has(Fault::NotifierDoesNotWait) {
                    return true;
                }
                let failed = finish(sim, pages, sequence, patience, is_of_death).await;
                let early = sim.config.has(Fault::EndInvalidationEarly);
                if early {
                    locked(sim, |state| state.core.end_invalidate(sequence)).await;
                }
                if let Some(cause) = failed {
                    force::revoke_all(sim, cause).await;
                }
                if !early {
                    locked(sim, |state| state.core.end_invalidate(sequence)).await;
                }
                if failed.is_none() {
                    return true;
                }
            }
            InvalidateStart::Busy => {
                let result = wait_within(sim, Mode::Uninterruptible, patience, |state| {
                    note_death(sim, state, pages.lease, is_of_death);
                    match begin(state, pages, true) {
                        InvalidateStart::Busy => Err(Awaited::Place),
                        other => Ok(other),
                    }
                })
                .await;
                match result {
                    Ok(next) => {
                        step = next;
                        continue;
                    }
                    Err(end) => force::after(sim, end).await,
                }
            }
            InvalidateStart::Force(cause) => force::revoke_all(sim, cause).await,
        }
        step = locked(sim, |state| begin(state, pages, true)).await;
    }
}

/// Waits for the acknowledgement and acts on it. Gives a reason if force is needed.
async fn finish(
    sim: &Sim,
    pages: &Pages,
    sequence: u64,
    patience: &mut Patience,
    is_of_death: bool,
) -> Option<Cause> {
    let mut behind = None;
    let standing = wait_within(sim, Mode::Uninterruptible, patience, |state| {
        note_death(sim, state, pages.lease, is_of_death);
        let position = *behind.get_or_insert(state.core.position());
        match (state.core.invalidation_standing(sequence), state.core.needs_force()) {
            (Standing::Waiting, Some(reason)) => Ok(Err(state.core.cause(reason))),
            (Standing::Waiting, None) => Err(Awaited::Answer(position)),
            (standing, _) => Ok(Ok((standing, state.core.cause(Reason::RemoveFailed)))),
        }
    })
    .await;
    match standing {
        Ok(Ok((Standing::Removed, _))) => {}
        Ok(Ok((Standing::Forced, _))) => return None,
        Ok(Ok((Standing::Failed(_) | Standing::Waiting, cause)) | Err(cause))
        | Err(WaitEnd::Deadline(cause) | WaitEnd::BrokerGone(cause)) => return Some(cause),
        Err(WaitEnd::Signal) => return Some(locked(sim, |state| state.core.cause(Reason::Deadline)).await),
    }
    let honest = !sim.config.check || check(sim, pages).await;
    clear(sim, pages, true).await;
    if honest {
        None
    } else {
        Some(locked(sim, |state| state.core.cause(Reason::Lied)).await)
    }
}

/// Takes what is known to be removed out of the mirror, and withdraws the permissions.
pub async fn clear(sim: &Sim, pages: &Pages, revoked: bool) {
    let take = |state: &mut State| state.core.take_present(pages.lease, pages.first, pages.count, revoked);
    loop {
        let runs = locked(sim, take).await;
        if runs.is_empty() {
            break;
        }
        frames::withdraw(sim, &runs).await;
    }
}

/// Check mode: removes what the broker says it has removed. False if something was still there.
async fn check(sim: &Sim, pages: &Pages) -> bool {
    let mut honest = true;
    let mut from = pages.first;
    let end = pages.first.0.saturating_add(pages.count);
    while from.0 < end {
        let left = end.saturating_sub(from.0);
        let find = |state: &mut State| state.core.find_present(pages.lease, from, left);
        let Some(run) = locked(sim, find).await else { break };
        match frames::verify(sim, &run).await {
            Found::Mapped(0) => {}
            Found::DomainGone => break,
            Found::Mapped(_) => {
                honest = false;
                // From now on the table has what Xen has not.
                sim.lender.removes.set(true);
            }
            Found::Stuck => force::end_borrower(sim).await,
        }
        from = AperturePage(run.page.0.saturating_add(run.count));
    }
    honest
}

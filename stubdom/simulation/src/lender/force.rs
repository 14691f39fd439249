// SPDX-License-Identifier: MIT OR Apache-2.0
//! Revocation by force: `dom0-shim/module/src/force.rs`.

use xenlend_protocol::frame::Mfn;
use xenlend_shim_core::link::{Cause, ForceEnd, Reason, State};
use xenlend_shim_core::mirror::Run;

use super::link::{locked, WaitEnd};
use super::{frames, permissions, Lender, Lock};
use crate::config::Temper;
use crate::fault::Fault;
use crate::world::{Sim, Wrong, DEADLINE_MS, LOOK_MS};
use crate::xen::{Which, EINVAL, ESRCH};

/// What a removal that the lender made itself came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// So many pages of the run were still mapped.
    Mapped(u32),
    /// The borrower is gone.
    DomainGone,
    /// Xen would not remove them.
    Stuck,
}

/// Revokes everything of the link.
pub async fn revoke_all(sim: &Sim, cause: Cause) {
    let guard = Lender::lock(sim, Lock::Force).await;
    let borrower_is_gone = sim.xen.borrow().borrower.dying;
    let reason = if borrower_is_gone { Reason::BorrowerGone } else { cause.reason };
    if !locked(sim, |state| state.core.begin_force(Cause { reason, ..cause })).await {
        return;
    }
    sim.note(|| format!("revoking by force: {reason:?}"));
    let still = sim.idle_looks.get() >= DEADLINE_MS / LOOK_MS as u32;
    let brisk = sim.config.temper == Temper::Brisk;
    if reason == Reason::Deadline && still && brisk && sim.xen.borrow().broker.runs() {
        sim.fail(Wrong::Link, "a broker that runs was not told that it has something to do".to_owned());
    }
    // On a lend-aware Xen it may go on: what is withdrawn it cannot add.
    let broker_is_gone = if sim.lender.kind.pauses_broker() {
        hold_broker(sim).await
    } else {
        sim.step().await;
        sim.lender.removes.set(true);
        sim.xen.borrow().broker.dying
    };
    while let Some((lease, run)) = locked(sim, |state| state.core.force_next()).await {
        if frames::remove(sim, &run).await == Found::Stuck {
            end_borrower(sim).await;
        }
        while let Some(taken) = locked(sim, |state| state.core.force_removed(lease, &run)).await {
            frames::withdraw(sim, &[taken]).await;
        }
    }
    let (end, state) = locked(sim, |state| (state.core.end_force(broker_is_gone), state.core.state())).await;
    sim.note(|| format!("force ends: {end:?}"));
    if let State::Condemned(_) = state {
        sim.lender.condemned.set(true);
    }
    let resumes_anyway = sim.config.has(Fault::ResumeUnanswered) && reason == Reason::Deadline;
    let paused = sim.lender.kind.pauses_broker();
    if paused && (end == ForceEnd::Resume || resumes_anyway) {
        sim.step().await;
        if !sim.config.has(Fault::ForceWithoutPause) {
            sim.xen.borrow_mut().broker.pauses -= 1;
        }
    }
    if !paused && matches!(state, State::Condemned(_)) {
        frames::dismiss_broker(sim).await;
    }
    drop(guard);
}

/// Follows a wait for the broker that ended without an answer.
pub async fn after(sim: &Sim, end: WaitEnd) {
    if let Some(cause) = end.cause() {
        revoke_all(sim, cause).await;
    }
}

/// Pauses the broker: afterwards nothing of it is in flight. True if it is gone.
async fn hold_broker(sim: &Sim) -> bool {
    sim.step().await;
    let fails = sim.hypercall_failure().is_some();
    let mut xen = sim.xen.borrow_mut();
    sim.lender.removes.set(true);
    if xen.broker.dying {
        return true;
    }
    if fails {
        // Paused 255 times already.
        xen.destroy(Which::Broker);
        return true;
    }
    if !sim.config.has(Fault::ForceWithoutPause) {
        xen.broker.pauses += 1;
    }
    false
}

/// Removes the entries of a run from the lender's domain, whatever is left of them, as stock Xen has it.
pub async fn remove_by_permission(sim: &Sim, run: &Run) -> Found {
    let mut permitted = false;
    let found = remove_all(sim, run, &mut permitted).await;
    if permitted && !sim.config.has(Fault::KeepSparePermission) {
        let _held = Lender::lock(sim, Lock::Permissions).await;
        permissions::take_spare(sim, run.mfn, run.count).await;
    }
    found
}

async fn remove_all(sim: &Sim, run: &Run, permitted: &mut bool) -> Found {
    let (mut done, mut mapped) = (0, 0);
    while done < run.count {
        sim.step().await;
        let mfn = Mfn(run.mfn.0 + u64::from(done));
        let (page, left) = (run.page.0 + done, run.count - done);
        let failure = sim.hypercall_failure();
        let result = sim.xen.borrow_mut().remove(page, mfn.0, left, failure);
        sim.note(|| format!("lender removes {left} pages from {page}: {result:?}"));
        match result {
            Ok(pages) => {
                done += pages.max(1);
                mapped += pages;
            }
            Err(EINVAL) => done += 1,
            Err(ESRCH) => return Found::DomainGone,
            Err(_) if *permitted => return Found::Stuck,
            Err(_) => {
                *permitted = true;
                let _held = Lender::lock(sim, Lock::Permissions).await;
                permissions::give_borrower(sim, run.mfn.0, u64::from(run.count)).await;
            }
        }
    }
    Found::Mapped(mapped)
}

/// The last resort: a borrower that does not run touches nothing.
pub async fn end_borrower(sim: &Sim) {
    sim.step().await;
    sim.note(|| "ending the borrower".to_owned());
    sim.disturbed.set(true);
    pause_borrower(sim);
    sim.step().await;
    sim.xen.borrow_mut().destroy(Which::Borrower);
}

/// Pauses the borrower: returns when no vCPU of it runs.
pub fn pause_borrower(sim: &Sim) {
    crate::vcpu::settle(sim);
    sim.xen.borrow_mut().borrower.pauses += 1;
}

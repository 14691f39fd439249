// SPDX-License-Identifier: MIT OR Apache-2.0
//! Frame permissions: `dom0-shim/module/src/permissions.rs`, over the core's real counts.

use xenlend_protocol::extent::ClaimedExtent;
use xenlend_protocol::frame::Mfn;
use xenlend_shim_core::bars::FrameRun;

use crate::fault::Fault;
use crate::world::Sim;
use crate::xen::{Which, ENOMEM};

async fn permit(sim: &Sim, which: Which, first: u64, count: u64, allow: bool) -> Result<(), u16> {
    sim.step().await;
    if allow && sim.hypercall_failure().is_some() {
        return Err(ENOMEM);
    }
    sim.note(|| format!("permission of {count} frames from {first:#x} for {which:?}: {allow}"));
    sim.xen.borrow_mut().permit(which, first, count, allow)
}

async fn give(sim: &Sim, first: u64, count: u64) -> Result<(), u16> {
    permit(sim, Which::Borrower, first, count, true).await?;
    let result = permit(sim, Which::Broker, first, count, true).await;
    if result.is_err() {
        let _ = permit(sim, Which::Borrower, first, count, false).await;
    }
    result
}

/// Permits the borrower once more what a removal needs.
pub async fn give_borrower(sim: &Sim, first: u64, count: u64) {
    let _ = permit(sim, Which::Borrower, first, count, true).await;
}

/// Withdraws what [`give_borrower`] gave and nobody else will withdraw. Under the mutex.
pub async fn take_spare(sim: &Sim, first: Mfn, count: u32) {
    let mut run = FrameRun { first, count: u64::from(count) };
    let end = first.0 + u64::from(count);
    loop {
        let spare = sim.lender.permits.borrow().next_spare(run, &[]);
        let Some(spare) = spare else { return };
        let _ = permit(sim, Which::Borrower, spare.first.0, spare.count, false).await;
        run = FrameRun { first: Mfn(spare.first.0 + spare.count), count: end - spare.first.0 - spare.count };
    }
}

/// Permits the frames of an extent, one page more each. Under the mutex.
pub async fn acquire(sim: &Sim, extent: &ClaimedExtent) -> Result<(), ()> {
    let mut done = 0;
    while done < extent.count {
        let first = Mfn(extent.mfn.0 + u64::from(done));
        let step = sim.lender.permits.borrow_mut().acquire(first, extent.count - done);
        let Ok(step) = step else {
            withdraw(sim, extent.mfn, done).await;
            return Err(());
        };
        done += step.frames;
        if step.changed && give(sim, first.0, u64::from(step.frames)).await.is_err() {
            withdraw(sim, extent.mfn, done).await;
            return Err(());
        }
    }
    Ok(())
}

/// Withdraws the frames of a run, one page less each. Under the mutex.
pub async fn withdraw(sim: &Sim, first: Mfn, count: u32) {
    if sim.config.has(Fault::KeepPermissions) {
        return;
    }
    let mut done = 0;
    while done < count {
        let at = Mfn(first.0 + u64::from(done));
        let step = sim.lender.permits.borrow_mut().withdraw(at, count - done);
        done += step.frames;
        if step.changed {
            let _ = permit(sim, Which::Broker, at.0, u64::from(step.frames), false).await;
            let _ = permit(sim, Which::Borrower, at.0, u64::from(step.frames), false).await;
        }
    }
}

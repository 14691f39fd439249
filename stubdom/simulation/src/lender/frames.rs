// SPDX-License-Identifier: MIT OR Apache-2.0
//! Frames on their way in and out of the borrower: `dom0-shim/module/src/frames.rs`, over the core's real
//! `LendAware` on a lend-aware Xen. Under the mutex of that name.
//!
//! The core's functions make calls one behind another and cannot be suspended between them. So they are begun
//! anew after each, and given the answers that they have had: that way anybody may go first before any call.

use std::cell::RefCell;

use xenlend_protocol::extent::ClaimedExtent;
use xenlend_protocol::frame::{AperturePage, Mfn};
use xenlend_shim_core::dm_op::DmOp;
use xenlend_shim_core::frames::{DmOps, Frames, LendAware};
use xenlend_shim_core::mirror::Run;
use xenlend_xen_abi::lend;

use super::force::{self, Found};
use super::{permissions, Lender, Lock};
use crate::fault::Fault;
use crate::lending::{BORROWER, LENDER};
use crate::world::Sim;
use crate::xen::{Failure, APERTURE, ENOMEM};

type Answered = (DmOp, Result<(), u16>);

/// The calls that one of the core's functions makes.
#[derive(Default)]
struct Calls {
    made: Vec<Answered>,
    next: usize,
    /// The first that has no answer.
    open: Option<DmOp>,
}

struct Client<'c>(&'c RefCell<Calls>);

impl DmOps for Client<'_> {
    fn dm_op(&mut self, call: &mut DmOp) -> Result<(), u16> {
        let calls = &mut *self.0.borrow_mut();
        if let Some((answered, result)) = calls.made.get(calls.next) {
            calls.next += 1;
            *call = *answered;
            return *result;
        }
        calls.open.get_or_insert(*call);
        // Whatever follows from this is not done.
        Err(ENOMEM)
    }
}

async fn act<T>(sim: &Sim, act: impl Fn(&mut LendAware<Client<'_>>) -> T) -> T {
    let calls = RefCell::new(Calls::default());
    loop {
        calls.borrow_mut().next = 0;
        let result = act(&mut LendAware::new(Client(&calls), BORROWER, LENDER, APERTURE / 4096));
        let open = calls.borrow_mut().open.take();
        let Some(call) = open else { return result };
        let answered = make(sim, &call).await;
        calls.borrow_mut().made.push(answered);
    }
}

/// Makes a call, which others may interrupt. A revocation and a withdrawal need nothing that could be short.
async fn make(sim: &Sim, call: &DmOp) -> Answered {
    let mut call = *call;
    let releases = call.words[0] == u64::from(lend::RELEASE)
        && (call.words[1] >> 32) as u32 & lend::RELEASE_WITHDRAW == 0;
    loop {
        sim.step().await;
        let failure = if releases { sim.hypercall_failure() } else { None };
        let failure = failure.map(|failure| Failure { errno: ENOMEM, ..failure });
        let result = sim.xen.borrow_mut().dm_op(&mut call, failure);
        sim.note(|| {
            let (words, list) = (call.words, &call.list[..call.list_words.min(6)]);
            format!("lender's dm_op {}, {:#x}, done {}, {list:x?}: {result:?}", words[0], words[1], words[2])
        });
        match result {
            Ok(false) => {}
            Ok(true) => return (call, Ok(())),
            Err(errno) => return (call, Err(errno)),
        }
    }
}

/// Lets the broker lend these frames: all of them or none.
pub async fn release(
    sim: &Sim,
    extents: &[ClaimedExtent],
    read_only: bool,
    is_ram: &dyn Fn(AperturePage) -> bool,
) -> Result<(), ()> {
    let _held = Lender::lock(sim, Lock::Permissions).await;
    if sim.config.is_lend_aware() {
        return act(sim, |frames| frames.release(extents, read_only, is_ram)).await.map_err(|_| ());
    }
    for (index, extent) in extents.iter().enumerate() {
        if is_ram(extent.page) && permissions::acquire(sim, extent).await.is_err() {
            for earlier in extents.iter().take(index).filter(|earlier| is_ram(earlier.page)) {
                permissions::withdraw(sim, earlier.mfn, earlier.count).await;
            }
            return Err(());
        }
    }
    Ok(())
}

/// Takes back what [`release`] was given, of which nothing was lent.
pub async fn take_back(sim: &Sim, extents: &[ClaimedExtent], is_ram: &dyn Fn(AperturePage) -> bool) {
    let _held = Lender::lock(sim, Lock::Permissions).await;
    if sim.config.is_lend_aware() {
        act(sim, |frames| frames.take_back(extents, is_ram)).await;
        return;
    }
    for extent in extents {
        if is_ram(extent.page) {
            permissions::withdraw(sim, extent.mfn, extent.count).await;
        }
    }
}

/// Withdraws the frames of runs that were present and are no more: `force::take_back`.
pub async fn withdraw(sim: &Sim, runs: &[Run]) {
    let held = Lender::lock(sim, Lock::Permissions).await;
    if sim.config.is_lend_aware() {
        if !sim.config.has(Fault::KeepPermissions) {
            act(sim, |frames| frames.withdraw(runs)).await;
        }
    } else {
        for run in runs {
            permissions::withdraw(sim, run.mfn, run.count).await;
        }
    }
    drop(held);
    for run in runs.iter().filter(|run| run.zeros) {
        sim.memory.borrow_mut().free_zeros(run.mfn.0);
    }
}

/// Removes the entries of a run without the broker.
pub async fn remove(sim: &Sim, run: &Run) -> Found {
    if !sim.config.is_lend_aware() {
        return force::remove_by_permission(sim, run).await;
    }
    let _held = Lender::lock(sim, Lock::Permissions).await;
    let late = sim.config.has(Fault::WithdrawLate);
    let run = Run { mfn: if late { Mfn(0) } else { run.mfn }, ..*run };
    found(act(sim, |frames| frames.remove(&run)).await)
}

/// The same if the broker says that nothing is left.
pub async fn verify(sim: &Sim, run: &Run) -> Found {
    if !sim.config.is_lend_aware() {
        return force::remove_by_permission(sim, run).await;
    }
    let _held = Lender::lock(sim, Lock::Permissions).await;
    found(act(sim, |frames| frames.verify(run)).await)
}

fn found(found: xenlend_shim_core::removal::Found<u16>) -> Found {
    use xenlend_shim_core::removal::Found as Real;
    match found {
        Real::Mapped(pages) => Found::Mapped(pages),
        Real::DomainGone => Found::DomainGone,
        Real::Stuck(_) => Found::Stuck,
    }
}

/// On a lend-aware Xen: the broker may lend nothing any more, and no vCPU waits for it.
// The method itself is of one lifetime only.
#[allow(clippy::redundant_closure_for_method_calls)]
pub async fn dismiss_broker(sim: &Sim) {
    if sim.config.is_lend_aware() {
        let _held = Lender::lock(sim, Lock::Permissions).await;
        let _ = act(sim, |frames| frames.dismiss_parties()).await;
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The page-in worker: `dom0-shim/module/src/worker.rs`.

use std::rc::Rc;

use heapless::Vec;
use xenlend_protocol::frame::AperturePage;
use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::message::{AccessOperation, AccessOutcome, MAX_ACCESS_BYTES};
use xenlend_shim_core::link::{Cause, Completion, NextWant, NotSent, PageInEnd};
use xenlend_shim_core::regions::Phase;
use xenlend_shim_core::request_queue::{Request, Work};

use super::link::{locked, wait_for_broker, wait_idle, Mode, DRAIN_LIMIT};
use super::lookup::{fault_in, LookupEnd, Scratch};
use super::page_in::{answer_want, complete, Job, MAX_LATERS};
use super::{force, user_page, RegionObject};
use crate::fault::Fault;
use crate::memory::{cell_of, Home};
use crate::world::{Sim, Wrong};

/// What the worker does next.
enum Next {
    Stop,
    Force(Cause),
    Serve,
    Want(NextWant),
    Wait,
}

/// A page-in that a request asks for.
struct Wanted {
    lease: LeaseId,
    page: AperturePage,
    laters: u8,
}

/// The thread's main function.
pub async fn work(sim: Sim) {
    let mut scratch = Scratch::default();
    loop {
        let visits_left = scratch.visits.turn(&sim).await;
        let next = locked(&sim, |state| {
            state.core.drain(DRAIN_LIMIT);
            if state.stopping {
                return Next::Stop;
            }
            if let Some(reason) = state.core.needs_force() {
                return Next::Force(state.core.cause(reason));
            }
            scratch.request = state.core.pop_request();
            if scratch.request.is_some() {
                return Next::Serve;
            }
            match state.core.next_want() {
                Some(want) => Next::Want(want),
                None => Next::Wait,
            }
        })
        .await;
        match next {
            Next::Stop => return,
            Next::Force(cause) => force::revoke_all(&sim, cause).await,
            Next::Serve => {
                serve(&sim, &mut scratch).await;
                locked(&sim, |state| state.worker_in = None).await;
                sim.lender.interrupted.set(false);
            }
            Next::Want(NextWant::PageIn { ticket, lease, page }) => {
                let end = bring_in(&sim, lease, page, &mut scratch).await;
                locked(&sim, |state| {
                    state.worker_in = None;
                    state.core.on_want_served(ticket, page, end);
                })
                .await;
                sim.lender.interrupted.set(false);
            }
            Next::Want(NextWant::Answer { ticket, outcome }) => answer_want(&sim, ticket, outcome).await,
            Next::Wait => {
                let seen = sim.lender.wakes.get();
                wait_idle(&sim, seen, visits_left).await;
            }
        }
    }
}

async fn serve(sim: &Sim, scratch: &mut Scratch) {
    let Some(Request { lease, page, .. }) = scratch.request else { return };
    if let Some((object, address)) = enter(sim, lease, page).await {
        if sim.memory.borrow().gone {
            lose(sim, lease).await;
        } else {
            let wanted = perform(sim, address, scratch).await;
            if let Some(Wanted { lease, page, laters }) = wanted {
                Job { sim, lease, page, laters }.run(&object, scratch).await;
            }
        }
    }
    finish(sim, scratch).await;
}

/// Brings the window of a page in that a task of the borrower waits for.
async fn bring_in(sim: &Sim, lease: LeaseId, page: AperturePage, scratch: &mut Scratch) -> PageInEnd {
    let Some((object, _)) = enter(sim, lease, page).await else { return PageInEnd::GaveUp };
    let job = Job { sim, lease, page, laters: MAX_LATERS };
    if sim.memory.borrow().gone {
        lose(sim, lease).await;
        return job.run_with_zeros(scratch).await;
    }
    job.run(&object, scratch).await
}

/// Does the access of the request, and says whether a page is wanted.
async fn perform(sim: &Sim, address: u64, scratch: &mut Scratch) -> Option<Wanted> {
    let Request { lease, page, work } = scratch.request.take()?;
    let (laters, is_wanted) = match work {
        Work::Again { tries } => (tries, true),
        Work::Access { id, offset, operation, wants_page } => {
            if sim.config.is_lend_aware() {
                sim.fail(Wrong::ForeignAccess, format!("the lender does access {id} for a vCPU"));
            }
            let user = user_page(address);
            sim.until(|world| !world.memory.borrow().unmapping).await;
            // Whether it may be lent at all: it must be mapped.
            let judged = match sim.memory.borrow().home(user) {
                Home::Unmapped => Err(LookupEnd::Refused),
                _ => Ok(()),
            };
            let outcome = match judged {
                Ok(()) => access(sim, user, u32::from(offset), &operation).await,
                Err(_) => AccessOutcome::Lost,
            };
            if sim.config.has(Fault::DropLostAccess) && outcome == AccessOutcome::Lost {
                return None;
            }
            sim.note(|| format!("access {id} at page {}: {outcome:?}", page.0));
            scratch.completion = Some(Completion { id, outcome });
            (0, wants_page && judged.is_ok())
        }
    };
    is_wanted.then_some(Wanted { lease, page, laters })
}

/// Answers the access if nothing has answered it yet.
async fn finish(sim: &Sim, scratch: &mut Scratch) {
    if let Some(Request { work: Work::Access { id, .. }, .. }) = scratch.request.take() {
        scratch.completion = Some(Completion { id, outcome: AccessOutcome::Lost });
    }
    if let Some(completion) = scratch.completion.take() {
        complete(sim, &completion).await;
    }
}

/// The region and the byte of the process behind the page, if the lease is active.
async fn enter(sim: &Sim, lease: LeaseId, page: AperturePage) -> Option<(Rc<RegionObject>, u64)> {
    locked(sim, |state| {
        let region = state.core.region(lease)?;
        if region.phase != Phase::Active || region.is_lost {
            return None;
        }
        let address = region.user_address_of(page)?;
        let object = sim.lender.regions.borrow().iter().find(|region| region.lease == lease).cloned()?;
        state.worker_in = Some(lease);
        Some((object, address))
    })
    .await
}

/// Does an access on the page, where it is now: the processor's own translation hits it or faults it in.
async fn access(sim: &Sim, user: u32, offset: u32, operation: &AccessOperation) -> AccessOutcome {
    let old = match sim.memory.borrow().home(user) {
        Home::Frame(mfn) => Some(*mfn),
        _ => None,
    };
    loop {
        if fault_in(sim, user).await.is_err() {
            return AccessOutcome::Lost;
        }
        sim.step().await;
        // Taken away again between the fault and the access: another fault.
        if matches!(sim.memory.borrow().home(user), Home::Frame(_)) {
            break;
        }
    }
    let mut memory = sim.memory.borrow_mut();
    let old = old.filter(|_| sim.config.has(Fault::AccessOldFrame));
    match operation {
        AccessOperation::Read { length } => {
            let mut bytes = Vec::<u8, MAX_ACCESS_BYTES>::new();
            for at in offset..offset + u32::from(*length) {
                let byte = cell_of(at).and_then(|cell| match old {
                    Some(mfn) => Some(memory.read_frame(mfn, cell)),
                    None => memory.read(user, cell),
                });
                let _ = bytes.push(byte.unwrap_or(0));
            }
            AccessOutcome::Read { bytes }
        }
        AccessOperation::Write { bytes } => {
            for (at, byte) in (offset..).zip(bytes) {
                match (cell_of(at), old) {
                    (Some(cell), Some(mfn)) => memory.write_frame(mfn, cell, *byte),
                    (Some(cell), None) => memory.write(user, cell, *byte),
                    (None, _) => {}
                }
            }
            AccessOutcome::Written
        }
    }
}

/// The process is gone for good: so are the pages of its region.
async fn lose(sim: &Sim, lease: LeaseId) {
    let told = wait_for_broker(sim, Mode::Uninterruptible, |state| match state.core.declare_lost(lease) {
        Err(NotSent::Full) if !state.stopping => None,
        _ => Some(()),
    })
    .await;
    if let Err(end) = told {
        force::after(sim, end).await;
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Region calls and the end of regions: `dom0-shim/module/src/leases.rs`.

use std::cell::Cell;
use std::rc::Rc;

use xenlend_protocol::lease_id::LeaseId;
use xenlend_shim_core::link::{Awaited, NotSent, State as LinkState};
use xenlend_shim_core::mirror::{chunk_count, Mirror};
use xenlend_shim_core::patience::For;
use xenlend_shim_core::regions::{Caller, NewRegion, Phase, Plan, ProcessId};
use xenlend_shim_core::uapi::{RegionRequest, REGION_LOSS_FAULT, REGION_READONLY};

use super::link::{begin_call as begin, locked, patience, wait_within, Mode, Patience, WaitEnd, DRAIN_LIMIT};
use super::revoke::{self, Pages};
use super::{force, user_address, user_page, RegionObject, State};
use crate::memory::BUFFER;
use crate::task::CALLS;
use crate::world::Sim;
use crate::xen::{APERTURE, BLOCK};

/// Slot, first page, pages, first page of the process, flags.
const LAYOUTS: [(u32, u32, u32, u32, u32); 6] = [
    (0, 0, 8, 0, 0),
    // The same memory twice, and both sides of a 2 MiB border.
    (1, 508, 12, 4, 0),
    // The driver's buffer, whole and aligned.
    (2, 512, BLOCK, BUFFER, 0),
    // A part of it, which is not.
    (2, 700, 20, BUFFER + 30, 0),
    (3, 8, 4, 8, REGION_LOSS_FAULT),
    (3, 512, 8, 8, 0),
];

/// Only where Xen can keep to it; the same slot, for reading.
const READ_ONLY: (u32, u32, u32, u32, u32) = (0, 0, 8, 0, REGION_READONLY);

/// Whether a page of the process is in more than one layout.
pub fn is_shared(user: u32) -> bool {
    matches!(user, 4..16) || (BUFFER + 30..BUFFER + 50).contains(&user)
}

/// The VMM makes a call.
pub fn begin_call(sim: &Sim) {
    let layouts = LAYOUTS.len() as u32 + u32::from(sim.config.is_lend_aware());
    let layout = LAYOUTS.get(sim.draw(layouts) as usize).unwrap_or(&READ_ONLY);
    let (slot, first, count, user, flags) = *layout;
    let deletes = sim.draw(6) == 5;
    let request = RegionRequest {
        slot,
        flags,
        guest_phys_addr: APERTURE + u64::from(first) * 4096,
        memory_size: if deletes { 0 } else { u64::from(count) * 4096 },
        userspace_addr: user_address(user),
        label: sim.lender.next_label(),
    };
    sim.tasks.start(CALLS, "region call", set_region(Rc::clone(sim), request));
}

async fn set_region(sim: Sim, request: RegionRequest) {
    let _running = begin(&sim).await;
    if sim.lender.ended.get() {
        return;
    }
    sweep(&sim).await;
    let caller = Caller { descriptor: 1, process: ProcessId(1), user_limit: 1 << 47 };
    let plan = locked(&sim, |state| state.core.plan_region(&request, caller)).await;
    sim.note(|| format!("region call for slot {}: {plan:?}", request.slot));
    match plan {
        Ok(Plan::Delete(lease)) => end_region(&sim, lease, &mut patience(For::Call)).await,
        Ok(Plan::Create(new)) => create(&sim, &new, &mut patience(For::Call)).await,
        Ok(Plan::Nothing) | Err(_) => {}
    }
    sim.lender.signalled.set(false);
}

async fn create(sim: &Sim, new: &NewRegion, patience: &mut Patience) {
    let state = locked(sim, |state| {
        state.core.drain(DRAIN_LIMIT);
        state.core.state()
    })
    .await;
    if state != LinkState::Connected {
        return;
    }
    let chunks = vec![0; chunk_count(new.first, new.count)];
    let mirror = Mirror::new(new.first, vec![0; new.count as usize], chunks);
    // An insertion during an invalidation takes effect at its end.
    sim.until(|world| world.memory.borrow().operations == 0).await;
    if sim.memory.borrow().gone {
        return;
    }
    let object = Rc::new(RegionObject {
        lease: new.lease,
        first: new.first.0,
        count: new.count,
        user: user_page(new.user_address),
        armed: Cell::new(true),
        invalidating: Cell::new(0),
    });
    // Armed before it is known; the notifier finds no region then. Both in one step here, so that nobody
    // asks for the page of a region that is not in the table yet.
    super::link::locked_now(sim, |state| {
        state.core.insert_region(new, mirror);
        sim.lender.labels.borrow_mut().insert(new.lease, new.label);
        sim.lender.regions.borrow_mut().push(Rc::clone(&object));
    });
    let (mut posted, mut refused) = (None, false);
    let answer = wait_within(sim, Mode::Killable, patience, |state| {
        if posted.is_none() {
            match state.core.post_set(new.lease) {
                Ok(()) => posted = Some(state.core.position()),
                Err(NotSent::Full) => return Err(Awaited::Room),
                Err(NotSent::Over) => return Ok(false),
            }
        }
        if state.core.state() != LinkState::Connected {
            return Ok(false);
        }
        let answer = state.core.set_answer(new.lease).ok_or(awaited(posted))?;
        refused = answer.is_err();
        Ok(answer.is_ok())
    })
    .await;
    if matches!(answer, Ok(true)) {
        return;
    }
    if posted.is_some() && !refused {
        end_region(sim, new.lease, patience).await;
    } else {
        silence(sim, new.lease, patience).await;
        take_out(sim, new.lease).await;
    }
}

/// What whoever has posted a question up to this place waits for.
fn awaited(posted: Option<u32>) -> Awaited {
    posted.map_or(Awaited::Room, Awaited::Answer)
}

/// Ends a region: when this returns nothing of it is lent.
async fn end_region(sim: &Sim, lease: LeaseId, patience: &mut Patience) {
    silence(sim, lease, patience).await;
    let mut posted = None;
    let dropped = wait_within(sim, Mode::Killable, patience, |state| {
        if posted.is_none() {
            match state.core.post_drop(lease) {
                Ok(()) => posted = Some(state.core.position()),
                Err(NotSent::Full) => return Err(Awaited::Room),
                Err(NotSent::Over) => return Ok(()),
            }
        }
        if state.core.is_dropped(lease) {
            Ok(())
        } else {
            Err(awaited(posted))
        }
    })
    .await;
    match dropped {
        Ok(()) => take_out(sim, lease).await,
        Err(WaitEnd::Signal) => {}
        Err(end) => force::after(sim, end).await,
    }
}

/// Stops page-ins, revokes everything, ends the notifier.
async fn silence(sim: &Sim, lease: LeaseId, patience: &mut Patience) {
    let pages = locked(sim, |state| {
        if state.worker_in == Some(lease) {
            sim.lender.interrupted.set(true);
        }
        let region = state.core.begin_end(lease);
        region.map(|region| Pages { lease, first: region.first, count: region.count })
    })
    .await;
    if let Some(pages) = pages {
        revoke::revoke_within(sim, &pages, patience).await;
    }
    let object = sim.lender.regions.borrow().iter().find(|object| object.lease == lease).cloned();
    if let Some(object) = object.filter(|object| object.armed.replace(false)) {
        sim.note(|| format!("lease {lease:?} is silent"));
        // What `mmu_interval_notifier_remove` waits for.
        sim.until(move |_| object.invalidating.get() == 0).await;
    }
}

/// Frees the slot.
async fn take_out(sim: &Sim, lease: LeaseId) {
    locked(sim, |state| {
        sim.lender.regions.borrow_mut().retain(|object| object.lease != lease);
        drop(state.core.remove_region(lease));
    })
    .await;
}

/// Frees slots whose lease the broker has dropped after nobody waited any more.
async fn sweep(sim: &Sim) {
    while locked(sim, |state| {
        let ending = state.core.any_ending();
        ending.is_some_and(|lease| state.core.post_drop(lease).is_ok())
    })
    .await
    {}
    while let Some(lease) = locked(sim, |state| state.core.any_dropped()).await {
        take_out(sim, lease).await;
    }
}

/// Ends every region, within this patience, and what it takes to revoke by force.
pub async fn end_regions(sim: &Sim, patience: &mut Patience) {
    let mut from = 0;
    while let Some((lease, phase)) = locked(sim, |state| next_lease(state, from)).await {
        from = lease.index + 1;
        if !matches!(phase, Phase::Dropping(_)) {
            silence(sim, lease, patience).await;
        }
    }
    let mut posted = None;
    let dropped = wait_within(sim, Mode::Uninterruptible, patience, |state| {
        let all_posted = post_drops(state, &mut posted);
        match (all_posted, all_dropped(state)) {
            (true, true) => Ok(()),
            (true, false) => Err(awaited(posted)),
            (false, _) => Err(Awaited::Room),
        }
    })
    .await;
    if let Err(end) = dropped {
        force::after(sim, end).await;
        locked(sim, |state| post_drops(state, &mut posted)).await;
    }
    while let Some((lease, _)) = locked(sim, |state| next_lease(state, 0)).await {
        take_out(sim, lease).await;
    }
}

fn next_lease(state: &State, from: u16) -> Option<(LeaseId, Phase)> {
    let lease = state.core.lease_from(None, from)?;
    state.core.region(lease).map(|region| (lease, region.phase))
}

/// Asks the broker to drop what it was not asked for yet, as far as there is room. True if that is all.
fn post_drops(state: &mut State, posted: &mut Option<u32>) -> bool {
    let mut from = 0;
    while let Some((lease, phase)) = next_lease(state, from) {
        from = lease.index + 1;
        if phase != Phase::Ending {
            continue;
        }
        match state.core.post_drop(lease) {
            Ok(()) => *posted = Some(state.core.position()),
            Err(NotSent::Full) => return false,
            Err(NotSent::Over) => return true,
        }
    }
    true
}

fn all_dropped(state: &State) -> bool {
    let mut from = 0;
    while let Some((lease, _)) = next_lease(state, from) {
        if !state.core.is_dropped(lease) {
            return false;
        }
        from = lease.index + 1;
    }
    true
}

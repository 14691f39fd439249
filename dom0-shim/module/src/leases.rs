// SPDX-License-Identifier: MIT OR Apache-2.0
//! `XENLEND_SET_USER_MEMORY_REGION`, and the end of regions.
//!
//! Under the link's `running` mutex, which no notifier takes. Nothing under it waits for a process:
//! the notifier of a region is inserted before it is taken, and removed elsewhere
//! (`kernel_api/region.rs`).

use xenlend_protocol::frame::PAGE_SIZE;
use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::message::AccessOutcome;
use xenlend_protocol::refusal::Refusal;
use xenlend_shim_core::link::{Awaited, Completion, NotSent, ResolveError, State as LinkState};
use xenlend_shim_core::mirror::{chunk_count, Mirror};
use xenlend_shim_core::patience::{For, Patience};
use xenlend_shim_core::permits::Permit;
use xenlend_shim_core::regions::{NewRegion, Phase, Plan, RegionError};
use xenlend_shim_core::uapi::RegionRequest;

use crate::errno::{
    Errno, EAGAIN, EBUSY, EEXIST, EILSEQ, EINTR, EINVAL, EIO, ENOENT, ENOLINK, ENOMEM, ENOSPC, EOPNOTSUPP,
    ETIMEDOUT,
};
use crate::force;
use crate::kernel_api::lock::MutexGuard;
use crate::kernel_api::memory::{KernelMemory, KernelSlice};
use crate::kernel_api::region::{current_process, Armed};
use crate::kernel_api::shared::Shared;
use crate::kernel_api::wait::Mode;
use crate::link::{Link, Running, State, WaitEnd};
use crate::revoke::{self, Pages};
use crate::waiter;

impl From<RegionError> for Errno {
    fn from(error: RegionError) -> Self {
        match error {
            RegionError::Invalid => EINVAL,
            RegionError::Exists => EEXIST,
            RegionError::Unsupported => EOPNOTSUPP,
            RegionError::BadLabel => EILSEQ,
            RegionError::OtherProcess => EIO,
        }
    }
}

impl From<ResolveError> for Errno {
    fn from(error: ResolveError) -> Self {
        match error {
            ResolveError::NoRegion => ENOENT,
            ResolveError::Outside => EINVAL,
            ResolveError::TooMany => ENOSPC,
        }
    }
}

/// The call, by the descriptor `owner`.
#[inline(never)]
pub fn set_region(link: &Shared<Link>, request: &RegionRequest, owner: u32) -> Result<(), Errno> {
    let mut armed = None;
    loop {
        let running = link.begin_call()?;
        if running.ended {
            return Err(ENOLINK);
        }
        sweep(link);
        let caller = current_process(owner);
        let patience = &mut link.patience(For::Call);
        let new = match link.locked(|state| state.core.plan_region(request, caller))? {
            Plan::Nothing => return Ok(()),
            Plan::Delete(lease) => return end_region(link, &running, lease, patience),
            Plan::Create(new) => new,
        };
        if let Some(armed) = armed.take() {
            return create(link, &running, (&new, armed), patience);
        }
        // Without the mutex: a process that has its own mapping locked is to hold up nobody else.
        drop(running);
        armed = Some(Armed::new(link, new.user_address, u64::from(new.count) * PAGE_SIZE)?);
    }
}

fn create(
    link: &Link,
    running: &MutexGuard<'_, Running>,
    (new, armed): (&NewRegion, Armed),
    patience: &mut Patience,
) -> Result<(), Errno> {
    let state = link.locked(|state| {
        // Nothing announces that a broker has caught up after a force.
        Link::drain(state);
        state.core.state()
    });
    match state {
        LinkState::Connected => {}
        LinkState::Connecting | LinkState::Forced => return Err(EAGAIN),
        _ => return Err(ENOLINK),
    }
    make_room(link, new.count)?;
    let pages = KernelSlice::new(new.count as usize, || 0).ok_or(ENOMEM)?;
    let chunks = KernelSlice::new(chunk_count(new.first, new.count), || 0).ok_or(ENOMEM)?;
    let mirror = Mirror::<KernelMemory>::new(new.first, pages, chunks);
    // An object that was left there is dropped without the lock.
    let _old = link.locked(|state| {
        state.core.insert_region(new, mirror);
        armed.name(new.lease);
        state.objects.get_mut(usize::from(new.lease.index)).and_then(|place| place.replace(armed))
    });
    let (mut posted, mut refused) = (None, false);
    let answer = link.wait_within(Mode::Killable, patience, |state| {
        if posted.is_none() {
            match state.core.post_set(new.lease) {
                Ok(()) => posted = Some(state.core.position()),
                Err(NotSent::Full) => return Err(Awaited::Room),
                Err(NotSent::Over) => return Ok(Err(ENOLINK)),
            }
        }
        match state.core.state() {
            LinkState::Connected => {}
            _ => return Ok(Err(ENOLINK)),
        }
        let answer = state.core.set_answer(new.lease).ok_or(awaited(posted))?;
        refused = answer.is_err();
        Ok(answer.map_err(errno_of))
    });
    let error = match answer {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => error,
        Err(WaitEnd::Signal) => EINTR,
        Err(WaitEnd::Deadline(_)) => ETIMEDOUT,
        Err(WaitEnd::BrokerGone(_)) => ENOLINK,
    };
    // A lease that was never asked for, or was refused, is none to be dropped. Any other the broker
    // has or will have, also behind a force.
    if posted.is_some() && !refused {
        let _ = end_region(link, running, new.lease, patience);
    } else {
        silence(link, new.lease, patience);
        take_out(link, new.lease);
    }
    Err(error)
}

/// Takes memory for the permissions of so many pages more: the tables grow with what is lent, not with the
/// aperture, which a guest may have chosen. Nobody else adds regions meanwhile.
fn make_room(link: &Link, more: u32) -> Result<(), Errno> {
    let pages = link.locked(|state| state.core.lent_pages()).saturating_add(more);
    let missing = link.frames.lock().places_missing(pages);
    if let Some(places) = missing {
        let places = KernelSlice::new(places, Permit::default).ok_or(ENOMEM)?;
        let old = link.frames.lock().grow(places);
        drop(old);
    }
    Ok(())
}

fn errno_of(refusal: Refusal) -> Errno {
    match refusal {
        Refusal::TableFull { .. } => ENOSPC,
        Refusal::Overlap { .. } | Refusal::IndexInUse => EEXIST,
        Refusal::Unsupported => EOPNOTSUPP,
        Refusal::BadLabel => EILSEQ,
        Refusal::Quarantined { .. } => EBUSY,
        _ => EINVAL,
    }
}

/// What whoever has posted a question up to this place waits for.
fn awaited(posted: Option<u32>) -> Awaited {
    posted.map_or(Awaited::Room, Awaited::Answer)
}

/// Ends a region: when this returns nothing of it is lent, whatever it returns. The slot
/// stays taken if the broker has not said that it dropped the lease.
fn end_region(
    link: &Link,
    _running: &MutexGuard<'_, Running>,
    lease: LeaseId,
    patience: &mut Patience,
) -> Result<(), Errno> {
    silence(link, lease, patience);
    let mut posted = None;
    let dropped = link.wait_within(Mode::Killable, patience, |state| {
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
    });
    match dropped {
        Ok(()) => {
            take_out(link, lease);
            Ok(())
        }
        Err(WaitEnd::Signal) => Err(EINTR),
        Err(end) => {
            // It does not even drop a lease of which nothing is left.
            force::after(link, end);
            Ok(())
        }
    }
}

/// Stops page-ins, revokes everything, ends the notifier.
fn silence(link: &Link, lease: LeaseId, patience: &mut Patience) {
    let (pages, object, access) = link.locked(|state| {
        let access = state.recall_worker(lease);
        waiter::interrupt_region(state, lease);
        let region = state.core.begin_end(lease);
        let pages = region.map(|region| Pages { lease, first: region.first, count: region.count });
        let object = state.objects.get_mut(usize::from(lease.index)).and_then(Option::take);
        (pages, object, access)
    });
    if let Some(pages) = pages {
        revoke::revoke_within(link, &pages, patience);
    }
    if let Some(id) = access {
        // Whoever waits for it is not to wait for what holds the worker up.
        answer_lost(link, id, patience);
    }
    drop(object);
}

/// Answers an access of which nothing is done any more. A broker that makes no room within the
/// patience, nor when it is resumed after a force, is not waited for.
pub fn answer_lost(link: &Link, id: u32, patience: &mut Patience) {
    let completion = Completion { id, outcome: AccessOutcome::Lost };
    for _ in 0..2 {
        let sent = link.wait_within(Mode::Uninterruptible, patience, |state| {
            match state.core.post_completed(&completion) {
                Err(NotSent::Full) => Err(Awaited::Room),
                _ => Ok(()),
            }
        });
        let Err(end) = sent else { break };
        force::after(link, end);
    }
}

/// Frees the slot. The memory is freed outside the lock.
fn take_out(link: &Link, lease: LeaseId) {
    drop(link.locked(|state| state.core.remove_region(lease)));
}

/// Frees slots whose lease the broker has dropped after nobody waited any more, and asks it to drop those
/// that it was not asked for. Nobody else ends a region meanwhile.
fn sweep(link: &Link) {
    while link.locked(|state| {
        let ending = state.core.any_ending();
        ending.is_some_and(|lease| state.core.post_drop(lease).is_ok())
    }) {}
    while let Some(lease) = link.locked(|state| state.core.any_dropped()) {
        take_out(link, lease);
    }
}

/// Ends the regions of a descriptor, or all: within this patience, and what it takes to revoke by force.
///
/// All leases are dropped together, so that a broker under load has one round trip to make and not one
/// for each.
pub fn end_regions(
    link: &Link,
    _running: &MutexGuard<'_, Running>,
    owner: Option<u32>,
    patience: &mut Patience,
) {
    for_each_lease(link, owner, |lease, phase| {
        if !matches!(phase, Phase::Dropping(_)) {
            silence(link, lease, patience);
        }
    });
    let mut posted = None;
    let dropped = link.wait_within(Mode::Uninterruptible, patience, |state| {
        let all_posted = post_drops(state, owner, &mut posted);
        let are_dropped = all_dropped(state, owner);
        match (all_posted, are_dropped) {
            (true, true) => Ok(()),
            (true, false) => Err(awaited(posted)),
            (false, _) => Err(Awaited::Room),
        }
    });
    if let Err(end) = dropped {
        force::after(link, end);
        // Not waited for: one that was resumed after it finds them behind the Forced.
        link.locked(|state| post_drops(state, owner, &mut posted));
    }
    for_each_lease(link, owner, |lease, phase| {
        let is_known =
            matches!(phase, Phase::Dropping(_)) || link.locked(|state| state.core.is_dropped(lease));
        if owner.is_none() || is_known {
            // Nobody is left to wait for a broker that has not answered.
            take_out(link, lease);
        } else {
            link.locked(|state| state.core.orphan(lease));
        }
    });
}

/// Revokes whatever is lent; the regions stay.
pub fn revoke_all(link: &Link) {
    for_each_lease(link, None, |lease, _| {
        let pages = link.locked(|state| {
            state.core.region(lease).map(|region| Pages { lease, first: region.first, count: region.count })
        });
        if let Some(pages) = pages {
            revoke::revoke(link, &pages);
        }
    });
}

fn for_each_lease(link: &Link, owner: Option<u32>, mut act: impl FnMut(LeaseId, Phase)) {
    let mut from = 0;
    while let Some((lease, phase)) = link.locked(|state| next_lease(state, owner, from)) {
        act(lease, phase);
        from = lease.index + 1;
    }
}

fn next_lease(state: &State, owner: Option<u32>, from: u16) -> Option<(LeaseId, Phase)> {
    let lease = state.core.lease_from(owner, from)?;
    state.core.region(lease).map(|region| (lease, region.phase))
}

/// Asks the broker to drop what it was not asked for yet, as far as there is room. True if that is all.
fn post_drops(state: &mut State, owner: Option<u32>, posted: &mut Option<u32>) -> bool {
    let mut from = 0;
    while let Some((lease, phase)) = next_lease(state, owner, from) {
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

fn all_dropped(state: &State, owner: Option<u32>) -> bool {
    let mut from = 0;
    while let Some((lease, _)) = next_lease(state, owner, from) {
        if !state.core.is_dropped(lease) {
            return false;
        }
        from = lease.index + 1;
    }
    true
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! `XENLEND_SET_USER_MEMORY_REGION`, and the end of regions.
//!
//! Under the link's `running` mutex, which no notifier takes: here the kernel may be asked to
//! insert and remove notifiers.

use xenlend_protocol::frame::PAGE_SIZE;
use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::refusal::Refusal;
use xenlend_shim_core::link::{NotSent, State as LinkState};
use xenlend_shim_core::mirror::{chunk_count, Mirror};
use xenlend_shim_core::regions::{NewRegion, Phase, Plan, RegionError};
use xenlend_shim_core::uapi::RegionRequest;

use crate::errno::{
    Errno, EAGAIN, EBUSY, EEXIST, EILSEQ, EINTR, EINVAL, ENOLINK, ENOMEM, ENOSPC, EOPNOTSUPP, ETIMEDOUT,
};
use crate::force;
use crate::kernel_api::lock::MutexGuard;
use crate::kernel_api::memory::{KernelMemory, KernelSlice};
use crate::kernel_api::region::RegionObject;
use crate::kernel_api::shared::Shared;
use crate::kernel_api::wait::Mode;
use crate::link::{Link, Running, WaitEnd};
use crate::revoke::{self, Pages};
use crate::waiter;

impl From<RegionError> for Errno {
    fn from(error: RegionError) -> Self {
        match error {
            RegionError::Invalid => EINVAL,
            RegionError::Exists => EEXIST,
            RegionError::Unsupported => EOPNOTSUPP,
            RegionError::BadLabel => EILSEQ,
        }
    }
}

/// The call, by the descriptor `owner`.
#[inline(never)]
pub fn set_region(link: &Shared<Link>, request: &RegionRequest, owner: u32) -> Result<(), Errno> {
    let running = link.running.lock();
    if running.ended {
        return Err(ENOLINK);
    }
    sweep(link);
    match link.locked(|state| state.core.plan_region(request, owner))? {
        Plan::Nothing => Ok(()),
        Plan::Delete(lease) => end_region(link, &running, lease, Mode::Killable),
        Plan::Create(new) => create(link, &running, &new),
    }
}

fn create(link: &Shared<Link>, running: &MutexGuard<'_, Running>, new: &NewRegion) -> Result<(), Errno> {
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
    let pages = KernelSlice::new(new.count as usize, || 0).ok_or(ENOMEM)?;
    let chunks = KernelSlice::new(chunk_count(new.first, new.count), || 0).ok_or(ENOMEM)?;
    let mirror = Mirror::<KernelMemory>::new(new.first, pages, chunks);
    let object = RegionObject::new(link, new.lease)?;
    object.arm(new.user_address, u64::from(new.count) * PAGE_SIZE)?;
    let known = object.clone();
    link.locked(|state| {
        state.core.insert_region(new, mirror);
        if let Some(place) = state.objects.get_mut(usize::from(new.lease.index)) {
            *place = Some(known);
        }
    });
    drop(object);
    let (mut posted, mut refused) = (None, false);
    let answer = link.wait_for_answer(Mode::Killable, |state| {
        if posted.is_none() {
            match state.core.post_set(new.lease) {
                Ok(()) => posted = Some(state.core.position()),
                Err(NotSent::Full) => return Err(None),
                Err(NotSent::Over) => return Ok(Err(ENOLINK)),
            }
        }
        match state.core.state() {
            LinkState::Connected => {}
            _ => return Ok(Err(ENOLINK)),
        }
        let answer = state.core.set_answer(new.lease).ok_or(posted)?;
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
        let _ = end_region(link, running, new.lease, Mode::Killable);
    } else {
        silence(link, running, new.lease);
        take_out(link, new.lease);
    }
    Err(error)
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

/// Ends a region: when this returns nothing of it is lent, whatever it returns. The slot
/// stays taken if the broker has not said that it dropped the lease.
pub fn end_region(
    link: &Link,
    running: &MutexGuard<'_, Running>,
    lease: LeaseId,
    mode: Mode,
) -> Result<(), Errno> {
    silence(link, running, lease);
    let mut posted = None;
    let dropped = link.wait_for_answer(mode, |state| {
        if posted.is_none() {
            match state.core.post_drop(lease) {
                Ok(()) => posted = Some(state.core.position()),
                Err(NotSent::Full) => return Err(None),
                Err(NotSent::Over) => return Ok(()),
            }
        }
        if state.core.is_dropped(lease) {
            Ok(())
        } else {
            Err(posted)
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
fn silence(link: &Link, running: &MutexGuard<'_, Running>, lease: LeaseId) {
    let (pages, object) = link.locked(|state| {
        if state.worker_in == Some(lease) {
            // It may be waiting for a page that never comes. Under the lock, so that it is
            // this region's fault that is interrupted and no other.
            if let Some(worker) = running.worker.as_ref() {
                worker.interrupt();
            }
        }
        waiter::interrupt(state, lease);
        let region = state.core.begin_end(lease);
        let pages = region.map(|region| Pages { lease, first: region.first, count: region.count });
        let object = state.objects.get_mut(usize::from(lease.index)).and_then(Option::take);
        (pages, object)
    });
    if let Some(pages) = pages {
        revoke::revoke(link, &pages);
    }
    if let Some(object) = object {
        object.disarm();
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

/// Ends the regions of a descriptor, or all.
pub fn end_regions(link: &Link, running: &MutexGuard<'_, Running>, owner: Option<u32>) {
    while let Some(lease) = link.locked(|state| state.core.any_lease(owner)) {
        let phase = link.locked(|state| state.core.region(lease).map(|region| region.phase));
        if !matches!(phase, Some(Phase::Dropping(_))) {
            let _ = end_region(link, running, lease, Mode::Uninterruptible);
        }
        // Nobody is left to wait for a broker that has not answered.
        take_out(link, lease);
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Waiting for a page that only somebody else can bring: a thread of the region's own, for one page.
//!
//! Nobody waits for it. The end of its region interrupts it; what comes of it the worker finds out.

use xenlend_protocol::frame::AperturePage;
use xenlend_protocol::lease_id::LeaseId;
use xenlend_shim_core::regions::{Phase, Region};

use crate::kernel_api::address_space::AddressSpace;
use crate::kernel_api::region::RegionObject;
use crate::kernel_api::shared::Shared;
use crate::kernel_api::worker::Worker;
use crate::link::{Link, State};
use crate::log_warning;

/// What the thread is for.
pub struct Errand {
    /// The link.
    pub link: Shared<Link>,
    lease: LeaseId,
    page: AperturePage,
}

/// The thread that waits in a region.
pub struct Waiter {
    lease: LeaseId,
    thread: Worker,
}

impl Errand {
    /// The thread's main function.
    pub fn run(&self) {
        // An interruption from before the thread could be interrupted shows in the region's phase.
        let (target, read_only) = self.link.locked(|state| {
            let read_only = state.core.region(self.lease).is_some_and(Region::is_read_only);
            (target(state, self.lease, self.page), read_only)
        });
        if let Some((object, address)) = target {
            if let Some(space) = AddressSpace::enter(&object) {
                let mapping = space.lock_mapping();
                // Whatever comes of it: the worker looks for itself.
                let _ = mapping.fault(address, !read_only);
            }
        }
        drop(self.link.locked(|state| {
            state.core.end_waiting(self.lease);
            let place = state.waiters.get_mut(usize::from(self.lease.index))?;
            place.take_if(|waiter| waiter.lease == self.lease)
        }));
    }
}

/// The region's object and the byte of the process behind a page, of a lease that is active.
pub fn target(state: &State, lease: LeaseId, page: AperturePage) -> Option<(RegionObject, u64)> {
    let region = state.core.region(lease)?;
    if region.phase != Phase::Active || region.is_lost {
        return None;
    }
    let address = region.user_address_of(page)?;
    let object = state.objects.get(usize::from(lease.index))?.clone()?;
    Some((object, address))
}

/// Starts the thread; the core has said that there is none. Worker only: allocates.
pub fn start(link: &Shared<Link>, lease: LeaseId, page: AperturePage) {
    let errand = Shared::new(Errand { link: link.clone(), lease, page });
    let Some(thread) = errand.and_then(|errand| Worker::start_waiter(&errand).ok()) else {
        log_warning!("dom{}: no memory for a thread that waits for a page", link.borrower);
        link.locked(|state| state.core.end_waiting(lease));
        return;
    };
    drop(link.locked(|state| {
        let waiter = Waiter { lease, thread };
        let region = state.core.region(lease).filter(|region| region.is_waited_in);
        let Some(region) = region else { return Some(waiter) };
        if region.phase != Phase::Active {
            waiter.thread.interrupt();
        }
        match state.waiters.get_mut(usize::from(lease.index)) {
            Some(place) => place.replace(waiter),
            None => Some(waiter),
        }
    }));
}

/// Has the thread of a region come back, if there is one. Under the link's lock.
pub fn interrupt(state: &State, lease: LeaseId) {
    let waiter = state.waiters.get(usize::from(lease.index)).and_then(Option::as_ref);
    if let Some(waiter) = waiter.filter(|waiter| waiter.lease == lease) {
        waiter.thread.interrupt();
    }
}

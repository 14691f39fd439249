// SPDX-License-Identifier: MIT OR Apache-2.0
//! Threads that wait for pages which only somebody else can bring, each for one page at a time.
//!
//! Nobody waits for them. The end of its region interrupts a thread, and so does the end of its
//! turn; what has come of the page the worker finds out by looking.

use xenlend_protocol::frame::AperturePage;
use xenlend_protocol::lease_id::LeaseId;
use xenlend_shim_core::regions::{Phase, Region};

use crate::kernel_api::address_space::AddressSpace;
use crate::kernel_api::now_ms;
use crate::kernel_api::region::RegionObject;
use crate::kernel_api::shared::Shared;
use crate::kernel_api::worker::{resume, Worker};
use crate::link::{Link, State};
use crate::log_warning;

/// What a thread is for, to begin with.
pub struct Errand {
    /// The link.
    pub link: Shared<Link>,
    number: u32,
    lease: LeaseId,
    page: AperturePage,
}

/// A thread, and the page that it waits for.
pub struct Waiter {
    number: u32,
    lease: LeaseId,
    page: AperturePage,
    /// None until it has been started.
    thread: Option<Worker>,
}

impl Errand {
    /// The thread's main function.
    pub fn run(&self) {
        let (mut lease, mut page) = (self.lease, self.page);
        loop {
            self.fault(lease, page);
            // Before the next page is known to anybody: what interrupts that is not to be
            // forgotten.
            resume();
            let (next, ended) = self.link.locked(|state| {
                let next = state.core.end_waiting(lease, page, now_ms());
                let ended = place_of(state, self.number).and_then(|place| match (next, place.as_mut()) {
                    (Some(next), Some(waiter)) => {
                        (waiter.lease, waiter.page) = next;
                        None
                    }
                    _ => place.take(),
                });
                (next, ended)
            });
            drop(ended);
            let Some(next) = next else { return };
            (lease, page) = next;
        }
    }

    fn fault(&self, lease: LeaseId, page: AperturePage) {
        // An interruption from before the thread could be interrupted shows in the region's phase.
        let (target, read_only) = self.link.locked(|state| {
            let read_only = state.core.region(lease).is_some_and(Region::is_read_only);
            (target(state, lease, page), read_only)
        });
        let Some((object, address)) = target else { return };
        let Some(space) = AddressSpace::enter(&object) else { return };
        let mapping = space.lock_mapping();
        let may_write = mapping.vma_at(address).is_some_and(|vma| vma.protection.writable);
        // Whatever comes of it: the worker looks for itself.
        let _ = mapping.fault(address, may_write && !read_only);
    }
}

fn place_of(state: &mut State, number: u32) -> Option<&mut Option<Waiter>> {
    let is_it = |waiter: &Waiter| waiter.number == number;
    state.waiters.iter_mut().find(|place| place.as_ref().is_some_and(is_it))
}

/// The region's object and the byte of the process behind a page, of a lease that is active.
pub fn target(state: &State, lease: LeaseId, page: AperturePage) -> Option<(RegionObject, u64)> {
    let region = state.core.region(lease)?;
    if region.phase != Phase::Active || region.is_lost {
        return None;
    }
    let address = region.user_address_of(page)?;
    let object = state.objects.get(usize::from(lease.index))?.as_ref()?.object().clone();
    Some((object, address))
}

/// Starts a thread; the core has said that the page may have one. Worker only: allocates.
pub fn start(link: &Shared<Link>, lease: LeaseId, page: AperturePage) {
    let number = link.locked(|state| {
        state.newest_waiter = state.newest_waiter.wrapping_add(1);
        let number = state.newest_waiter;
        // There is a place: the core counts threads.
        let place = state.waiters.iter_mut().find(|place| place.is_none())?;
        *place = Some(Waiter { number, lease, page, thread: None });
        Some(number)
    });
    let errand = number.and_then(|number| Shared::new(Errand { link: link.clone(), number, lease, page }));
    let mut thread = errand.and_then(|errand| Worker::start_waiter(&errand).ok());
    if thread.is_none() {
        log_warning!("dom{}: no memory for a thread that waits for a page", link.borrower);
    }
    let unused = link.locked(|state| {
        if thread.is_none() {
            state.core.wait_without_thread(lease, page, now_ms());
            return (None, number.and_then(|number| place_of(state, number)?.take()));
        }
        // It may have come back already, or be at another page.
        let now_at = number.and_then(|number| place_of(state, number)?.as_ref()).map(Waiter::page);
        let Some((lease, page)) = now_at else { return (thread.take(), None) };
        if state.core.has_to_stop(lease, page) {
            thread.iter().for_each(Worker::interrupt);
        }
        if let Some(waiter) = number.and_then(|number| place_of(state, number)?.as_mut()) {
            waiter.thread = thread.take();
        }
        (None, None)
    });
    drop(unused);
}

impl Waiter {
    fn page(&self) -> (LeaseId, AperturePage) {
        (self.lease, self.page)
    }

    fn interrupt(&self) {
        if let Some(thread) = &self.thread {
            thread.interrupt();
        }
    }
}

/// Has the threads that wait in a region come back. Under the link's lock.
pub fn interrupt_region(state: &State, lease: LeaseId) {
    state.waiters.iter().flatten().filter(|waiter| waiter.lease == lease).for_each(Waiter::interrupt);
}

/// Has those threads come back whose turn is over. Under the link's lock.
pub fn end_turns(state: &mut State, now: u64) {
    while let Some((lease, page)) = state.core.next_to_interrupt(now) {
        let of_page = |waiter: &&Waiter| waiter.lease == lease && waiter.page == page;
        state.waiters.iter().flatten().filter(of_page).for_each(Waiter::interrupt);
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The page-in worker: one thread for each link. Of ordinary memory it brings in what can be had without
//! waiting for anybody; `waiter.rs` waits for the rest.
//!
//! Nobody waits for it: neither a notifier, nor the end of a region, nor detach.

use xenlend_protocol::frame::AperturePage;
use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::message::AccessOutcome;
use xenlend_shim_core::link::{Cause, Completion, NextWant, NotSent, PageInEnd};
use xenlend_shim_core::request_queue::{Request, Work};

use crate::access::access;
use crate::kernel_api::address_space::AddressSpace;
use crate::kernel_api::region::RegionObject;
use crate::kernel_api::shared::Shared;
use crate::kernel_api::wait::{Mode, Seen};
use crate::kernel_api::worker::resume;
use crate::link::Link;
use crate::lookup::{LookupEnd, Scratch};
use crate::page_in::{answer_want, ask_again, complete, refuse, Job, MAX_LATERS};
use crate::waiter::target;
use crate::{force, log_error, waiter};

/// What the worker does next.
enum Next {
    Stop,
    Force(Cause),
    Serve,
    Want(NextWant),
    AskAgain(LeaseId),
    Wait(Seen),
}

/// A page-in that a request asks for.
struct Wanted {
    lease: LeaseId,
    page: AperturePage,
    laters: u8,
}

/// The thread's main function.
pub fn work(link: &Shared<Link>) {
    let Some(mut scratch) = Scratch::new() else {
        log_error!("dom{}: no memory for the page-in worker", link.borrower);
        return;
    };
    loop {
        let visits_left = scratch.visits.turn(link);
        match next(link, &mut scratch) {
            Next::Stop => return,
            Next::Force(cause) => force::revoke_all(link, cause),
            Next::Serve => {
                serve(link, &mut scratch);
                link.locked(|state| state.worker_in = None);
                // A region's end may have interrupted a fault; the next one is another matter.
                resume();
            }
            Next::Want(NextWant::PageIn { ticket, lease, page }) => {
                let end = bring_in(link, lease, page, &mut scratch);
                let has_to_start = link.locked(|state| {
                    state.worker_in = None;
                    state.core.on_want_served(ticket, page, end);
                    end == PageInEnd::Waits && state.core.begin_waiting(lease)
                });
                resume();
                if has_to_start {
                    waiter::start(link, lease, page);
                }
            }
            Next::Want(NextWant::Answer { ticket, outcome }) => answer_want(link, ticket, outcome),
            Next::AskAgain(lease) => ask_again(link, lease),
            Next::Wait(seen) => {
                link.wait(seen, visits_left, Mode::Idle);
            }
        }
    }
}

// Requests and answers hold hundreds of bytes. They stay in the worker's own memory and in frames that
// have ended before a fault is taken: a driver's fault handler needs the stack.
#[inline(never)]
fn next(link: &Link, scratch: &mut Scratch) -> Next {
    link.locked(|state| {
        Link::drain(state);
        // Whoever holds the link waits for this.
        if core::mem::take(&mut state.worker_is_busy) && state.core.is_held() {
            state.core.wake();
        }
        if state.stopping {
            return Next::Stop;
        }
        if let Some(reason) = state.core.needs_force() {
            return Next::Force(state.core.cause(reason));
        }
        scratch.request = state.core.next_request();
        if scratch.request.is_some() {
            state.worker_is_busy = true;
            return Next::Serve;
        }
        // A vCPU that stands still goes before a task that sleeps.
        if let Some(want) = state.core.next_want() {
            state.worker_is_busy = true;
            return Next::Want(want);
        }
        state.core.next_to_ask_again().map_or_else(|| Next::Wait(link.seen()), Next::AskAgain)
    })
}

fn serve(link: &Shared<Link>, scratch: &mut Scratch) {
    let Some(Request { lease, page, .. }) = scratch.request else { return };
    if let Some((object, address)) = enter(link, lease, page) {
        if let Some(space) = AddressSpace::enter(&object) {
            let wanted = perform(link, &space, address, scratch);
            if let Some(Wanted { lease, page, laters }) = wanted {
                Job { link, lease, page, laters }.run(&object, &space, scratch);
            }
        } else {
            lose(link, lease);
        }
    }
    finish(link, scratch);
}

/// Brings the window of a page in that a task of the borrower waits for.
fn bring_in(link: &Link, lease: LeaseId, page: AperturePage, scratch: &mut Scratch) -> PageInEnd {
    let Some((object, _)) = enter(link, lease, page) else { return PageInEnd::GaveUp };
    let job = Job { link, lease, page, laters: MAX_LATERS };
    if let Some(space) = AddressSpace::enter(&object) {
        return job.run(&object, &space, scratch);
    }
    lose(link, lease);
    job.run_with_zeros(scratch)
}

/// Does the access of the request, and says whether a page is wanted.
#[inline(never)]
fn perform(
    link: &Shared<Link>,
    space: &AddressSpace<'_>,
    address: u64,
    scratch: &mut Scratch,
) -> Option<Wanted> {
    let Request { lease, page, work } = scratch.request.take()?;
    let (laters, is_wanted) = match work {
        Work::Again { tries } => (tries, true),
        Work::Access { id, offset, operation, wants_page } => {
            let done = access(space, address, offset, &operation, &link.bars);
            if done == Err(LookupEnd::Waits) {
                let work = Work::Access { id, offset, operation, wants_page };
                set_aside(link, Request { lease, page, work }, scratch);
                return None;
            }
            if let Err(LookupEnd::Refused(refusal)) = done {
                refuse(link, lease, page, refusal);
            }
            let is_done = done.is_ok();
            scratch.completion = Some(Completion { id, outcome: done.unwrap_or(AccessOutcome::Lost) });
            (0, wants_page && is_done)
        }
    };
    is_wanted.then_some(Wanted { lease, page, laters })
}

/// Keeps an access whose page somebody else has to bring until he has.
#[inline(never)]
fn set_aside(link: &Shared<Link>, request: Request, scratch: &mut Scratch) {
    let (lease, page) = (request.lease, request.page);
    let has_to_start = link.locked(|state| match state.core.set_aside(request) {
        Ok(()) => state.core.begin_waiting(lease),
        Err(request) => {
            scratch.request = Some(request);
            false
        }
    });
    if has_to_start {
        waiter::start(link, lease, page);
    }
}

/// Answers the access if nothing has answered it yet. One that was not even tried had
/// nothing to be done on: it is lost.
#[inline(never)]
fn finish(link: &Link, scratch: &mut Scratch) {
    if let Some(Request { work: Work::Access { id, .. }, .. }) = scratch.request.take() {
        scratch.completion = Some(Completion { id, outcome: AccessOutcome::Lost });
    }
    if let Some(completion) = scratch.completion.take() {
        complete(link, &completion);
    }
}

/// The region's object and the byte of the process behind the page, if the lease is active.
fn enter(link: &Link, lease: LeaseId, page: AperturePage) -> Option<(RegionObject, u64)> {
    link.locked(|state| {
        let found = target(state, lease, page)?;
        state.worker_in = Some(lease);
        Some(found)
    })
}

/// The process is gone for good: so are the pages of its region.
fn lose(link: &Link, lease: LeaseId) {
    let told = link.wait_for_broker(Mode::Uninterruptible, |state| match state.core.declare_lost(lease) {
        Err(NotSent::Full) if !state.stopping => None,
        _ => Some(()),
    });
    if let Err(end) = told {
        force::after(link, end);
    }
}

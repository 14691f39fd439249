// SPDX-License-Identifier: MIT OR Apache-2.0
//! The page-in worker: one thread for each link. Faults on ordinary memory never block it: `waiter.rs` waits
//! for what only somebody else can bring.
//!
//! Nobody waits for it: neither a notifier, nor the end of a region, nor detach.

use xenlend_protocol::frame::AperturePage;
use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::message::AccessOutcome;
use xenlend_shim_core::link::{AskAgain, Cause, Completion, NextWant, NotSent, Obstacle, PageInEnd};
use xenlend_shim_core::request_queue::{Request, Work};

use crate::access::access;
use crate::kernel_api::address_space::AddressSpace;
use crate::kernel_api::now_ms;
use crate::kernel_api::region::RegionObject;
use crate::kernel_api::shared::Shared;
use crate::kernel_api::wait::{Mode, Seen};
use crate::kernel_api::worker::resume;
use crate::link::Link;
use crate::lookup::{LookupEnd, Scratch};
use crate::page_in::{answer_want, ask_again, complete, lose_page, refuse, Job, MAX_LATERS};
use crate::waiter::target;
use crate::{force, log_error, waiter};

/// What the worker does next.
enum Next {
    Stop,
    Force(Cause),
    Serve,
    Want(NextWant),
    AskAgain(AskAgain),
    /// For so many milliseconds; 0 for ever.
    Wait(Seen, u32),
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
                    let PageInEnd::Waits(obstacle) = end else { return false };
                    state.core.begin_waiting(lease, page, obstacle, true, now_ms())
                });
                resume();
                if has_to_start {
                    waiter::start(link, lease, page);
                }
            }
            Next::Want(NextWant::Answer { ticket, outcome }) => answer_want(link, ticket, outcome),
            Next::AskAgain(again) => ask_again(link, again),
            Next::Wait(seen, waits_left) => {
                link.wait(seen, earlier(visits_left, waits_left), Mode::Idle);
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
        let now = now_ms();
        waiter::end_turns(state, now);
        let waits_left = state.core.look_again(now);
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
        let again = state.core.next_to_ask_again();
        again.map_or_else(|| Next::Wait(link.seen(), waits_left), Next::AskAgain)
    })
}

/// The earlier of two times, of which 0 is never.
fn earlier(one: u32, other: u32) -> u32 {
    match (one, other) {
        (0, time) | (time, 0) => time,
        (one, other) => one.min(other),
    }
}

fn serve(link: &Shared<Link>, scratch: &mut Scratch) {
    let Some(Request { lease, page, .. }) = scratch.request else { return };
    if let Some(Place { object, address, changes }) = enter(link, lease, page) {
        if let Some(space) = AddressSpace::enter(&object) {
            let wanted = perform(link, &space, (address, changes), scratch);
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
    let Some(Place { object, .. }) = enter(link, lease, page) else { return PageInEnd::GaveUp };
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
    (address, changes): (u64, u32),
    scratch: &mut Scratch,
) -> Option<Wanted> {
    let Request { lease, page, work } = scratch.request.take()?;
    let (laters, is_wanted) = match work {
        Work::Again { tries } => (tries, true),
        Work::Access { id, offset, operation, wants_page } => {
            let done = access(space, address, offset, &operation, &link.bars);
            let obstacle = match done {
                Ok(_) => None,
                Err(LookupEnd::Refused(refusal)) => {
                    refuse(link, lease, page, refusal);
                    None
                }
                Err(LookupEnd::Lost) => {
                    lose_page(link, lease, page);
                    None
                }
                Err(LookupEnd::Protected) => Some(Obstacle::Protection { changes }),
                // Memory is short, or the page does not stay: an access is never given up for it.
                Err(LookupEnd::Waits | LookupEnd::GiveUp | LookupEnd::Again | LookupEnd::Unlendable) => {
                    Some(Obstacle::Answer)
                }
            };
            let is_given_up = || link.locked(|state| state.core.is_given_up(lease, page));
            if let Some(obstacle) = obstacle.filter(|_| !is_given_up()) {
                let work = Work::Access { id, offset, operation, wants_page };
                set_aside(link, Request { lease, page, work }, obstacle, scratch);
                return None;
            }
            let is_done = done.is_ok();
            scratch.completion = Some(Completion { id, outcome: done.unwrap_or(AccessOutcome::Lost) });
            (0, wants_page && is_done)
        }
    };
    is_wanted.then_some(Wanted { lease, page, laters })
}

/// Keeps an access that cannot be done now until its page can be looked at again.
#[inline(never)]
fn set_aside(link: &Shared<Link>, request: Request, obstacle: Obstacle, scratch: &mut Scratch) {
    let (lease, page) = (request.lease, request.page);
    let has_to_start = link.locked(|state| match state.core.set_aside(request) {
        Ok(()) => state.core.begin_waiting(lease, page, obstacle, false, now_ms()),
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

/// What is behind a page.
struct Place {
    /// The region's object.
    object: RegionObject,
    /// The byte of the process.
    address: u64,
    /// Tells whether something has changed in the region since.
    changes: u32,
}

/// What is behind a page, if the lease is active.
fn enter(link: &Link, lease: LeaseId, page: AperturePage) -> Option<Place> {
    link.locked(|state| {
        let (object, address) = target(state, lease, page)?;
        let changes = state.core.region(lease)?.changes;
        state.worker_in = Some(lease);
        Some(Place { object, address, changes })
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

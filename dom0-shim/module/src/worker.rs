// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the worker threads of a link do: accesses and page-ins for the borrower.
//!
//! The one that leads takes the next thing to do, and gives the lead up before it goes into the
//! process of a region (`core/src/crew.rs`): it may be held up there by a lock of that process, a
//! file system, or a driver, for as long as they like. What only somebody else can bring of
//! ordinary memory `waiter.rs` waits for.
//!
//! Nobody waits for a worker: neither a notifier, nor the end of a region, nor detach. Workers wait
//! for each other in one place, for the turn to present (`Link::presenting`), and never while they
//! are in a region's process for longer than the broker has for an answer.

use xenlend_protocol::frame::AperturePage;
use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::message::{AccessOutcome, WantedOutcome};
use xenlend_shim_core::crew::{Lead, Owes};
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
use crate::{crew, force, log_error, visits, waiter};

/// What the worker does next.
enum Next {
    Stop,
    Force(Cause),
    Serve,
    PageIn(NextPageIn),
    Answer(u32, WantedOutcome),
    AskAgain(AskAgain),
    /// For so many milliseconds; 0 for ever.
    Wait(Seen, u32),
    /// Another leads: until somebody has to.
    AwaitLead(Seen),
}

/// The page-in of a want.
struct NextPageIn {
    ticket: u32,
    lease: LeaseId,
    page: AperturePage,
}

/// A link, and which of its workers this is.
struct Worker<'a> {
    link: &'a Shared<Link>,
    number: u32,
}

/// A page-in that a request asks for.
struct Wanted {
    lease: LeaseId,
    page: AperturePage,
    laters: u8,
}

/// The worker's life.
pub fn work(link: &Shared<Link>, number: u32) {
    let Some(mut scratch) = Scratch::new() else {
        log_error!("dom{}: no memory for a worker", link.borrower);
        return;
    };
    let worker = Worker { link, number };
    loop {
        let visits_left = visits::turn(link);
        let (next, reinforcement) = worker.next(&mut scratch, visits_left);
        if let Some(reinforcement) = reinforcement {
            crew::reinforce(link, reinforcement);
        }
        match next {
            Next::Stop => return,
            Next::Force(cause) => force::revoke_all(link, cause),
            Next::Serve => {
                worker.serve(&mut scratch);
                link.locked(|state| state.core.leave_region(number));
                // A region's end may have interrupted a fault; the next one is another matter.
                resume();
            }
            Next::PageIn(NextPageIn { ticket, lease, page }) => {
                let end = worker.bring_in(lease, page, &mut scratch);
                let has_to_start = link.locked(|state| {
                    // Answered meanwhile if it took too long.
                    let is_owed = state.core.leave_region(number) == Owes::Want(ticket);
                    if is_owed {
                        state.core.on_want_served(ticket, page, end);
                    }
                    let PageInEnd::Waits(obstacle) = end else { return false };
                    is_owed && state.core.begin_waiting(lease, page, obstacle, true, now_ms())
                });
                resume();
                if has_to_start {
                    waiter::start(link, lease, page);
                }
            }
            Next::Answer(ticket, outcome) => answer_want(link, ticket, outcome),
            Next::AskAgain(again) => ask_again(link, again),
            Next::Wait(seen, ms) => {
                link.wait(seen, ms, Mode::Idle);
            }
            Next::AwaitLead(seen) => link.await_relief(seen),
        }
    }
}

/// The earlier of two times, of which 0 is never.
fn earlier(one: u32, other: u32) -> u32 {
    match (one, other) {
        (0, time) | (time, 0) => time,
        (one, other) => one.min(other),
    }
}

impl Worker<'_> {
    // Requests and answers hold hundreds of bytes. They stay in the worker's own memory and in
    // frames that have ended before a fault is taken: a driver's fault handler needs the stack.
    #[inline(never)]
    fn next(&self, scratch: &mut Scratch, visits_left: u32) -> (Next, Option<u32>) {
        let Self { link, number } = *self;
        link.locked(|state| {
            Link::drain(state);
            if state.stopping {
                return (Next::Stop, None);
            }
            match state.core.take_lead(number) {
                Lead::Yes => {}
                Lead::No => return (Next::AwaitLead(link.relief_seen()), None),
                Lead::Retire => return (Next::Stop, None),
            }
            if let Some(reason) = state.core.needs_force() {
                return (Next::Force(state.core.cause(reason)), None);
            }
            let now = now_ms();
            waiter::end_turns(state, now);
            let times_left = earlier(visits_left, state.core.look_again(now));
            let is_more = times_left != 0;
            scratch.request = state.core.next_request();
            if let Some(Request { lease, work, .. }) = &scratch.request {
                let owes = match work {
                    Work::Access { id, .. } => Owes::Access(*id),
                    Work::Again { .. } => Owes::Nothing,
                };
                return (Next::Serve, state.core.enter_region(number, (*lease, owes), is_more, now));
            }
            // A vCPU that stands still goes before a task that sleeps.
            let want = state.core.next_held_up(now).or_else(|| state.core.next_want());
            match want {
                Some(NextWant::PageIn { ticket, lease, page }) => {
                    let entry = (lease, Owes::Want(ticket));
                    let reinforcement = state.core.enter_region(number, entry, is_more, now);
                    return (Next::PageIn(NextPageIn { ticket, lease, page }), reinforcement);
                }
                Some(NextWant::Answer { ticket, outcome }) => return (Next::Answer(ticket, outcome), None),
                None => {}
            }
            let ms = earlier(times_left, state.core.held_up_in(now));
            let again = state.core.next_to_ask_again();
            (again.map_or_else(|| Next::Wait(link.seen(), ms), Next::AskAgain), None)
        })
    }

    fn serve(&self, scratch: &mut Scratch) {
        let link = self.link;
        let Some(Request { lease, page, .. }) = scratch.request else { return };
        if let Some(Place { object, address, changes }) = enter(link, lease, page) {
            if let Some(space) = AddressSpace::enter(&object) {
                let wanted = self.perform(&space, (address, changes), scratch);
                if let Some(Wanted { lease, page, laters }) = wanted {
                    Job { link, worker: self.number, lease, page, laters }.run(&object, &space, scratch);
                }
            } else {
                lose(link, lease);
            }
        }
        self.finish(scratch);
    }

    /// Brings the window of a page in that a task of the borrower waits for.
    fn bring_in(&self, lease: LeaseId, page: AperturePage, scratch: &mut Scratch) -> PageInEnd {
        let link = self.link;
        let Some(Place { object, .. }) = enter(link, lease, page) else { return PageInEnd::GaveUp };
        let job = Job { link, worker: self.number, lease, page, laters: MAX_LATERS };
        if let Some(space) = AddressSpace::enter(&object) {
            return job.run(&object, &space, scratch);
        }
        lose(link, lease);
        job.run_with_zeros(scratch)
    }

    /// Does the access of the request, and says whether a page is wanted.
    #[inline(never)]
    fn perform(
        &self,
        space: &AddressSpace<'_>,
        (address, changes): (u64, u32),
        scratch: &mut Scratch,
    ) -> Option<Wanted> {
        let Self { link, number } = *self;
        let Request { lease, page, work } = scratch.request.take()?;
        let (laters, is_wanted) = match work {
            Work::Again { tries } => (tries, true),
            Work::Access { id, offset, operation, wants_page } => {
                let is_owed = || link.locked(|state| state.core.owes_access(number));
                let done = access(space, address, offset, &operation, (&link.bars, &is_owed));
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
                    // Memory is short, or the page does not stay: an access is never given up for
                    // it.
                    Err(LookupEnd::Waits | LookupEnd::GiveUp | LookupEnd::Again | LookupEnd::Unlendable) => {
                        Some(Obstacle::Answer)
                    }
                };
                let is_given_up = || link.locked(|state| state.core.is_given_up(lease, page));
                if let Some(obstacle) = obstacle.filter(|_| !is_given_up()) {
                    let work = Work::Access { id, offset, operation, wants_page };
                    self.set_aside(Request { lease, page, work }, obstacle, scratch);
                    return None;
                }
                let is_done = done.is_ok();
                scratch.completion = Some(Completion { id, outcome: done.unwrap_or(AccessOutcome::Lost) });
                (0, wants_page && is_done)
            }
        };
        is_wanted.then_some(Wanted { lease, page, laters })
    }

    /// Answers the access if nothing has answered it yet. One that was not even tried had
    /// nothing to be done on: it is lost.
    #[inline(never)]
    fn finish(&self, scratch: &mut Scratch) {
        if let Some(Request { work: Work::Access { id, .. }, .. }) = scratch.request.take() {
            scratch.completion = Some(Completion { id, outcome: AccessOutcome::Lost });
        }
        if let Some(completion) = scratch.completion.take() {
            // If the region has ended meanwhile whoever ended it has answered.
            if self.link.locked(|state| state.core.claim_access(self.number)) {
                complete(self.link, &completion);
            }
        }
    }

    /// Keeps an access that cannot be done now until its page can be looked at again.
    #[inline(never)]
    fn set_aside(&self, request: Request, obstacle: Obstacle, scratch: &mut Scratch) {
        let (lease, page) = (request.lease, request.page);
        let has_to_start = self.link.locked(|state| {
            if !state.core.owes_access(self.number) {
                return false;
            }
            match state.core.set_aside(request) {
                Ok(()) => {
                    state.core.claim_access(self.number);
                    state.core.begin_waiting(lease, page, obstacle, false, now_ms())
                }
                Err(request) => {
                    scratch.request = Some(request);
                    false
                }
            }
        });
        if has_to_start {
            waiter::start(self.link, lease, page);
        }
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

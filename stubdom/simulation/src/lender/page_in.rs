// SPDX-License-Identifier: MIT OR Apache-2.0
//! One page-in: look up, permit, pause, post, wait, resume: `dom0-shim/module/src/page_in.rs`.

use std::rc::Rc;

use xenlend_protocol::frame::{AperturePage, Mfn};
use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::message::{PresentOutcome, WantedOutcome};
use xenlend_protocol::refusal::{AddFailure, Refusal};
use xenlend_shim_core::lendable::FrameKind;
use xenlend_shim_core::link::{
    Completion, NotSent, PageIn, PageInEnd, PageInRefusal, Posted, PresentStanding, Reason,
};
use xenlend_shim_core::regions::Region;
use xenlend_shim_core::request_queue::{Request, Work};
use xenlend_shim_core::window::Extents;

use super::link::{locked, wait_for_answer, wait_for_broker, Mode};
use super::lookup::{look_up, LookupEnd, Scratch};
use super::revoke::{self, Pages};
use super::{force, frames, InFlight, RegionObject, State};
use crate::fault::Fault;
use crate::world::Sim;
use crate::xen::EPERM;

/// Lookups that one page-in makes before it is given up.
const MAX_LOOKUPS: u32 = 16;
/// Answers of Later before a page-in is given up.
pub const MAX_LATERS: u8 = 3;

/// The borrower is paused while this lives: the bracket ends on every path.
struct Bracket(Option<Sim>);

impl Bracket {
    async fn begin(sim: &Sim) -> Option<Self> {
        sim.step().await;
        if sim.config.has(Fault::AddWithoutBracket) || !sim.lender.kind.pauses_around_adds() {
            return Some(Self(None));
        }
        if sim.hypercall_failure().is_some() {
            return None;
        }
        force::pause_borrower(sim);
        Some(Self(Some(Rc::clone(sim))))
    }
}

impl Drop for Bracket {
    fn drop(&mut self) {
        if let Some(sim) = self.0.take() {
            sim.xen.borrow_mut().borrower.pauses -= 1;
        }
    }
}

/// What became of one Present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    Yes,
    Again,
    Later,
    GiveUp,
}

/// The page-in of a request.
pub struct Job<'a> {
    /// The world.
    pub sim: &'a Sim,
    /// The lease.
    pub lease: LeaseId,
    /// The page.
    pub page: AperturePage,
    /// Answers of Later so far.
    pub laters: u8,
}

impl Job<'_> {
    /// Makes the page present if it can.
    pub async fn run(&self, object: &Rc<RegionObject>, scratch: &mut Scratch) -> PageInEnd {
        let begun = locked(self.sim, |state| state.core.begin_page_in(self.lease, self.page)).await;
        match begun {
            Ok(page_in) => {
                let end = self.look_up_and_send(&page_in, object, scratch).await;
                locked(self.sim, |state| state.core.end_page_in(&page_in)).await;
                end
            }
            Err(PageInRefusal::AlreadyPresent) => PageInEnd::Present,
            Err(PageInRefusal::Gone | PageInRefusal::NotLending) => PageInEnd::GaveUp,
        }
    }

    /// The same where there is no process any more.
    pub async fn run_with_zeros(&self, scratch: &mut Scratch) -> PageInEnd {
        let begun = locked(self.sim, |state| state.core.begin_page_in(self.lease, self.page)).await;
        let Ok(page_in) = begun else { return PageInEnd::GaveUp };
        let end = self.present_zeros(&page_in, scratch).await;
        locked(self.sim, |state| state.core.end_page_in(&page_in)).await;
        end
    }

    async fn look_up_and_send(
        &self,
        page_in: &PageIn,
        object: &Rc<RegionObject>,
        scratch: &mut Scratch,
    ) -> PageInEnd {
        for _ in 0..MAX_LOOKUPS {
            let forgets = self.sim.config.has(Fault::ForgetOvertaken);
            if !locked(self.sim, |state| state.core.restart_page_in(page_in)).await {
                return PageInEnd::GaveUp;
            }
            match look_up(self.sim, page_in, object, scratch).await {
                Ok(()) => {}
                Err(LookupEnd::Again) => continue,
                Err(LookupEnd::Refused) => return self.present_zeros(page_in, scratch).await,
                Err(LookupEnd::GiveUp) => return PageInEnd::GaveUp,
            }
            if forgets && !locked(self.sim, |state| state.core.restart_page_in(page_in)).await {
                return PageInEnd::GaveUp;
            }
            let stale =
                locked(self.sim, |state| state.core.forget_present(page_in, &mut scratch.window)).await;
            if let Some(first) = stale {
                revoke::revoke(self.sim, &Pages { lease: self.lease, first, count: 1 }).await;
                continue;
            }
            match self.send_all(page_in, scratch).await {
                Sent::Yes => return PageInEnd::Present,
                Sent::GiveUp => return PageInEnd::GaveUp,
                Sent::Again => {}
                Sent::Later => {
                    if self.laters < MAX_LATERS {
                        let work = Work::Again { tries: self.laters + 1 };
                        let request = Request { lease: self.lease, page: self.page, work };
                        locked(self.sim, |state| state.core.push_again(request)).await;
                    }
                    return PageInEnd::Later;
                }
            }
        }
        PageInEnd::GaveUp
    }

    async fn send_all(&self, page_in: &PageIn, scratch: &mut Scratch) -> Sent {
        let mut sent = scratch.window.begin();
        loop {
            let extents = scratch.window.next_extents(&mut sent);
            if extents.is_empty() {
                return Sent::Yes;
            }
            let (result, _) = self.send_one(page_in, &extents, scratch).await;
            if result != Sent::Yes {
                return result;
            }
        }
    }

    /// Posts one Present and waits for its answer. Says whether it was posted.
    async fn send_one(&self, page_in: &PageIn, extents: &Extents, scratch: &mut Scratch) -> (Sent, bool) {
        let posted = loop {
            if !self.permit(extents, scratch).await {
                return (Sent::GiveUp, false);
            }
            if !locked(self.sim, |state| state.core.is_current(page_in)).await {
                break Posted::Overtaken;
            }
            let Some(bracket) = Bracket::begin(self.sim).await else { break Posted::Over };
            let presents = &self.sim.lender.presents;
            let completion = scratch.completion.as_ref();
            let posted = locked(self.sim, |state| {
                let posted = state.core.post_present(page_in, extents, completion);
                if let Posted::Yes { .. } = posted {
                    // Tickets are given out in order, one for each.
                    let ticket = self.sim.lender.next_ticket.get();
                    self.sim.lender.next_ticket.set(ticket.wrapping_add(1));
                    presents.borrow_mut().push(InFlight { ticket, extents: extents.clone() });
                }
                posted
            })
            .await;
            if let Posted::Yes { completed } = posted {
                if completed {
                    scratch.completion = None;
                }
                return (self.await_answer(page_in, extents, bracket).await, true);
            }
            drop(bracket);
            if posted != Posted::Full {
                break posted;
            }
            self.forbid(extents, scratch).await;
            if !self.await_room().await {
                return (Sent::GiveUp, false);
            }
        };
        self.forbid(extents, scratch).await;
        (if posted == Posted::Overtaken { Sent::Again } else { Sent::GiveUp }, false)
    }

    async fn await_answer(&self, page_in: &PageIn, extents: &Extents, bracket: Bracket) -> Sent {
        let sim = self.sim;
        let mut behind = None;
        let answer = wait_for_answer(sim, Mode::Uninterruptible, |state| {
            let position = *behind.get_or_insert(state.core.position());
            match state.core.present_standing() {
                PresentStanding::Waiting => match state.core.needs_force() {
                    Some(reason) => Ok(Err(state.core.cause(reason))),
                    None => Err(Some(position)),
                },
                PresentStanding::Gone => Ok(Ok(None)),
                PresentStanding::Answered(outcome) => {
                    state.core.end_present();
                    Ok(Ok(Some(outcome)))
                }
            }
        })
        .await;
        let outcome = match answer {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(cause)) => {
                force::revoke_all(sim, cause).await;
                None
            }
            Err(end) => {
                force::after(sim, end).await;
                None
            }
        };
        if sim.config.has(Fault::LeakBracket) && matches!(outcome, Some(PresentOutcome::Later)) {
            std::mem::forget(bracket);
        } else {
            sim.step().await;
            drop(bracket);
        }
        match outcome {
            Some(PresentOutcome::Added { .. }) => Sent::Yes,
            None => Sent::GiveUp,
            Some(PresentOutcome::Refused(Refusal::AlreadyPresent { .. })) => {
                let cause = locked(sim, |state| state.core.cause(Reason::Breach)).await;
                force::revoke_all(sim, cause).await;
                Sent::GiveUp
            }
            Some(other) => {
                for extent in extents {
                    let pages = Pages { lease: page_in.lease, first: extent.page, count: extent.count };
                    revoke::clear(sim, &pages, false).await;
                }
                match other {
                    PresentOutcome::Later => Sent::Later,
                    PresentOutcome::Stale => Sent::Again,
                    // The same frame was lent at another page, and is withdrawn since that was revoked.
                    PresentOutcome::Failed(AddFailure { errno: EPERM, .. }) if sim.config.is_lend_aware() => {
                        Sent::Again
                    }
                    refused => {
                        sim.note(|| format!("the broker did not add: {refused:?}"));
                        Sent::GiveUp
                    }
                }
            }
        }
    }

    async fn await_room(&self) -> bool {
        let room = wait_for_broker(self.sim, Mode::Uninterruptible, |state| {
            (state.stopping || state.core.needs_force().is_some() || state.core.has_room()).then_some(())
        })
        .await;
        if let Err(end) = room {
            force::after(self.sim, end).await;
        }
        room.is_ok() && !locked(self.sim, |state| state.stopping).await
    }

    async fn permit(&self, extents: &Extents, scratch: &Scratch) -> bool {
        let is_read_only =
            |state: &mut State| state.core.region(self.lease).is_some_and(Region::is_read_only);
        let read_only = self.sim.config.is_lend_aware() && locked(self.sim, is_read_only).await;
        let is_ram = |page| matches!(scratch.window.get(page), Some((_, FrameKind::Ram)));
        frames::release(self.sim, extents, read_only, &is_ram).await.is_ok()
    }

    async fn forbid(&self, extents: &Extents, scratch: &Scratch) {
        let is_ram = |page| matches!(scratch.window.get(page), Some((_, FrameKind::Ram)));
        frames::take_back(self.sim, extents, &is_ram).await;
    }

    /// There is nothing to lend: presents a page of zeros where that is what the borrower is to see.
    async fn present_zeros(&self, page_in: &PageIn, scratch: &mut Scratch) -> PageInEnd {
        if !locked(self.sim, |state| state.core.presents_zeros(self.lease)).await {
            return PageInEnd::Refused;
        }
        let Some(zeros) = self.sim.memory.borrow_mut().new_zeros() else { return PageInEnd::GaveUp };
        let page_in = page_in.with_zeros();
        scratch.window.reset(page_in.first, page_in.count, page_in.page);
        scratch.window.put(page_in.page, Mfn(zeros), FrameKind::Ram);
        let extents = scratch.window.next_extents(&mut scratch.window.begin());
        // From when it is posted the mirror has it.
        let (sent, posted) = self.send_one(&page_in, &extents, scratch).await;
        if !posted {
            self.sim.memory.borrow_mut().free_zeros(zeros);
        }
        if sent != Sent::Yes {
            return PageInEnd::GaveUp;
        }
        let is_zeroed = |state: &mut State| state.core.region(self.lease).is_some_and(|of| of.is_zeroed);
        if !(self.sim.config.has(Fault::KeepZeros) && locked(self.sim, is_zeroed).await) {
            let at = Pages { lease: self.lease, first: page_in.page, count: 1 };
            scratch.visits.begin(self.sim, at).await;
        }
        PageInEnd::Present
    }
}

/// Answers an access, whatever it takes.
pub async fn complete(sim: &Sim, completion: &Completion) {
    while !try_to_complete(sim, completion).await {}
}

/// Answers an access if the broker takes it before the deadline; if not, revokes by force. False if it
/// may be tried again.
pub async fn try_to_complete(sim: &Sim, completion: &Completion) -> bool {
    let sent =
        wait_for_broker(sim, Mode::Uninterruptible, |state| match state.core.post_completed(completion) {
            Err(NotSent::Full) if !state.stopping => None,
            _ => Some(()),
        })
        .await;
    if let Err(end) = sent {
        force::after(sim, end).await;
    }
    sent.is_ok()
}

/// Answers the oldest want, whatever it takes: a task of the borrower waits for it.
pub async fn answer_want(sim: &Sim, ticket: u32, outcome: WantedOutcome) {
    loop {
        let sent = wait_for_broker(sim, Mode::Uninterruptible, |state| {
            match state.core.post_wanted(ticket, outcome) {
                Err(NotSent::Full) if !state.stopping => None,
                _ => Some(()),
            }
        })
        .await;
        match sent {
            Ok(()) => return,
            Err(end) => force::after(sim, end).await,
        }
    }
}

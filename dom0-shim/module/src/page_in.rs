// SPDX-License-Identifier: MIT OR Apache-2.0
//! One page-in: look up, permit, pause the borrower, post the Present, wait, resume.

use xenlend_protocol::frame::{AperturePage, PAGE_SIZE};
use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::message::{PresentOutcome, WantedOutcome};
use xenlend_protocol::refusal::{AddFailure, Refusal};
use xenlend_shim_core::counters::add;
use xenlend_shim_core::events;
use xenlend_shim_core::lendable::{FrameKind, FrameRefusal};
use xenlend_shim_core::link::{
    AskAgain, Completion, NotSent, Obstacle, PageIn, PageInEnd, PageInRefusal, Posted, PresentStanding,
    Reason,
};
use xenlend_shim_core::regions::Region;
use xenlend_shim_core::request_queue::{Request, Work};
use xenlend_shim_core::window::Extents;

use crate::bars;
use crate::force;
use crate::kernel_api::address_space::AddressSpace;
use crate::kernel_api::module::adds_unpaused;
use crate::kernel_api::region::RegionObject;
use crate::kernel_api::wait::Mode;
use crate::kernel_api::zeros::Zeros;
use crate::link::{Link, State};
use crate::log_warning;
use crate::lookup::{Lookup, LookupEnd, Scratch};
use crate::revoke::{self, Pages};
use crate::visits;

/// Lookups that one page-in makes before it is given up; the next fault asks again.
const MAX_LOOKUPS: u32 = 32;
/// Answers of Later before a page-in is given up.
pub const MAX_LATERS: u8 = 3;

/// The borrower is paused while this lives: the bracket ends on every path.
struct Bracket<'a> {
    link: &'a Link,
    paused: bool,
}

impl<'a> Bracket<'a> {
    fn begin(link: &'a Link) -> Option<Self> {
        if adds_unpaused() || !link.kind.pauses_around_adds() {
            return Some(Self { link, paused: false });
        }
        match link.hypervisor.pause(link.borrower) {
            Ok(()) => {
                link.locked(|state| add(&mut state.core.counters().pause_brackets, 1));
                Some(Self { link, paused: true })
            }
            Err(error) => {
                log_warning!("dom{}: cannot be paused for an add: error {}", link.borrower, error.0);
                None
            }
        }
    }
}

impl Drop for Bracket<'_> {
    fn drop(&mut self) {
        if self.paused {
            // A borrower that has died needs none.
            let _ = self.link.hypervisor.unpause(self.link.borrower);
        }
    }
}

/// What became of one Present.
enum Sent {
    /// Added.
    Yes,
    /// An invalidation came between: look up again.
    Again,
    /// The broker says Later.
    Later,
    /// No more of this page-in.
    GiveUp,
}

/// The page-in of a request.
pub struct Job<'a> {
    /// The link.
    pub link: &'a Link,
    /// The worker that runs it.
    pub worker: u32,
    /// The lease.
    pub lease: LeaseId,
    /// The page.
    pub page: AperturePage,
    /// Answers of Later so far; with [`MAX_LATERS`] the caller is told and nothing is put back.
    pub laters: u8,
}

impl Job<'_> {
    /// Makes the page present if it can. The answer to the access that caused it goes behind
    /// the first Present; it is left in the scratch memory if there is none.
    pub fn run(&self, object: &RegionObject, space: &AddressSpace<'_>, scratch: &mut Scratch) -> PageInEnd {
        let begun = self.link.locked(|state| state.core.begin_page_in(self.lease, self.page));
        match begun {
            Ok(page_in) => {
                let end = self.look_up_and_send(&page_in, object, space, scratch);
                self.link.locked(|state| state.core.end_page_in(&page_in));
                end
            }
            Err(PageInRefusal::AlreadyPresent) => PageInEnd::Present,
            Err(PageInRefusal::Gone | PageInRefusal::NotLending) => PageInEnd::GaveUp,
        }
    }

    /// The same where there is no process any more.
    pub fn run_with_zeros(&self, scratch: &mut Scratch) -> PageInEnd {
        let Ok(page_in) = self.link.locked(|state| state.core.begin_page_in(self.lease, self.page)) else {
            return PageInEnd::GaveUp;
        };
        let end = self.present_zeros(&page_in, scratch);
        self.link.locked(|state| state.core.end_page_in(&page_in));
        end
    }

    fn look_up_and_send(
        &self,
        page_in: &PageIn,
        object: &RegionObject,
        space: &AddressSpace<'_>,
        scratch: &mut Scratch,
    ) -> PageInEnd {
        let read_only = self.is_read_only();
        for _ in 0..MAX_LOOKUPS {
            let (goes_on, changes) = self.link.locked(|state| {
                let changes = state.core.region(self.lease).map_or(0, |region| region.changes);
                (state.core.restart_page_in(page_in), changes)
            });
            if !goes_on {
                return PageInEnd::GaveUp;
            }
            let completes_accesses = self.link.kind.completes_accesses();
            let bars = &self.link.bars;
            let found = Lookup { page_in, space, read_only, completes_accesses, object, bars }.run(scratch);
            match found {
                Ok(()) => {}
                Err(LookupEnd::Again) => continue,
                Err(LookupEnd::Refused(refusal)) => {
                    refuse(self.link, self.lease, self.page, refusal);
                    return self.present_zeros(page_in, scratch);
                }
                Err(LookupEnd::Lost) => {
                    lose_page(self.link, self.lease, self.page);
                    return self.present_zeros(page_in, scratch);
                }
                Err(LookupEnd::GiveUp | LookupEnd::Unlendable) => return PageInEnd::GaveUp,
                Err(LookupEnd::Waits | LookupEnd::Protected) if self.is_given_up() => {
                    return self.present_zeros(page_in, scratch);
                }
                Err(LookupEnd::Waits) => return PageInEnd::Waits(Obstacle::Answer),
                Err(LookupEnd::Protected) => return PageInEnd::Waits(Obstacle::Protection { changes }),
            }
            let stale = self.link.locked(|state| state.core.forget_present(page_in, &mut scratch.window));
            if let Some(first) = stale {
                // The mapping changed without a word to the notifier: the old entry goes first.
                log_warning!(
                    "dom{}: stale entry at page {:#x} found by a lookup",
                    self.link.borrower,
                    first.0
                );
                revoke::revoke(self.link, &Pages { lease: self.lease, first, count: 1 });
                continue;
            }
            match self.send_all(page_in, scratch) {
                Sent::Yes => return PageInEnd::Present,
                Sent::GiveUp => return PageInEnd::GaveUp,
                Sent::Again => {}
                Sent::Later => {
                    if self.laters < MAX_LATERS {
                        let work = Work::Again { tries: self.laters + 1 };
                        let request = Request { lease: self.lease, page: self.page, work };
                        self.link.locked(|state| state.core.push_again(request));
                    }
                    return PageInEnd::Later;
                }
            }
        }
        PageInEnd::GaveUp
    }

    /// There is nothing to lend: presents a page of zeros where that is what the borrower is to see.
    fn present_zeros(&self, page_in: &PageIn, scratch: &mut Scratch) -> PageInEnd {
        if !self.link.locked(|state| state.core.presents_zeros(self.lease)) {
            return PageInEnd::Refused;
        }
        let Some(zeros) = Zeros::new() else { return PageInEnd::GaveUp };
        let page_in = page_in.with_zeros();
        scratch.window.reset(page_in.first, page_in.count, page_in.page);
        scratch.window.put(page_in.page, zeros.mfn(), FrameKind::Ram);
        let extents = scratch.window.next_extents(&mut scratch.window.begin());
        // From when it is posted the mirror has it.
        let (sent, posted) = self.send_one(&page_in, &extents, scratch);
        if posted {
            zeros.into_mirror();
        }
        match sent {
            Sent::Yes => {
                visits::begin(self.link, Pages { lease: self.lease, first: page_in.page, count: 1 });
                PageInEnd::Present
            }
            Sent::Again | Sent::Later | Sent::GiveUp => PageInEnd::GaveUp,
        }
    }

    fn send_all(&self, page_in: &PageIn, scratch: &mut Scratch) -> Sent {
        let first_page = self.link.locked(|state| state.core.region(self.lease).map(|region| region.first));
        let mut sent = scratch.window.begin();
        let mut is_first = true;
        loop {
            let extents = scratch.window.next_extents(&mut sent);
            if extents.is_empty() {
                return Sent::Yes;
            }
            let (result, _) = self.send_one(page_in, &extents, scratch);
            if !matches!(result, Sent::Yes) {
                return result;
            }
            if is_first {
                is_first = false;
                let seen = first_page.and_then(|page| scratch.window.get(page));
                self.link.locked(|state| {
                    add(&mut state.core.counters().page_ins, 1);
                    if let Some((_, kind)) = seen {
                        state.core.note_first_page(self.lease, kind);
                    }
                });
            }
        }
    }

    /// Posts one Present and waits for its answer. Says whether it was posted.
    fn send_one(&self, page_in: &PageIn, extents: &Extents, scratch: &mut Scratch) -> (Sent, bool) {
        // Another worker's is waited for no longer than the broker has for its answer.
        let _turn = self.link.presenting.lock();
        let posted = loop {
            if !self.permit(extents, scratch) {
                return (Sent::GiveUp, false);
            }
            // An invalidation that has ended withdrew nothing that was given after it: such frames are
            // taken back before the borrower is paused, and before any wait.
            if !self.link.locked(|state| state.core.is_current(page_in)) {
                break Posted::Overtaken;
            }
            // Nothing is faulted in inside the bracket, and nothing waited for but the broker.
            let Some(bracket) = Bracket::begin(self.link) else { break Posted::Over };
            let completion = scratch.completion.as_ref();
            let posted = self.link.locked(|state| {
                // If the region has ended meanwhile whoever ended it has answered.
                let completion = completion.filter(|_| state.core.owes_access(self.worker));
                let posted = state.core.post_present(page_in, extents, completion);
                if posted == (Posted::Yes { completed: true }) {
                    state.core.claim_access(self.worker);
                }
                posted
            });
            if let Posted::Yes { completed } = posted {
                if completed {
                    scratch.completion = None;
                }
                return (self.await_answer(page_in, extents, bracket), true);
            }
            drop(bracket);
            if posted != Posted::Full {
                break posted;
            }
            self.forbid(extents, scratch);
            if !self.await_room() {
                return (Sent::GiveUp, false);
            }
        };
        self.forbid(extents, scratch);
        let sent = if posted == Posted::Overtaken { Sent::Again } else { Sent::GiveUp };
        (sent, false)
    }

    fn await_answer(&self, page_in: &PageIn, extents: &Extents, bracket: Bracket<'_>) -> Sent {
        let mut behind = None;
        let answer = self.link.wait_for_answer(Mode::Uninterruptible, |state| {
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
        });
        let outcome = match answer {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(cause)) => {
                force::revoke_all(self.link, cause);
                None
            }
            Err(end) => {
                force::after(self.link, end);
                None
            }
        };
        drop(bracket);
        match outcome {
            Some(PresentOutcome::Added { .. }) => Sent::Yes,
            // Revoked by force: the mirror and the permissions are empty.
            None => Sent::GiveUp,
            // They are mapped. The mirror keeps them, so that force removes them.
            Some(PresentOutcome::Refused(Refusal::AlreadyPresent { .. })) => {
                let cause = self.link.locked(|state| state.core.cause(Reason::Breach));
                force::revoke_all(self.link, cause);
                Sent::GiveUp
            }
            Some(other) => {
                for extent in extents {
                    let pages = Pages { lease: page_in.lease, first: extent.page, count: extent.count };
                    revoke::clear(self.link, &pages, false);
                }
                match other {
                    PresentOutcome::Later => Sent::Later,
                    PresentOutcome::Stale => Sent::Again,
                    // The same frame was lent at another page, and is withdrawn since that was revoked.
                    PresentOutcome::Failed(AddFailure { errno: 1, .. }) if self.link.kind.is_lend_aware() => {
                        Sent::Again
                    }
                    refused => {
                        log_warning!("dom{}: the broker did not add: {:?}", self.link.borrower, refused);
                        Sent::GiveUp
                    }
                }
            }
        }
    }

    fn await_room(&self) -> bool {
        let room = self.link.wait_for_broker(Mode::Uninterruptible, |state| {
            (state.stopping || state.core.needs_force().is_some() || state.core.has_room()).then_some(())
        });
        if let Err(end) = room {
            force::after(self.link, end);
        }
        room.is_ok() && !self.link.locked(|state: &mut State| state.stopping)
    }

    fn permit(&self, extents: &Extents, scratch: &Scratch) -> bool {
        let read_only = self.is_read_only();
        let is_ram = |page| matches!(scratch.window.get(page), Some((_, FrameKind::Ram)));
        let released = self.link.frames.lock().any().release(extents, read_only, &is_ram);
        if let (Err(error), true) = (released, self.link.kind.is_lend_aware()) {
            log_warning!("dom{}: Xen does not release frames: error {error}", self.link.borrower);
        }
        released.is_ok()
    }

    fn is_given_up(&self) -> bool {
        self.link.locked(|state| state.core.is_given_up(self.lease, self.page))
    }

    fn is_read_only(&self) -> bool {
        self.link.locked(|state| state.core.region(self.lease).is_some_and(Region::is_read_only))
    }

    fn forbid(&self, extents: &Extents, scratch: &Scratch) {
        let is_ram = |page| matches!(scratch.window.get(page), Some((_, FrameKind::Ram)));
        let failures = self.link.frames.lock().any().take_back(extents, &is_ram);
        self.link.locked(|state| add(&mut state.core.counters().deny_failures, failures));
    }
}

/// Tells why a page may not be lent.
pub fn refuse(link: &Link, lease: LeaseId, page: AperturePage, refusal: FrameRefusal) {
    let address = link.aperture.address_of(page);
    link.locked(|state| {
        add(&mut state.core.counters().refused_frames, 1);
        state.core.push_event(events::REFUSED, u32::from(lease.index), address, refusal as u64);
    });
    if refusal == FrameRefusal::OtherMmio {
        bars::withdraw_moved(link);
    }
}

/// Tells that a page cannot be brought.
pub fn lose_page(link: &Link, lease: LeaseId, page: AperturePage) {
    let address = link.aperture.address_of(page);
    link.locked(|state| {
        add(&mut state.core.counters().lost_pages, 1);
        state.core.push_event(events::LOST, u32::from(lease.index), address, PAGE_SIZE);
    });
}

/// Answers an access, whatever it takes: a vCPU of the borrower waits for it, also behind a force after
/// which the broker was resumed.
pub fn complete(link: &Link, completion: &Completion) {
    while !try_to_complete(link, completion) {}
}

/// Answers the oldest want, whatever it takes: a task of the borrower waits for it.
pub fn answer_want(link: &Link, ticket: u32, outcome: WantedOutcome) {
    loop {
        let sent = link.wait_for_broker(Mode::Uninterruptible, |state| {
            match state.core.post_wanted(ticket, outcome) {
                Err(NotSent::Full) if !state.stopping => None,
                _ => Some(()),
            }
        });
        match sent {
            Ok(()) => return,
            Err(end) => force::after(link, end),
        }
    }
}

/// Has the broker ask again for what it was told is waited for.
pub fn ask_again(link: &Link, again: AskAgain) {
    let sent = link.wait_for_broker(Mode::Uninterruptible, |state| match state.core.post_ask_again(again) {
        Err(NotSent::Full) if !state.stopping => None,
        _ => Some(()),
    });
    if let Err(end) = sent {
        force::after(link, end);
    }
}

/// Answers an access if the broker takes it before the deadline; if not, revokes by force. False if it
/// may be tried again.
pub fn try_to_complete(link: &Link, completion: &Completion) -> bool {
    let sent =
        link.wait_for_broker(Mode::Uninterruptible, |state| match state.core.post_completed(completion) {
            Err(NotSent::Full) if !state.stopping => None,
            _ => Some(()),
        });
    if let Err(end) = sent {
        force::after(link, end);
    }
    sent.is_ok()
}

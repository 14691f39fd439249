// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pages that tasks of the borrower wait for: page-ins without an access.
//!
//! Each is brought in window by window, and the worker looks for accesses in between: a
//! vCPU that stands still goes before a task that sleeps. Those of a region with a worker in it are
//! passed over; when they take all places and that worker has been held up for a while, they are
//! answered with "waits", so that others find a place.

use heapless::Vec;
use xenlend_protocol::frame::AperturePage;
use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::message::{ToBroker, WantedOutcome, MAX_WANTED};
use xenlend_protocol::refusal::BreachKind;
use xenlend_protocol::ring::{Priority, RingMemory};

use super::{Link, NotSent, Obstacle, State};
use crate::counters::add;
use crate::crew::Owes;
use crate::regions::Phase;
use crate::storage::Storage;

/// Answers of Later before a want is given up.
const MAX_LATERS: u8 = 3;
/// Milliseconds that a worker may be in a region before the region's wants make way for others.
const HELD_UP_MS: u64 = 100;

/// What the broker wants.
#[derive(Clone, Copy, Debug)]
struct Want {
    ticket: u32,
    lease: LeaseId,
    /// The first page that has not been brought in.
    first: AperturePage,
    /// The page behind the last.
    end: AperturePage,
    laters: u8,
    given_up: bool,
    /// There is nothing that could be lent at its first page.
    failed: bool,
    /// Some of its pages are waited for: passed over, and the answer says so.
    waits: bool,
}

/// All that is not answered, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Wants {
    unanswered: Vec<Want, MAX_WANTED>,
}

impl Wants {
    /// Whether one of a lease is yet to be answered with "waits".
    pub(super) fn has_waiting(&self, lease: LeaseId) -> bool {
        self.unanswered.iter().any(|want| want.waits && want.lease == lease)
    }

    fn with_ticket(&self, ticket: u32) -> Option<usize> {
        self.unanswered.iter().position(|want| want.ticket == ticket)
    }
}

/// What the worker does for the oldest want.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextWant {
    /// Bring the window of this page in, and say how that ended.
    PageIn {
        /// The want.
        ticket: u32,
        /// The lease.
        lease: LeaseId,
        /// The page.
        page: AperturePage,
    },
    /// Answer it.
    Answer {
        /// The want.
        ticket: u32,
        /// How it ended.
        outcome: WantedOutcome,
    },
}

/// How a page-in ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageInEnd {
    /// The page was made present, or was present already.
    Present,
    /// The broker says Later.
    Later,
    /// It could not be.
    GaveUp,
    /// There is nothing that could be lent.
    Refused,
    /// It cannot be had now, and for how long nobody knows.
    Waits(Obstacle),
}

impl<R: RingMemory, S: Storage> Link<R, S> {
    pub(super) fn on_want(
        &mut self,
        ticket: u32,
        (lease, first, count): (LeaseId, AperturePage, u32),
        vcpu: bool,
    ) -> Result<(), BreachKind> {
        if vcpu && self.config.kind.completes_accesses() {
            return Err(BreachKind::OutOfTurn);
        }
        add(if vcpu { &mut self.counters.stage2_faults } else { &mut self.counters.wants }, 1);
        let end = first.checked_add(count).filter(|_| count > 0).ok_or(BreachKind::OutOfRange)?;
        // One that is gone meanwhile is none to be checked, and answered so.
        if let Some(region) = self.regions.get(lease) {
            let region_end = region.first.0.saturating_add(region.count);
            if first < region.first || end.0 > region_end {
                return Err(BreachKind::OutOfRange);
            }
        }
        if self.wants.unanswered.iter().any(|want| want.ticket == ticket) {
            return Err(BreachKind::UnexpectedAnswer);
        }
        let want =
            Want { ticket, lease, first, end, laters: 0, given_up: false, failed: false, waits: false };
        self.wants.unanswered.push(want).map_err(|_| BreachKind::TooManyOutstanding)
    }

    /// What to do for the oldest want of a region that no worker is in, if there is one that may be
    /// worked on now.
    pub fn next_want(&mut self) -> Option<NextWant> {
        if self.is_held() {
            return None;
        }
        let is_lending = self.is_lending();
        let completes_accesses = self.config.kind.completes_accesses();
        let crew = &self.crew;
        let may_enter = |want: &&mut Want| crew.inside(want.lease).is_none();
        let want = self.wants.unanswered.iter_mut().find(may_enter)?;
        let ticket = want.ticket;
        let answer = |outcome| Some(NextWant::Answer { ticket, outcome });
        let Some(region) = self.regions.get(want.lease) else { return answer(WantedOutcome::Unavailable) };
        if region.is_lost {
            return answer(WantedOutcome::Lost);
        }
        while want.first < want.end && region.mirror.frame_at(want.first).is_some() {
            want.first = AperturePage(want.first.0.saturating_add(1));
        }
        if want.first >= want.end {
            return answer(if want.waits { WantedOutcome::Waits } else { WantedOutcome::Present });
        }
        let failed = want.failed || want.given_up || want.laters > MAX_LATERS;
        if failed && want.waits {
            // One answer for all of it: of what has failed it is given to a question of its own.
            let (lease, first, end) = (want.lease, want.first, want.end);
            want.first = want.end;
            self.ask_for_rest(lease, first, end);
            return answer(WantedOutcome::Waits);
        }
        if want.failed && !completes_accesses {
            return answer(WantedOutcome::Failed);
        }
        if failed || region.phase != Phase::Active || !is_lending {
            return answer(WantedOutcome::Unavailable);
        }
        Some(NextWant::PageIn { ticket, lease: want.lease, page: want.first })
    }

    /// Takes how the page-in of a page ended.
    pub fn on_want_served(&mut self, ticket: u32, page: AperturePage, end: PageInEnd) {
        let Some(at) = self.wants.with_ticket(ticket) else { return };
        let Some(want) = self.wants.unanswered.get_mut(at) else { return };
        match end {
            PageInEnd::Present => {
                // It may be gone again, which the borrower is told by whoever took it.
                want.first = want.first.max(AperturePage(page.0.saturating_add(1)));
            }
            PageInEnd::Later => {
                // What holds it up may need a worker, or another want may go on.
                want.laters = want.laters.saturating_add(1);
                let want = self.wants.unanswered.remove(at);
                // Always room: it was taken out.
                let _ = self.wants.unanswered.push(want);
            }
            PageInEnd::GaveUp => want.given_up = true,
            PageInEnd::Refused => want.failed = true,
            PageInEnd::Waits(_) => {
                want.waits = true;
                want.first = want.first.max(AperturePage(page.0.saturating_add(1)));
            }
        }
    }

    /// Whether there is a want for a worker that is in no region.
    pub(super) fn has_want(&self) -> bool {
        let wants = &self.wants.unanswered;
        wants.is_full() || wants.iter().any(|want| self.crew.inside(want.lease).is_none())
    }

    /// The oldest want to be answered with "waits" because no place is left for others and the
    /// worker in its region has been held up: the answer of that worker is not waited for.
    pub fn next_held_up(&mut self, now: u64) -> Option<NextWant> {
        if !self.wants.unanswered.is_full() {
            return None;
        }
        for want in &mut self.wants.unanswered {
            let Some((worker, visit)) = self.crew.inside(want.lease) else { continue };
            if now.saturating_sub(visit.since) < HELD_UP_MS {
                continue;
            }
            // Until it has been answered the broker is not told to ask again.
            want.waits = true;
            let ticket = want.ticket;
            if let Some(visit) = self.crew.visit_mut(worker) {
                visit.held_up = true;
            }
            return Some(NextWant::Answer { ticket, outcome: WantedOutcome::Waits });
        }
        None
    }

    /// Milliseconds until [`Self::next_held_up`] has something to do; 0 for never.
    pub fn held_up_in(&self, now: u64) -> u32 {
        if !self.wants.unanswered.is_full() {
            return 0;
        }
        let since = |want: &Want| self.crew.inside(want.lease).map(|(_, visit)| visit.since);
        let first = self.wants.unanswered.iter().filter_map(since).min();
        let left = first.map(|since| since.saturating_add(HELD_UP_MS).saturating_sub(now).max(1));
        left.map_or(0, |left| u32::try_from(left).unwrap_or(u32::MAX))
    }

    /// Answers a want.
    ///
    /// # Errors
    /// If there is no room now; and while somebody revokes by force, since the broker may be
    /// resumed after it, with a task that still waits.
    pub fn post_wanted(&mut self, ticket: u32, outcome: WantedOutcome) -> Result<(), NotSent> {
        let sent = match self.state {
            State::Connected | State::Forced => {
                self.send(&ToBroker::Wanted { ticket, outcome }, Priority::Normal)
            }
            State::Forcing(_) => Err(NotSent::Full),
            _ => Err(NotSent::Over),
        };
        if sent != Err(NotSent::Full) {
            if let Some(at) = self.wants.with_ticket(ticket) {
                self.wants.unanswered.remove(at);
            }
            // Nobody else answers it any more.
            for visit in self.crew.visits_mut().filter(|visit| visit.owes == Owes::Want(ticket)) {
                visit.owes = Owes::Nothing;
            }
        }
        sent
    }
}

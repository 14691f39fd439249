// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pages that cannot be had now: somebody else has to bring them, who may never do so (a
//! userfaultfd, a file of FUSE), or the mapping does not permit what the borrower wants to do.
//!
//! The worker waits for none of them. A page that somebody has to bring gets a thread of its own, a
//! bounded number of them for each region, and beyond that its turn. One that is not permitted is
//! looked at again when the kernel invalidates something there, and now and then besides. What
//! needs the page is set aside meanwhile: an access here, a want by telling the broker so.
//!
//! No wait is for good: after a while the broker is told to ask again, and what nobody wants any
//! more is forgotten so.

use xenlend_protocol::frame::AperturePage;
use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::message::ToBroker;
use xenlend_protocol::ring::{Priority, RingMemory};

use super::waits::{Stage, Wait, MAX_THREADS, MAX_THREADS_OF_REGION, PATIENCE_MS};
use super::{Link, NotSent, State};
use crate::counters::add;
use crate::events;
use crate::given_up::TooMany;
use crate::lendable::FrameRefusal;
use crate::regions::{Phase, Region};
use crate::request_queue::Request;
use crate::storage::Storage;
use crate::uapi::{Resolve, ResolveAnswer};

/// Milliseconds until a page that is not permitted is looked at again; doubled each time.
const FIRST_LOOK_MS: u64 = 10;
/// The most of it.
const LAST_LOOK_MS: u64 = 1000;

/// Why a page cannot be had now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// A fault has to be answered by somebody else.
    Answer,
    /// The mapping can be read and not be written.
    Protection {
        /// [`crate::regions::Region::changes`] before the look that found this.
        changes: u32,
    },
}

/// Why an answer to those who wait is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResolveError {
    /// No such region of this descriptor.
    NoRegion,
    /// The pages are not in it.
    Outside,
    /// More ranges are given up than a region has room for.
    TooMany,
}

/// What the broker is to ask for again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AskAgain {
    /// The lease.
    pub lease: LeaseId,
    /// First page.
    pub first: AperturePage,
    /// Number of pages.
    pub count: u32,
}

impl<R: RingMemory, S: Storage> Link<R, S> {
    /// The oldest request of the broker that is not set aside, in a region that no worker is in.
    pub fn pop_request(&mut self) -> Option<Request> {
        let crew = &self.crew;
        self.requests.pop_ready(|lease| crew.inside(lease).is_none())
    }

    /// Sets an access aside until its page can be looked at again. Gives it back if it
    /// cannot be: it is none.
    ///
    /// # Errors
    /// The request.
    #[allow(clippy::result_large_err, reason = "it is the caller's own")]
    pub fn set_aside(&mut self, request: Request) -> Result<(), Request> {
        self.requests.set_aside(request)
    }

    /// A page cannot be had now, at this time in milliseconds. Whoever needs it has been set aside,
    /// or is `told` with the answer to a want. True if the caller has to start a thread for the
    /// page.
    pub fn begin_waiting(
        &mut self,
        lease: LeaseId,
        page: AperturePage,
        obstacle: Obstacle,
        told: bool,
        now: u64,
    ) -> bool {
        let region = self.regions.get(lease).filter(|region| region.phase == Phase::Active);
        let Some(changes) = region.map(|region| region.changes) else {
            self.take_back(Some((lease, page)));
            return false;
        };
        let has_changed = |changes_before| changes_before != changes;
        let protected = obstacle != Obstacle::Answer;
        if let Some(wait) = self.waits.find(lease, page, protected) {
            wait.told |= told;
            wait.needed = now;
            let is_over = wait.stage == Stage::Over;
            let is_stale = matches!(obstacle, Obstacle::Protection { changes } if has_changed(changes));
            wait.ask |= wait.told && (is_over || is_stale);
            if is_over || is_stale {
                self.take_back(Some((lease, page)));
            }
            return false;
        }
        let end = AperturePage(page.0.saturating_add(1));
        let mut wait =
            Wait { lease, page, end, protected, stage: Stage::Over, told, ask: false, needed: now };
        match obstacle {
            // Looked at before what has changed since: again, at once.
            Obstacle::Protection { changes } if has_changed(changes) => {
                wait.ask = wait.told;
                self.take_back(Some((lease, page)));
                if !wait.told {
                    return false;
                }
            }
            Obstacle::Protection { .. } => {
                let next = now.saturating_add(FIRST_LOOK_MS);
                wait.stage = Stage::Looking { next, after: FIRST_LOOK_MS };
                self.push_refused(lease, page, FrameRefusal::ReadOnly);
            }
            Obstacle::Answer => {
                let may_start = self.waits.threads() < MAX_THREADS
                    && self.waits.threads_of(lease) < MAX_THREADS_OF_REGION;
                wait.stage = if may_start { Stage::Waiting { since: now } } else { Stage::Queued };
            }
        }
        self.add_wait(wait) && wait.has_thread()
    }

    /// Pages of a want that is answered with "waits" because of others were not looked at: the
    /// broker asks for them by themselves.
    pub(super) fn ask_for_rest(&mut self, lease: LeaseId, page: AperturePage, end: AperturePage) {
        let (stage, protected) = (Stage::Over, false);
        self.add_wait(Wait { lease, page, end, protected, stage, told: true, ask: true, needed: 0 });
    }

    fn add_wait(&mut self, wait: Wait) -> bool {
        let added = self.waits.push(wait);
        if !added {
            // The next that ends has all of them looked at again.
            if let Some(region) = self.regions.get_mut(wait.lease).filter(|_| wait.told) {
                region.asks_again = true;
            }
            self.crowded = true;
        }
        added
    }

    /// The thread that waited for a page has come back, whatever with: what was set aside is tried
    /// again. Gives the page that it waits for next.
    pub fn end_waiting(
        &mut self,
        lease: LeaseId,
        page: AperturePage,
        now: u64,
    ) -> Option<(LeaseId, AperturePage)> {
        if let Some(wait) = self.waits.find_answer(lease, page) {
            wait.stage = Stage::Over;
            wait.ask = wait.told;
        }
        self.settle_waits();
        self.take_back(Some((lease, page)));
        self.effects.wake = true;
        let wait = self.waits.next_queued()?;
        wait.stage = Stage::Waiting { since: now };
        Some((wait.lease, wait.page))
    }

    /// There is no memory for the thread that a page was to have: it is looked at again later.
    pub fn wait_without_thread(&mut self, lease: LeaseId, page: AperturePage, now: u64) {
        if let Some(wait) = self.waits.find_answer(lease, page) {
            let next = now.saturating_add(LAST_LOOK_MS);
            wait.stage = Stage::Looking { next, after: LAST_LOOK_MS };
        }
    }

    /// Whether the thread that waits for a page has to come back.
    pub fn has_to_stop(&mut self, lease: LeaseId, page: AperturePage) -> bool {
        self.waits.find_answer(lease, page).is_some_and(|wait| wait.stage == Stage::Stopping)
    }

    /// A page that has had its turn, or that was waited for so long that nobody may want it any
    /// more: its thread has to be told to come back. Gives one at each call, until there is none.
    pub fn next_to_interrupt(&mut self, now: u64) -> Option<(LeaseId, AperturePage)> {
        let is_due = |wait: &&Wait| self.waits.turn_end(wait).is_some_and(|end| end <= now);
        let due = self.waits.iter().find(is_due).map(|wait| (wait.lease, wait.page))?;
        self.waits.find_answer(due.0, due.1)?.stage = Stage::Stopping;
        Some(due)
    }

    /// Has pages that are not permitted looked at again whose time has come. Gives the milliseconds
    /// until this or [`Self::next_to_interrupt`] has something to do; 0 for never.
    pub fn look_again(&mut self, now: u64) -> u32 {
        let mut ready = false;
        for wait in self.waits.iter_mut() {
            let Stage::Looking { next, after } = wait.stage else { continue };
            if next > now {
                continue;
            }
            let is_set_aside = self.requests.has_set_aside(wait.lease, wait.page);
            if !is_set_aside && now.saturating_sub(wait.needed) >= PATIENCE_MS {
                // Nobody has asked again for so long.
                wait.stage = Stage::Over;
                continue;
            }
            let after = after.saturating_mul(2).min(LAST_LOOK_MS);
            wait.stage = Stage::Looking { next: now.saturating_add(after), after };
            wait.ask = wait.told;
            ready |= self.requests.take_back(Some((wait.lease, wait.page)));
        }
        self.settle_waits();
        self.effects.wake |= ready;
        let time = |wait: &Wait| match wait.stage {
            Stage::Looking { next, .. } => Some(next),
            _ => self.waits.turn_end(wait),
        };
        let next = self.waits.iter().filter_map(time).min();
        next.map_or(0, |next| u32::try_from(next.saturating_sub(now)).unwrap_or(u32::MAX).max(1))
    }

    /// The kernel says that something changes at these pages of a region: what was not permitted
    /// may be now. Not for what this module revokes by itself, which changes nothing of the
    /// process's.
    pub fn note_change(&mut self, lease: LeaseId, first: AperturePage, count: u32) {
        let Some(region) = self.regions.get_mut(lease) else { return };
        region.changes = region.changes.wrapping_add(1);
        region.given_up.forget(first, count);
        self.retry(lease, first, count);
    }

    /// Whether the process has said that nothing will come of a page.
    pub fn is_given_up(&self, lease: LeaseId, page: AperturePage) -> bool {
        self.regions.get(lease).is_some_and(|region| region.given_up.contains(page))
    }

    /// The answer of the descriptor `owner` to those who wait. Threads that wait there have to be
    /// told to come back: [`Self::next_to_interrupt`].
    ///
    /// # Errors
    /// Why not.
    pub fn resolve(&mut self, resolve: &Resolve, owner: u32) -> Result<(), ResolveError> {
        let is_meant = |region: &&mut Region<S>| {
            u32::from(region.lease.index) == resolve.slot && region.owner == Some(owner)
        };
        let region = self.regions.iter_mut().find(is_meant).ok_or(ResolveError::NoRegion)?;
        let pages = region.pages_at(&self.config.aperture, resolve.guest_phys_addr, resolve.memory_size);
        let (first, count) = pages.ok_or(ResolveError::Outside)?;
        let lease = region.lease;
        match resolve.answer {
            ResolveAnswer::Retry => region.given_up.forget(first, count),
            ResolveAnswer::Loss => {
                region.given_up.add(first, count).map_err(|TooMany| ResolveError::TooMany)?;
                for wait in self.waits.iter_mut().filter(|wait| wait.is_among(lease, first, count)) {
                    match wait.stage {
                        Stage::Waiting { .. } => wait.stage = Stage::Recalled,
                        Stage::Queued => wait.stage = Stage::Looking { next: 0, after: LAST_LOOK_MS },
                        Stage::Looking { .. } | Stage::Recalled | Stage::Stopping | Stage::Over => {}
                    }
                }
            }
        }
        self.retry(lease, first, count);
        self.effects.wake = true;
        Ok(())
    }

    /// Has what no thread waits for at these pages looked at again.
    fn retry(&mut self, lease: LeaseId, first: AperturePage, count: u32) {
        for wait in self.waits.iter_mut() {
            if !wait.is_among(lease, first, count) || !matches!(wait.stage, Stage::Looking { .. }) {
                continue;
            }
            wait.ask |= wait.told;
            self.effects.wake |= wait.ask | self.requests.take_back(Some((lease, wait.page)));
            if !wait.told {
                // Whoever meets the same obstacle again is a new case, and says so again.
                wait.stage = Stage::Over;
            }
        }
        self.settle_waits();
    }

    /// What the broker has to ask for again, and has been told to wait for.
    pub fn next_to_ask_again(&self) -> Option<AskAgain> {
        if !matches!(self.state, State::Connected | State::Forced) {
            return None;
        }
        // Behind the answers: the broker asks again for what it has been told of.
        let is_told = |lease| !self.wants.has_waiting(lease);
        if let Some(wait) = self.waits.iter().find(|wait| wait.ask && is_told(wait.lease)) {
            let count = wait.end.0.saturating_sub(wait.page.0);
            return Some(AskAgain { lease: wait.lease, first: wait.page, count });
        }
        let region = self.regions.iter().find(|region| region.asks_again && is_told(region.lease))?;
        let all = AskAgain { lease: region.lease, first: region.first, count: region.count };
        Some(all).filter(|_| !self.waits.is_full())
    }

    /// Has the broker ask again for what [`Self::next_to_ask_again`] gave.
    ///
    /// # Errors
    /// If it cannot be told now.
    pub fn post_ask_again(&mut self, again: AskAgain) -> Result<(), NotSent> {
        match self.state {
            State::Connected | State::Forced => {}
            State::Forcing(_) => return Err(NotSent::Full),
            _ => return Err(NotSent::Over),
        }
        let AskAgain { lease, first, count } = again;
        self.send(&ToBroker::AskAgain { lease, first, count }, Priority::Normal)?;
        for wait in self.waits.iter_mut() {
            if wait.ask && wait.is_among(lease, first, count) {
                (wait.ask, wait.told) = (false, false);
            }
        }
        self.settle_waits();
        if let Some(region) = self.regions.get_mut(lease) {
            region.asks_again &= region.first != first || region.count != count;
        }
        Ok(())
    }

    /// Nobody waits for pages of a region any more: it ends. Threads come back when they are told.
    pub(super) fn end_waits_of(&mut self, lease: LeaseId) {
        for wait in self.waits.iter_mut().filter(|wait| wait.lease == lease) {
            (wait.told, wait.ask) = (false, false);
            wait.stage = if wait.has_thread() { Stage::Stopping } else { Stage::Over };
        }
        self.settle_waits();
        self.effects.wake |= self.requests.take_back_of(lease);
    }

    /// Frees the places of what is over.
    fn settle_waits(&mut self) {
        self.waits.retain(|wait| wait.stage != Stage::Over || wait.ask);
        if self.crowded && !self.waits.is_full() {
            self.crowded = false;
            self.effects.wake |= self.requests.take_back(None);
        }
    }

    fn push_refused(&mut self, lease: LeaseId, page: AperturePage, refusal: FrameRefusal) {
        let address = self.config.aperture.address_of(page);
        add(&mut self.counters.refused_frames, 1);
        self.push_event(events::REFUSED, u32::from(lease.index), address, refusal as u64);
    }

    /// Accesses of a page, or all, are for the worker again.
    fn take_back(&mut self, page: Option<(LeaseId, AperturePage)>) {
        self.effects.wake |= self.requests.take_back(page);
    }

    /// So are all, for whoever ends the link.
    pub fn take_back_all(&mut self) {
        let _ = self.requests.take_back(None);
    }
}

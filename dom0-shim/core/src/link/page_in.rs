// SPDX-License-Identifier: MIT OR Apache-2.0
//! Making pages present: from listing the page-in to the broker's answer.

use core::ops::DerefMut;

use xenlend_protocol::extent::Extent;
use xenlend_protocol::frame::{AperturePage, FRAMES_PER_2MIB};
use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::message::{AccessOutcome, PresentOutcome, ToBroker};
use xenlend_protocol::refusal::{BreachKind, Refusal};
use xenlend_protocol::ring::{Priority, RingMemory};

use super::{Link, NotSent, Reason, State};
use crate::counters::add;
use crate::in_flight::PageInId;
use crate::lendable::FrameKind;
use crate::regions::Phase;
use crate::storage::Storage;
use crate::window::{Extents, Window};

/// A page-in in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageIn {
    /// Its place in the list.
    pub id: PageInId,
    /// The lease.
    pub lease: LeaseId,
    /// The page that was asked for.
    pub page: AperturePage,
    /// First page of the window around it.
    pub first: AperturePage,
    /// Pages of the window.
    pub count: u32,
    /// The byte of the process that backs the first page of the window.
    pub user_address: u64,
    /// The process has nothing there: a page of zeros is presented. The window is the page alone.
    pub zeros: bool,
}

impl PageIn {
    /// The same for a page of zeros, since there is nothing to lend.
    #[must_use]
    pub fn with_zeros(&self) -> Self {
        Self { first: self.page, count: 1, zeros: true, ..*self }
    }
}

/// Why a page-in cannot begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageInRefusal {
    /// No such lease, or it is ending, or its pages are lost.
    Gone,
    /// The broker cannot be asked to add now.
    NotLending,
    /// The page is present already.
    AlreadyPresent,
}

/// An answer to the broker that goes behind a Present.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// `id` of the access.
    pub id: u32,
    /// How it ended.
    pub outcome: AccessOutcome,
}

/// What became of an attempt to post a Present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Posted {
    /// It is in the ring; its entries count as present from now on.
    Yes {
        /// The completion is in the ring behind it.
        completed: bool,
    },
    /// An invalidation came between: look up again. Nothing was sent.
    Overtaken,
    /// No room now. Nothing was sent.
    Full,
    /// The link is not lending. Nothing was sent.
    Over,
}

/// Where the posted Present stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PresentStanding {
    /// No answer yet.
    Waiting,
    /// The broker's answer.
    Answered(PresentOutcome),
    /// There will be none: the lender has revoked everything by force.
    Gone,
}

/// The one Present that may be unanswered.
#[derive(Debug)]
pub(super) struct Pending {
    ticket: u32,
    answer: Option<PresentOutcome>,
    entries_2mib: u64,
    entries_4kib: u64,
}

impl Pending {
    pub(super) fn is_unanswered(&self) -> bool {
        self.answer.is_none()
    }
}

impl<R: RingMemory, S: Storage> Link<R, S> {
    /// Lists a page-in of the aligned 2 MiB window around a page, clipped to its region.
    ///
    /// # Errors
    /// If nothing can be made present there now.
    pub fn begin_page_in(&mut self, lease: LeaseId, page: AperturePage) -> Result<PageIn, PageInRefusal> {
        if !self.may_add() {
            return Err(PageInRefusal::NotLending);
        }
        let region = self.regions.get(lease).ok_or(PageInRefusal::Gone)?;
        if region.phase != Phase::Active || region.is_lost {
            return Err(PageInRefusal::Gone);
        }
        if region.mirror.frame_at(page).is_some() {
            return Err(PageInRefusal::AlreadyPresent);
        }
        let mask = FRAMES_PER_2MIB.saturating_sub(1);
        let first = AperturePage((page.0 & !mask).max(region.first.0));
        let chunk_end = (page.0 | mask).saturating_add(1);
        let end = region.first.0.saturating_add(region.count).min(chunk_end);
        let user_address = region.user_address_of(first).ok_or(PageInRefusal::Gone)?;
        region.user_address_of(page).ok_or(PageInRefusal::Gone)?;
        let count = end.saturating_sub(first.0);
        let id = self.in_flight.begin(first, count).ok_or(PageInRefusal::NotLending)?;
        Ok(PageIn { id, lease, page, first, count, user_address, zeros: false })
    }

    /// Whether no invalidation has touched the window since it was listed.
    pub fn is_current(&self, page_in: &PageIn) -> bool {
        self.in_flight.is_current(page_in.id)
    }

    /// Begins the lookup anew after an invalidation. False if the page-in is over instead:
    /// its region is ending or the link is.
    pub fn restart_page_in(&mut self, page_in: &PageIn) -> bool {
        let region = self.regions.get(page_in.lease);
        let active = region.is_some_and(|region| region.phase == Phase::Active && !region.is_lost);
        let goes_on = active && self.may_add();
        if goes_on {
            self.in_flight.restart(page_in.id);
        }
        goes_on
    }

    /// Takes a page-in off the list.
    pub fn end_page_in(&mut self, page_in: &PageIn) {
        self.in_flight.end(page_in.id);
    }

    /// Takes out of a window what is present already. Gives a page that is present in
    /// another frame than was found now: an entry that must be revoked first.
    pub fn forget_present<W>(&self, page_in: &PageIn, window: &mut Window<W>) -> Option<AperturePage>
    where
        W: DerefMut<Target = [u64]>,
    {
        let region = self.regions.get(page_in.lease)?;
        if !region.mirror.has_present(page_in.first, page_in.count) {
            return None;
        }
        for step in 0..page_in.count {
            let page = AperturePage(page_in.first.0.saturating_add(step));
            let Some(mfn) = region.mirror.frame_at(page) else { continue };
            if window.get(page).is_some_and(|(found, _)| found != mfn) {
                return Some(page);
            }
            window.forget(page);
        }
        None
    }

    /// Notes where a region's first page was found: a migration shows as another kind.
    pub fn note_first_page(&mut self, lease: LeaseId, kind: FrameKind) {
        let Some(region) = self.regions.get_mut(lease) else { return };
        match (region.first_page_kind.replace(kind), kind) {
            (Some(FrameKind::Ram), FrameKind::Bar) => add(&mut self.counters.migrations_to_vram, 1),
            (Some(FrameKind::Bar), FrameKind::Ram) => add(&mut self.counters.migrations_to_ram, 1),
            _ => {}
        }
    }

    /// Posts a Present unless an invalidation has come between, and the completion of
    /// the access that caused it behind it. At most one Present is unanswered.
    pub fn post_present(
        &mut self,
        page_in: &PageIn,
        extents: &Extents,
        completion: Option<&Completion>,
    ) -> Posted {
        if !self.may_add() || self.present.is_some() {
            return Posted::Over;
        }
        if !self.in_flight.is_current(page_in.id) {
            return Posted::Overtaken;
        }
        let Some(region) = self.regions.get_mut(page_in.lease) else { return Posted::Overtaken };
        let (first, count) = (region.first, region.count);
        let ticket = self.next_ticket;
        let message = ToBroker::Present {
            ticket,
            lease: page_in.lease,
            sequence: self.invalidations.newest(),
            extents: extents.clone(),
        };
        match self.send(&message, Priority::Normal) {
            Ok(()) => {}
            Err(NotSent::Full) => return Posted::Full,
            Err(NotSent::Over) => return Posted::Over,
        }
        let mut pending = Pending { ticket, answer: None, entries_2mib: 0, entries_4kib: 0 };
        if let Some(region) = self.regions.get_mut(page_in.lease) {
            for claim in extents {
                let Ok(extent) = Extent::check(claim, first, count) else { continue };
                if page_in.zeros {
                    region.mirror.set_zeros(extent.page(), extent.mfn());
                    add(&mut pending.entries_4kib, 1);
                    continue;
                }
                let entries = region.mirror.set(&extent);
                add(&mut pending.entries_2mib, u64::from(entries.of_2mib));
                add(&mut pending.entries_4kib, u64::from(entries.of_4kib));
            }
        }
        self.present = Some(pending);
        self.next_ticket = ticket.wrapping_add(1);
        let completed = completion.is_some_and(|completion| self.post_completed(completion).is_ok());
        Posted::Yes { completed }
    }

    /// Answers an access.
    ///
    /// # Errors
    /// If there is no room now; and while somebody revokes by force, since the broker may be
    /// resumed after it, with a vCPU that still waits.
    pub fn post_completed(&mut self, completion: &Completion) -> Result<(), NotSent> {
        match self.state {
            State::Connected | State::Forced => {}
            State::Forcing(_) => return Err(NotSent::Full),
            _ => return Err(NotSent::Over),
        }
        let message = ToBroker::Completed { id: completion.id, outcome: completion.outcome.clone() };
        self.send(&message, Priority::Normal)
    }

    /// Where the Present stands.
    pub fn present_standing(&self) -> PresentStanding {
        match self.present.as_ref().map(|pending| pending.answer) {
            None => PresentStanding::Gone,
            Some(None) => PresentStanding::Waiting,
            Some(Some(outcome)) => PresentStanding::Answered(outcome),
        }
    }

    /// Ends the Present after its answer and counts it. What the broker did not add the
    /// caller takes out of the mirror, with the permissions; but what it says is present
    /// already stays there, to be removed by force.
    pub fn end_present(&mut self) {
        let Some(pending) = self.present.take() else { return };
        match pending.answer {
            Some(PresentOutcome::Added { .. }) => {
                add(&mut self.counters.adds_2mib, pending.entries_2mib);
                add(&mut self.counters.adds_4kib, pending.entries_4kib);
            }
            Some(PresentOutcome::Later) => add(&mut self.counters.laters, 1),
            // The broker has an entry that the mirror says was removed: nothing it says holds.
            Some(PresentOutcome::Refused(Refusal::AlreadyPresent { .. })) => self.fail(Reason::Breach),
            _ => {}
        }
    }

    pub(super) fn on_presented(&mut self, ticket: u32, outcome: PresentOutcome) -> Result<(), BreachKind> {
        let pending = self.present.as_mut().filter(|pending| pending.ticket == ticket);
        let pending =
            pending.filter(|pending| pending.answer.is_none()).ok_or(BreachKind::UnexpectedAnswer)?;
        pending.answer = Some(outcome);
        Ok(())
    }
}

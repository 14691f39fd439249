// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the borrower has been told of the leases, and what it has yet to be told.
//!
//! Revocation records here and goes on: it waits for no room. What does not fit becomes
//! one bit of its lease, and then one `Revoked` for all of it.

use heapless::Deque;
use xenlend_protocol::frame::AperturePage;
use xenlend_protocol::frontend::ToBorrower;
use xenlend_protocol::lease_id::LeaseId;

use crate::lease::Lease;
use crate::lease_registry::{LeaseRegistry, LEASE_CAPACITY};
use crate::lending_table::PageRange;

/// Ranges that are told of one by one.
const RECENT: usize = 32;

/// What happened to pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Happened {
    Revoked,
    Lost,
}

#[derive(Clone, Copy, Debug)]
struct Recent {
    happened: Happened,
    index: u16,
    pages: PageRange,
}

/// A lease as the borrower knows it.
#[derive(Clone, Copy, Debug)]
struct Told {
    id: LeaseId,
    pages: PageRange,
    /// It is over, and the borrower does not know.
    ended: bool,
}

/// An index of the registry, as the borrower knows it.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    told: Option<Told>,
    /// All of it has to be called revoked.
    revoke_all: bool,
    /// All of it has to be called lost.
    lost_all: bool,
    /// Pages, from the first to the last, for which a task may wait while the lender itself waits.
    waits: Option<PageRange>,
}

/// What a piece of news will have changed when it has been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Recent,
    Ended(u16),
    RevokedAll(u16),
    LostAll(u16),
    Announced(u16),
}

/// All news.
#[derive(Debug)]
pub(crate) struct LeaseNews {
    places: [Place; LEASE_CAPACITY as usize],
    /// Places that have to be looked at, one bit each.
    changed: u64,
    recent: Deque<Recent, RECENT>,
    /// Sequence of the newest `Revoked`.
    sequence: u64,
    /// Sequence of the newest `ZapDone`.
    zapped: u64,
}

const _: () = assert!(LEASE_CAPACITY as u32 <= u64::BITS);

impl Default for LeaseNews {
    fn default() -> Self {
        Self {
            places: [Place::default(); LEASE_CAPACITY as usize],
            changed: 0,
            recent: Deque::new(),
            sequence: 0,
            zapped: 0,
        }
    }
}

/// A `ZapDone` that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadZap {
    /// Of a sequence that was never sent.
    NeverSent,
    /// Below an earlier one.
    Backwards,
}

impl LeaseNews {
    /// The borrower knows nothing: every lease has to be announced.
    pub(crate) fn start(&mut self) {
        *self = Self { changed: u64::MAX, ..Self::default() };
    }

    /// A lease has been granted at an index.
    pub(crate) fn granted(&mut self, index: u16) {
        self.mark(index);
    }

    /// Pages of a lease have been taken away.
    pub(crate) fn revoked(&mut self, id: LeaseId, pages: PageRange) {
        self.record(id, pages, Happened::Revoked);
    }

    /// Pages of a lease are lost.
    pub(crate) fn lost(&mut self, id: LeaseId, pages: PageRange) {
        self.record(id, pages, Happened::Lost);
    }

    /// The lender itself waits for these pages of a lease.
    pub(crate) fn waits(&mut self, id: LeaseId, pages: PageRange) {
        if self.told(id).is_none() {
            return;
        }
        if let Some(place) = self.places.get_mut(usize::from(id.index)) {
            let before = place.waits.unwrap_or(pages);
            let (first, end) = (before.first.min(pages.first), before.end.max(pages.end));
            place.waits = Some(PageRange { first, end });
        }
    }

    /// Of these pages it does not any more: to call them revoked makes whoever waits for one ask
    /// again.
    pub(crate) fn ask_again(&mut self, id: LeaseId, pages: PageRange) {
        if self.told(id).is_none() {
            return;
        }
        let Some(place) = self.places.get_mut(usize::from(id.index)) else { return };
        let Some(waits) = place.waits else { return };
        let again = waits.intersect(&pages);
        // From the first to the last is all that is kept: of a hole in the middle nothing is
        // forgotten.
        let left = match (again.first <= waits.first, again.end >= waits.end) {
            (true, true) => None,
            (true, false) => Some(PageRange { first: again.end, end: waits.end }),
            (false, true) => Some(PageRange { first: waits.first, end: again.first }),
            (false, false) => Some(waits),
        };
        if !again.is_empty() {
            place.waits = left;
            self.revoked(id, again);
        }
    }

    /// Every page has been taken away.
    pub(crate) fn all_revoked(&mut self) {
        self.recent.clear();
        for place in &mut self.places {
            place.revoke_all = place.told.is_some();
        }
        self.changed = u64::MAX;
    }

    /// No page of any lease will ever come back.
    pub(crate) fn all_lost(&mut self) {
        self.all_revoked();
        for place in &mut self.places {
            place.lost_all = place.told.is_some();
        }
    }

    /// A lease is over; gives its pages if the borrower may have them mapped.
    pub(crate) fn ended(&mut self, id: LeaseId) -> Option<PageRange> {
        let told = self.places.get_mut(usize::from(id.index))?.told.as_mut()?;
        if told.id != id || told.ended {
            return None;
        }
        told.ended = true;
        let pages = told.pages;
        self.forget_recent(id.index);
        self.mark(id.index);
        Some(pages)
    }

    /// The sequence for a `Revoked` that does not come from here.
    pub(crate) fn next_sequence(&self) -> u64 {
        self.sequence.saturating_add(1)
    }

    /// Such a one has been sent.
    pub(crate) fn sequence_used(&mut self) {
        self.sequence = self.next_sequence();
    }

    /// Takes a confirmation.
    ///
    /// # Errors
    /// [`BadZap`].
    pub(crate) fn zapped(&mut self, sequence: u64) -> Result<(), BadZap> {
        if sequence > self.sequence {
            return Err(BadZap::NeverSent);
        }
        if sequence < self.zapped {
            return Err(BadZap::Backwards);
        }
        self.zapped = sequence;
        Ok(())
    }

    /// Whether the borrower has yet to confirm a zap, of which it may not even have been told.
    pub(crate) fn owes_zap(&self) -> bool {
        let to_be_told =
            |place: &Place| place.revoke_all || place.told.as_ref().is_some_and(|told| told.ended);
        self.zapped < self.sequence
            || self.recent.iter().any(|recent| recent.happened == Happened::Revoked)
            || self.places.iter().any(to_be_told)
    }

    /// The piece of news that comes next.
    pub(crate) fn next(&mut self, leases: &LeaseRegistry) -> Option<(Source, ToBorrower)> {
        if let Some((source, message)) = self.recent.front().and_then(|recent| self.recent_message(recent)) {
            return Some((source, message));
        }
        while self.changed != 0 {
            let index = self.changed.trailing_zeros() as u16;
            if let Some(news) = self.place_message(index, leases) {
                return Some(news);
            }
            self.changed &= self.changed.wrapping_sub(1);
        }
        None
    }

    /// It has been sent; gives the sequence if a lease has been called ended by it.
    pub(crate) fn sent(&mut self, source: Source, message: &ToBorrower) -> Option<(u16, u64)> {
        if let ToBorrower::Revoked { sequence, .. } = message {
            self.sequence = *sequence;
        }
        let (Source::Ended(index)
        | Source::RevokedAll(index)
        | Source::LostAll(index)
        | Source::Announced(index)) = source
        else {
            self.recent.pop_front();
            return None;
        };
        let place = self.places.get_mut(usize::from(index))?;
        match (source, message) {
            (Source::Ended(_), _) => {
                *place = Place::default();
                return Some((index, self.sequence));
            }
            (Source::RevokedAll(_), _) => place.revoke_all = false,
            (Source::LostAll(_), _) => place.lost_all = false,
            (_, ToBorrower::Lease { lease, first, count, .. }) => {
                place.told = Some(Told { id: *lease, pages: PageRange::new(*first, *count), ended: false });
            }
            _ => {}
        }
        None
    }

    fn record(&mut self, id: LeaseId, pages: PageRange, happened: Happened) {
        if pages.is_empty() || self.told(id).is_none() {
            return;
        }
        let Some(place) = self.places.get_mut(usize::from(id.index)) else { return };
        if place.revoke_all {
            // Whoever waits for one of these pages asks again, and learns of a loss then.
            return;
        }
        if let Some(last) = self.recent.back_mut() {
            let touches = last.pages.first <= pages.end && pages.first <= last.pages.end;
            if last.index == id.index && last.happened == happened && touches {
                last.pages.first = last.pages.first.min(pages.first);
                last.pages.end = last.pages.end.max(pages.end);
                return;
            }
        }
        if self.recent.push_back(Recent { happened, index: id.index, pages }).is_err() {
            place.revoke_all = true;
            self.forget_recent(id.index);
            self.mark(id.index);
        }
    }

    fn told(&self, id: LeaseId) -> Option<&Told> {
        let told = self.places.get(usize::from(id.index))?.told.as_ref()?;
        (told.id == id && !told.ended).then_some(told)
    }

    fn mark(&mut self, index: u16) {
        self.changed |= 1_u64.checked_shl(u32::from(index)).unwrap_or(0);
    }

    /// Drops what a word about the whole lease will say.
    fn forget_recent(&mut self, index: u16) {
        for _ in 0..self.recent.len() {
            if let Some(recent) = self.recent.pop_front().filter(|recent| recent.index != index) {
                // Always room: one was taken out.
                let _ = self.recent.push_back(recent);
            }
        }
    }

    fn recent_message(&self, recent: &Recent) -> Option<(Source, ToBorrower)> {
        let lease = self.places.get(usize::from(recent.index))?.told?.id;
        let message = match recent.happened {
            Happened::Revoked => self.revoked_message(lease, recent.pages, false),
            Happened::Lost => lost_message(lease, recent.pages),
        };
        Some((Source::Recent, message))
    }

    fn place_message(&self, index: u16, leases: &LeaseRegistry) -> Option<(Source, ToBorrower)> {
        let place = self.places.get(usize::from(index))?;
        match place.told {
            Some(told) if told.ended => {
                Some((Source::Ended(index), self.revoked_message(told.id, told.pages, true)))
            }
            Some(told) if place.revoke_all => {
                Some((Source::RevokedAll(index), self.revoked_message(told.id, told.pages, false)))
            }
            Some(told) if place.lost_all => Some((Source::LostAll(index), lost_message(told.id, told.pages))),
            Some(_) => None,
            None => {
                let lease = leases.at_index(index).filter(|lease| lease.is_active())?;
                Some((Source::Announced(index), lease_message(lease)))
            }
        }
    }

    fn revoked_message(&self, lease: LeaseId, pages: PageRange, ended: bool) -> ToBorrower {
        let sequence = self.next_sequence();
        ToBorrower::Revoked {
            sequence,
            lease,
            first: AperturePage(pages.first),
            count: pages.page_count(),
            ended,
        }
    }
}

fn lost_message(lease: LeaseId, pages: PageRange) -> ToBorrower {
    ToBorrower::Lost { lease, first: AperturePage(pages.first), count: pages.page_count() }
}

fn lease_message(lease: &Lease) -> ToBorrower {
    let (pages, terms) = (lease.pages(), lease.terms());
    ToBorrower::Lease {
        lease: lease.id(),
        first: AperturePage(pages.first),
        count: pages.page_count(),
        rights: terms.rights,
        loss: terms.loss,
        cache: terms.cache,
        label: terms.label.into(),
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Requests to bring pages in before they are used.
//!
//! Each asks piece by piece and keeps little outstanding, so that a task that waits for one page
//! is never behind a whole window of somebody's prefault.
//!
//! What the driver believes to be there may be gone, the word of it being on its way or not yet said; what it was
//! told is unavailable never was there. So a request lets everything be handled first that had been said when it was
//! made, and then has the broker answer for every page anew: each answer is behind the word of all that was
//! taken before it.

use core::ops::DerefMut;

use xenlend_protocol::frontend::MAX_WAIT_PAGES;

use crate::page_set::Pages;

/// Requests that the driver keeps, those among them whose completion has not been read.
pub const MAX_PREFAULTS: usize = 64;
/// Requests that one descriptor may have among them.
pub const MAX_OF_ONE: usize = 16;
/// Pages that one request may have asked for and not heard of.
const MAX_OUTSTANDING: u32 = 2 * MAX_WAIT_PAGES;
/// How often a request asks again for what was taken away meanwhile.
const MAX_ROUNDS: u8 = 4;

/// `XENLEND_GUEST_PREFAULT_PRESENT`: every page is there, or was after the request had been made.
pub const PRESENT: u32 = 0;
/// `XENLEND_GUEST_PREFAULT_LOST`: a page is lost.
pub const LOST: u32 = 1;
/// `XENLEND_GUEST_PREFAULT_UNAVAILABLE`: a page could not be had now.
pub const UNAVAILABLE: u32 = 2;
/// `XENLEND_GUEST_PREFAULT_ENDED`: the lease or the link is over.
pub const ENDED: u32 = 3;

/// One request.
#[derive(Clone, Copy, Debug)]
pub struct Prefault {
    /// The descriptor that asked.
    pub owner: u64,
    /// What it called it.
    pub cookie: u64,
    /// Its own number, which no other request gets.
    pub number: u64,
    /// The lease that the pages are of.
    pub serial: u64,
    /// The pages.
    pub pages: Pages,
    /// Everything has been handled that the broker had said when it was made.
    heard: bool,
    /// Everything before it has been asked for or was there.
    next: u32,
    /// Everything before it has been answered.
    done: u32,
    rounds: u8,
    unavailable: bool,
    /// How it ended.
    pub status: Option<u32>,
}

/// What a request finds of its pages.
pub trait Answers {
    /// Whether everything that the broker has said has been handled.
    fn has_heard_all(&mut self) -> bool;
    /// The first page that is neither lost nor asked for, nor there unless it is to be asked for anew.
    fn first_unasked(&self, pages: Pages, anew: bool) -> Option<u32>;
    /// The first page that is lost or asked for, or there unless it is to be asked for anew.
    fn first_asked(&self, pages: Pages, anew: bool) -> Option<u32>;
    /// The first page that is asked for and not answered.
    fn first_awaited(&self, pages: Pages) -> Option<u32>;
    /// Whether one is lost.
    fn has_lost(&self, pages: Pages) -> bool;
    /// Asks; false if there is no room now.
    fn ask(&mut self, pages: Pages) -> bool;
}

impl Prefault {
    /// A new request.
    #[must_use]
    pub fn new(owner: u64, cookie: u64, number: u64, serial: u64, pages: Pages) -> Self {
        let next = pages.first;
        Self {
            owner,
            cookie,
            number,
            serial,
            pages,
            heard: false,
            next,
            done: next,
            rounds: 0,
            unavailable: false,
            status: None,
        }
    }

    /// Some pages of this lease could not be had.
    pub fn note_unavailable(&mut self, serial: u64, pages: Pages) {
        self.unavailable |= self.heard && self.serial == serial && !self.pages.common(pages).is_empty();
    }

    /// Goes on as far as it can; gives the status when it has ended.
    pub fn advance(&mut self, answers: &mut impl Answers) -> Option<u32> {
        self.heard = self.heard || answers.has_heard_all();
        if !self.heard {
            return None;
        }
        loop {
            let anew = self.rounds == 0;
            let asked = Pages { first: self.done, end: self.next };
            self.done = answers.first_awaited(asked).unwrap_or(self.next);
            if self.next < self.pages.end {
                if self.next.saturating_sub(self.done) >= MAX_OUTSTANDING {
                    return None;
                }
                let rest = Pages { first: self.next, end: self.pages.end };
                let Some(first) = answers.first_unasked(rest, anew) else {
                    self.next = self.pages.end;
                    continue;
                };
                let most = Pages { first, end: first.saturating_add(MAX_WAIT_PAGES) }.common(rest);
                let run = Pages { first, end: answers.first_asked(most, anew).unwrap_or(most.end) };
                if !answers.ask(run) {
                    return None;
                }
                self.next = run.end;
                continue;
            }
            if self.done < self.next {
                return None;
            }
            if answers.has_lost(self.pages) {
                return Some(LOST);
            }
            // Taken away while others were brought in; whoever else noticed may have asked for it again.
            let is_away = answers.first_unasked(self.pages, false).is_some()
                || answers.first_awaited(self.pages).is_some();
            if !is_away {
                return Some(if self.unavailable { UNAVAILABLE } else { PRESENT });
            }
            self.rounds = self.rounds.saturating_add(1);
            if self.rounds >= MAX_ROUNDS {
                return Some(UNAVAILABLE);
            }
            self.next = self.pages.first;
            self.done = self.pages.first;
        }
    }
}

/// Puts a request into the table; false if there is no place for it.
pub fn insert(table: &mut impl DerefMut<Target = [Option<Prefault>]>, prefault: Prefault) -> bool {
    let own = table.iter().flatten().filter(|other| other.owner == prefault.owner).count();
    match table.iter_mut().find(|place| place.is_none()) {
        Some(place) if own < MAX_OF_ONE => {
            *place = Some(prefault);
            true
        }
        _ => false,
    }
}

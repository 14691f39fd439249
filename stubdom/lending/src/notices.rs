// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a borrower's task that waits for pages is told, and what the lender is asked for it.
//!
//! Every page of a `WaitFor` gets a notice: at once, or when the lender has answered.

use xenlend_protocol::frame::{AperturePage, FRAMES_PER_2MIB};
use xenlend_protocol::frontend::ToBorrower;
use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::message::WantedOutcome;

use crate::borrower_link::{Broken, Step, Waiting};
use crate::broker::{Broker, LinkState};
use crate::counters::count;
use crate::hypervisor::{BorrowerLink, LenderLink, SendError};
use crate::lease::Lease;
use crate::lending_table::{PageRange, PageState};
use crate::wanted::Asker;

/// What can be said of pages now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// The lease is gone, or is being revoked.
    Gone,
    Lost,
    Present,
    Absent,
}

impl Broker<'_> {
    /// One notice or question, or nothing.
    pub(crate) fn notice_step(
        &mut self,
        lender: &mut impl LenderLink,
        link: &mut impl BorrowerLink,
    ) -> Result<Step, Broken> {
        if let Some((want, outcome)) = self.borrower.wanted.answered() {
            let (seen, run) = self.look(want.lease, want.pages);
            if seen == Seen::Absent && outcome == WantedOutcome::Waits {
                // Nothing can be said of these pages until the lender waits no more.
                self.borrower.news.waits(want.lease, run);
                self.borrower.wanted.told(&want, run.end);
                return Ok(Step::Done);
            }
            // Absent though it came: it has been revoked since, and may be asked for again.
            let again = seen == Seen::Absent && outcome == WantedOutcome::Present;
            let message =
                if again { self.revoked(want.lease, run) } else { self.notice(seen, want.lease, run) };
            if !self.tell(link, &message)? {
                return Ok(Step::Waits);
            }
            if again {
                self.borrower.news.sequence_used();
            }
            self.borrower.wanted.told(&want, run.end);
            return Ok(Step::Done);
        }
        let Some(Waiting { lease, pages }) = self.borrower.waiting else { return Ok(Step::Nothing) };
        let (seen, run) = self.look(lease, pages);
        let passed = if seen == Seen::Absent {
            self.want(lender, lease, run)?
        } else {
            self.tell(link, &self.notice(seen, lease, run))?.then_some(run.end)
        };
        let Some(passed) = passed else { return Ok(Step::Waits) };
        let left = PageRange { first: passed, end: pages.end };
        self.borrower.waiting = (!left.is_empty()).then_some(Waiting { lease, pages: left });
        Ok(Step::Done)
    }

    /// Asks the lender for absent pages, if it is not being asked already; gives the end of
    /// those that are dealt with.
    fn want(
        &mut self,
        lender: &mut impl LenderLink,
        lease: LeaseId,
        pages: PageRange,
    ) -> Result<Option<u32>, Broken> {
        if let Some(end) = self.borrower.wanted.covers(lease, pages.first) {
            return Ok(Some(end.min(pages.end)));
        }
        if self.borrower.wanted.is_full_for_tasks(self.capabilities.faults_retry) {
            return Ok(None);
        }
        let question = self.borrower.wanted.question(Asker::Task, lease, pages);
        match lender.send(&question) {
            Ok(()) => {
                count(&mut self.counters.wants, 1);
                self.borrower.wanted.asked(Asker::Task, lease, pages);
                Ok(Some(pages.end))
            }
            Err(SendError::Full) => {
                count(&mut self.counters.ring_full, 1);
                Ok(None)
            }
            Err(SendError::Breach(kind)) => Err(Broken::Lender(kind)),
        }
    }

    /// What can be said of the first page, and how far it holds. The borrower has been told of every active
    /// lease by now: what is new goes before every notice.
    fn look(&self, id: LeaseId, pages: PageRange) -> (Seen, PageRange) {
        // A lease that was none when it was waited for may be one by now, and have other pages.
        let lease = self.leases.at_index(id.index).filter(|lease| {
            lease.id() == id && lease.is_active() && lease.pages().intersect(&pages) == pages
        });
        if lease.is_none() {
            return (Seen::Gone, pages);
        }
        if self.state != LinkState::Connected {
            return (Seen::Lost, pages);
        }
        let seen = self.look_at(pages.first);
        let others = pages.first.saturating_add(1)..pages.end;
        let end = others.into_iter().find(|page| self.look_at(*page) != seen).unwrap_or(pages.end);
        (seen, PageRange { first: pages.first, end })
    }

    fn look_at(&self, page: u32) -> Seen {
        match self.table.page(page) {
            PageState::Absent => Seen::Absent,
            PageState::Present { .. } => Seen::Present,
            PageState::Lost => Seen::Lost,
        }
    }

    /// The notice of a run. A lender brings in more than it is asked for: of pages that are present those
    /// around them, in the same 2 MiB of the aperture, are told too, so that nobody need ask.
    fn notice(&self, seen: Seen, lease: LeaseId, run: PageRange) -> ToBorrower {
        let whole = self.leases.at_index(lease.index).map(Lease::pages).filter(|_| seen == Seen::Present);
        let told = match whole {
            None => run,
            Some(whole) => {
                let last = run.end.saturating_sub(1);
                let floor = run.first.saturating_sub(AperturePage(run.first).in_2mib()).max(whole.first);
                let left = FRAMES_PER_2MIB.saturating_sub(AperturePage(last).in_2mib());
                let ceiling = last.saturating_add(left).min(whole.end);
                let absent = |page: &u32| !self.table.is_present(*page);
                let before = (floor..run.first).rev().find(absent);
                let first = before.map_or(floor, |page| page.saturating_add(1));
                let end = (run.end..ceiling).find(absent).unwrap_or(ceiling.max(run.end));
                PageRange { first, end }
            }
        };
        notice_of(seen, lease, told)
    }

    fn revoked(&self, lease: LeaseId, pages: PageRange) -> ToBorrower {
        let sequence = self.borrower.news.next_sequence();
        let (first, count) = (AperturePage(pages.first), pages.page_count());
        ToBorrower::Revoked { sequence, lease, first, count, ended: false }
    }
}

fn notice_of(seen: Seen, lease: LeaseId, pages: PageRange) -> ToBorrower {
    let (first, count) = (AperturePage(pages.first), pages.page_count());
    match seen {
        Seen::Present => ToBorrower::Present { lease, first, count },
        Seen::Lost => ToBorrower::Lost { lease, first, count },
        Seen::Gone | Seen::Absent => ToBorrower::Unavailable { lease, first, count },
    }
}

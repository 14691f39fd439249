// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pages that the lender has been asked for, because tasks of the borrower, or vCPUs, wait for them.

use heapless::Vec;
use xenlend_protocol::frame::AperturePage;
use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::message::{FromBroker, WantedOutcome, MAX_WANTED};
use xenlend_protocol::refusal::BreachKind;

use crate::lending_table::PageRange;

/// Who waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asker {
    /// A task: it gets a notice.
    Task,
    /// One vCPU or several: their faults are answered.
    Vcpus,
}

/// Questions that tasks may have open where vCPUs ask too: the rest is theirs.
const FOR_TASKS_BESIDE_VCPUS: usize = MAX_WANTED / 2;

/// One of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Want {
    ticket: u32,
    asker: Asker,
    pub(crate) lease: LeaseId,
    /// Pages that the borrower has yet to be told of.
    pub(crate) pages: PageRange,
    outcome: Option<WantedOutcome>,
    /// The borrower's link that it came from is over: only the lender's answer is awaited.
    forgotten: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    wants: Vec<Want, MAX_WANTED>,
    counter: u32,
}

impl Wanted {
    /// Whether no more may be asked now.
    pub(crate) fn is_full(&self) -> bool {
        self.wants.is_full()
    }

    /// Whether tasks may ask for no more now, where vCPUs do or do not ask too.
    pub(crate) fn is_full_for_tasks(&self, beside_vcpus: bool) -> bool {
        let of_tasks = self.wants.iter().filter(|want| want.asker == Asker::Task).count();
        self.is_full() || beside_vcpus && of_tasks >= FOR_TASKS_BESIDE_VCPUS
    }

    /// The question that vCPUs have open about a page.
    pub(crate) fn open_for_vcpus(&self, lease: LeaseId, page: u32) -> Option<u32> {
        let same =
            |want: &&Want| want.asker == Asker::Vcpus && want.lease == lease && want.pages.contains(page);
        self.wants.iter().find(same).map(|want| want.ticket)
    }

    /// The end of what the lender is being asked for already for a task, from a page on.
    pub(crate) fn covers(&self, lease: LeaseId, page: u32) -> Option<u32> {
        let awaited = |want: &&Want| {
            want.outcome.is_none()
                && !want.forgotten
                && want.asker == Asker::Task
                && want.lease == lease
                && want.pages.contains(page)
        };
        self.wants.iter().find(awaited).map(|want| want.pages.end)
    }

    /// The question that comes next; nothing is recorded.
    pub(crate) fn question(&mut self, asker: Asker, lease: LeaseId, pages: PageRange) -> FromBroker {
        while self.wants.iter().any(|want| want.ticket == self.counter) {
            self.counter = self.counter.wrapping_add(1);
        }
        let first = AperturePage(pages.first);
        let vcpu = asker == Asker::Vcpus;
        FromBroker::Want { ticket: self.counter, lease, first, count: pages.page_count(), vcpu }
    }

    /// Records that [`Self::question`]'s last one has been sent; gives its ticket.
    pub(crate) fn asked(&mut self, asker: Asker, lease: LeaseId, pages: PageRange) -> u32 {
        let ticket = self.counter;
        let want = Want { ticket, asker, lease, pages, outcome: None, forgotten: false };
        // Always room: nothing is asked while there is none.
        let _ = self.wants.push(want);
        self.counter = self.counter.wrapping_add(1);
        ticket
    }

    /// Takes the lender's answer, and says whose it is. That to vCPUs is not kept.
    ///
    /// # Errors
    /// If nothing of that name is asked, or it was answered before.
    pub(crate) fn answer(&mut self, ticket: u32, outcome: WantedOutcome) -> Result<Asker, BreachKind> {
        let unanswered = |want: &Want| want.ticket == ticket && want.outcome.is_none();
        let position = self.wants.iter().position(unanswered).ok_or(BreachKind::UnexpectedAnswer)?;
        match self.wants.get_mut(position) {
            Some(want) if !want.forgotten && want.asker == Asker::Task => {
                want.outcome = Some(outcome);
                Ok(Asker::Task)
            }
            _ => Ok(self.wants.swap_remove(position).asker),
        }
    }

    /// What answers about these pages have called awaited is not any more.
    pub(crate) fn ask_again(&mut self, lease: LeaseId, pages: PageRange) {
        let is_meant = |want: &&mut Want| want.lease == lease && !want.pages.intersect(&pages).is_empty();
        for want in self.wants.iter_mut().filter(is_meant) {
            if want.outcome == Some(WantedOutcome::Waits) {
                // As if it had come and gone.
                want.outcome = Some(WantedOutcome::Present);
            }
        }
    }

    /// One that is answered, with the answer.
    pub(crate) fn answered(&self) -> Option<(Want, WantedOutcome)> {
        self.wants.iter().find_map(|want| Some((*want, want.outcome?)))
    }

    /// The borrower has been told of the pages of an answered one before `end`.
    pub(crate) fn told(&mut self, told: &Want, end: u32) {
        let Some(position) = self.wants.iter().position(|want| want.ticket == told.ticket) else { return };
        if let Some(want) = self.wants.get_mut(position) {
            want.pages.first = end;
            if want.pages.is_empty() {
                self.wants.swap_remove(position);
            }
        }
    }

    /// The lender will answer nothing any more.
    pub(crate) fn lender_gone(&mut self) {
        self.wants.retain(|want| !want.forgotten && want.asker == Asker::Task);
        for want in &mut self.wants {
            want.outcome.get_or_insert(WantedOutcome::Unavailable);
        }
    }

    /// The borrower will not be told any more.
    pub(crate) fn borrower_gone(&mut self) {
        self.wants.retain(|want| want.outcome.is_none());
        for want in self.wants.iter_mut().filter(|want| want.asker == Asker::Task) {
            want.forgotten = true;
        }
    }
}

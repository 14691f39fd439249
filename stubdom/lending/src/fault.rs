// SPDX-License-Identifier: MIT OR Apache-2.0
//! A vCPU's fault on lend-aware Xen: the access waits, and is run again when the page has come.
//!
//! An instruction that needs several lent pages faults on them one by one. The last few are kept while Xen
//! says that it is the same instruction, and it is run again only when all of them are present at once. That
//! delays no revocation: whatever is taken meanwhile is asked for again, a bounded number of times.

use heapless::Vec;
use xenlend_protocol::frame::AperturePage;
use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::message::{Rights, WantedOutcome};

use crate::aperture::Aperture;
use crate::hypervisor::IoreqClaim;
use crate::lease_registry::LeaseRegistry;
use crate::lending_table::{LendingTable, PageRange, PageState};
use crate::quarantine::Quarantine;

/// `IOREQ_TYPE_LEND_FAULT`.
pub const KIND_FAULT: u8 = 9;
/// Bit of a fault's `data`: it reads.
pub const FAULT_READ: u64 = 1 << 0;
/// Bit of a fault's `data`: it writes.
pub const FAULT_WRITE: u64 = 1 << 1;
/// Bit of a fault's `data`: it fetches an instruction.
pub const FAULT_FETCH: u64 = 1 << 2;
/// Bit of a fault's `data`: the instruction that faulted last on this vCPU.
pub const FAULT_SAME_INSTRUCTION: u64 = 1 << 3;
/// Bit of a fault's `data`: the page is present, and read-only.
pub const FAULT_READ_ONLY_ENTRY: u64 = 1 << 4;

/// Pages of one instruction that are kept: enough for its own two, two operands that cross a page, and two
/// on the stack. One that needs more may see some go while others come, and still ends.
pub const MAX_KEPT: usize = 8;
/// Questions for one fault. After that many the instruction is run again, whatever is missing.
const MAX_QUESTIONS: u8 = 2 * MAX_KEPT as u8;

/// How a fault is answered: the datum that the request is completed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Reply {
    /// Run the instruction again.
    Retry = 0,
    /// The page is lost: a precise exception.
    Lost = 1,
    /// A write that a read-only lease does not allow: a precise exception.
    Refused = 2,
}

/// A fault, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its page; none outside the aperture.
    page: Option<AperturePage>,
    writes: bool,
    same_instruction: bool,
}

impl Fault {
    /// Checks a claim whose kind is [`KIND_FAULT`].
    pub fn check(claim: &IoreqClaim, aperture: Aperture) -> Self {
        Self {
            page: aperture.locate(claim.address).map(|(page, _)| page),
            writes: claim.data & FAULT_WRITE != 0,
            same_instruction: claim.data & FAULT_SAME_INSTRUCTION != 0,
        }
    }
}

/// What a fault needs next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// It is over.
    Answer(Reply),
    /// The lender has to be asked for this page.
    Ask { lease: LeaseId, page: u32 },
    /// An answer of the lender is awaited.
    Wait,
}

/// What a slot reads of the rest of the broker.
pub(crate) struct View<'v, 't> {
    pub(crate) table: &'v LendingTable<'t>,
    pub(crate) leases: &'v LeaseRegistry,
    /// Whether the lender can be asked.
    pub(crate) connected: bool,
    /// Pages that the borrower's driver is about to take out of programs; none if it has no link.
    pub(crate) quarantine: Option<&'v Quarantine>,
    /// Whether the driver has yet to take some page, any, out of programs.
    pub(crate) owes_zap: bool,
}

/// What can be said of a page.
enum Seen {
    Present,
    /// Its lease can still be asked for it.
    Absent(LeaseId),
    /// Its lease is over, and the borrower's driver has not said yet that programs have it no more.
    Ending,
    /// Outside every lease, lost, or nobody is left to bring it in.
    Gone,
}

/// One vCPU's fault, and the pages of its instruction.
#[derive(Debug, Default)]
pub(crate) struct FaultSlot {
    serving: Option<Serving>,
    /// Pages that the instruction has faulted on, the oldest first.
    kept: Vec<u32, MAX_KEPT>,
}

#[derive(Debug)]
struct Serving {
    fault: Fault,
    questions: u8,
    asked: Option<Asked>,
}

/// What the lender has been asked for.
#[derive(Clone, Copy, Debug)]
struct Asked {
    /// The question, as long as it is open. It is over and the lender waits for the page itself if none is here.
    ticket: Option<u32>,
    lease: LeaseId,
    page: u32,
}

impl FaultSlot {
    pub(crate) fn is_idle(&self) -> bool {
        self.serving.is_none()
    }

    /// Takes a fault up.
    pub(crate) fn start(&mut self, fault: Fault) {
        if !fault.same_instruction {
            self.kept.clear();
        }
        if let Some(AperturePage(page)) = fault.page.filter(|page| !self.kept.contains(&page.0)) {
            if self.kept.is_full() {
                self.kept.remove(0);
            }
            // Always room: it is not full.
            let _ = self.kept.push(page);
        }
        self.serving = Some(Serving { fault, questions: 0, asked: None });
    }

    /// What it needs now.
    pub(crate) fn next(&mut self, view: &View<'_, '_>) -> Next {
        let Some(serving) = self.serving.as_ref() else { return Next::Wait };
        let Fault { page, writes, .. } = serving.fault;
        let Some(AperturePage(page)) = page else { return self.end(Reply::Lost) };
        if writes && view.rights(page) == Some(Rights::ReadOnly) {
            return self.end(Reply::Refused);
        }
        let asked_for = serving.asked.map(|asked| asked.page);
        let exhausted = serving.questions >= MAX_QUESTIONS;
        match view.look(page) {
            Seen::Gone => return self.end(loss(view.owes_zap)),
            // Run again until the driver has zapped: then the touch is its own to judge.
            Seen::Ending => return self.end(Reply::Retry),
            Seen::Present | Seen::Absent(_) => {}
        }
        // The page of this fault comes first. Of another one that is gone a fault of its own will tell.
        self.kept.retain(|kept| !matches!(view.look(*kept), Seen::Gone | Seen::Ending));
        let missing = core::iter::once(&page).chain(&self.kept).find_map(|page| match view.look(*page) {
            Seen::Absent(lease) => Some((lease, *page)),
            Seen::Present | Seen::Ending | Seen::Gone => None,
        });
        match missing {
            None => self.end(Reply::Retry),
            Some((_, page)) if asked_for == Some(page) => Next::Wait,
            Some(_) if exhausted => self.end(Reply::Retry),
            Some((lease, page)) => Next::Ask { lease, page },
        }
    }

    /// The lender has been asked, by this slot or by another that needs the same page.
    pub(crate) fn asked(&mut self, ticket: u32, lease: LeaseId, page: u32) {
        if let Some(serving) = self.serving.as_mut() {
            serving.asked = Some(Asked { ticket: Some(ticket), lease, page });
            serving.questions = serving.questions.saturating_add(1);
        }
    }

    /// The lender has answered a question of some vCPU; gives the reply if that ends the fault.
    pub(crate) fn answered(&mut self, ticket: u32, outcome: WantedOutcome, owes_zap: bool) -> Option<Reply> {
        let serving = self.serving.as_mut()?;
        let asked = serving.asked.take_if(|asked| asked.ticket == Some(ticket))?;
        let page = asked.page;
        let is_own = serving.fault.page == Some(AperturePage(page));
        let reply = match outcome {
            // The table decides: it may be gone again.
            WantedOutcome::Present => return None,
            WantedOutcome::Waits => {
                serving.asked = Some(Asked { ticket: None, ..asked });
                return None;
            }
            WantedOutcome::Unavailable => Reply::Retry,
            WantedOutcome::Lost | WantedOutcome::Failed if is_own => loss(owes_zap),
            WantedOutcome::Lost | WantedOutcome::Failed => {
                self.kept.retain(|kept| *kept != page);
                return None;
            }
        };
        self.serving = None;
        Some(reply)
    }

    /// These pages of a lease can be asked for again.
    pub(crate) fn ask_again(&mut self, lease: LeaseId, pages: PageRange) {
        if let Some(serving) = self.serving.as_mut() {
            let is_meant = |asked: &Asked| asked.lease == lease && pages.contains(asked.page);
            serving.asked.take_if(|asked| asked.ticket.is_none() && is_meant(asked));
        }
    }

    fn end(&mut self, reply: Reply) -> Next {
        self.serving = None;
        Next::Answer(reply)
    }
}

/// What a vCPU is told of a page that never comes. A program may touch it by a stale entry, and the driver owes
/// that program what its lender has chosen: it is run again until the driver has zapped, in the order of its
/// news, so its own page's turn comes.
fn loss(owes_zap: bool) -> Reply {
    if owes_zap {
        Reply::Retry
    } else {
        Reply::Lost
    }
}

impl View<'_, '_> {
    fn rights(&self, page: u32) -> Option<Rights> {
        self.leases.at_page(page).map(|lease| lease.terms().rights)
    }

    fn look(&self, page: u32) -> Seen {
        let Some(lease) = self.leases.at_page(page).filter(|lease| lease.is_active() && self.connected)
        else {
            let is_ending = self.quarantine.is_some_and(|quarantine| quarantine.contains(page));
            return if is_ending { Seen::Ending } else { Seen::Gone };
        };
        match self.table.page(page) {
            PageState::Present { .. } => Seen::Present,
            PageState::Absent => Seen::Absent(lease.id()),
            PageState::Lost => Seen::Gone,
        }
    }
}

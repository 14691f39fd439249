// SPDX-License-Identifier: MIT OR Apache-2.0
//! The borrower's link: who may say what when, and one bounded turn of it.
//!
//! Nothing that revokes comes by here: revocation records its news (`lease_news.rs`), and a
//! turn of this link tells them. Whatever the borrower writes costs it this link only.

use xenlend_protocol::frame::AperturePage;
use xenlend_protocol::frontend::{FromBorrower, ToBorrower, MAX_WAIT_PAGES};
use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::message::{FromBroker, VERSION};
use xenlend_protocol::refusal::{AttachFailure, Blame, Breach, BreachKind};

use crate::broker::{Broker, Turn};
use crate::counters::count;
use crate::hypervisor::{BorrowerLink, Hypervisor, LenderLink, SendError};
use crate::lease_news::{BadZap, LeaseNews};
use crate::lending_table::PageRange;
use crate::quarantine::Quarantine;
use crate::wanted::Wanted;

/// Where the borrower's link stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BorrowerState {
    /// There is none.
    #[default]
    Detached,
    /// Its pages are mapped; no `Hello` has come.
    AwaitingHello,
    /// It is told what happens, and may wait for pages.
    Connected,
    /// No common version.
    Incompatible,
    /// The borrower broke the contract.
    Closed(Breach),
}

/// What the lender asks of the link itself.
#[derive(Clone, Copy, Debug)]
pub(crate) enum AttachRequest {
    Attach { attachment: u32, ring_refs: [u32; 3], event_channel: u32 },
    Detach { attachment: u32 },
}

/// A `WaitFor` that has not been passed on or answered to its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting {
    pub(crate) lease: LeaseId,
    pub(crate) pages: PageRange,
}

/// What the broker knows of the borrower's side.
#[derive(Debug, Default)]
pub(crate) struct BorrowerSide {
    pub(crate) state: BorrowerState,
    attachment: Option<u32>,
    request: Option<AttachRequest>,
    /// Answer to `Hello`, or the last word.
    reply: Option<ToBorrower>,
    pub(crate) waiting: Option<Waiting>,
    pub(crate) news: LeaseNews,
    pub(crate) wanted: Wanted,
    pub(crate) quarantine: Quarantine,
}

/// How far one step came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Something was done; there may be more.
    Done,
    /// There is nothing to do.
    Nothing,
    /// What is next finds no room.
    Waits,
}

/// Who broke a ring in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    Borrower(BreachKind),
    Lender(BreachKind),
}

impl BorrowerSide {
    /// Takes a request of the lender; it is carried out in this link's next turn.
    ///
    /// # Errors
    /// If the one before it has not been answered.
    pub(crate) fn request(&mut self, request: AttachRequest) -> Result<(), BreachKind> {
        if self.request.is_some() {
            return Err(BreachKind::TooManyOutstanding);
        }
        self.request = Some(request);
        Ok(())
    }

    /// The lender's link is over: nobody waits for its answers, and nothing will come back.
    pub(crate) fn lender_gone(&mut self) {
        self.request = None;
        self.wanted.lender_gone();
        self.news.all_lost();
    }

    /// A lease is over. Its pages stay unused until the borrower has dropped them.
    pub(crate) fn lease_ended(&mut self, id: LeaseId) {
        if let Some(pages) = self.news.ended(id) {
            self.quarantine.begin(id.index, pages);
        }
    }

    /// What made wants of these pages end without a page is over: the borrower asks again.
    pub(crate) fn ask_again(&mut self, id: LeaseId, pages: PageRange) {
        self.wanted.ask_again(id, pages);
        self.news.ask_again(id, pages);
    }

    fn carry_out(&mut self, request: AttachRequest, link: &mut impl BorrowerLink) -> FromBroker {
        match request {
            AttachRequest::Attach { attachment, ring_refs, event_channel } => {
                let result = match self.attachment {
                    Some(_) => Err(AttachFailure::InUse),
                    None => link.attach(ring_refs, event_channel),
                };
                if result.is_ok() {
                    self.attachment = Some(attachment);
                    self.state = BorrowerState::AwaitingHello;
                }
                FromBroker::BorrowerAttached { attachment, result }
            }
            AttachRequest::Detach { attachment } => {
                if self.attachment == Some(attachment) {
                    link.detach();
                    self.attachment = None;
                    self.state = BorrowerState::Detached;
                    self.stop_serving();
                    self.reply = None;
                    self.news = LeaseNews::default();
                    self.quarantine.release();
                }
                FromBroker::BorrowerDetached { attachment }
            }
        }
    }

    /// Whatever was under way for the borrower is not any more.
    fn stop_serving(&mut self) {
        self.waiting = None;
        self.wanted.borrower_gone();
    }

    /// Ends the link over a broken contract. Quarantine stays: what the borrower has mapped
    /// is not known.
    fn break_off(&mut self, kind: BreachKind) {
        let breach = Breach { blame: Blame::Borrower, kind };
        self.state = BorrowerState::Closed(breach);
        self.stop_serving();
        self.reply = Some(ToBorrower::Closed { breach });
    }
}

impl Broker<'_> {
    /// Serves the borrower's link in at most `max_steps` steps, each of one message and at
    /// most 1536 pages looked at. Call it in each turn, after [`Self::serve_requests`]: accesses of
    /// vCPUs that stand still go first.
    pub fn serve_borrower(
        &mut self,
        hypervisor: &mut impl Hypervisor,
        lender: &mut impl LenderLink,
        link: &mut impl BorrowerLink,
        max_steps: u32,
    ) -> Turn {
        let turn = self.borrower_turn(hypervisor, lender, link, max_steps);
        // A place that has become free belongs to a vCPU, whose turn was before this one.
        if self.lacks_place && !self.borrower.wanted.is_full() {
            return Turn::More;
        }
        turn
    }

    fn borrower_turn(
        &mut self,
        hypervisor: &mut impl Hypervisor,
        lender: &mut impl LenderLink,
        link: &mut impl BorrowerLink,
        max_steps: u32,
    ) -> Turn {
        if let Some(request) = self.borrower.request.take() {
            let answer = self.borrower.carry_out(request, link);
            self.outbox.owe(answer);
            // What finds no room is owed; the lender's notification goes on with it.
            let _ = self.flush(hypervisor, lender);
        }
        for _ in 0..max_steps {
            match self.borrower_step(lender, link) {
                Ok(Step::Done) => {}
                Ok(Step::Nothing) => return Turn::Idle,
                Ok(Step::Waits) => return Turn::WaitsForRoom,
                Err(Broken::Borrower(kind)) => {
                    if matches!(self.borrower.state, BorrowerState::Closed(_)) {
                        // Not even the last word can be said.
                        self.borrower.reply = None;
                        return Turn::Idle;
                    }
                    count(&mut self.counters.borrower_breaches, 1);
                    self.borrower.break_off(kind);
                    if let Some(attachment) = self.borrower.attachment {
                        self.outbox.owe(FromBroker::BorrowerClosed { attachment });
                        let _ = self.flush(hypervisor, lender);
                    }
                }
                Err(Broken::Lender(kind)) => {
                    self.close(Breach { blame: Blame::Lender, kind }, hypervisor);
                    return Turn::More;
                }
            }
        }
        Turn::More
    }

    /// Where the borrower's link stands.
    pub fn borrower_state(&self) -> BorrowerState {
        self.borrower.state
    }

    /// Leases that have ended and whose pages the borrower has yet to let go of.
    pub fn quarantined(&self) -> usize {
        self.borrower.quarantine.len()
    }

    /// Whether a page is kept from new leases.
    pub fn is_quarantined(&self, page: u32) -> bool {
        self.borrower.quarantine.contains(page)
    }

    /// Whether the borrower's driver is connected and has yet to confirm a zap.
    pub fn owes_zap(&self) -> bool {
        self.borrower.state == BorrowerState::Connected && self.borrower.news.owes_zap()
    }

    /// One step: what is owed comes before what is asked for anew, and news before notices,
    /// so that the ring's order is the order of what happened.
    fn borrower_step(
        &mut self,
        lender: &mut impl LenderLink,
        link: &mut impl BorrowerLink,
    ) -> Result<Step, Broken> {
        if let Some(reply) = self.borrower.reply {
            if !self.tell(link, &reply)? {
                return Ok(Step::Waits);
            }
            self.borrower.reply = None;
            return Ok(Step::Done);
        }
        if self.borrower.state == BorrowerState::Connected {
            if let Some((source, message)) = self.borrower.news.next(&self.leases) {
                if !self.tell(link, &message)? {
                    return Ok(Step::Waits);
                }
                if let Some((index, sequence)) = self.borrower.news.sent(source, &message) {
                    self.borrower.quarantine.told(index, sequence);
                }
                return Ok(Step::Done);
            }
            match self.notice_step(lender, link)? {
                Step::Nothing => {}
                step => return Ok(step),
            }
        }
        if !matches!(self.borrower.state, BorrowerState::AwaitingHello | BorrowerState::Connected) {
            return Ok(Step::Nothing);
        }
        match link.receive().map_err(Broken::Borrower)? {
            None => Ok(Step::Nothing),
            Some(message) => {
                count(&mut self.counters.borrower_messages, 1);
                self.take_from_borrower(message).map_err(Broken::Borrower)?;
                Ok(Step::Done)
            }
        }
    }

    /// Says something to the borrower, if there is room.
    pub(crate) fn tell(
        &mut self,
        link: &mut impl BorrowerLink,
        message: &ToBorrower,
    ) -> Result<bool, Broken> {
        match link.send(message) {
            Ok(()) => {
                count(&mut self.counters.notices, 1);
                Ok(true)
            }
            Err(SendError::Full) => {
                count(&mut self.counters.borrower_ring_full, 1);
                Ok(false)
            }
            Err(SendError::Breach(kind)) => Err(Broken::Borrower(kind)),
        }
    }

    fn take_from_borrower(&mut self, message: FromBorrower) -> Result<(), BreachKind> {
        match (self.borrower.state, message) {
            (
                BorrowerState::AwaitingHello,
                FromBorrower::Hello { oldest, newest, aperture_gfn, aperture_pages, .. },
            ) => {
                if aperture_gfn != self.aperture.first_gfn() || aperture_pages != self.aperture.page_count() {
                    return Err(BreachKind::OutOfRange);
                }
                self.greet_borrower(oldest, newest);
                Ok(())
            }
            (BorrowerState::Connected, FromBorrower::WaitFor { lease, page, count }) => {
                self.start_waiting(lease, page, count)
            }
            (BorrowerState::Connected, FromBorrower::ZapDone { sequence }) => {
                self.borrower.news.zapped(sequence).map_err(|bad| match bad {
                    BadZap::NeverSent => BreachKind::UnexpectedAnswer,
                    BadZap::Backwards => BreachKind::SequenceBackwards,
                })?;
                self.borrower.quarantine.confirm(sequence);
                Ok(())
            }
            _ => Err(BreachKind::OutOfTurn),
        }
    }

    fn greet_borrower(&mut self, oldest: u16, newest: u16) {
        if oldest <= VERSION && VERSION <= newest {
            self.borrower.state = BorrowerState::Connected;
            self.borrower.news.start();
            self.borrower.reply = Some(ToBorrower::Welcome { version: VERSION, features: 0 });
        } else {
            self.borrower.state = BorrowerState::Incompatible;
            self.borrower.reply = Some(ToBorrower::Incompatible { oldest: VERSION, newest: VERSION });
        }
    }

    fn start_waiting(&mut self, lease: LeaseId, page: AperturePage, count: u32) -> Result<(), BreachKind> {
        if count == 0 || count > MAX_WAIT_PAGES || page.checked_add(count).is_none() {
            return Err(BreachKind::OutOfRange);
        }
        let pages = PageRange::new(page, count);
        let living = self.leases.at_index(lease.index).filter(|living| living.id() == lease);
        if living.is_some_and(|living| living.pages().intersect(&pages) != pages) {
            return Err(BreachKind::OutOfRange);
        }
        self.borrower.waiting = Some(Waiting { lease, pages });
        Ok(())
    }
}

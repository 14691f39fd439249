// SPDX-License-Identifier: MIT OR Apache-2.0
//! One borrower's turn: its lender first, then the requests of its vCPUs, then its driver, each within bounds;
//! and whether its lender is still there.

use heapless::Vec;
use xenlend_lending::borrower_link::BorrowerState;
use xenlend_lending::broker::{Broker, LinkState, Turn};
use xenlend_lending::hypervisor::{BorrowerLink, Hypervisor, LenderLink};

use crate::departure::{Departure, Server};

/// Messages of the lender in one turn: what an invalidation may have to wait for.
pub const MESSAGES_PER_TURN: u32 = 32;
/// Steps for the borrower in one turn, each of one message and at most 1536 pages looked at.
const BORROWER_STEPS: u32 = 32;
/// How often the lender's end of the event channel is looked at, in nanoseconds: Xen does not tell.
pub const LENDER_CHECK_NS: u64 = 1_000_000_000;

/// The link with the lender, and its event channel.
pub trait LenderEnd: LenderLink {
    /// Notifies the lender if this turn gave it a message, or the room that it waits for.
    fn finish_turn(&mut self);

    /// Whether the lender still holds its end of the event channel.
    fn is_connected(&self) -> bool;
}

/// The link with the borrower, and its event channel.
pub trait BorrowerEnd: BorrowerLink {
    /// Notifies the borrower if this turn gave it a message, or the room that it waits for.
    fn finish_turn(&mut self);
}

/// What a turn has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is more to do.
    Busy,
    /// Nothing until an event, or this system time (0: none).
    Rests(u64),
    /// It has left its borrower; why.
    Left(&'static str),
}

/// What has happened in a turn and is worth a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// The lender's end of the event channel is closed.
    LenderGone,
    /// The link with the lender stands so now.
    Link(LinkState),
    /// The borrower's link stands so now.
    Borrower(BorrowerState),
    /// Xen has refused to let this broker leave the borrower, with this error number.
    CannotLeave(u16),
}

/// All of them, in order.
pub type AllNews = Vec<News, 4>;

/// What one borrower's turns keep in mind.
#[derive(Debug)]
pub struct Turns {
    state: LinkState,
    departure: Departure,
    next_check: u64,
}

impl Default for Turns {
    fn default() -> Self {
        Self { state: LinkState::AwaitingHello, departure: Departure::default(), next_check: 0 }
    }
}

impl Turns {
    /// Does what there is to do at this system time.
    pub fn turn(
        &mut self,
        broker: &mut Broker<'_>,
        hypervisor: &mut (impl Hypervisor + Server),
        lender: &mut impl LenderEnd,
        borrower: &mut impl BorrowerEnd,
        now: u64,
    ) -> (Step, AllNews) {
        let mut news = AllNews::new();
        // Always room: there is one of each kind.
        let mut tell = |what| {
            let _ = news.push(what);
        };
        let before = broker.borrower_state();
        let lenders = broker.serve_lender(hypervisor, lender, MESSAGES_PER_TURN);
        let requests = broker.serve_requests(hypervisor, lender);
        let borrowers = broker.serve_borrower(hypervisor, lender, borrower, BORROWER_STEPS);
        borrower.finish_turn();
        lender.finish_turn();

        if self.state != LinkState::LenderGone && now >= self.next_check {
            self.next_check = now.saturating_add(LENDER_CHECK_NS);
            if !lender.is_connected() {
                tell(News::LenderGone);
                broker.lender_gone(hypervisor);
            }
        }
        let changed = broker.link_state() != self.state;
        if changed {
            self.state = broker.link_state();
            tell(News::Link(self.state));
        }
        if broker.borrower_state() != before {
            tell(News::Borrower(broker.borrower_state()));
        }
        // A link that has just ended leaves requests that the next turn finishes.
        if changed || [lenders, requests].contains(&Turn::More) {
            return (Step::Busy, news);
        }
        // Not for the borrower's link to hold up.
        let departed_before = self.departure;
        self.departure.advance(broker, hypervisor);
        match self.departure {
            Departure::Left(why) => return (Step::Left(why), news),
            Departure::Refused(errno) if self.departure != departed_before => tell(News::CannotLeave(errno)),
            _ => {}
        }
        if borrowers == Turn::More {
            return (Step::Busy, news);
        }
        (Step::Rests(self.departure.next_look(self.state, now).unwrap_or(self.next_check)), news)
    }
}

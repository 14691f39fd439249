// SPDX-License-Identifier: MIT OR Apache-2.0
//! The broker's end of the link: the real rings, over plain memory.

use std::cell::{Cell, RefCell};

use xenlend_lending::hypervisor::{LenderLink, SendError};
use xenlend_protocol::message::{FromBroker, ToBroker, WantedOutcome};
use xenlend_protocol::refusal::BreachKind;
use xenlend_protocol::ring::plain_memory::PlainMemory;
use xenlend_protocol::ring::{self, Consumer, Priority, Producer};

use crate::config::Mode;
use crate::fault::Fault;
use crate::temper;
use crate::world::{Sim, Wrong};
use crate::xen::Entry;

/// Ends of the rings, which a broker that lies uses at any time.
pub struct BrokerEnd {
    /// Towards the lender.
    pub to_lender: RefCell<Producer<PlainMemory>>,
    /// From the lender.
    pub from_lender: RefCell<Consumer<PlainMemory>>,
    /// The memory of both, to be spoiled.
    pub memory: [PlainMemory; 2],
    /// Something was sent in this turn.
    pub sent: Cell<bool>,
    /// The broker found no room: whoever drains next tells it.
    pub owes_room: Cell<bool>,
    /// What was received last, for whoever watches.
    pub received: RefCell<Option<ToBroker>>,
    /// A `Present` is being handled.
    pub handles_present: Cell<bool>,
}

impl BrokerEnd {
    /// Ends of rings that nobody has used.
    pub fn new(to_broker: PlainMemory, to_lender: PlainMemory) -> Self {
        Self {
            to_lender: RefCell::new(Producer::new(to_lender.clone())),
            from_lender: RefCell::new(Consumer::new(to_broker.clone())),
            memory: [to_broker, to_lender],
            sent: Cell::new(false),
            owes_room: Cell::new(false),
            received: RefCell::new(None),
            handles_present: Cell::new(false),
        }
    }

    /// Notifies the lender if this turn gave it a message, or the room that it waits for.
    pub fn finish_turn(&self, sim: &Sim) {
        let wanted = self.from_lender.borrow_mut().take_wakeup();
        if self.sent.replace(false) || wanted {
            sim.interrupt_pending.set(true);
        }
    }
}

/// The link as the lending logic sees it.
pub struct Link(pub Sim);

impl LenderLink for Link {
    fn send(&mut self, message: &FromBroker) -> Result<(), SendError> {
        if !self.0.interleave() {
            return Err(SendError::Full);
        }
        let end = &self.0.broker_end;
        // A full ring: more vCPUs than there are here fill it. The lender makes room when it drains, and tells.
        if message.priority() == Priority::Normal && self.0.once_in(self.0.config.full_rings) {
            self.0.note(|| "the ring towards the lender is full".to_owned());
            end.owes_room.set(true);
            return Err(SendError::Full);
        }
        if matches!(message, FromBroker::Want { .. }) && self.0.config.has(Fault::LoseWant) {
            return Ok(());
        }
        let result = end.to_lender.borrow_mut().send(message, message.priority());
        match result {
            Ok(()) => {
                self.0.note(|| format!("broker says {message:?}"));
                if let FromBroker::Want { ticket, first, .. } = message {
                    self.0.questions.set(self.0.questions.get() + 1);
                    self.0.asked.borrow_mut().push((*ticket, first.0));
                }
                end.sent.set(true);
                end.handles_present.set(false);
                if let FromBroker::Presented { ticket, .. } = message {
                    self.0.lender.presents.borrow_mut().retain(|present| present.ticket != *ticket);
                }
                if self.0.config.mode == Mode::LyingLender {
                    crate::liar::note_said(&self.0, message);
                }
                Ok(())
            }
            Err(ring::SendError::Full) => Err(SendError::Full),
            Err(ring::SendError::Breach(kind)) => Err(SendError::Breach(kind)),
            Err(ring::SendError::TooLong) => {
                self.0.fail(Wrong::Answers, format!("{message:?} is too long"));
                Err(SendError::Full)
            }
        }
    }

    fn receive(&mut self) -> Result<Option<ToBroker>, BreachKind> {
        if !self.0.interleave() {
            return Ok(None);
        }
        if !temper::may_take(&self.0) {
            return Ok(None);
        }
        let end = &self.0.broker_end;
        let received = end.from_lender.borrow_mut().receive::<ToBroker>();
        if matches!(received, Ok(Some(_))) {
            temper::note_taken(&self.0);
        }
        if let Ok(Some(message)) = &received {
            self.0.note(|| format!("broker reads {message:?}"));
            end.handles_present.set(matches!(message, ToBroker::Present { .. }));
        }
        *end.received.borrow_mut() = received.clone().ok().flatten();
        if let Ok(Some(ToBroker::Wanted { ticket, outcome })) = &received {
            let asked = &mut *self.0.asked.borrow_mut();
            let question = asked.iter().position(|of| of.0 == *ticket).map(|at| asked.swap_remove(at));
            let absent = |page| self.0.xen.borrow().entry(page) == Entry::Absent;
            let is_gone = *outcome == WantedOutcome::Present && question.is_some_and(|of| absent(of.1));
            if is_gone && self.0.config.has(Fault::ForgetWaiter) {
                self.0.broker_pending.set(true);
                return Ok(None);
            }
        }
        match received {
            Ok(Some(ToBroker::Present { ticket, lease, extents, .. }))
                if self.0.config.has(Fault::AcceptStalePresent) =>
            {
                Ok(Some(ToBroker::Present { ticket, lease, sequence: u64::MAX, extents }))
            }
            other => other,
        }
    }
}

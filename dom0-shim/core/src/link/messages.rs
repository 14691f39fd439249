// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the broker says. Runs in the event handler: nothing here can take long.

use xenlend_protocol::frame::{AperturePage, PAGE_SIZE};
use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::message::{AccessOperation, FromBroker, PresentOutcome, MAX_ACCESS_BYTES, VERSION};
use xenlend_protocol::refusal::BreachKind;
use xenlend_protocol::ring::RingMemory;

use super::{Link, Reason, State};
use crate::counters::add;
use crate::events;
use crate::invalidation::Standing;
use crate::regions::{Phase, Region};
use crate::request_queue::{Request, Work};
use crate::storage::Storage;

/// What a drain has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Messages taken.
    pub messages: u32,
    /// The limit was reached: somebody has to go on.
    pub more: bool,
}

impl<R: RingMemory, S: Storage> Link<R, S> {
    /// Takes at most `limit` messages and acts on them.
    pub fn drain(&mut self, limit: u32) -> Drained {
        let mut messages = 0u32;
        while messages < limit {
            if !matches!(self.state, State::Connecting | State::Connected | State::Forced) {
                return Drained { messages, more: false };
            }
            match self.from_broker.receive::<FromBroker>() {
                Ok(None) => break,
                Ok(Some(message)) => {
                    messages = messages.saturating_add(1);
                    add(&mut self.counters.messages_received, 1);
                    if self.on_message(message).is_err() {
                        self.fail(Reason::Breach);
                    }
                }
                Err(_) => self.fail(Reason::Breach),
            }
        }
        if self.from_broker.take_wakeup() {
            self.effects.notify = true;
        }
        if messages > 0 {
            self.effects.wake = true;
        }
        self.catch_up();
        Drained { messages, more: messages >= limit }
    }

    fn on_message(&mut self, message: FromBroker) -> Result<(), BreachKind> {
        if self.state == State::Connecting {
            return match message {
                FromBroker::Welcome { version, features, aperture_pages, .. } => {
                    self.on_welcome(version, features, aperture_pages);
                    Ok(())
                }
                FromBroker::Incompatible { .. } => {
                    self.fail(Reason::Incompatible);
                    Ok(())
                }
                FromBroker::OtherKind { .. } => {
                    self.fail(Reason::OtherXen);
                    Ok(())
                }
                _ => Err(BreachKind::OutOfTurn),
            };
        }
        match message {
            FromBroker::Welcome { .. } | FromBroker::Incompatible { .. } | FromBroker::OtherKind { .. } => {
                Err(BreachKind::OutOfTurn)
            }
            FromBroker::RegionSet { lease, result } => {
                let Some(region) = self.answered(lease)? else { return Ok(()) };
                match region.phase {
                    // Active at once: the next message may be an access to it.
                    Phase::Setting(None) => {
                        region.phase = match result {
                            Ok(()) => Phase::Active,
                            Err(refusal) => Phase::Setting(Some(refusal)),
                        }
                    }
                    // The process was killed while it waited for this answer.
                    Phase::Ending | Phase::Dropping(None) => {}
                    _ => return Err(BreachKind::UnexpectedAnswer),
                }
                Ok(())
            }
            FromBroker::RegionDropped { lease, result } => {
                let Some(region) = self.answered(lease)? else { return Ok(()) };
                if region.phase != Phase::Dropping(None) {
                    return Err(BreachKind::UnexpectedAnswer);
                }
                region.phase = Phase::Dropping(Some(result));
                if result.is_err() {
                    self.fail(Reason::RemoveFailed);
                }
                Ok(())
            }
            FromBroker::Presented { outcome: PresentOutcome::Later, .. }
                if !self.config.kind.pauses_around_adds() =>
            {
                Err(BreachKind::OutOfTurn)
            }
            FromBroker::Presented { ticket, outcome } => self.on_presented(ticket, outcome),
            FromBroker::Invalidated { sequence, result } => {
                if let Standing::Failed(_) = self.invalidations.acknowledge(sequence, result)? {
                    self.fail(Reason::RemoveFailed);
                }
                Ok(())
            }
            FromBroker::Access { id, lease, page, offset, operation, wants_page } => {
                self.on_access(id, (lease, page), offset, operation, wants_page)
            }
            FromBroker::Want { ticket, lease, first, count, vcpu } => {
                self.on_want(ticket, (lease, first, count), vcpu)
            }
            FromBroker::BorrowerAttached { attachment, result } => {
                self.on_borrower_attached(attachment, result)
            }
            FromBroker::BorrowerDetached { attachment } => self.on_borrower_detached(attachment),
            FromBroker::BorrowerClosed { attachment } => self.on_borrower_closed(attachment),
            FromBroker::Closed { .. } => {
                self.fail(Reason::Breach);
                Ok(())
            }
        }
    }

    /// The region of a lease that an answer is about; `None` if it was taken out before its
    /// answer: the descriptor was closed. One that nothing was asked for is a breach.
    fn answered(&mut self, lease: LeaseId) -> Result<Option<&mut Region<S>>, BreachKind> {
        let region = self.regions.get_mut(lease);
        let due = match &region {
            Some(region) => region.answers_due,
            None => self.abandoned_answers,
        };
        let due = due.checked_sub(1).ok_or(BreachKind::UnexpectedAnswer)?;
        if let Some(region) = region {
            region.answers_due = due;
            return Ok(Some(region));
        }
        self.abandoned_answers = due;
        Ok(None)
    }

    fn on_welcome(&mut self, version: u16, features: u32, aperture_pages: u32) {
        if features != self.config.kind.wire_features() {
            self.fail(Reason::OtherXen);
            return;
        }
        if version != VERSION || aperture_pages != self.config.aperture.pages() {
            self.fail(Reason::Incompatible);
            return;
        }
        self.version = version;
        self.state = State::Connected;
        self.push_event(events::CONNECTED, 0, 0, u64::from(version));
    }

    fn on_access(
        &mut self,
        id: u32,
        (lease, page): (LeaseId, AperturePage),
        offset: u16,
        operation: AccessOperation,
        wants_page: bool,
    ) -> Result<(), BreachKind> {
        if !self.config.kind.completes_accesses() {
            return Err(BreachKind::OutOfTurn);
        }
        add(&mut self.counters.stage2_faults, 1);
        let length = match &operation {
            AccessOperation::Read { length } => usize::from(*length),
            AccessOperation::Write { bytes } => bytes.len(),
        };
        let end = u64::from(offset).saturating_add(length as u64);
        if length == 0 || length > MAX_ACCESS_BYTES || end > PAGE_SIZE {
            return Err(BreachKind::MessageLength);
        }
        let work = Work::Access { id, offset, operation, wants_page };
        self.requests.push(Request { lease, page, work }).map_err(|_| BreachKind::TooManyOutstanding)
    }
}

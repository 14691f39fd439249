// SPDX-License-Identifier: MIT OR Apache-2.0
//! The broker's end of the borrower's link: the real rings, over pages that the borrower has granted.

use std::cell::{Cell, RefCell};

use xenlend_lending::hypervisor::{BorrowerLink, SendError};
use xenlend_protocol::frontend::{FromBorrower, ToBorrower};
use xenlend_protocol::label::ClaimedLabel;
use xenlend_protocol::refusal::{AttachFailure, BreachKind};
use xenlend_protocol::ring::plain_memory::PlainMemory;
use xenlend_protocol::ring::{self, Consumer, Priority, Producer};

use crate::fault::Fault;
use crate::world::{Sim, Wrong};
use crate::xen::EINVAL;

struct Mapped {
    to_borrower: Producer<PlainMemory>,
    from_borrower: Consumer<PlainMemory>,
}

/// What the broker has mapped.
#[derive(Default)]
pub struct BorrowerEnd {
    mapped: RefCell<Option<Mapped>>,
    sent: Cell<bool>,
    /// Sequence of the newest `Revoked` that was sent.
    revoked: Cell<u64>,
    /// The label of the newest `Lease`.
    label: Cell<ClaimedLabel>,
}

impl BorrowerEnd {
    /// Whether the broker serves a link.
    pub fn is_mapped(&self) -> bool {
        self.mapped.borrow().is_some()
    }

    /// Notifies the borrower if this turn gave it a message, or the room that it waits for.
    pub fn finish_turn(&self, sim: &Sim) {
        let mut mapped = self.mapped.borrow_mut();
        let wanted = mapped.as_mut().is_some_and(|mapped| mapped.from_borrower.take_wakeup());
        if self.sent.replace(false) || wanted {
            sim.guest.queued.set(true);
        }
    }
}

/// The link as the lending logic sees it.
pub struct Link(pub Sim);

impl BorrowerLink for Link {
    fn attach(&mut self, ring_refs: [u32; 3], _: u32) -> Result<(), AttachFailure> {
        let failed = || AttachFailure::Grant { errno: EINVAL };
        if !self.0.interleave() {
            return Err(failed());
        }
        let end = &self.0.borrower_end;
        if end.is_mapped() {
            self.0.fail(Wrong::Link, "a borrower's link is attached twice".to_owned());
        }
        let granted = self.0.guest.granted.borrow().clone();
        let granted = granted.filter(|granted| granted.reference == ring_refs[0]).ok_or_else(failed)?;
        *end.mapped.borrow_mut() = Some(Mapped {
            to_borrower: Producer::new(granted.to_borrower),
            from_borrower: Consumer::new(granted.to_broker),
        });
        end.revoked.set(0);
        Ok(())
    }

    fn detach(&mut self) {
        if self.0.interleave() && self.0.borrower_end.mapped.take().is_none() {
            self.0.fail(Wrong::Link, "a borrower's link is let go of twice".to_owned());
        }
    }

    fn send(&mut self, message: &ToBorrower) -> Result<(), SendError> {
        if !self.0.interleave() {
            return Err(SendError::Full);
        }
        let (sim, end) = (&self.0, &self.0.borrower_end);
        if sim.once_in(sim.config.full_rings) {
            sim.note(|| "the ring towards the borrower is full".to_owned());
            sim.broker_end.owes_room.set(true);
            return Err(SendError::Full);
        }
        note_told(sim, message);
        let mut message = *message;
        if let ToBorrower::Lease { label, .. } = &mut message {
            let before = end.label.replace(*label);
            if sim.config.has(Fault::KeepLabel) {
                *label = before;
            }
        }
        let message = &message;
        if let ToBorrower::Revoked { sequence, .. } = message {
            end.revoked.set(*sequence);
        }
        let is_dropped = match message {
            ToBorrower::Revoked { .. } => sim.config.has(Fault::LoseNews),
            ToBorrower::Present { .. } => sim.config.has(Fault::LoseNotice),
            _ => false,
        };
        if is_dropped {
            return Ok(());
        }
        let mut mapped = end.mapped.borrow_mut();
        let Some(mapped) = mapped.as_mut() else {
            sim.fail(Wrong::Link, format!("{message:?} is said to nobody"));
            return Err(SendError::Full);
        };
        match mapped.to_borrower.send(message, Priority::Reserved) {
            Ok(()) => {
                sim.note(|| format!("broker tells {message:?}"));
                end.sent.set(true);
                sim.guest.said.borrow_mut().push_back(*message);
                Ok(())
            }
            Err(ring::SendError::Full) => Err(SendError::Full),
            Err(ring::SendError::Breach(kind)) => Err(SendError::Breach(kind)),
            Err(ring::SendError::TooLong) => {
                sim.fail(Wrong::Answers, format!("{message:?} is too long"));
                Err(SendError::Full)
            }
        }
    }

    fn receive(&mut self) -> Result<Option<FromBorrower>, BreachKind> {
        if !self.0.interleave() {
            return Ok(None);
        }
        let end = &self.0.borrower_end;
        let mut mapped = end.mapped.borrow_mut();
        let Some(mapped) = mapped.as_mut() else { return Ok(None) };
        let received = mapped.from_borrower.receive::<FromBorrower>();
        if let Ok(Some(message)) = &received {
            self.0.note(|| format!("broker hears {message:?}"));
            self.0.heard_zap.set(self.0.heard_zap.get() || matches!(message, FromBorrower::ZapDone { .. }));
        }
        match received {
            Ok(Some(FromBorrower::ZapDone { .. })) if self.0.config.has(Fault::ReleaseQuarantineEarly) => {
                Ok(Some(FromBorrower::ZapDone { sequence: end.revoked.get() }))
            }
            other => other,
        }
    }
}

/// Keeps what was said last of each page.
fn note_told(sim: &Sim, message: &ToBorrower) {
    let (first, count, present) = match message {
        ToBorrower::Present { first, count, .. } => (first.0, *count, true),
        ToBorrower::Revoked { first, count, .. }
        | ToBorrower::Lost { first, count, .. }
        | ToBorrower::Unavailable { first, count, .. } => (first.0, *count, false),
        _ => return,
    };
    let told = &mut *sim.guest.told_present.borrow_mut();
    told.iter_mut().skip(first as usize).take(count as usize).for_each(|page| *page = present);
}

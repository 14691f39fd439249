// SPDX-License-Identifier: MIT OR Apache-2.0
//! The borrower's frontend: attaching its grants and port to the broker, and letting them go.
//!
//! One attachment at a time, and one question about it unanswered.

use xenlend_protocol::message::ToBroker;
use xenlend_protocol::refusal::{AttachFailure, BreachKind};
use xenlend_protocol::ring::{Priority, RingMemory};

use super::{Link, NotSent, State};
use crate::storage::Storage;

/// Where the frontend stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FrontendState {
    /// There is none.
    #[default]
    Detached,
    /// The broker was asked to take it, and has not answered.
    Attaching,
    /// The broker serves it.
    Attached,
    /// The broker was asked to let it go, and has not answered.
    Detaching,
}

/// What the lender knows of the frontend.
#[derive(Debug, Default)]
pub(super) struct Frontend {
    state: FrontendState,
    /// Names the newest attachment.
    attachment: u32,
    failure: Option<AttachFailure>,
    /// The broker has said that it broke its contract.
    is_broken: bool,
}

/// Why a frontend is not attached now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAttached {
    /// One is attached, or on its way in or out.
    Exists,
    /// The broker could not be asked.
    NotSent(NotSent),
}

impl<R: RingMemory, S: Storage> Link<R, S> {
    /// Asks the broker to take a frontend. The numbers are the borrower's; the broker finds out what
    /// they are worth.
    ///
    /// # Errors
    /// [`NotAttached`].
    pub fn post_attach_frontend(
        &mut self,
        ring_refs: [u32; 3],
        event_channel: u32,
    ) -> Result<(), NotAttached> {
        if self.frontend.state != FrontendState::Detached {
            return Err(NotAttached::Exists);
        }
        if !self.is_lending() {
            return Err(NotAttached::NotSent(NotSent::Over));
        }
        let attachment = self.frontend.attachment.wrapping_add(1);
        self.send(&ToBroker::AttachBorrower { attachment, ring_refs, event_channel }, Priority::Normal)
            .map_err(NotAttached::NotSent)?;
        self.frontend = Frontend { state: FrontendState::Attaching, attachment, ..Frontend::default() };
        Ok(())
    }

    /// Asks the broker to let the frontend go.
    ///
    /// # Errors
    /// If it could not be asked; while somebody revokes by force it may be later.
    pub fn post_detach_frontend(&mut self) -> Result<(), NotSent> {
        match self.state {
            State::Connected | State::Forced => {}
            State::Forcing(_) => return Err(NotSent::Full),
            _ => return Err(NotSent::Over),
        }
        let attachment = self.frontend.attachment;
        self.send(&ToBroker::DetachBorrower { attachment }, Priority::Normal)?;
        self.frontend.state = FrontendState::Detaching;
        Ok(())
    }

    /// Where the frontend stands.
    pub fn frontend_state(&self) -> FrontendState {
        self.frontend.state
    }

    /// Why the broker did not take the last one.
    pub fn frontend_failure(&self) -> Option<AttachFailure> {
        self.frontend.failure
    }

    pub(super) fn on_borrower_attached(
        &mut self,
        attachment: u32,
        result: Result<(), AttachFailure>,
    ) -> Result<(), BreachKind> {
        let frontend = &mut self.frontend;
        if frontend.state != FrontendState::Attaching || frontend.attachment != attachment {
            return Err(BreachKind::UnexpectedAnswer);
        }
        frontend.failure = result.err();
        frontend.state = match result {
            Ok(()) => FrontendState::Attached,
            Err(_) => FrontendState::Detached,
        };
        Ok(())
    }

    /// `XENLEND_STATUS`: none, attached, or attached and broken by the borrower.
    pub(super) fn frontend_status(&self) -> u64 {
        match self.frontend.state {
            FrontendState::Attached if self.frontend.is_broken => 2,
            FrontendState::Attached => 1,
            _ => 0,
        }
    }

    pub(super) fn on_borrower_closed(&mut self, attachment: u32) -> Result<(), BreachKind> {
        let frontend = &mut self.frontend;
        let is_there = matches!(frontend.state, FrontendState::Attached | FrontendState::Detaching);
        if !is_there || frontend.attachment != attachment || frontend.is_broken {
            return Err(BreachKind::UnexpectedAnswer);
        }
        frontend.is_broken = true;
        Ok(())
    }

    pub(super) fn on_borrower_detached(&mut self, attachment: u32) -> Result<(), BreachKind> {
        let frontend = &mut self.frontend;
        if frontend.state != FrontendState::Detaching || frontend.attachment != attachment {
            return Err(BreachKind::UnexpectedAnswer);
        }
        frontend.state = FrontendState::Detached;
        Ok(())
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! One lease: its states, its pages and what was declared of them.

use xenlend_protocol::label::Label;
use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::message::{CacheMode, LossPolicy, Rights};

use crate::lending_table::PageRange;

/// Where a place in the registry stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LeaseState {
    /// No lease here: closed, or never granted.
    #[default]
    Vacant,
    /// Pages can become present.
    Active,
    /// Dropped, but Xen refused to remove some entry: it keeps its pages from others
    /// until a retry or the lender's own removal empties it.
    Revoking,
}

/// What happens to a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseEvent {
    /// The lender made pages a lease.
    Granted,
    /// The lender has frames to make present.
    Presented,
    /// The lender wants pages removed.
    Invalidated,
    /// The lender declared pages lost.
    PagesLost,
    /// The lender ended the lease.
    Dropped,
    /// Every entry of a dropped lease has been removed.
    Emptied,
    /// The lender has removed every entry itself.
    Forced,
}

/// The event has no meaning in this state; nothing changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotInThisState;

impl LeaseState {
    /// The state after an event.
    ///
    /// # Errors
    /// [`NotInThisState`].
    pub fn after(self, event: LeaseEvent) -> Result<Self, NotInThisState> {
        use LeaseEvent::{Dropped, Emptied, Forced, Granted, Invalidated, PagesLost, Presented};
        match (self, event) {
            (Self::Vacant, Granted) | (Self::Active, Presented | Invalidated | PagesLost | Forced) => {
                Ok(Self::Active)
            }
            (Self::Active | Self::Revoking, Dropped) | (Self::Revoking, Invalidated) => Ok(Self::Revoking),
            (Self::Vacant, Forced) | (Self::Revoking, Emptied | Forced) => Ok(Self::Vacant),
            (Self::Vacant, Presented | Invalidated | PagesLost | Dropped | Emptied)
            | (Self::Active, Granted | Emptied)
            | (Self::Revoking, Granted | Presented | PagesLost) => Err(NotInThisState),
        }
    }
}

/// What the lender grants beside the pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// What the borrower may do.
    pub rights: Rights,
    /// What it sees of a lost page.
    pub loss: LossPolicy,
    /// How programs have to map it.
    pub cache: CacheMode,
    /// What the lender calls it.
    pub label: Label,
}

/// A place in the registry, and the lease in it or the last one that was.
#[derive(Clone, Debug)]
pub struct Lease {
    id: LeaseId,
    state: LeaseState,
    pages: PageRange,
    terms: Terms,
}

impl Lease {
    /// A lease whose pages and rights have been checked.
    pub(crate) fn granted(id: LeaseId, pages: PageRange, terms: Terms) -> Self {
        Self { id, state: LeaseState::Active, pages, terms }
    }

    /// Index and generation.
    pub fn id(&self) -> LeaseId {
        self.id
    }

    /// State.
    pub fn state(&self) -> LeaseState {
        self.state
    }

    /// Whether its pages can become present.
    pub fn is_active(&self) -> bool {
        self.state == LeaseState::Active
    }

    /// Its pages.
    pub fn pages(&self) -> PageRange {
        self.pages
    }

    /// What the borrower sees of a lost page.
    pub fn loss(&self) -> LossPolicy {
        self.terms.loss
    }

    /// Everything that was granted beside the pages.
    pub fn terms(&self) -> Terms {
        self.terms
    }

    /// Takes an event.
    ///
    /// # Errors
    /// [`NotInThisState`]; nothing has changed then.
    pub(crate) fn apply(&mut self, event: LeaseEvent) -> Result<(), NotInThisState> {
        self.state = self.state.after(event)?;
        Ok(())
    }
}

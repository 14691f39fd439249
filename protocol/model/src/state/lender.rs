// SPDX-License-Identifier: MIT OR Apache-2.0
//! The state of the lender's kernel: where each of its threads stands, and what they share.

use heapless::Vec;

use super::{Access, Frame, Outcome, Page, PageSet, Sequence, PAGES, REVOKERS};

/// Why somebody revokes by force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// No progress.
    Deadline,
    /// The broker's domain is gone.
    BrokerGone,
    /// It broke the protocol.
    Breach,
    /// It could not remove an entry.
    RemoveFailed,
    /// The borrower is gone.
    BorrowerGone,
}

/// A reason, and how many forced revocations had ended when it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cause {
    /// Why.
    pub reason: Reason,
    /// When.
    pub epoch: u8,
}

/// Where the link stands at the lender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Link {
    /// Lending.
    Connected,
    /// The broker was resumed and has not caught up.
    Forced,
    /// Somebody has to revoke by force.
    Failing(Reason),
    /// Somebody does.
    Forcing(Reason),
    /// The broker is held for good.
    Condemned(Reason),
    /// Over.
    Detached,
}

/// The one Present that may be unanswered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pending {
    /// There is none.
    None,
    /// Posted.
    Unanswered,
    /// Answered, and not taken yet.
    Answered(Outcome),
}

/// A page-in in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Listed {
    /// The page.
    pub page: Page,
    /// An invalidation came between.
    pub overtaken: bool,
}

/// Work for the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// Do it, and page in if wanted.
    Access(Access),
    /// Page in once more.
    Again(Page),
}

/// What is known of a posted invalidation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    /// Nothing.
    Waiting,
    /// Acknowledged.
    Removed,
    /// The broker could not.
    Failed,
    /// The lender has removed everything itself.
    Forced,
}

/// Where somebody who revokes is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Revoking {
    /// Not begun.
    NotBegun,
    /// Waits for one of the places.
    Busy,
    /// Posted; waits for the acknowledgement.
    Posted { sequence: Sequence, standing: Standing },
    /// Waits for its turn to revoke by force. `place`: its invalidation still counts.
    WantsForce { cause: Cause, place: Option<Sequence> },
    /// Revokes by force.
    Forces { place: Option<Sequence> },
    /// Acknowledged: takes it out of the mirror.
    Clearing,
    /// Looks whether there is anything left.
    Again,
    /// Has returned.
    Returned,
}

/// One who revokes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Revoker {
    /// What.
    pub pages: PageSet,
    /// Program counter.
    pub step: Revoking,
}

/// The region at the lender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Region {
    /// Lends.
    Active,
    /// No page-ins any more; being revoked.
    Ending,
    /// Nothing is lent; the broker is to be asked to drop it.
    Silent,
    /// It was asked.
    Dropping,
    /// The broker has said so.
    Dropped,
    /// Out of the table.
    TakenOut,
}

/// Where the worker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Working {
    /// Waits for a request.
    Idle,
    /// Has a request and does its access.
    Accessing,
    /// The access is in a fault, which may wait like [`Self::Faulting`].
    AccessFaulting,
    /// Listed; the mark is clear.
    Listed,
    /// No invalidation was running.
    ReadBegun,
    /// In a fault, which may wait for a lock that a running invalidation holds.
    Faulting,
    /// The frame is found.
    Found(Frame),
    /// The borrower is being paused.
    Pausing(Frame),
    /// No vCPU runs.
    Paused(Frame),
    /// Posted, and not yet in the mirror (seeded).
    Recording(Frame),
    /// Posted; waits for the answer.
    Posted,
    /// Waits for its turn to revoke by force.
    WantsForce(Cause),
    /// Revokes by force.
    Forces,
    /// The answer, or that there is none, is known; the bracket ends next.
    Ending(Option<Outcome>),
    /// The bracket has ended; what was not added leaves the mirror next.
    Ended(Option<Outcome>),
    /// Answers the access if nobody has.
    Finishing,
}

/// The page-in worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Worker {
    /// Program counter.
    pub step: Working,
    /// Its request's page.
    pub page: Page,
    /// Whether it is wanted.
    pub wants_page: bool,
    /// The access to be answered: vCPU and id.
    pub answer: Option<(usize, u8)>,
    /// Answers of Later so far.
    pub laters: u8,
    /// Newest invalidation before the lookup.
    pub sampled: Sequence,
}

/// Who holds the mutex of forced revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Who {
    /// A revoker.
    Revoker(usize),
    /// The worker.
    Worker,
}

/// What a forced revocation does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ForceStep {
    /// Pause the broker.
    Hold,
    /// Remove what the mirror has.
    Remove,
    /// Decide.
    End,
    /// Resume the broker.
    Resume,
}

/// A forced revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Force {
    /// By whom.
    pub who: Who,
    /// Program counter.
    pub step: ForceStep,
    /// What the pause has told.
    pub broker_is_gone: bool,
}

/// The lender's kernel.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Shim {
    /// See [`Link`].
    pub link: Link,
    /// Its own record of the second stage.
    pub mirror: [Option<Frame>; PAGES],
    /// The page-in in flight.
    pub listed: Option<Listed>,
    /// Newest invalidation.
    pub newest: Sequence,
    /// Newest invalidation that was forced.
    pub forced_through: Sequence,
    /// Forced revocations that have ended.
    pub epoch: u8,
    /// See [`Pending`].
    pub present: Pending,
    /// For the worker.
    pub queue: Vec<Request, 4>,
    /// See [`Region`].
    pub region: Region,
    /// See [`Revoker`].
    pub revokers: [Revoker; REVOKERS],
    /// See [`Worker`].
    pub worker: Worker,
    /// See [`Force`].
    pub force: Option<Force>,
    /// It had to end the borrower: Xen would not remove an entry.
    pub ended_borrower: bool,
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The races that can be built into the model, one at a time, to see that the checker finds them.

/// A mistake in one of the parties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seed {
    /// The broker acknowledges an invalidation and removes behind that.
    AcknowledgeBeforeUnmap,
    /// The broker acknowledges and forgets, and removes nothing.
    UnmapSkipped,
    /// The broker does not compare a Present's sequence with what it has invalidated.
    StaleAccepted,
    /// The broker keeps its table when it is told that everything was removed.
    TableKeptAfterForced,
    /// The broker looks for `rep stos` in requests that it has taken up only.
    AddOverReadyStos,
    /// The broker looks for `rep stos` in requests that it has not taken up only.
    AddOverAcceptedStos,
    /// The broker takes a completed `rep stos` for done, before Xen has re-emulated it.
    AddOverAnsweredStos,
    /// The broker acknowledges only when no vCPU has an access in flight.
    AcknowledgementAwaitsBorrower,
    /// The broker leaves the borrower without completing what it has begun.
    LeaveWithoutDraining,
    /// The lender does not pause the borrower around an add.
    AddWithoutBracket,
    /// The lender pauses the borrower before it faults the page in.
    BracketOverFault,
    /// Inside the bracket nobody looks at the deadline.
    BracketWithoutDeadline,
    /// The bracket is not ended when the answer is Later.
    BracketKeptAfterLater,
    /// Acknowledgements are taken by the page-in worker only, between two page-ins.
    AcknowledgementInWorker,
    /// An invalidation trusts in the broker's health: it has no deadline.
    InvalidationWithoutDeadline,
    /// The lender posts a Present though an invalidation came between.
    OvertakenPosted,
    /// The lender lists a page-in only when it has looked its frame up.
    ListedAfterLookup,
    /// The lender records a Present in its mirror only after posting it.
    MirrorAfterPost,
    /// Revocation by force removes the entries while the broker runs.
    ForceWithoutPause,
    /// Revocation by force resumes a broker that has a Present unanswered.
    ResumedWithPresentUnanswered,
    /// Revocation by force withdraws the permission first; before Xen 4.22 the removal then fails.
    DenyBeforeRemoval,
    /// A broker that is gone is taken for one whose entries are gone.
    BrokerGoneLeavesEntries,
    /// The lender lends again at once after Forced.
    ForcedNotAwaited,
    /// The lender takes a late acknowledgement of what it has forced for a breach.
    LateAcknowledgementIsBreach,
    /// The lender ends an invalidation before it revokes by force, so that its acknowledgement,
    /// if it comes between, is an answer to nothing.
    EndedBeforeForce,
    /// An access's answer is dropped while somebody revokes by force.
    AnswerDroppedWhileForcing,
    /// The link is detached in the middle of a revocation by force.
    DetachedWhileForcing,
    /// Nobody destroys a borrower whose vCPU waits for a broker that is gone.
    NoSupervisor,
}

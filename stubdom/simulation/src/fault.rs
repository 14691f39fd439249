// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bugs that can be switched on, one at a time: a simulation that does not find them finds nothing.

/// A bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The broker acknowledges an invalidation first and removes in its next turn.
    AcknowledgeFirst,
    /// The broker acknowledges and never removes.
    SkipUnmap,
    /// The broker takes a positive return of Xen for all done.
    TakePartialForDone,
    /// The broker accepts a `Present` that an `Invalidate` has overtaken.
    AcceptStalePresent,
    /// The broker does not look at outstanding `rep stos` before it adds.
    IgnoreRepStos,
    /// The broker forgets to wake the vCPU that it has answered.
    ForgetCompletion,
    /// The broker answers a read with zeros.
    AnswerZeros,
    /// The lender adds without pausing the borrower.
    AddWithoutBracket,
    /// The lender records a page in its mirror when the broker has answered, not before it asks.
    RecordMirrorLate,
    /// The lender resumes a broker that has a `Present` unanswered.
    ResumeUnanswered,
    /// The lender removes by force without pausing the broker.
    ForceWithoutPause,
    /// The lender forgets that an invalidation has overtaken a lookup.
    ForgetOvertaken,
    /// The lender looks up while an invalidation runs.
    LookUpTooEarly,
    /// The lender's notifier returns when the message is sent, not when it is answered.
    NotifierDoesNotWait,
    /// The lender does an access on the frame that it found first.
    AccessOldFrame,
    /// The lender does not answer an access whose page is gone.
    DropLostAccess,
    /// The lender leaves the borrower paused when the broker says `Later`.
    LeakBracket,
    /// The lender withdraws no permissions.
    KeepPermissions,
    /// The lender tells the broker nothing of room in the ring to it, nor of messages.
    ForgetNotification,
    /// The lender takes an invalidation off its list before the force that it leads to: an answer just before
    /// that is one that nobody is owed.
    EndInvalidationEarly,
    /// The lender keeps the permission that a removal of its own wanted once more.
    KeepSparePermission,
    /// The broker has an instruction run again before its page is there.
    RetryEarly,
    /// The broker forgets the vCPU that waits for a page that has come and is gone again.
    ForgetWaiter,
    /// Xen does not wake the vCPUs that wait for a broker that ends.
    LeaveWaiter,
    /// Xen does not compare what is lent with what is expected there.
    LendOver,
    /// The lender dismisses the broker before its regions have ended.
    DismissEarly,
    /// The lender that revokes by force withdraws the frames only afterwards.
    WithdrawLate,
    /// The broker adds again what it has acknowledged, as soon as that was verified.
    AddAgain,
    /// The borrower's driver confirms a zap before it is done.
    ConfirmBeforeZap,
    /// The driver inserts what it has found without looking whether that is still so.
    InsertLate,
    /// The driver maps everything around a touch, whatever it was told of it.
    MapAround,
    /// The driver zaps the page tables of all programs but one.
    ZapAllButOne,
    /// The driver does not wait for processors that use an entry that it has taken out.
    ZapWithoutFlush,
    /// The driver does not wake who waits.
    ForgetWake,
    /// The driver serves a touch by whatever lease is there now.
    IgnoreSerial,
    /// The driver takes pages that it believes to be there for brought in.
    BelievePresent,
    /// The driver leaves entries behind when its link goes.
    LeaveMapped,
    /// The broker takes the confirmation of one zap for that of all.
    ReleaseQuarantineEarly,
    /// The broker forgets to ask the lender for what a task waits for.
    LoseWant,
    /// The broker does not tell the borrower what is gone.
    LoseNews,
    /// The broker does not tell the borrower what has come.
    LoseNotice,
    /// The broker tells the borrower the label of the lease that it announced before.
    KeepLabel,
    /// The lender leaves the pages of zeros of a process that has ended lent.
    KeepZeros,
    /// The lender starts its deadline anew with everything that the broker does towards an answer, without end, and
    /// the broker takes a message just before each deadline.
    EndlessPatience,
    /// The lender starts its deadline anew with every word of the broker, without end, and the broker takes nothing
    /// more but says something just before each deadline.
    CountBabble,
}

impl Fault {
    /// Every bug.
    pub const ALL: [Self; 45] = [
        Self::AcknowledgeFirst,
        Self::SkipUnmap,
        Self::TakePartialForDone,
        Self::AcceptStalePresent,
        Self::IgnoreRepStos,
        Self::ForgetCompletion,
        Self::AnswerZeros,
        Self::AddWithoutBracket,
        Self::RecordMirrorLate,
        Self::ResumeUnanswered,
        Self::ForceWithoutPause,
        Self::ForgetOvertaken,
        Self::LookUpTooEarly,
        Self::NotifierDoesNotWait,
        Self::AccessOldFrame,
        Self::DropLostAccess,
        Self::LeakBracket,
        Self::KeepPermissions,
        Self::ForgetNotification,
        Self::EndInvalidationEarly,
        Self::KeepSparePermission,
        Self::RetryEarly,
        Self::ForgetWaiter,
        Self::LeaveWaiter,
        Self::LendOver,
        Self::DismissEarly,
        Self::WithdrawLate,
        Self::AddAgain,
        Self::ConfirmBeforeZap,
        Self::InsertLate,
        Self::MapAround,
        Self::ZapAllButOne,
        Self::ZapWithoutFlush,
        Self::ForgetWake,
        Self::IgnoreSerial,
        Self::BelievePresent,
        Self::LeaveMapped,
        Self::ReleaseQuarantineEarly,
        Self::LoseWant,
        Self::LoseNews,
        Self::LoseNotice,
        Self::KeepLabel,
        Self::KeepZeros,
        Self::EndlessPatience,
        Self::CountBabble,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::AcknowledgeFirst => "acknowledge-first",
            Self::SkipUnmap => "skip-unmap",
            Self::TakePartialForDone => "take-partial-for-done",
            Self::AcceptStalePresent => "accept-stale-present",
            Self::IgnoreRepStos => "ignore-rep-stos",
            Self::ForgetCompletion => "forget-completion",
            Self::AnswerZeros => "answer-zeros",
            Self::AddWithoutBracket => "add-without-bracket",
            Self::RecordMirrorLate => "record-mirror-late",
            Self::ResumeUnanswered => "resume-unanswered",
            Self::ForceWithoutPause => "force-without-pause",
            Self::ForgetOvertaken => "forget-overtaken",
            Self::LookUpTooEarly => "look-up-too-early",
            Self::NotifierDoesNotWait => "notifier-does-not-wait",
            Self::AccessOldFrame => "access-old-frame",
            Self::DropLostAccess => "drop-lost-access",
            Self::LeakBracket => "leak-bracket",
            Self::KeepPermissions => "keep-permissions",
            Self::ForgetNotification => "forget-notification",
            Self::EndInvalidationEarly => "end-invalidation-early",
            Self::KeepSparePermission => "keep-spare-permission",
            Self::RetryEarly => "retry-early",
            Self::ForgetWaiter => "forget-waiter",
            Self::LeaveWaiter => "leave-waiter",
            Self::LendOver => "lend-over",
            Self::DismissEarly => "dismiss-early",
            Self::WithdrawLate => "withdraw-late",
            Self::AddAgain => "add-again",
            Self::ConfirmBeforeZap => "confirm-before-zap",
            Self::InsertLate => "insert-late",
            Self::MapAround => "map-around",
            Self::ZapAllButOne => "zap-all-but-one",
            Self::ZapWithoutFlush => "zap-without-flush",
            Self::ForgetWake => "forget-wake",
            Self::IgnoreSerial => "ignore-serial",
            Self::BelievePresent => "believe-present",
            Self::LeaveMapped => "leave-mapped",
            Self::ReleaseQuarantineEarly => "release-quarantine-early",
            Self::LoseWant => "lose-want",
            Self::LoseNews => "lose-news",
            Self::LoseNotice => "lose-notice",
            Self::KeepLabel => "keep-label",
            Self::KeepZeros => "keep-zeros",
            Self::EndlessPatience => "endless-patience",
            Self::CountBabble => "count-babble",
        }
    }

    /// Whether it can only be made on a lend-aware Xen.
    pub fn is_of_lend_aware(self) -> bool {
        use Fault::{
            AddAgain, DismissEarly, ForgetWaiter, KeepZeros, LeaveWaiter, LendOver, RetryEarly, WithdrawLate,
        };
        matches!(
            self,
            RetryEarly
                | ForgetWaiter
                | LeaveWaiter
                | LendOver
                | DismissEarly
                | WithdrawLate
                | AddAgain
                | KeepZeros
        )
    }

    /// The bug of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fault| fault.name() == name)
    }
}

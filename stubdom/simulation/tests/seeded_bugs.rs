// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bugs that are switched on one at a time must be found, as what they are, within a number of steps that is
//! stated here: ten times what they took, so that another order of steps finds them too.

use xenlend_simulation::config::{Choice, Mode};
use xenlend_simulation::fault::Fault;
use xenlend_simulation::run::explore;
use xenlend_simulation::world::Wrong;
use xenlend_xen_abi::lend::XenKind;

const STEPS: usize = 1000;

/// What each bug shows as, and in so many histories of 1000 steps at most.
fn expectation(fault: Fault) -> (Mode, &'static [Wrong], u64) {
    use Wrong::{
        BadEntry, BorrowerDied, Link, LostWrite, MirrorMisses, OtherLabel, OtherLease, Permissions,
        SplitEntry, StaleData, StaleEntry, StaleMessage, Stuck, TableDiffers, Told,
    };
    let given_back: &[Wrong] = &[StaleEntry, StaleMessage, MirrorMisses];
    match fault {
        Fault::AcknowledgeFirst | Fault::SkipUnmap | Fault::RecordMirrorLate | Fault::NotifierDoesNotWait => {
            (Mode::Calm, given_back, 20)
        }
        Fault::ForgetOvertaken | Fault::LookUpTooEarly => (Mode::Calm, given_back, 200),
        Fault::ResumeUnanswered => (Mode::Rough, given_back, 2000),
        // The broker adds 2 MiB while the lender looks for what is left, page by page.
        Fault::ForceWithoutPause => {
            (Mode::Rough, &[StaleEntry, StaleMessage, MirrorMisses, TableDiffers, SplitEntry], 2000)
        }
        Fault::TakePartialForDone => (Mode::Rough, &[StaleEntry, MirrorMisses, TableDiffers], 2000),
        Fault::AcceptStalePresent => (Mode::LyingLender, &[StaleEntry], 500),
        Fault::IgnoreRepStos => (Mode::Calm, &[BorrowerDied], 200),
        Fault::AddWithoutBracket => (Mode::Calm, &[BorrowerDied], 1000),
        Fault::ForgetCompletion => (Mode::Calm, &[Stuck], 20),
        Fault::DropLostAccess => (Mode::Rough, &[Stuck], 100),
        Fault::AnswerZeros => (Mode::Calm, &[StaleData], 20),
        Fault::AccessOldFrame => (Mode::Calm, &[StaleData, LostWrite], 250),
        Fault::KeepPermissions => (Mode::Calm, &[Permissions], 20),
        Fault::ForgetNotification => (Mode::Calm, &[Link], 20),
        Fault::EndInvalidationEarly => (Mode::Rough, &[Link], 9000),
        Fault::KeepSparePermission => (Mode::Calm, &[Permissions], 27_000),
        Fault::ConfirmBeforeZap => (Mode::Calm, &[OtherLease], 600),
        Fault::IgnoreSerial => (Mode::Calm, &[OtherLease], 200),
        Fault::ReleaseQuarantineEarly => (Mode::Calm, &[OtherLease], 3000),
        // An instruction must stand still from before a zap until its page is another's.
        Fault::ZapWithoutFlush => (Mode::Rough, &[OtherLease], 9000),
        Fault::InsertLate => (Mode::Rough, &[BadEntry], 1200),
        Fault::MapAround => (Mode::Calm, &[BadEntry], 50),
        Fault::ZapAllButOne => (Mode::Rough, &[BadEntry, OtherLease], 100),
        Fault::BelievePresent => (Mode::Calm, &[Told], 4400),
        Fault::LeaveMapped => (Mode::Rough, &[BadEntry], 300),
        Fault::LeakBracket | Fault::ForgetWake | Fault::LoseWant | Fault::LoseNotice => {
            (Mode::Calm, &[Stuck], 50)
        }
        Fault::EndlessPatience | Fault::CountBabble => (Mode::LyingBroker, &[Wrong::LongWait], 200),
        Fault::KeepLabel => (Mode::Calm, &[OtherLabel], 20),
        // A task waits on, or the borrower believes that the page is there.
        Fault::LoseNews => (Mode::Calm, &[Stuck, Told, OtherLease, Link], 200),
        other => unreachable!("{} is of lend-aware Xen", other.name()),
    }
}

/// The same on lend-aware Xen, for the bugs that can be made there.
const LEND_AWARE: [(Fault, Mode, &[Wrong], u64); 19] = {
    use Wrong::{
        EarlyRetry, Exception, LentOver, Link, MirrorMisses, NotReleased, Permissions, StaleEntry,
        StaleMessage, Stuck, TableDiffers, TooManyZeros,
    };
    const GIVEN_BACK: &[Wrong] = &[StaleEntry, StaleMessage, MirrorMisses, NotReleased];
    [
        (Fault::RetryEarly, Mode::Calm, &[EarlyRetry], 20),
        (Fault::ForgetWaiter, Mode::Calm, &[Stuck], 20),
        (Fault::LeaveWaiter, Mode::Rough, &[Stuck], 100),
        (Fault::LendOver, Mode::LyingLender, &[LentOver], 500),
        (Fault::DismissEarly, Mode::Rough, &[Exception, TableDiffers], 400),
        (Fault::WithdrawLate, Mode::Rough, GIVEN_BACK, 20_000),
        (Fault::AddAgain, Mode::Calm, GIVEN_BACK, 20),
        (Fault::KeepZeros, Mode::Rough, &[TooManyZeros], 20_000),
        (Fault::AcknowledgeFirst, Mode::Calm, GIVEN_BACK, 20),
        (Fault::SkipUnmap, Mode::Calm, GIVEN_BACK, 20),
        (Fault::RecordMirrorLate, Mode::Calm, GIVEN_BACK, 20),
        (Fault::NotifierDoesNotWait, Mode::Calm, GIVEN_BACK, 20),
        (Fault::ForgetOvertaken, Mode::Calm, GIVEN_BACK, 200),
        (Fault::LookUpTooEarly, Mode::Calm, GIVEN_BACK, 200),
        (Fault::AcceptStalePresent, Mode::LyingLender, &[StaleEntry], 500),
        (Fault::ForgetCompletion, Mode::Calm, &[Stuck], 20),
        (Fault::AnswerZeros, Mode::Calm, &[Exception], 20),
        (Fault::KeepPermissions, Mode::Calm, &[Permissions], 20),
        (Fault::ForgetNotification, Mode::Calm, &[Link], 20),
    ]
};

fn find(choice: Choice, wrongs: &[Wrong], histories: u64) {
    let explored = explore(1..histories + 1, STEPS, choice);
    let options = choice.options();
    let found = explored.found.unwrap_or_else(|| panic!("{options} was not found"));
    println!("{options}: {:?} after {} steps", found.violation.wrong, explored.steps);
    assert!(wrongs.contains(&found.violation.wrong), "{options}: {:?}", found.violation);
}

#[test]
fn every_bug_that_is_switched_on_is_found() {
    for fault in Fault::ALL.into_iter().filter(|fault| !fault.is_of_lend_aware()) {
        let (mode, wrongs, histories) = expectation(fault);
        find(Choice::of(XenKind::Stock, mode).with(fault), wrongs, histories);
    }
}

#[test]
fn every_bug_that_is_switched_on_is_found_on_lend_aware_xen() {
    for (fault, mode, wrongs, histories) in LEND_AWARE {
        find(Choice::of(XenKind::LendAware, mode).with(fault), wrongs, histories);
    }
    let listed = |fault: &Fault| LEND_AWARE.iter().any(|of| of.0 == *fault);
    assert!(Fault::ALL.iter().filter(|fault| fault.is_of_lend_aware()).all(listed));
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Revocation by force: the broker is held while the lender removes every entry itself.
//!
//! It may run in a notifier, inside reclaim, with a driver's locks held: nothing here
//! allocates or waits for anybody but Xen.

use xenlend_shim_core::counters::add;
use xenlend_shim_core::frames::Frames;
use xenlend_shim_core::link::{Cause, ForceEnd, Reason, State};
use xenlend_shim_core::mirror::Run;
use xenlend_shim_core::removal;

use crate::errno::{Errno, ENOENT, ESRCH};
use crate::kernel_api::zeros::Zeros;
use crate::link::{Link, WaitEnd};
use crate::{log_error, log_information, log_warning};

/// What a removal that the lender made itself came to.
pub type Found = removal::Found<Errno>;

/// Revokes everything of a link. When it returns nothing is present, unless the broker has been resumed
/// and lends again: whoever wants a range revoked looks whether it is.
pub fn revoke_all(link: &Link, cause: Cause) {
    let guard = link.force.lock();
    // What a dead borrower's broker could not do is not its fault.
    let borrower_is_gone = link.hypervisor.is_dying(link.borrower);
    let reason = if borrower_is_gone { Reason::BorrowerGone } else { cause.reason };
    if !link.locked(|state| state.core.begin_force(Cause { reason, ..cause })) {
        return;
    }
    if !borrower_is_gone {
        log_warning!("dom{}: revoking without the broker dom{}: {:?}", link.borrower, link.broker, reason);
    }
    // On a lend-aware Xen it may go on: what is withdrawn it cannot add.
    let broker_is_gone =
        if link.kind.pauses_broker() { hold_broker(link) } else { link.hypervisor.is_gone(link.broker) };
    while let Some((lease, run)) = link.locked(|state| state.core.force_next()) {
        match remove(link, &run) {
            Found::Mapped(_) | Found::DomainGone => {}
            Found::Stuck(error) => end_borrower(link, &run, error),
        }
        while let Some(taken) = link.locked(|state| state.core.force_removed(lease, &run)) {
            take_back(link, &[taken]);
        }
    }
    match link.locked(|state| state.core.end_force(broker_is_gone)) {
        ForceEnd::Resume if !link.kind.pauses_broker() => {}
        ForceEnd::Resume => {
            if let Err(error) = link.hypervisor.unpause(link.broker) {
                log_error!(
                    "dom{}: cannot resume the broker dom{}: error {}",
                    link.borrower,
                    link.broker,
                    error.0
                );
            }
        }
        ForceEnd::Condemn(Reason::BorrowerGone) => {
            log_information!("dom{}: the borrower is gone, nothing is lent to it", link.borrower);
        }
        ForceEnd::Condemn(reason) => log_error!(
            "dom{}: the broker dom{} is held for good: {:?}; destroy it and the borrower",
            link.borrower,
            link.broker,
            reason
        ),
    }
    if !link.kind.pauses_broker() && link.locked(|state| matches!(state.core.state(), State::Condemned(_))) {
        link.frames.lock().dismiss_broker();
    }
    drop(guard);
}

/// Follows a wait for the broker that ended without an answer.
pub fn after(link: &Link, end: WaitEnd) {
    if let Some(cause) = end.cause() {
        revoke_all(link, cause);
    }
}

/// Pauses the broker: afterwards nothing of it is in flight. True if it is gone.
fn hold_broker(link: &Link) -> bool {
    match link.hypervisor.pause(link.broker) {
        Ok(()) => link.hypervisor.is_gone(link.broker),
        Err(ESRCH | ENOENT) => true,
        Err(error) => {
            // Somebody has paused it 255 times. A destroyed broker adds nothing either.
            log_error!("dom{}: cannot pause the broker dom{}: error {}", link.borrower, link.broker, error.0);
            if let Err(error) = link.hypervisor.destroy(link.broker) {
                if error != ESRCH {
                    log_error!(
                        "dom{}: nor destroy it: error {}; ending the borrower",
                        link.borrower,
                        error.0
                    );
                    stop_borrower(link);
                }
            }
            true
        }
    }
}

/// Removes the entries of a run from this domain, whatever is left of them.
pub fn remove(link: &Link, run: &Run) -> Found {
    without_broker(link, |frames| frames.remove(run))
}

/// The same if the broker says that nothing is left.
pub fn verify(link: &Link, run: &Run) -> Found {
    without_broker(link, |frames| frames.verify(run))
}

fn without_broker(link: &Link, act: impl FnOnce(&mut dyn Frames) -> removal::Found<u16>) -> Found {
    let mut frames = link.frames.lock();
    let found = act(frames.any());
    let counts = frames.any().take_counts();
    drop(frames);
    link.locked(|state| {
        add(&mut state.core.counters().dom0_mapping_hypercalls, counts.calls);
        add(&mut state.core.counters().deny_failures, counts.failures);
    });
    match found {
        removal::Found::Mapped(pages) => Found::Mapped(pages),
        removal::Found::DomainGone => Found::DomainGone,
        removal::Found::Stuck(error) => Found::Stuck(Errno(error)),
    }
}

/// Withdraws the frames of runs that were present and are no more.
pub fn take_back(link: &Link, runs: &[Run]) {
    let failures = link.frames.lock().any().withdraw(runs);
    if failures > 0 {
        link.locked(|state| add(&mut state.core.counters().deny_failures, failures));
    }
    for run in runs {
        drop(Zeros::from_mirror(run));
    }
}

/// The last resort: a borrower that does not run touches nothing.
pub fn end_borrower(link: &Link, run: &Run, error: Errno) {
    log_error!(
        "dom{}: Xen does not remove {} pages at {:#x}: error {}; ending the borrower",
        link.borrower,
        run.count,
        link.aperture.address_of(run.page),
        error.0
    );
    stop_borrower(link);
}

fn stop_borrower(link: &Link) {
    // Pausing comes first and stays: should the end fail, it still does not run.
    let paused = link.hypervisor.pause(link.borrower);
    let ended = link.hypervisor.destroy(link.borrower);
    if let (Err(paused), Err(ended)) = (paused, ended) {
        if ended != ESRCH {
            log_error!("dom{}: cannot be stopped: errors {}, {}", link.borrower, paused.0, ended.0);
        }
    }
}

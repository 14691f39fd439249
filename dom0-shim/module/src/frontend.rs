// SPDX-License-Identifier: MIT OR Apache-2.0
//! `XENLEND_ATTACH_FRONTEND` and `XENLEND_DETACH_FRONTEND`: the borrower's grants and port on their way to
//! the broker.
//!
//! What the numbers are worth the broker finds out; here they are passed on.

use xenlend_shim_core::link::{Awaited, FrontendState, NotAttached, NotSent, State as LinkState};
use xenlend_shim_core::patience::For;
use xenlend_shim_core::uapi::AttachFrontend;

use crate::errno::{Errno, EAGAIN, EEXIST, EINTR, EINVAL, ENOENT, ENOLINK, EREMOTEIO, ETIMEDOUT};
use crate::kernel_api::shared::Shared;
use crate::kernel_api::wait::Mode;
use crate::kernel_api::{now_ms, Core as Module};
use crate::link::{Link, State, WaitEnd};

/// The link of a borrower that is not ended.
fn find(borrower: u16) -> Result<Shared<Link>, Errno> {
    Module::links().find(borrower).ok_or(ENOENT)
}

/// `XENLEND_ATTACH_FRONTEND`; with EREMOTEIO the request says why the broker refused.
#[inline(never)] // keeps its frame off the other calls' stacks
pub fn attach(request: &mut AttachFrontend) -> Result<(), Errno> {
    if !request.is_clean {
        return Err(EINVAL);
    }
    let link = find(request.borrower)?;
    let running = link.begin_call()?;
    if running.ended {
        return Err(ENOENT);
    }
    let mut posted = None;
    let answer = link.wait_within(Mode::Killable, &mut link.patience(For::Call), |state| {
        if posted.is_none() {
            match state.core.post_attach_frontend(request.ring_refs, request.event_channel) {
                Ok(()) => posted = Some(state.core.position()),
                Err(NotAttached::Exists) => return Ok(Err(EEXIST)),
                Err(NotAttached::NotSent(NotSent::Full)) => return Err(Awaited::Room),
                Err(NotAttached::NotSent(NotSent::Over)) => return Ok(Err(over(state))),
            }
        }
        match (state.core.frontend_state(), state.core.frontend_failure()) {
            (FrontendState::Attached, _) => Ok(Ok(None)),
            (FrontendState::Detached, failure) => Ok(Ok(failure)),
            _ if is_over(state) => Ok(Err(ENOLINK)),
            _ => Err(posted.map_or(Awaited::Room, Awaited::Answer)),
        }
    });
    drop(running);
    request.failure = answer.map_err(errno_of)??;
    match request.failure {
        None => Ok(()),
        Some(_) => Err(EREMOTEIO),
    }
}

/// `XENLEND_DETACH_FRONTEND`: when it returns 0 the broker has nothing of the borrower mapped or bound.
#[inline(never)]
pub fn detach(borrower: u16) -> Result<(), Errno> {
    let link = find(borrower)?;
    let running = link.begin_call()?;
    if running.ended {
        return Err(ENOENT);
    }
    let (mut posted, mut was_there) = (None, false);
    let patience = &mut link.patience(For::End(now_ms()));
    let answer = link.wait_within(Mode::Killable, patience, |state| {
        let standing = state.core.frontend_state();
        was_there |= standing != FrontendState::Detached;
        match standing {
            FrontendState::Detached => Ok(Ok(())),
            _ if is_over(state) => Ok(Err(ENOLINK)),
            // An attach that nobody waited for to its end goes before.
            FrontendState::Attaching | FrontendState::Detaching => {
                Err(Awaited::Answer(*posted.get_or_insert(state.core.position())))
            }
            FrontendState::Attached => match state.core.post_detach_frontend() {
                Ok(()) => {
                    let position = state.core.position();
                    posted = Some(position);
                    Err(Awaited::Answer(position))
                }
                Err(NotSent::Full) => Err(Awaited::Room),
                Err(NotSent::Over) => Ok(Err(ENOLINK)),
            },
        }
    });
    drop(running);
    answer.map_err(errno_of)??;
    if was_there {
        Ok(())
    } else {
        Err(EINVAL)
    }
}

/// Whether the broker will answer nothing any more.
fn is_over(state: &State) -> bool {
    matches!(state.core.state(), LinkState::Failing(_) | LinkState::Condemned(_) | LinkState::Detached)
}

/// Why the broker cannot be asked now.
fn over(state: &State) -> Errno {
    if is_over(state) {
        ENOLINK
    } else {
        EAGAIN
    }
}

/// A broker that does not answer this in time owes nobody a page: it is not revoked by force.
fn errno_of(end: WaitEnd) -> Errno {
    match end {
        WaitEnd::Signal => EINTR,
        WaitEnd::Deadline(_) => ETIMEDOUT,
        WaitEnd::BrokerGone(_) => ENOLINK,
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The borrower's grants and port on their way to the broker: `dom0-shim/module/src/frontend.rs`, for the tool.

use xenlend_shim_core::link::{Awaited, FrontendState, NotAttached, NotSent, State as LinkState};
use xenlend_shim_core::patience::For;

use super::link::{begin_call, patience, wait_within, Mode};
use super::State;
use crate::world::{Sim, World};

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Done.
    Done,
    /// The broker has refused, or something is in the way.
    Refused,
    /// Nobody knows what became of it.
    Open,
    /// The broker will answer nothing any more.
    Over,
}

/// `XENLEND_ATTACH_FRONTEND`.
pub async fn attach(sim: &Sim, ring_refs: [u32; 3], event_channel: u32) -> End {
    let _running = begin_call(sim).await;
    if sim.lender.ended.get() {
        return End::Over;
    }
    let mut posted = None;
    let answer = wait_within(sim, Mode::Killable, &mut patience(For::Call), |state| {
        if posted.is_none() {
            match state.core.post_attach_frontend(ring_refs, event_channel) {
                Ok(()) => posted = Some(state.core.position()),
                Err(NotAttached::NotSent(NotSent::Full)) => return Err(Awaited::Room),
                Err(NotAttached::NotSent(NotSent::Over)) if is_over(state) => return Ok(End::Over),
                Err(_) => return Ok(End::Refused),
            }
        }
        match state.core.frontend_state() {
            FrontendState::Attached => Ok(End::Done),
            FrontendState::Detached => Ok(End::Refused),
            _ if is_over(state) => Ok(End::Over),
            _ => Err(posted.map_or(Awaited::Room, Awaited::Answer)),
        }
    })
    .await;
    answer.unwrap_or(End::Open)
}

/// `XENLEND_DETACH_FRONTEND`.
pub async fn detach(sim: &Sim) -> End {
    let _running = begin_call(sim).await;
    if sim.lender.ended.get() {
        return End::Over;
    }
    let mut posted = None;
    let patience = &mut patience(For::End(sim.now_ms.get()));
    let answer = wait_within(sim, Mode::Killable, patience, |state| match state.core.frontend_state() {
        FrontendState::Detached => Ok(End::Done),
        _ if is_over(state) => Ok(End::Over),
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
            Err(NotSent::Over) => Ok(End::Over),
        },
    })
    .await;
    answer.unwrap_or(End::Open)
}

fn is_over(state: &State) -> bool {
    matches!(state.core.state(), LinkState::Failing(_) | LinkState::Condemned(_) | LinkState::Detached)
}

/// Whether whoever looks from outside sees that the broker will answer nothing any more.
pub fn is_broker_gone(world: &World) -> bool {
    let state = world.lender.state.try_borrow().map(|state| state.core.state());
    world.xen.borrow().broker.dying
        || matches!(state, Ok(LinkState::Condemned(_) | LinkState::Detached))
        || world.lender.ended.get()
}

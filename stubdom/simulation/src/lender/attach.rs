// SPDX-License-Identifier: MIT OR Apache-2.0
//! Detach: `dom0-shim/module/src/attach.rs`.

use xenlend_protocol::message::AccessOutcome;
use xenlend_shim_core::link::{Awaited, Completion, NotSent};
use xenlend_shim_core::patience::For;
use xenlend_shim_core::request_queue::Work;

use super::link::{locked, patience, wait_within, Mode, Patience};
use super::{force, frames, leases, Lender, Lock};
use crate::fault::Fault;
use crate::world::Sim;

/// Ends the link, whatever state the broker is in.
pub async fn detach(sim: Sim) {
    let since_ms = sim.now_ms.get();
    locked(&sim, |state| state.core.begin_ending(since_ms)).await;
    detach_since(&sim, since_ms).await;
    locked(&sim, |state| state.core.finish_ending()).await;
}

async fn detach_since(sim: &Sim, since_ms: u64) {
    let patience = &mut patience(For::End(since_ms));
    let running = Lender::lock(sim, Lock::Running).await;
    if sim.lender.ended.replace(true) {
        return;
    }
    sim.disturbed.set(true);
    if sim.config.has(Fault::DismissEarly) {
        frames::dismiss_broker(sim).await;
    }
    leases::end_regions(sim, patience).await;
    drop(running);
    answer_rest(sim, patience).await;
    let running = Lender::lock(sim, Lock::Running).await;
    // Behind a force that runs: the broker that it has paused has to hear of its end.
    let force = Lender::lock(sim, Lock::Force).await;
    locked(sim, |state| {
        state.stopping = true;
        state.core.detach();
        sim.lender.interrupted.set(true);
    })
    .await;
    drop(force);
    drop(running);
    sim.step().await;
    sim.lender.connected.set(false);
    frames::dismiss_broker(sim).await;
    // The worker looks whether it has to stop.
    locked(sim, |state| state.core.wake()).await;
    sim.note(|| "detached".to_owned());
}

/// No vCPU may be left waiting for an answer that nobody would give any more.
async fn answer_rest(sim: &Sim, patience: &mut Patience) {
    while let Some(request) = locked(sim, |state| state.core.pop_request()).await {
        let Work::Access { id, .. } = request.work else { continue };
        let completion = Completion { id, outcome: AccessOutcome::Lost };
        for _ in 0..2 {
            let sent = wait_within(sim, Mode::Uninterruptible, patience, |state| {
                match state.core.post_completed(&completion) {
                    Err(NotSent::Full) => Err(Awaited::Room),
                    _ => Ok(()),
                }
            })
            .await;
            let Err(end) = sent else { break };
            force::after(sim, end).await;
        }
    }
}

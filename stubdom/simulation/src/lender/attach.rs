// SPDX-License-Identifier: MIT OR Apache-2.0
//! Detach: `dom0-shim/module/src/attach.rs`.

use xenlend_protocol::message::AccessOutcome;
use xenlend_shim_core::link::Completion;
use xenlend_shim_core::request_queue::Work;

use super::link::locked;
use super::{frames, leases, page_in, Lender, Lock};
use crate::fault::Fault;
use crate::world::Sim;

/// Ends the link, whatever state the broker is in.
pub async fn detach(sim: Sim) {
    let running = Lender::lock(&sim, Lock::Running).await;
    if sim.lender.ended.replace(true) {
        return;
    }
    sim.disturbed.set(true);
    if sim.config.has(Fault::DismissEarly) {
        frames::dismiss_broker(&sim).await;
    }
    leases::end_regions(&sim).await;
    drop(running);
    while let Some(request) = locked(&sim, |state| state.core.pop_request()).await {
        if let Work::Access { id, .. } = request.work {
            let completion = Completion { id, outcome: AccessOutcome::Lost };
            let _ = page_in::try_to_complete(&sim, &completion).await
                || page_in::try_to_complete(&sim, &completion).await;
        }
    }
    let running = Lender::lock(&sim, Lock::Running).await;
    // Behind a force that runs: the broker that it has paused has to hear of its end.
    let force = Lender::lock(&sim, Lock::Force).await;
    locked(&sim, |state| {
        state.stopping = true;
        state.core.detach();
        sim.lender.interrupted.set(true);
    })
    .await;
    drop(force);
    drop(running);
    sim.step().await;
    sim.lender.connected.set(false);
    frames::dismiss_broker(&sim).await;
    // The worker looks whether it has to stop.
    locked(&sim, |state| state.core.wake()).await;
    sim.note(|| "detached".to_owned());
}

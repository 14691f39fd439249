// SPDX-License-Identifier: MIT OR Apache-2.0
//! A broker that does as little as it can to look alive: it creeps, or it babbles.

use xenlend_protocol::frame::AperturePage;
use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::message::{AccessOperation, FromBroker};
use xenlend_protocol::ring::Priority;

use crate::config::Temper;
use crate::world::{Sim, World, DEADLINE_MS, LOOK_MS};

/// Messages that it takes before it shows.
const BRISK_MESSAGES: u32 = 30;
/// Between two movements: the last look at the clock before the deadline.
const PERIOD_MS: u64 = DEADLINE_MS as u64 - LOOK_MS;

/// Whether it shows now. While everything comes to rest it does not: whatever was begun has to end then.
fn shows(world: &World) -> bool {
    world.config.temper != Temper::Brisk && world.taken.get() >= BRISK_MESSAGES && !world.is_resting()
}

/// Whether the broker takes the next message now.
pub fn may_take(world: &World) -> bool {
    match world.config.temper {
        _ if !shows(world) => true,
        Temper::Brisk => true,
        Temper::Creeping => world.now_ms.get() >= world.moves_at_ms.get(),
        Temper::Babbling => false,
    }
}

/// It has taken one.
pub fn note_taken(world: &World) {
    world.taken.set(world.taken.get() + 1);
    world.moves_at_ms.set(world.now_ms.get() + PERIOD_MS);
}

/// Time has passed.
pub fn on_clock(sim: &Sim) {
    if sim.config.temper == Temper::Brisk {
        return;
    }
    sim.broker_pending.set(true);
    let babbles = shows(sim) && sim.config.temper == Temper::Babbling;
    if !babbles || sim.now_ms.get() < sim.moves_at_ms.get() || !sim.xen.borrow().broker.runs() {
        return;
    }
    sim.moves_at_ms.set(sim.now_ms.get() + PERIOD_MS);
    sim.disturbed.set(true);
    sim.no_data.set(true);
    // A question that it may ask; with the mend also one acknowledgement of nothing, which it may not.
    let message = if sim.config.fault.is_none() && sim.draw(4) == 3 {
        FromBroker::Invalidated { sequence: 0, result: Ok(0) }
    } else {
        let lease = LeaseId { index: 0, generation: 1 };
        let (page, operation) = (AperturePage(0), AccessOperation::Read { length: 1 });
        FromBroker::Access { id: 1 << 16, lease, page, offset: 0, operation, wants_page: false }
    };
    sim.note(|| format!("the broker babbles: {message:?}"));
    let _ = sim.broker_end.to_lender.borrow_mut().send(&message, Priority::Reserved);
    sim.interrupt_pending.set(true);
}

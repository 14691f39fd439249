// SPDX-License-Identifier: MIT OR Apache-2.0
//! Links come and go: `guest-frontend/module/src/bus.rs`, without the words of xenbus.

use std::rc::Rc;

use super::{locked, new_link, work, ALL};
use crate::fault::Fault;
use crate::lender::frontend::{self, End};
use crate::task::{Turn, Wait, TOOL};
use crate::world::{Sim, World};

/// How often a link is asked to be let go of before the broker is taken for gone.
const TRIES: u32 = 4;

/// Makes and ends links, whenever somebody wants it.
pub async fn run(sim: Sim) {
    loop {
        Turn::new(&sim, Wait::Idle(Box::new(has_work))).await;
        let wanted = sim.guest.wanted_link.take();
        let exists = sim.guest.granted.borrow().is_some();
        match wanted {
            Some(true) if !exists => connect(&sim).await,
            _ if exists && (wanted == Some(false) || has_ended(&sim)) => part(&sim).await,
            _ => {}
        }
    }
}

fn has_work(world: &World) -> bool {
    world.guest.wanted_link.get().is_some() || world.guest.granted.borrow().is_some() && has_ended(world)
}

fn has_ended(world: &World) -> bool {
    world.guest.ended.get() || frontend::is_broker_gone(world)
}

/// Makes pages and a port, and has the tool name them to the broker.
async fn connect(sim: &Sim) {
    if frontend::is_broker_gone(sim) {
        return;
    }
    let granted = sim.guest.grant();
    sim.guest.ended.set(false);
    locked(sim, |core| core.connect(new_link(&granted)).is_none()).await;
    let end = tool(sim, Some(granted.reference)).await;
    sim.note(|| format!("frontend's link {}: {end:?}", granted.reference));
    if end != End::Done {
        part(sim).await;
    }
}

/// Takes a link down: the core forgets it, the work item ends, everything is zapped, the backend lets go.
async fn part(sim: &Sim) {
    sim.step().await;
    work::note_closed(sim);
    super::locked_now(sim, |core| {
        core.disconnect();
        sim.guest.parting.set(true);
    });
    sim.guest.said.borrow_mut().clear();
    sim.until(|world| !world.guest.working.get()).await;
    sim.guest.queued.set(false);
    if !sim.config.has(Fault::LeaveMapped) {
        work::zap(sim, ALL).await;
    }
    sim.guest.parting.set(false);
    sim.guest.changed.set(true);
    for _ in 0..TRIES {
        if frontend::is_broker_gone(sim) || tool(sim, None).await != End::Open {
            break;
        }
    }
    sim.note(|| "frontend's link is down".to_owned());
    *sim.guest.granted.borrow_mut() = None;
    sim.guest.ended.set(false);
}

/// Has the tool attach a link, or let it go.
async fn tool(sim: &Sim, reference: Option<u32>) -> End {
    let answer = Rc::new(std::cell::Cell::new(None));
    let (told, of) = (Rc::clone(&answer), Rc::clone(sim));
    sim.until(|world| !world.tasks.exists(TOOL)).await;
    sim.tasks.start([TOOL], "tool", async move {
        let end = match reference {
            Some(reference) => frontend::attach(&of, [reference, reference, reference], 1).await,
            None => frontend::detach(&of).await,
        };
        told.set(Some(end));
    });
    let seen = Rc::clone(&answer);
    sim.until(move |_| seen.get().is_some()).await;
    answer.get().unwrap_or(End::Open)
}

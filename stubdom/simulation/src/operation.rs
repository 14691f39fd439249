// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the lender's memory management does to the process: it moves pages, swaps them out, unmaps them, and
//! tells the notifiers first. What it does it does when they have returned, and no sooner.

use std::rc::Rc;

use crate::lender::revoke;
use crate::memory::{BUFFER, CELLS, ORDINARY};
use crate::task::OPERATIONS;
use crate::world::Sim;
use crate::xen::BLOCK;

/// What becomes of the pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Other frames.
    Move,
    /// No frames until somebody touches them.
    TakeAway,
    /// Nothing is mapped there any more.
    Unmap,
    /// The process ends.
    Exit,
}

/// Begins one.
pub fn begin(sim: &Sim) {
    let kind = match sim.draw(40) {
        20..=33 => Kind::TakeAway,
        34 | 35 if sim.config.incidents > 0 => Kind::Unmap,
        39 if sim.config.incidents > 0 && sim.once_in(12) => Kind::Exit,
        36 => return sim.memory.borrow_mut().map_new(0, ORDINARY),
        _ => Kind::Move,
    };
    // A buffer of a driver goes as a whole.
    let (first, count) = if sim.draw(3) == 2 {
        (BUFFER, BLOCK)
    } else {
        let first = sim.draw(ORDINARY);
        (first, (1 + sim.draw(4)).min(ORDINARY - first))
    };
    let may_sleep = kind != Kind::TakeAway || sim.draw(6) != 5;
    if sim.memory.borrow().gone || sim.memory.borrow().is_busy(first, count) {
        return;
    }
    let choice = sim.draw(64);
    sim.note(|| format!("memory management: {kind:?} of {count} pages from {first}, may sleep: {may_sleep}"));
    let flow = operate(Rc::clone(sim), kind, first, count, may_sleep, choice);
    sim.tasks.start(OPERATIONS, "operation", flow);
}

/// The process writes a byte.
pub fn write(sim: &Sim) {
    let user = sim.draw(ORDINARY + 4);
    let user = if user < ORDINARY { user } else { BUFFER + (user - ORDINARY) * 170 };
    let (cell, value) = (sim.draw(CELLS as u32) as usize, sim.draw(85) as u8 * 3);
    sim.memory.borrow_mut().write(user, cell, value);
}

async fn operate(sim: Sim, kind: Kind, first: u32, count: u32, may_sleep: bool, choice: u32) {
    let exit = kind == Kind::Exit;
    let (first, count) = if exit { (0, BUFFER + BLOCK) } else { (first, count) };
    if exit {
        // The last reference goes: nobody else is in the address space any more.
        sim.until(|world| world.memory.borrow().operations == 0).await;
        sim.disturbed.set(true);
    }
    if matches!(kind, Kind::Unmap | Kind::Exit) {
        sim.until(|world| !world.memory.borrow().unmapping).await;
        sim.memory.borrow_mut().unmapping = true;
    }
    {
        let mut memory = sim.memory.borrow_mut();
        if memory.is_busy(first, count) || memory.gone {
            if matches!(kind, Kind::Unmap | Kind::Exit) {
                memory.unmapping = false;
            }
            return;
        }
        memory.set_busy(first, count, true);
        memory.operations += 1;
    }
    let known: Vec<_> = sim.lender.regions.borrow().clone();
    let mut told = Vec::new();
    let mut done = true;
    for region in known {
        if region.armed.get() && region.overlaps(first, count) {
            let (start, end) =
                (crate::lender::user_address(first), crate::lender::user_address(first + count));
            told.push(Rc::clone(&region));
            done = revoke::on_notifier(&sim, &region, (start, end), may_sleep, exit).await;
            if !done {
                break;
            }
        }
    }
    if done {
        sim.note(|| format!("notifiers for {count} pages from {first} have returned"));
        sim.memory.borrow_mut().give_back(first, count);
        sim.step().await;
        let mut memory = sim.memory.borrow_mut();
        match kind {
            Kind::Move | Kind::TakeAway => memory.take_away(first, count),
            Kind::Unmap => memory.unmap(first, count),
            Kind::Exit => {
                memory.unmap(first, count);
                memory.gone = true;
            }
        }
        if kind == Kind::Move {
            for user in first..first + count {
                memory.bring_in(user, choice + user);
            }
        }
    }
    let mut memory = sim.memory.borrow_mut();
    memory.set_busy(first, count, false);
    memory.operations -= 1;
    if matches!(kind, Kind::Unmap | Kind::Exit) {
        memory.unmapping = false;
    }
    drop(memory);
    for region in told {
        region.invalidating.set(region.invalidating.get() - 1);
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The work item: `guest-frontend/module/src/work.rs`. It exists for as long as the driver and runs when it is
//! queued.

use xenlend_front_core::frontend::Turn;
use xenlend_front_core::page_set::Pages;

use super::coverage::PageEvent;
use super::{check, locked, locked_now, ALL, PROGRAMS};
use crate::fault::Fault;
use crate::task::{Turn as Step, Wait};
use crate::vcpu::{self, Vcpu};
use crate::world::Sim;

/// Messages that one run handles.
const RUN: u32 = 256;

/// Runs whenever it is queued.
pub async fn work(sim: Sim) {
    loop {
        Step::new(&sim, Wait::Idle(Box::new(|world| world.guest.queued.get()))).await;
        sim.guest.queued.set(false);
        sim.guest.working.set(true);
        run(&sim).await;
        sim.guest.working.set(false);
    }
}

async fn run(sim: &Sim) {
    for _ in 0..RUN {
        let turn = locked(sim, |core| {
            let met = check::before_message(sim, core);
            let turn = core.turn();
            match turn {
                Turn::Zap(pages, _) => sim.guest.zapping.set(Some(pages)),
                Turn::Ended(_) => sim.guest.zapping.set(Some(ALL)),
                Turn::Idle | Turn::More => {}
            }
            check::after_message(sim, &turn, met);
            turn
        })
        .await;
        match turn {
            Turn::Idle => return,
            Turn::More => {}
            Turn::Zap(pages, sequence) => {
                if sim.config.has(Fault::ConfirmBeforeZap) {
                    locked_now(sim, |core| core.zapped(sequence));
                }
                zap(sim, pages).await;
                locked(sim, |core| {
                    core.zapped(sequence);
                    sim.guest.zapping.set(None);
                })
                .await;
            }
            Turn::Ended(reason) => {
                sim.note(|| format!("the borrower's link is over, reason {reason}"));
                zap(sim, ALL).await;
                sim.guest.zapping.set(None);
                sim.guest.ended.set(true);
                return;
            }
        }
    }
    sim.guest.queued.set(true);
}

/// Takes pages out of all page tables. When it returns no processor uses an old entry.
pub async fn zap(sim: &Sim, pages: Pages) {
    for program in 0..PROGRAMS {
        sim.step().await;
        if program == 1 && sim.config.has(Fault::ZapAllButOne) {
            continue;
        }
        let entries = &mut sim.guest.programs.borrow_mut()[program].entries;
        entries[pages.first as usize..pages.end as usize].fill(None);
        sim.guest.changed.set(true);
    }
    if !sim.config.has(Fault::ZapWithoutFlush) {
        // A processor takes part when its instruction is over, or before it runs it again.
        let uses = move |vcpu: &Vcpu| vcpu.via().is_some_and(|via| pages.contains(via.page));
        loop {
            sim.until(move |world| {
                let vcpus = world.vcpus.borrow();
                let mut users = vcpus.iter().filter(|vcpu| uses(vcpu)).peekable();
                users.peek().is_none() || users.any(Vcpu::is_sent_back)
            })
            .await;
            vcpu::interrupt(sim, pages);
            if !sim.vcpus.borrow().iter().any(uses) {
                break;
            }
        }
    }
}

/// The link is over: every page of it has been said to be closed.
pub fn note_closed(sim: &Sim) {
    let core = sim.guest.core.borrow();
    for page in [0, 1, 8, 508, 512] {
        check::note_event(sim, &core, page, PageEvent::Closed);
    }
}

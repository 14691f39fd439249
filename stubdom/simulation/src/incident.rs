// SPDX-License-Identifier: MIT OR Apache-2.0
//! What breaks, who interferes, and what peers do that they may not.

use xenlend_protocol::frame::AperturePage;
use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::message::{AccessOperation, FromBroker, PresentOutcome, VERSION};
use xenlend_protocol::refusal::{Blame, Breach, BreachKind, RemoveFailure};
use xenlend_protocol::ring::Priority;

use crate::config::Mode;
use crate::lender::attach;
use crate::task::DETACH;
use crate::world::Sim;
use crate::xen::{Entry, Which};

/// One of them.
pub fn happen(sim: &Sim) {
    let what = sim.draw(16);
    match what {
        1 | 2 => {
            sim.note(|| "the broker is paused".to_owned());
            sim.broker_held.set(sim.broker_held.get() + 1);
            sim.xen.borrow_mut().broker.pauses += 1;
            sim.disturbed.set(true);
        }
        3 | 4 => release_broker(sim),
        5 if sim.once_in(4) => {
            sim.note(|| "the broker is destroyed".to_owned());
            sim.disturbed.set(true);
            sim.xen.borrow_mut().destroy(Which::Broker);
        }
        6 if sim.once_in(8) => {
            sim.note(|| "the borrower is destroyed".to_owned());
            sim.disturbed.set(true);
            sim.xen.borrow_mut().destroy(Which::Borrower);
        }
        7 if sim.config.mode != Mode::LyingLender => {
            sim.note(|| "a signal for whoever makes a region call".to_owned());
            sim.lender.signalled.set(true);
        }
        8 if sim.config.mode != Mode::LyingLender && sim.once_in(3) => {
            sim.note(|| "detach".to_owned());
            sim.tasks.start([DETACH], "detach", attach::detach(std::rc::Rc::clone(sim)));
        }
        9 => sim.faults_stuck.set(!sim.faults_stuck.get()),
        10 => sim.xen.borrow_mut().tables_left = sim.draw(2),
        11 => sim.xen.borrow_mut().tables_left = u32::MAX,
        12 | 13 if sim.config.hostile_borrower => place(sim),
        14 if sim.config.hostile_borrower => {
            let vcpu = sim.draw(sim.config.vcpus as u32) as usize;
            let ram = &mut sim.xen.borrow_mut().ram[vcpu];
            *ram = if ram.is_some() { None } else { Some(vec![0; 4096]) };
        }
        _ if sim.config.mode == Mode::LyingBroker => lie(sim),
        _ => {}
    }
}

fn release_broker(sim: &Sim) {
    if let Some(left) = sim.broker_held.get().checked_sub(1) {
        sim.note(|| "the broker is resumed".to_owned());
        sim.broker_held.set(left);
        let mut xen = sim.xen.borrow_mut();
        xen.broker.pauses = xen.broker.pauses.saturating_sub(1);
    }
}

/// The borrower puts its own pages into the aperture.
fn place(sim: &Sim) {
    let page = [0, 1, 2, 510, 512, 513][sim.draw(6) as usize];
    let entry = if sim.once_in(6) { Entry::Foreign } else { Entry::BorrowerRam };
    if sim.xen.borrow().borrower.runs() {
        sim.note(|| format!("the borrower puts {entry:?} at page {page}"));
        // Where its own grant is an add kills it.
        sim.suicidal.set(sim.suicidal.get() || entry == Entry::Foreign);
        sim.xen.borrow_mut().place(page, entry);
    }
}

/// The broker says something that nobody asked for, or breaks the rings. What the lender has to trust it in,
/// that it has removed or not added what it says so of, is the business of the faults and of the check mode.
fn lie(sim: &Sim) {
    let kind = sim.draw(12);
    let lease = LeaseId { index: sim.draw(5) as u16, generation: 1 + sim.draw(3) };
    let page = AperturePage(sim.draw(16));
    let number = sim.draw(6);
    let end = &sim.broker_end;
    sim.no_data.set(true);
    let message = match kind {
        0 => return,
        1 => {
            FromBroker::Welcome { version: VERSION, features: 0, aperture_pages: number, lease_capacity: 64 }
        }
        2 => FromBroker::RegionSet { lease, result: Ok(()) },
        3 => FromBroker::RegionDropped { lease, result: Err(RemoveFailure { page, errno: 12 }) },
        4 => FromBroker::Presented { ticket: 1_000_000 + number, outcome: PresentOutcome::Later },
        5 => FromBroker::Invalidated { sequence: 1_000_000 + u64::from(number), result: Ok(number) },
        6 => FromBroker::Access {
            id: number,
            lease,
            page,
            offset: (number * 1000) as u16,
            operation: AccessOperation::Read { length: 1 + (number * 60) as u16 },
            wants_page: true,
        },
        7 => FromBroker::Closed { breach: Breach { blame: Blame::Lender, kind: BreachKind::OutOfTurn } },
        8 => return end.memory[1].move_produced(number * 8),
        9 => return end.memory[0].move_consumed(number * 8),
        10 => return end.memory[1].scribble(number * 31, &[0xff]),
        _ => return sim.interrupt_pending.set(true),
    };
    sim.note(|| format!("the broker lies: {message:?}"));
    sim.disturbed.set(true);
    let _ = end.to_lender.borrow_mut().send(&message, Priority::Reserved);
    sim.interrupt_pending.set(true);
}

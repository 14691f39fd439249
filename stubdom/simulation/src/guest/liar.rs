// SPDX-License-Identifier: MIT OR Apache-2.0
//! A borrower's driver that says what it likes, in any order, in place of ours: it may lose its own link, and
//! nobody else may notice.

use xenlend_protocol::frame::AperturePage;
use xenlend_protocol::frontend::{FromBorrower, ToBorrower};
use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::message::VERSION;
use xenlend_protocol::ring::plain_memory::PlainMemory;
use xenlend_protocol::ring::{Consumer, Priority, Producer};

use crate::broker_domain::INDICES;
use crate::lender::frontend;
use crate::task::TOOL;
use crate::world::Sim;
use crate::xen::{APERTURE, PAGES};

/// What it knows.
#[derive(Default)]
pub struct BorrowerLiar {
    rings: Option<(Producer<PlainMemory>, Consumer<PlainMemory>)>,
    greeted: bool,
    revoked: u64,
    leases: Vec<(LeaseId, u32, u32)>,
}

/// It does something.
pub fn step(sim: &Sim) {
    let liar = &mut *sim.borrower_liar.borrow_mut();
    let Some((producer, consumer)) = &mut liar.rings else {
        return attach(sim, liar);
    };
    if !liar.greeted {
        liar.greeted = true;
        let odd = sim.draw(16);
        let hello = FromBorrower::Hello {
            oldest: if odd == 14 { VERSION + 1 } else { VERSION },
            newest: if odd == 14 { VERSION + 1 } else { VERSION },
            features: odd,
            aperture_gfn: APERTURE / 4096 + u64::from(odd == 15),
            aperture_pages: PAGES,
        };
        say(sim, producer, &hello);
        return;
    }
    let number = |limit| sim.draw(limit);
    match sim.draw(20) {
        0..=4 => {
            if let Ok(Some(message)) = consumer.receive::<ToBorrower>() {
                match message {
                    ToBorrower::Revoked { sequence, .. } => liar.revoked = sequence,
                    ToBorrower::Lease { lease, first, count, .. } => {
                        liar.leases.push((lease, first.0, count));
                    }
                    _ => {}
                }
            }
            if consumer.take_wakeup() {
                sim.broker_pending.set(true);
            }
        }
        5..=12 => {
            let known = liar.leases.get(number(8) as usize).copied();
            let (lease, first, count) = known.unwrap_or((
                LeaseId { index: number(u32::from(INDICES)) as u16, generation: 1 + number(3) },
                number(PAGES),
                number(600),
            ));
            // Mostly pages of the lease.
            let count = if number(24) == 23 { count + 1 } else { count.min(1 + number(16)) };
            say(sim, producer, &FromBorrower::WaitFor { lease, page: AperturePage(first), count });
        }
        13..=15 => {
            let sequence = match number(16) {
                14 => liar.revoked + 1,
                15 => liar.revoked.saturating_sub(1),
                _ => liar.revoked,
            };
            say(sim, producer, &FromBorrower::ZapDone { sequence });
        }
        16 if number(12) == 11 => {
            if let Some(granted) = &*sim.guest.granted.borrow() {
                match number(3) {
                    0 => granted.to_broker.move_produced(8 * number(600)),
                    1 => granted.to_borrower.move_consumed(8 * number(600)),
                    _ => granted.to_broker.scribble(number(4096), &[0xff, 0x7f]),
                }
                sim.broker_pending.set(true);
            }
        }
        // An event, and nothing behind it.
        17 => sim.broker_pending.set(true),
        18 if number(8) == 7 => {
            let of = std::rc::Rc::clone(sim);
            if sim.tasks.start([TOOL], "tool", async move {
                frontend::detach(&of).await;
            }) {
                sim.guest.granted.borrow_mut().take();
                *liar = BorrowerLiar::default();
            }
        }
        _ => {}
    }
}

fn attach(sim: &Sim, liar: &mut BorrowerLiar) {
    if sim.tasks.exists(TOOL) {
        return;
    }
    let granted = sim.guest.grant();
    // What it names need not be what it has granted.
    let wrong = u32::from(sim.draw(8) == 7);
    let references = [granted.reference + wrong, 1, 1];
    let of = std::rc::Rc::clone(sim);
    sim.tasks.start([TOOL], "tool", async move {
        frontend::attach(&of, references, 1).await;
    });
    liar.rings = Some((Producer::new(granted.to_broker), Consumer::new(granted.to_borrower)));
}

fn say(sim: &Sim, producer: &mut Producer<PlainMemory>, message: &FromBorrower) {
    let sent = producer.send(message, Priority::Reserved);
    sim.note(|| format!("the borrower lies: {message:?}, {sent:?}"));
    sim.broker_pending.set(true);
}

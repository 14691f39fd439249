// SPDX-License-Identifier: MIT OR Apache-2.0
//! A lender that says what it likes, in any order, in place of the module. It keeps to what only its own
//! kernel can break for its guest: it pauses the borrower around an add, and says `Forced` when it is so.

use std::collections::VecDeque;

use xenlend_protocol::extent::ClaimedExtent;
use xenlend_protocol::frame::{AperturePage, Mfn};
use xenlend_protocol::label::ClaimedLabel;
use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::message::{
    AccessOperation, AccessOutcome, CacheMode, FromBroker, LossPolicy, Rights, ToBroker, WantedOutcome,
    FEATURE_LEND_AWARE, VERSION,
};
use xenlend_protocol::ring::plain_memory::PlainMemory;
use xenlend_protocol::ring::{Consumer, Producer, SendError};
use xenlend_xen_abi::lend::XenKind;

use crate::broker_domain::INDICES;
use crate::world::{Sim, World, Wrong};
use crate::xen::{Entry, PAGES};

/// Pages that it names: both sides of a 2 MiB border.
const FIRSTS: [u32; 8] = [0, 1, 3, 508, 511, 512, 513, 0];
const COUNTS: [u32; 8] = [1, 2, 4, 8, 512, 513, 1024, 0];

struct Invalidation {
    sequence: u64,
    lease: LeaseId,
    first: u32,
    count: u32,
    acknowledged: bool,
}

/// What it knows.
pub struct Liar {
    to_broker: Producer<PlainMemory>,
    from_broker: Consumer<PlainMemory>,
    generations: [u32; INDICES as usize],
    /// The newest lease that was granted, of each index.
    granted: [u32; INDICES as usize],
    /// First page and number of pages that were asked for last, and that were granted, of each index.
    asked: [(u32, u32); INDICES as usize],
    pages: [(u32, u32); INDICES as usize],
    sequence: u64,
    ticket: u32,
    /// The borrower is paused for this `Present`.
    bracket: Option<u32>,
    /// Lease and sequence of the lookup of each ticket, which the frames name.
    lookups: Vec<(LeaseId, u64)>,
    invalidations: Vec<Invalidation>,
    /// Every lease that the broker has granted.
    leases: Vec<LeaseId>,
    accesses: VecDeque<(u32, usize, bool)>,
    wants: VecDeque<(u32, LeaseId)>,
    /// Leases of which it has said that it waits.
    waits: Vec<LeaseId>,
    greeted: bool,
    closed: bool,
    /// It has broken a ring.
    pub spoiled: bool,
    tries: u32,
}

impl Liar {
    /// Ends of rings that nobody has used.
    pub fn new(to_broker: PlainMemory, to_lender: PlainMemory) -> Self {
        Self {
            to_broker: Producer::new(to_broker),
            from_broker: Consumer::new(to_lender),
            generations: [0; INDICES as usize],
            granted: [0; INDICES as usize],
            asked: [(0, 0); INDICES as usize],
            pages: [(0, 0); INDICES as usize],
            sequence: 0,
            ticket: 0,
            bracket: None,
            lookups: Vec::new(),
            invalidations: Vec::new(),
            leases: Vec::new(),
            accesses: VecDeque::new(),
            wants: VecDeque::new(),
            waits: Vec::new(),
            greeted: false,
            closed: false,
            spoiled: false,
            tries: 0,
        }
    }

    /// Whether something waits for it.
    pub fn has_something_to_do(&mut self) -> bool {
        // What it has spoiled may never go on, also where nobody has noticed.
        self.tries += u32::from(self.spoiled);
        !self.closed && self.tries < 100 && self.has_work()
    }

    fn has_work(&mut self) -> bool {
        let answers = !self.accesses.is_empty() || !self.wants.is_empty() || !self.waits.is_empty();
        answers || !self.from_broker.is_empty()
    }

    fn send(&mut self, sim: &Sim, message: &ToBroker) -> bool {
        let sent = self.to_broker.send(message, message.priority());
        match sent {
            Ok(()) => {
                sim.note(|| format!("liar says {message:?}"));
                sim.broker_pending.set(true);
            }
            Err(SendError::Full) => {}
            Err(_) => self.closed = true,
        }
        sent.is_ok()
    }

    fn take(&mut self, sim: &Sim) {
        loop {
            let message = match self.from_broker.receive::<FromBroker>() {
                Ok(Some(message)) => message,
                Ok(None) => break,
                Err(_) => {
                    self.closed = true;
                    break;
                }
            };
            match message {
                FromBroker::Presented { ticket, .. } if self.bracket == Some(ticket) => self.release(sim),
                FromBroker::Closed { .. } => {
                    self.closed = true;
                    self.release(sim);
                }
                FromBroker::RegionSet { lease, result: Ok(()) } => {
                    self.granted[usize::from(lease.index)] = lease.generation;
                    self.pages[usize::from(lease.index)] = self.asked[usize::from(lease.index)];
                }
                FromBroker::Access { id, operation, .. } => self.accesses.push_back(match operation {
                    AccessOperation::Read { length } => (id, usize::from(length), true),
                    AccessOperation::Write { .. } => (id, 0, false),
                }),
                FromBroker::Want { ticket, lease, .. } => self.wants.push_back((ticket, lease)),
                _ => {}
            }
        }
        if self.from_broker.take_wakeup() {
            sim.broker_pending.set(true);
        }
    }

    fn release(&mut self, sim: &Sim) {
        if self.bracket.take().is_some() && !sim.config.is_lend_aware() {
            sim.xen.borrow_mut().borrower.pauses -= 1;
        }
    }

    fn answer(&mut self, sim: &Sim, wrongly: u32) {
        let Some((id, length, is_read)) = self.accesses.front().copied() else { return };
        let length = if wrongly == 1 { length + 1 } else { length };
        let outcome = match (is_read, wrongly) {
            (_, 2) => AccessOutcome::Lost,
            (true, _) => {
                let mut bytes = heapless::Vec::new();
                let _ = bytes.resize_default(length.min(256));
                AccessOutcome::Read { bytes }
            }
            (false, _) => AccessOutcome::Written,
        };
        let id = if wrongly == 3 { id + 256 } else { id };
        if self.send(sim, &ToBroker::Completed { id, outcome }) {
            self.accesses.pop_front();
        }
    }

    fn answer_want(&mut self, sim: &Sim) {
        if let Some(lease) = self.waits.pop() {
            self.send(sim, &ToBroker::AskAgain { lease, first: AperturePage(0), count: u32::MAX });
        }
        let Some((ticket, lease)) = self.wants.front().copied() else { return };
        let outcome = match sim.draw(6) {
            0 | 1 => WantedOutcome::Failed,
            2 => WantedOutcome::Lost,
            3 => WantedOutcome::Present,
            4 => WantedOutcome::Unavailable,
            _ => WantedOutcome::Waits,
        };
        if self.send(sim, &ToBroker::Wanted { ticket, outcome }) {
            self.wants.pop_front();
            if outcome == WantedOutcome::Waits {
                self.waits.push(lease);
            }
        }
    }

    fn lease(&self, sim: &Sim) -> LeaseId {
        let index = sim.draw(u32::from(INDICES)) as u16;
        let (granted, newest) = (self.granted[usize::from(index)], self.generations[usize::from(index)]);
        let generation = match sim.draw(12) {
            10 => newest,
            11 => granted.saturating_sub(1),
            _ => granted,
        };
        LeaseId { index, generation }
    }

    fn present(&mut self, sim: &Sim) {
        if self.bracket.is_some() || self.closed || self.ticket >= 1000 {
            return;
        }
        let lease = self.lease(sim);
        let sequence = self.sequence.saturating_sub(u64::from(sim.draw(4).saturating_sub(1)));
        let (mut first, mut count) = (draw_of(sim, &FIRSTS), draw_of(sim, &COUNTS));
        if sim.draw(8) != 7 {
            // Pages of the lease.
            let (of_lease, pages) = self.pages[usize::from(lease.index)];
            let offset = sim.draw(4).min(pages.saturating_sub(1));
            (first, count) = (of_lease + offset, count.min(pages - offset.min(pages)));
        }
        let congruent = sim.draw(2) == 0;
        // A frame tells by which lookup it was found.
        let mfn = (u64::from(self.ticket) << 12) + u64::from(first) + u64::from(!congruent);
        let extent = ClaimedExtent { page: AperturePage(first), mfn: Mfn(mfn), count };
        let mut extents = heapless::Vec::new();
        let _ = extents.push(extent);
        if sim.draw(4) == 3 {
            let _ =
                extents.push(ClaimedExtent { page: AperturePage(first + 9), mfn: Mfn(mfn + 9), count: 2 });
        }
        let message = ToBroker::Present { ticket: self.ticket, lease, sequence, extents };
        if !sim.config.is_lend_aware() {
            crate::lender::force::pause_borrower(sim);
        }
        self.bracket = Some(self.ticket);
        if self.send(sim, &message) {
            self.lookups.push((lease, sequence));
            self.ticket += 1;
        } else {
            self.release(sim);
        }
    }

    fn force(&mut self, sim: &Sim) {
        // Only when no Present is unanswered: else the broker could add behind it.
        if self.bracket.is_some() {
            return;
        }
        let message = ToBroker::Forced { sequence: self.sequence };
        // On a lend-aware Xen it can say so without having done it, and harms nobody but itself.
        let lies = sim.config.is_lend_aware() && sim.draw(4) == 3;
        if self.send(sim, &message) {
            if lies {
                sim.forced_falsely.set(true);
                return;
            }
            sim.lender.removes.set(true);
            let mut xen = sim.xen.borrow_mut();
            for page in 0..PAGES {
                if let Entry::Lent { .. } = xen.entry(page) {
                    xen.entries[page as usize] = Entry::Absent;
                }
            }
            xen.version += 1;
        }
    }
}

fn draw_of(sim: &Sim, choices: &[u32]) -> u32 {
    choices[sim.draw(choices.len() as u32) as usize]
}

/// It does something.
pub fn step(sim: &Sim) {
    let mut liar = sim.liar.borrow_mut();
    let liar = &mut *liar;
    if !liar.greeted {
        let features = match sim.config.kind {
            XenKind::LendAware if sim.draw(16) != 15 => FEATURE_LEND_AWARE,
            _ => 0,
        };
        liar.greeted = liar.send(sim, &ToBroker::Hello { oldest: VERSION, newest: VERSION, features });
        return;
    }
    match sim.draw(24) {
        1..=3 => {
            let index = sim.draw(u32::from(INDICES)) as u16;
            let generation = &mut liar.generations[usize::from(index)];
            *generation += u32::from(sim.draw(8) != 7);
            let lease = LeaseId { index, generation: *generation };
            let (first, count) = (draw_of(sim, &FIRSTS), draw_of(sim, &COUNTS));
            let odd = sim.draw(16);
            let message = ToBroker::SetRegion {
                lease,
                first: AperturePage(first),
                count,
                rights: if odd == 14 { Rights::ReadOnly } else { Rights::ReadWrite },
                loss: if odd % 2 == 1 { LossPolicy::Fault } else { LossPolicy::Zeros },
                cache: if odd == 15 { CacheMode::WriteBack } else { CacheMode::WriteCombining },
                label: ClaimedLabel::new(if odd == 13 { b"\x1b[2J" } else { b"a lie" }).unwrap_or_default(),
            };
            if liar.send(sim, &message) {
                liar.asked[usize::from(index)] = (first, count);
            }
        }
        4 => {
            let lease = liar.lease(sim);
            liar.send(sim, &ToBroker::DropRegion { lease });
        }
        5..=10 => liar.present(sim),
        11..=13 => {
            let lease = liar.lease(sim);
            let (first, count) = (draw_of(sim, &FIRSTS), draw_of(sim, &COUNTS));
            let sequence = liar.sequence + 1;
            let message = ToBroker::Invalidate { sequence, lease, first: AperturePage(first), count };
            if liar.send(sim, &message) {
                liar.sequence = sequence;
                let invalidation = Invalidation { sequence, lease, first, count, acknowledged: false };
                liar.invalidations.push(invalidation);
            }
        }
        14 => liar.force(sim),
        15 => {
            let (lease, first) = (liar.lease(sim), AperturePage(draw_of(sim, &FIRSTS)));
            liar.send(sim, &ToBroker::Lost { lease, first, count: 2 });
        }
        16 if sim.once_in(12) => {
            let wrongly = sim.draw(4);
            liar.answer(sim, wrongly);
        }
        17 if liar.sequence > 0 && sim.once_in(24) => {
            liar.send(sim, &ToBroker::Forced { sequence: liar.sequence - 1 });
        }
        18 if sim.once_in(24) => {
            liar.send(sim, &ToBroker::Hello { oldest: VERSION, newest: VERSION, features: 0 });
        }
        19 if liar.bracket.is_none() && sim.once_in(24) => {
            let (by, end) = (sim.draw(4) * 8, sim.draw(2));
            let memory = &sim.broker_end.memory[end as usize];
            if end == 0 {
                memory.move_produced(by);
            } else {
                memory.move_consumed(by);
            }
            liar.spoiled |= by > 0;
            sim.broker_pending.set(true);
        }
        _ => {
            liar.take(sim);
            liar.answer(sim, 0);
            liar.answer_want(sim);
            if sim.xen.borrow().broker.dying {
                liar.release(sim);
            }
        }
    }
}

/// The broker has said something: an acknowledgement counts from then on.
pub fn note_said(sim: &Sim, message: &FromBroker) {
    let liar = &mut *sim.liar.borrow_mut();
    match message {
        FromBroker::RegionSet { lease, result: Ok(()) } => liar.leases.push(*lease),
        FromBroker::Invalidated { sequence, result: Ok(_) } => {
            for invalidation in &mut liar.invalidations {
                // Of a lease that there was not no page was invalidated.
                let counts = liar.leases.contains(&invalidation.lease);
                invalidation.acknowledged |= counts && invalidation.sequence == *sequence;
            }
            sim.checked.set((0, 0));
        }
        _ => {}
    }
}

/// No page that was acknowledged shows a frame from before.
pub fn check(world: &World) {
    let (xen, Ok(liar)) = (world.xen.borrow(), world.liar.try_borrow()) else { return };
    if world.forced_falsely.get() {
        return;
    }
    for page in 0..PAGES {
        let Entry::Lent { mfn, .. } = xen.entry(page) else { continue };
        let Some((lease, looked_up)) = liar.lookups.get((mfn >> 12) as usize) else {
            return world.fail(Wrong::StaleEntry, format!("page {page} shows {mfn:#x}, which nobody named"));
        };
        let overtaken = liar.invalidations.iter().find(|of| {
            let covers = of.first <= page && page < of.first + of.count;
            of.acknowledged && of.lease == *lease && of.sequence > *looked_up && covers
        });
        if let Some(by) = overtaken {
            let text =
                format!("page {page} shows a frame of {looked_up} after {} was acknowledged", by.sequence);
            return world.fail(Wrong::StaleEntry, text);
        }
    }
}

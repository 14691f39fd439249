// SPDX-License-Identifier: MIT OR Apache-2.0
//! On both kinds of Xen: random traffic of a lender that keeps to the protocol, of a borrower with hostile vCPUs and a
//! frontend that waits for pages, with calls that fail and a ring that is full. After every step: the
//! table says what Xen has, nothing is present outside a lease, no acknowledged page shows
//! a frame from before, the borrower lives. In the end: every answer owed has come, in
//! order and once, and every request was completed once.

mod support;

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;
use support::aperture_pages::PAGES;
use support::bench::{
    copy_in, copy_out, extent, fault, fill, invalidate, lease, lost, present, read, set_region, write, Bench,
};
use support::fake_borrower::Driver;
use support::fake_hypervisor::{Entry, ENOMEM, EPERM};
use support::traffic::{step, Step, INDICES, VCPUS};
use xenlend_lending::broker::LinkState;
use xenlend_lending::capabilities::Capabilities;
use xenlend_lending::fault::{FAULT_FETCH, FAULT_READ, FAULT_SAME_INSTRUCTION, FAULT_WRITE};
use xenlend_lending::hypervisor::IoreqClaim;
use xenlend_lending::lease::Lease;
use xenlend_lending::lending_table::PageRange;
use xenlend_protocol::frame::AperturePage;
use xenlend_protocol::frontend::FromBorrower;
use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::message::{
    AccessOutcome, FromBroker, ToBroker, WantedOutcome, MAX_INVALIDATIONS, MAX_WANTED,
};
use xenlend_protocol::refusal::{Blame, BreachKind};

/// What the lender waits for, in order.
#[derive(Clone, Debug, PartialEq)]
enum Owed {
    RegionSet(LeaseId),
    RegionDropped(LeaseId),
    Presented(u32),
    Invalidated(u64),
}

/// A lender that keeps to the protocol, and what it knows.
struct Lender {
    bench: Bench,
    kind: Capabilities,
    /// Generations used, and the newest lease that was granted, by index.
    generations: [u32; INDICES as usize],
    granted: [LeaseId; INDICES as usize],
    owed: VecDeque<Owed>,
    accesses: VecDeque<FromBroker>,
    sequence: u64,
    ticket: u32,
    /// The `Present` sent last, and for each ticket the lease and the sequence of its lookup.
    last_present: Option<ToBroker>,
    looked_up_at: BTreeMap<u64, (LeaseId, u64)>,
    invalidations: BTreeMap<u64, (LeaseId, PageRange)>,
    acknowledged: Vec<(LeaseId, u64, PageRange)>,
    requests: usize,
    still_mapped: bool,
    driver: Driver,
    /// Tickets of `Want`s that are not answered.
    wants: VecDeque<u32>,
}

impl Lender {
    fn new(kind: Capabilities) -> Self {
        let mut bench = Bench::new_on(kind, PAGES as usize, usize::from(VCPUS));
        assert_eq!(bench.attach().len(), 1);
        bench.xen.inner.ram = [8, 9].into_iter().map(|gfn| (gfn, vec![3; 4096])).collect();
        Self {
            bench,
            kind,
            generations: [0; INDICES as usize],
            granted: core::array::from_fn(|index| lease(index as u16, 0)),
            owed: VecDeque::new(),
            accesses: VecDeque::new(),
            sequence: 0,
            ticket: 0,
            last_present: None,
            looked_up_at: BTreeMap::new(),
            invalidations: BTreeMap::new(),
            acknowledged: Vec::new(),
            requests: 0,
            still_mapped: false,
            driver: Driver::default(),
            wants: VecDeque::new(),
        }
    }

    fn id(&self, index: u16) -> LeaseId {
        self.granted[usize::from(index)]
    }

    fn send(&mut self, message: ToBroker, owed: Option<Owed>) {
        self.bench.link.to_broker.push_back(message);
        self.owed.extend(owed);
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Set { index, first, count } => {
                self.generations[usize::from(index)] += 1;
                let id = lease(index, self.generations[usize::from(index)]);
                self.send(set_region(id, first, count), Some(Owed::RegionSet(id)));
            }
            Step::Drop { index } => {
                let id = self.id(index);
                self.send(ToBroker::DropRegion { lease: id }, Some(Owed::RegionDropped(id)));
            }
            Step::Present { index, first, count, aligned, again } => {
                self.present(index, first, count, aligned, again);
            }
            Step::Invalidate { index, first, count } => {
                let outstanding =
                    self.owed.iter().filter(|owed| matches!(owed, Owed::Invalidated(_))).count();
                if outstanding == MAX_INVALIDATIONS {
                    return;
                }
                self.sequence += 1;
                let range = PageRange::new(AperturePage(first), count);
                self.invalidations.insert(self.sequence, (self.id(index), range));
                let message = invalidate(self.sequence, self.id(index), first, count);
                self.send(message, Some(Owed::Invalidated(self.sequence)));
            }
            Step::Lost { index, first, count } => self.send(lost(self.id(index), first, count), None),
            Step::Forced => self.force(),
            Step::Request { vcpu, kind, page, offset, count, downwards } => {
                self.request(vcpu, kind, page, offset, count, downwards);
            }
            Step::TakeResponse { vcpu } => {
                self.bench.xen.inner.take_response(vcpu);
            }
            Step::Answer { lost } => self.answer(lost),
            Step::Drain => self.drain(),
            Step::Turn => self.turn(),
            Step::Room(room) => self.bench.link.room = room,
            Step::FailAdd { done } => self.bench.xen.fail_next_add(done, ENOMEM),
            Step::FailRemove { done } => self.bench.xen.fail_next_remove(done, EPERM),
            Step::PageTables(tables) => self.bench.xen.inner.tables_left = tables,
            Step::PlaceRam { page } => {
                if !self.bench.xen.inner.entries.contains_key(&page) {
                    self.bench.xen.inner.place(page, Entry::BorrowerRam);
                }
            }
            Step::Wait { index, first, count } => {
                let wait = self.driver.wait(index, first, count);
                self.bench.borrower.to_broker.extend(wait);
            }
            Step::Listen { messages } => self.listen(messages),
            Step::BorrowerRoom(room) => self.bench.borrower.room = room,
            Step::AnswerWant { outcome } => {
                if let Some(ticket) = self.wants.pop_front() {
                    let outcome = match outcome {
                        WantedOutcome::Failed if !self.kind.faults_retry => WantedOutcome::Unavailable,
                        outcome => outcome,
                    };
                    self.bench.link.to_broker.push_back(ToBroker::Wanted { ticket, outcome });
                }
            }
        }
    }

    fn present(&mut self, index: u16, first: u32, count: u32, aligned: bool, again: bool) {
        if self.owed.iter().any(|owed| matches!(owed, Owed::Presented(_))) {
            return;
        }
        self.ticket += 1;
        let message = match self.last_present.clone() {
            Some(ToBroker::Present { lease, sequence, extents, .. }) if again => {
                ToBroker::Present { ticket: self.ticket, lease, sequence, extents }
            }
            _ => {
                // Every present has frames of its own, so that a frame tells its age.
                let mfn = (u64::from(self.ticket) << 16) + u64::from(first) + u64::from(!aligned);
                self.looked_up_at.insert(mfn >> 16, (self.id(index), self.sequence));
                present(self.ticket, self.id(index), self.sequence, &[extent(first, mfn, count)])
            }
        };
        self.last_present = Some(message.clone());
        self.send(message, Some(Owed::Presented(self.ticket)));
    }

    /// The fallback: only if no `Present` is unanswered; then nothing until it is consumed.
    fn force(&mut self) {
        if self.owed.iter().any(|owed| matches!(owed, Owed::Presented(_))) {
            return;
        }
        self.bench.xen.inner.remove_all_from_outside();
        self.bench.link.to_broker.push_back(ToBroker::Forced { sequence: self.sequence });
        while !self.bench.link.to_broker.is_empty() && !self.bench.is_closed() {
            self.bench.link.room = self.bench.link.room.max(1);
            let _ = self.bench.broker.serve_lender(&mut self.bench.xen, &mut self.bench.link, 32);
            self.note();
            self.drain();
        }
    }

    fn request(&mut self, vcpu: u16, kind: u8, page: u32, offset: u64, count: u32, downwards: bool) {
        if self.bench.xen.inner.ioreqs[usize::from(vcpu)].is_some() {
            return;
        }
        let at = u64::from(page) * 4096 + offset;
        if self.kind.faults_retry && kind < 5 {
            let same = if downwards { FAULT_SAME_INSTRUCTION } else { 0 };
            let bits = [FAULT_READ, FAULT_WRITE, FAULT_FETCH, FAULT_READ | FAULT_WRITE, 0][usize::from(kind)];
            self.bench.xen.inner.send_request(vcpu, fault(at, bits | same));
            self.requests += 1;
            return;
        }
        // As Xen does, only what stays in a page is repeated.
        let fitting = (count % 500).min((4096 - offset as u32) / 8).max(1);
        let claim = match kind {
            0 => read(at, 8),
            1 => write(at, 4, 7),
            2 => fill(at, 8, 7, fitting),
            3 => copy_in(at, 8 * 4096 + offset, 8, fitting),
            4 => copy_out(at, 9 * 4096 + offset, 8, fitting),
            5 => IoreqClaim { kind: 8, ..read(at, 8) },
            _ => IoreqClaim { size: 3, ..read(at, 8) },
        };
        let claim = if downwards && matches!(kind, 1 | 2) {
            let behind = u64::from(claim.size * (claim.count - 1));
            IoreqClaim { downwards, address: claim.address + behind, ..claim }
        } else {
            claim
        };
        self.bench.xen.inner.send_request(vcpu, claim);
        self.requests += 1;
    }

    fn answer(&mut self, lost: bool) {
        let Some(access) = self.accesses.pop_front() else { return };
        let FromBroker::Access { id, page, .. } = access else { panic!("{access:?}") };
        self.bench.pages.entry(u64::from(page.0)).or_insert_with(|| vec![0; 4096]);
        let answer = if lost {
            ToBroker::Completed { id, outcome: AccessOutcome::Lost }
        } else {
            self.bench.do_access(&access)
        };
        self.bench.link.to_broker.push_back(answer);
    }

    fn listen(&mut self, messages: usize) {
        let heard = messages.min(self.bench.borrower.to_borrower.len());
        for message in self.bench.borrower.to_borrower.drain(..heard) {
            self.driver.take(&message);
        }
        let sequence = self.driver.revoked;
        self.bench.borrower.to_broker.push_back(FromBorrower::ZapDone { sequence });
    }

    fn turn(&mut self) {
        let _ = self.bench.broker.serve_lender(&mut self.bench.xen, &mut self.bench.link, 3);
        let _ = self.bench.broker.serve_requests(&mut self.bench.xen, &mut self.bench.link);
        let Bench { broker, xen, link, borrower, .. } = &mut self.bench;
        let _ = broker.serve_borrower(xen, link, borrower, 5);
        self.note();
    }

    /// Looks at what is said before anything later can happen.
    fn note(&mut self) {
        for said in &self.bench.link.to_lender {
            match said {
                FromBroker::RegionSet { lease, result: Ok(()) } => {
                    self.granted[usize::from(lease.index)] = *lease;
                }
                FromBroker::Invalidated { sequence, result: Ok(_) } => {
                    let Some((lease, range)) = self.invalidations.remove(sequence) else { continue };
                    self.acknowledged.push((lease, *sequence, range));
                }
                _ => {}
            }
        }
    }

    fn drain(&mut self) {
        for said in self.bench.link.to_lender.drain(..) {
            let answered = match &said {
                FromBroker::Access { .. } => {
                    self.accesses.push_back(said);
                    continue;
                }
                FromBroker::Want { ticket, .. } => {
                    self.wants.push_back(*ticket);
                    assert!(self.wants.len() <= MAX_WANTED);
                    continue;
                }
                FromBroker::Closed { breach } => {
                    assert_eq!((breach.blame, breach.kind), (Blame::Broker, BreachKind::StillMapped));
                    self.still_mapped = true;
                    continue;
                }
                FromBroker::RegionSet { lease, .. } => Owed::RegionSet(*lease),
                FromBroker::RegionDropped { lease, .. } => Owed::RegionDropped(*lease),
                FromBroker::Presented { ticket, .. } => Owed::Presented(*ticket),
                FromBroker::Invalidated { sequence, .. } => Owed::Invalidated(*sequence),
                other => panic!("{other:?}"),
            };
            assert_eq!(self.owed.pop_front(), Some(answered));
        }
    }

    fn check(&self) {
        self.bench.check();
        let broker = &self.bench.broker;
        for (page, mfn) in self.bench.xen.inner.lent() {
            let (lease, looked_up) = self.looked_up_at[&(mfn >> 16)];
            let here = broker.leases().at_page(page).map(Lease::id);
            assert_eq!(here, Some(lease), "page {page} shows a frame that is not its lease's");
            for (_, sequence, range) in self.acknowledged.iter().filter(|(of, ..)| *of == lease) {
                assert!(
                    !range.contains(page) || looked_up >= *sequence,
                    "page {page} shows a frame of {looked_up} after {sequence} was acknowledged"
                );
            }
        }
        assert_eq!(broker.counters().borrower_breaches, 0);
        if self.kind.faults_retry {
            assert_eq!(broker.counters().accesses, 0);
            let mut answers = self.bench.xen.inner.completions.iter().map(|(_, datum)| *datum);
            assert!(answers.all(|datum| matches!(datum, 0..=2 | u64::MAX)));
        }
        // A page that a program may have mapped is never another lease's.
        for (page, lease) in &self.driver.mapped {
            let here = broker.leases().at_page(*page).map(Lease::id);
            assert!(
                here.is_none() || here == Some(*lease),
                "page {page}, mapped for {lease:?}, is {here:?}'s"
            );
        }
        match broker.link_state() {
            LinkState::Connected => {}
            LinkState::Closed(breach) => {
                assert_eq!((breach.blame, breach.kind), (Blame::Broker, BreachKind::StillMapped));
            }
            other => panic!("{other:?}"),
        }
    }

    /// Everybody does what is owed, with room enough.
    fn finish(&mut self) {
        self.bench.link.room = 1000;
        self.bench.borrower.room = 1000;
        self.bench.xen.adds_to_fail.clear();
        self.bench.xen.removes_to_fail.clear();
        for _ in 0..10_000 {
            self.turn();
            self.drain();
            while !self.accesses.is_empty() {
                self.answer(false);
            }
            while !self.wants.is_empty() {
                self.take(Step::AnswerWant { outcome: WantedOutcome::Present });
            }
            self.listen(usize::MAX);
            self.check();
            let xen = &self.bench.xen.inner;
            let all_done = xen.completions.len() == self.requests;
            let all_said = self.still_mapped || self.owed.is_empty() && self.bench.link.to_broker.is_empty();
            let all_told = self.driver.waited.is_empty() && self.bench.broker.quarantined() == 0;
            if all_done && all_said && all_told {
                self.check_told();
                return;
            }
        }
        panic!(
            "{} of {} requests completed, owed {:?}, waited for {:?}",
            self.bench.xen.inner.completions.len(),
            self.requests,
            self.owed,
            self.driver.waited
        );
    }

    /// What the driver believes is so, once it has heard everything.
    fn check_told(&mut self) {
        for _ in 0..1000 {
            self.turn();
            self.drain();
            self.listen(usize::MAX);
        }
        self.driver.check_told(&self.bench.broker);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_invariants_hold(
        lend_aware: bool,
        steps in prop::collection::vec(step(), 1..160),
    ) {
        let kind = if lend_aware { Capabilities::LEND_AWARE } else { Capabilities::STOCK };
        let mut lender = Lender::new(kind);
        lender.take(Step::Set { index: 0, first: 0, count: 1024 });
        lender.take(Step::Turn);
        lender.take(Step::Listen { messages: 9 });
        for step in steps {
            lender.take(step);
            lender.check();
        }
        lender.finish();
        lender.check();
    }
}

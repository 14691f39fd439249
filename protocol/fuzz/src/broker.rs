// SPDX-License-Identifier: MIT OR Apache-2.0
//! The broker's lending logic: what its lender, its borrower and the borrower's vCPUs do one after the other,
//! well formed or not. What must hold after each step is in `check`.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use xenlend_lending::broker::{LinkState, MAX_VCPUS};
use xenlend_lending::capabilities::Capabilities;
use xenlend_lending::fault::KIND_FAULT;
use xenlend_lending::hypervisor::IoreqClaim;
use xenlend_lending::ioreq::KIND_COPY;
use xenlend_lending::lending_table::{PageRange, PageSlot};
use xenlend_lending::vcpu_slot::VcpuSlot;
use xenlend_protocol::codec::decode;
use xenlend_protocol::frame::AperturePage;
use xenlend_protocol::frontend::{FromBorrower, ToBorrower};
use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::message::{
    AccessOperation, AccessOutcome, FromBroker, ToBroker, WantedOutcome, MAX_WANTED, VERSION,
};

use crate::lending_support::bench::{
    attach, borrower_hello, extent, invalidate, lost, present, set_region, wait_for, Bench, ATTACHMENT,
};
use crate::lending_support::fake_hypervisor::APERTURE;
use crate::Stream;

/// Two blocks of 2 MiB, and some.
const PAGES: u32 = 1100;
const VCPUS: u16 = 12;
const STEPS: usize = 120;

type Tables = (&'static mut [PageSlot], &'static mut [VcpuSlot]);

thread_local! {
    /// Storage of the run before: a broker's is leaked.
    static STORAGE: RefCell<Option<Tables>> = const { RefCell::new(None) };
}

fn storage() -> Tables {
    let used = STORAGE.with_borrow_mut(Option::take);
    used.unwrap_or_else(|| {
        let vcpus: Vec<_> = (0..VCPUS).map(|_| VcpuSlot::default()).collect();
        (vec![PageSlot::ABSENT; PAGES as usize].leak(), vcpus.leak())
    })
}

/// What everybody owes everybody.
struct Run {
    bench: Bench,
    aware: bool,
    sequence: u64,
    generations: [u32; 4],
    wants: BTreeSet<u32>,
    /// Unanswered accesses: whether it writes, and bytes.
    accesses: BTreeMap<u32, (bool, u16)>,
    /// Requests that each vCPU has made.
    requests: [usize; VCPUS as usize],
    /// Newest `Revoked` that the borrower has been told of.
    revoked: u64,
    may_fail: bool,
    /// Removals that have to be acknowledged by pages that are absent.
    invalidated: Option<(u64, PageRange)>,
}

/// Drives a broker by these bytes.
///
/// # Panics
/// If something does not hold that must.
pub fn broker(bytes: &[u8]) {
    const { assert!(VCPUS as usize <= MAX_VCPUS) };
    let mut stream = Stream(bytes);
    let aware = stream.byte() & 1 != 0;
    let capabilities = if aware { Capabilities::LEND_AWARE } else { Capabilities::STOCK };
    let (pages, vcpus) = storage();
    let mut bench = Bench::over(capabilities, pages, vcpus);
    let hello = ToBroker::Hello { oldest: VERSION, newest: VERSION, features: capabilities.features() };
    bench.ask(hello);
    let mut run = Run {
        bench,
        aware,
        sequence: 0,
        generations: [0; 4],
        wants: BTreeSet::new(),
        accesses: BTreeMap::new(),
        requests: [0; VCPUS as usize],
        revoked: 0,
        may_fail: false,
        invalidated: None,
    };
    for _ in 0..STEPS {
        if stream.is_empty() {
            break;
        }
        run.step(&mut stream);
        run.bench.run();
        run.check();
    }
    run.end();
    let storage = run.bench.broker.into_storage();
    STORAGE.with_borrow_mut(|kept| *kept = Some(storage));
}

impl Run {
    fn lease(&self, byte: u8) -> LeaseId {
        let index = usize::from(byte % 4);
        // Mostly the one that lives.
        let generation = self.generations[index].wrapping_sub(u32::from(byte >= 250));
        LeaseId { index: index as u16, generation }
    }

    /// Pages around the ends of the blocks, or of a lease.
    fn range(stream: &mut Stream<'_>) -> (u32, u32) {
        let [first, count] = stream.take();
        let first = match first >> 6 {
            0 => u32::from(first & 63),
            1 => 480 + u32::from(first & 63),
            2 => 512,
            _ => 1000 + u32::from(first & 63),
        };
        let count = if count >= 240 { 512 } else { u32::from(count % 64) };
        (first, count)
    }

    fn step(&mut self, stream: &mut Stream<'_>) {
        let [step, what] = stream.take();
        let lease = self.lease(what);
        match step % 20 {
            0 | 1 => {
                let (first, count) = Self::range(stream);
                let shift = u64::from(stream.byte() % 3);
                let extents = [extent(first, 0x1_0000 + u64::from(first) + shift, count)];
                self.tell(present(u32::from(what), lease, self.sequence, &extents));
            }
            2 => {
                let (first, count) = Self::range(stream);
                self.generations[usize::from(lease.index)] += 1;
                let lease = self.lease(what % 4);
                self.tell(set_region(lease, first, count));
            }
            3 => self.tell(ToBroker::DropRegion { lease }),
            4 | 5 => {
                let (first, count) = Self::range(stream);
                self.sequence += 1;
                if self.bench.link.to_broker.is_empty() {
                    self.note_invalidation(lease, first, count);
                }
                self.tell(invalidate(self.sequence, lease, first, count));
            }
            6 => {
                let (first, count) = Self::range(stream);
                self.tell(lost(lease, first, count));
            }
            7 => self.force(),
            8 => {
                let bytes = stream.take::<24>();
                self.tell_raw(&bytes);
            }
            9 | 10 => self.request(u16::from(what) % VCPUS, stream),
            11 => {
                for vcpu in 0..VCPUS {
                    let _ = self.bench.xen.inner.take_response(vcpu);
                }
            }
            12 => self.answer_access(what),
            13 => self.answer_want(what),
            14 => match what % 3 {
                0 => self.tell(attach(ATTACHMENT)),
                1 => self.tell(ToBroker::DetachBorrower { attachment: ATTACHMENT }),
                _ => self.say(borrower_hello(PAGES)),
            },
            15 => {
                let (first, count) = Self::range(stream);
                self.say(wait_for(lease, first, count.max(1)));
            }
            16 => {
                let sequence = if what >= 250 { u64::from(what) } else { self.revoked };
                self.say(FromBorrower::ZapDone { sequence });
            }
            17 => {
                if let Ok(message) = decode(&stream.take::<12>()[..]) {
                    self.say(message);
                }
            }
            18 => match what % 4 {
                0 => self.bench.link.room = usize::from(what / 4 % 8),
                1 => self.bench.link.room = 1000,
                2 => self.bench.borrower.room = usize::from(what / 4 % 8),
                _ => self.bench.borrower.room = 1000,
            },
            _ => match what % 4 {
                0 => self.fail_next(what),
                1 => {
                    let (first, count) = Self::range(stream);
                    self.tell(ToBroker::AskAgain { lease, first: AperturePage(first), count });
                }
                2 => self.listen(),
                _ => self.drain(),
            },
        }
    }

    fn tell(&mut self, message: ToBroker) {
        self.bench.link.to_broker.push_back(message);
    }

    fn say(&mut self, message: FromBorrower) {
        if self.bench.borrower.attached {
            self.bench.borrower.to_broker.push_back(message);
        }
    }

    /// Anything that can be decoded, but for lies about what the lender itself has removed: they harm itself.
    fn tell_raw(&mut self, bytes: &[u8]) {
        for length in 1..=bytes.len() {
            let Ok(message) = decode::<ToBroker>(&bytes[..length]) else { continue };
            match message {
                ToBroker::Forced { .. } => {}
                ToBroker::Wanted { ticket, .. } if !self.wants.remove(&ticket) => self.tell(message),
                ToBroker::Invalidate { sequence, .. } if sequence < u64::MAX / 2 => {
                    self.sequence = self.sequence.max(sequence);
                    self.tell(message);
                }
                message => self.tell(message),
            }
            return;
        }
    }

    /// The lender takes everything away while the broker stands still, once all that was said is heard.
    fn force(&mut self) {
        self.drain();
        self.bench.link.room = 1000;
        self.bench.run();
        if self.bench.broker.link_state() == LinkState::Connected {
            self.sequence += 1;
            self.bench.xen.inner.remove_all_from_outside();
            self.tell(ToBroker::Forced { sequence: self.sequence });
        }
    }

    fn fail_next(&mut self, what: u8) {
        self.may_fail = true;
        if what & 4 != 0 {
            self.bench.xen.fail_next_remove(u32::from(what), 22);
        } else {
            self.bench.xen.fail_next_add(u32::from(what), 12);
        }
    }

    fn note_invalidation(&mut self, lease: LeaseId, first: u32, count: u32) {
        let leases = self.bench.broker.leases();
        let living = leases.at_index(lease.index).filter(|living| living.id() == lease);
        let range = PageRange::new(AperturePage(first), count);
        self.invalidated = living.map(|living| (self.sequence, living.pages().intersect(&range)));
    }

    fn request(&mut self, vcpu: u16, stream: &mut Stream<'_>) {
        if self.bench.xen.inner.ioreqs[usize::from(vcpu)].is_some() {
            return;
        }
        let [page, offset, data, shape] = stream.take();
        let page = u64::from(page) * 5 + u64::from(shape & 1);
        let claim = IoreqClaim {
            address: APERTURE + page * 4096 + u64::from(offset) * 16,
            data: u64::from(data),
            count: 1 + u32::from(shape & 2) * u32::from(data),
            size: 1 << (shape >> 6),
            state: 0,
            data_is_pointer: shape & 4 != 0,
            is_read: shape & 8 != 0,
            downwards: shape & 16 != 0,
            kind: if self.aware && shape & 32 == 0 { KIND_FAULT } else { KIND_COPY },
        };
        self.requests[usize::from(vcpu)] += 1;
        self.bench.xen.inner.send_request(vcpu, claim);
    }

    fn answer_access(&mut self, what: u8) {
        let Some(id) = self.accesses.keys().nth(usize::from(what) % self.accesses.len().max(1)).copied()
        else {
            return;
        };
        let (writes, length) = self.accesses.remove(&id).unwrap_or_default();
        let outcome = match (what >= 200, writes) {
            (true, _) => AccessOutcome::Lost,
            (false, true) => AccessOutcome::Written,
            (false, false) => {
                let mut bytes = heapless::Vec::new();
                let _ = bytes.resize(usize::from(length), what);
                AccessOutcome::Read { bytes }
            }
        };
        self.tell(ToBroker::Completed { id, outcome });
    }

    fn answer_want(&mut self, what: u8) {
        let Some(ticket) = self.wants.iter().nth(usize::from(what) % self.wants.len().max(1)).copied() else {
            return;
        };
        self.wants.remove(&ticket);
        let outcome = match what % 5 {
            0 => WantedOutcome::Present,
            1 => WantedOutcome::Lost,
            2 => WantedOutcome::Waits,
            3 if self.aware => WantedOutcome::Failed,
            _ => WantedOutcome::Unavailable,
        };
        self.tell(ToBroker::Wanted { ticket, outcome });
    }

    /// The borrower takes what it has been told.
    fn listen(&mut self) {
        for message in self.bench.borrower.to_borrower.drain(..) {
            match message {
                ToBorrower::Welcome { .. } => self.revoked = 0,
                ToBorrower::Revoked { sequence, count, .. } => {
                    assert!(sequence == self.revoked + 1 && count > 0, "{message:?} behind {}", self.revoked);
                    self.revoked = sequence;
                }
                _ => {}
            }
        }
    }

    /// The lender takes what it has been told.
    fn drain(&mut self) {
        for message in self.bench.link.to_lender.drain(..) {
            match message {
                FromBroker::Want { ticket, .. } => {
                    assert!(self.wants.insert(ticket), "ticket {ticket} twice")
                }
                FromBroker::Access { id, operation, .. } => {
                    let what = match operation {
                        AccessOperation::Read { length } => (false, length),
                        AccessOperation::Write { bytes } => (true, bytes.len() as u16),
                    };
                    assert!(self.accesses.insert(id, what).is_none(), "access {id} twice");
                }
                _ => {}
            }
        }
    }

    fn check(&mut self) {
        self.bench.check();
        let broker = &self.bench.broker;
        let connected = broker.link_state() == LinkState::Connected;
        let lent = self.bench.xen.inner.lent();
        if !connected {
            assert!(lent.is_empty() || self.may_fail, "lent by nobody: {lent:?}");
            return;
        }
        let leases: Vec<_> = broker.leases().living().map(|lease| lease.pages()).collect();
        for page in lent.keys() {
            assert!(
                leases.iter().any(|pages| pages.contains(*page)),
                "page {page} is lent outside every lease"
            );
        }
        for (number, pages) in leases.iter().enumerate() {
            assert!(pages.end <= PAGES && !pages.is_empty());
            assert!(!leases[..number].iter().any(|other| other.overlaps(pages)), "two leases of {pages:?}");
            if broker.quarantined() > 0 {
                let quarantined = (pages.first..pages.end).find(|page| broker.is_quarantined(*page));
                assert_eq!(quarantined, None, "a lease over what programs may have mapped");
            }
        }
        if let Some((sequence, pages)) = self.invalidated.take() {
            let acknowledged = self.bench.link.to_lender.iter().any(|message| {
                matches!(message, FromBroker::Invalidated { sequence: said, result: Ok(_) } if *said == sequence)
            });
            let present = (pages.first..pages.end).find(|page| lent.contains_key(page));
            assert!(!acknowledged || present.is_none(), "acknowledged, and {present:?} is lent");
        }
        let unheard = self.bench.link.to_lender.iter();
        let asked = unheard.filter(|message| matches!(message, FromBroker::Want { .. })).count();
        assert!(self.wants.len() + asked <= MAX_WANTED, "more questions than the lender has places for");
    }

    /// Everything that was begun ends.
    fn end(&mut self) {
        self.bench.xen.removes_to_fail.clear();
        self.drain();
        self.bench.link.room = 1000;
        self.bench.borrower.room = 1000;
        self.bench.run();
        self.bench.broker.lender_gone(&mut self.bench.xen);
        // A driver that owes a zap has its vCPUs run their instructions again: answered all the same.
        self.bench.run();
        for vcpu in 0..VCPUS {
            let _ = self.bench.xen.inner.take_response(vcpu);
            assert_eq!(self.bench.xen.inner.ioreqs[usize::from(vcpu)], None, "vCPU {vcpu} waits for ever");
            let answered = |completion: &&(u16, u64)| completion.0 == vcpu;
            let completions = self.bench.xen.inner.completions.iter().filter(answered).count();
            assert_eq!(completions, self.requests[usize::from(vcpu)], "answers for vCPU {vcpu}");
        }
        self.bench.check();
        assert!(self.bench.xen.inner.lent().is_empty());
        assert!(self.bench.broker.is_finished(&mut self.bench.xen));
    }
}

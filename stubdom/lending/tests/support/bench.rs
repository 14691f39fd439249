// SPDX-License-Identifier: MIT OR Apache-2.0
//! A broker between a fake Xen and a lender that does what the protocol says.

use std::collections::BTreeMap;

use xenlend_lending::broker::{Broker, LinkState, Turn};
use xenlend_lending::capabilities::Capabilities;
use xenlend_lending::fault::{FAULT_WRITE, KIND_FAULT};
use xenlend_lending::hypervisor::IoreqClaim;
use xenlend_lending::lending_table::{PageSlot, PageState};
use xenlend_lending::vcpu_slot::VcpuSlot;
use xenlend_protocol::extent::ClaimedExtent;
use xenlend_protocol::frame::{AperturePage, Mfn};
use xenlend_protocol::frontend::{FromBorrower, ToBorrower};
use xenlend_protocol::label::ClaimedLabel;
use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::message::{
    AccessOperation, AccessOutcome, CacheMode, FromBroker, LossPolicy, PresentOutcome, Rights, ToBroker,
    VERSION,
};
use xenlend_protocol::refusal::RemoveFailure;

use super::fake_borrower::FakeBorrower;
use super::fake_hypervisor::{FakeXen, APERTURE};
use super::fake_link::FakeLink;
use super::fault_injector::FaultInjector;

/// Messages that a turn takes from the lender.
const MESSAGES_PER_TURN: u32 = 32;
/// Steps that a turn does for the borrower.
const BORROWER_STEPS: u32 = 64;
/// Attachment of [`Bench::attach`].
pub const ATTACHMENT: u32 = 7;

pub fn lease(index: u16, generation: u32) -> LeaseId {
    LeaseId { index, generation }
}

pub fn extent(page: u32, mfn: u64, count: u32) -> ClaimedExtent {
    ClaimedExtent { page: AperturePage(page), mfn: Mfn(mfn), count }
}

pub fn hello() -> ToBroker {
    ToBroker::Hello { oldest: VERSION, newest: VERSION, features: 0 }
}

pub fn set_region(lease: LeaseId, first: u32, count: u32) -> ToBroker {
    ToBroker::SetRegion {
        lease,
        first: AperturePage(first),
        count,
        rights: Rights::ReadWrite,
        loss: LossPolicy::Zeros,
        cache: CacheMode::WriteCombining,
        label: ClaimedLabel::default(),
    }
}

pub fn present(ticket: u32, lease: LeaseId, sequence: u64, extents: &[ClaimedExtent]) -> ToBroker {
    ToBroker::Present { ticket, lease, sequence, extents: heapless::Vec::from_slice(extents).unwrap() }
}

pub fn invalidate(sequence: u64, lease: LeaseId, first: u32, count: u32) -> ToBroker {
    ToBroker::Invalidate { sequence, lease, first: AperturePage(first), count }
}

pub fn lost(lease: LeaseId, first: u32, count: u32) -> ToBroker {
    ToBroker::Lost { lease, first: AperturePage(first), count }
}

pub fn attach(attachment: u32) -> ToBroker {
    ToBroker::AttachBorrower { attachment, ring_refs: [11, 12, 13], event_channel: 14 }
}

pub fn borrower_hello(aperture_pages: u32) -> FromBorrower {
    FromBorrower::Hello {
        oldest: VERSION,
        newest: VERSION,
        features: 0,
        aperture_gfn: APERTURE / 4096,
        aperture_pages,
    }
}

pub fn wait_for(lease: LeaseId, page: u32, count: u32) -> FromBorrower {
    FromBorrower::WaitFor { lease, page: AperturePage(page), count }
}

pub fn read(address: u64, size: u32) -> IoreqClaim {
    IoreqClaim {
        address: APERTURE + address,
        data: 0,
        count: 1,
        size,
        state: 0,
        data_is_pointer: false,
        is_read: true,
        downwards: false,
        kind: 1,
    }
}

pub fn write(address: u64, size: u32, data: u64) -> IoreqClaim {
    IoreqClaim { data, is_read: false, ..read(address, size) }
}

pub fn fill(address: u64, size: u32, data: u64, count: u32) -> IoreqClaim {
    IoreqClaim { count, ..write(address, size, data) }
}

pub fn copy_in(address: u64, ram: u64, size: u32, count: u32) -> IoreqClaim {
    IoreqClaim { data: ram, count, data_is_pointer: true, is_read: false, ..read(address, size) }
}

pub fn copy_out(address: u64, ram: u64, size: u32, count: u32) -> IoreqClaim {
    IoreqClaim { is_read: true, ..copy_in(address, ram, size, count) }
}

/// A fault on lend-aware Xen, with `FAULT_*` bits.
pub fn fault(address: u64, bits: u64) -> IoreqClaim {
    IoreqClaim { data: bits, is_read: bits & FAULT_WRITE == 0, kind: KIND_FAULT, ..read(address, 1) }
}

/// Everything in one place.
pub struct Bench {
    pub broker: Broker<'static>,
    pub xen: FaultInjector<FakeXen>,
    pub link: FakeLink,
    pub borrower: FakeBorrower,
    /// What the lender's pages hold, by page of the aperture.
    pub pages: BTreeMap<u64, Vec<u8>>,
    /// Pages whose accesses the lender answers `Lost`.
    pub lost_for_the_lender: Vec<u32>,
}

impl Bench {
    /// A broker that has not heard of a lender. The storage is leaked: tests end.
    pub fn unconnected(page_count: usize, vcpus: usize) -> Self {
        Self::unconnected_on(Capabilities::STOCK, page_count, vcpus)
    }

    /// As [`Bench::unconnected`], on a kind of Xen.
    pub fn unconnected_on(capabilities: Capabilities, page_count: usize, vcpus: usize) -> Self {
        let pages = Box::leak(vec![PageSlot::ABSENT; page_count].into_boxed_slice());
        let slots = (0..vcpus).map(|_| VcpuSlot::default()).collect::<Vec<_>>();
        Self::over(capabilities, pages, Box::leak(slots.into_boxed_slice()))
    }

    /// As [`Bench::unconnected_on`], over storage that was used before.
    pub fn over(
        capabilities: Capabilities,
        pages: &'static mut [PageSlot],
        slots: &'static mut [VcpuSlot],
    ) -> Self {
        let vcpus = slots.len();
        Self {
            broker: Broker::new(APERTURE, pages, slots, capabilities).unwrap(),
            xen: FaultInjector::new(FakeXen::new(vcpus).of_kind(capabilities.faults_retry)),
            link: FakeLink::new(),
            borrower: FakeBorrower::new(),
            pages: BTreeMap::new(),
            lost_for_the_lender: Vec::new(),
        }
    }

    /// A broker whose lender has said hello.
    pub fn new(page_count: usize, vcpus: usize) -> Self {
        let mut bench = Self::unconnected(page_count, vcpus);
        assert!(matches!(bench.ask(hello())[..], [FromBroker::Welcome { .. }]));
        bench
    }

    /// As [`Bench::new`], on a kind of Xen.
    pub fn new_on(capabilities: Capabilities, page_count: usize, vcpus: usize) -> Self {
        let mut bench = Self::unconnected_on(capabilities, page_count, vcpus);
        let features = capabilities.features();
        let welcome = bench.ask(ToBroker::Hello { oldest: VERSION, newest: VERSION, features });
        assert!(matches!(welcome[..], [FromBroker::Welcome { .. }]));
        bench
    }

    /// As [`Bench::new`], with one lease over the whole aperture.
    pub fn with_lease(page_count: u32, vcpus: usize) -> (Self, LeaseId) {
        let mut bench = Self::new(page_count as usize, vcpus);
        let id = lease(0, 1);
        let set = bench.ask(set_region(id, 0, page_count));
        assert_eq!(set, [FromBroker::RegionSet { lease: id, result: Ok(()) }]);
        (bench, id)
    }

    /// As [`Bench::with_lease`], on lend-aware Xen and with these terms.
    pub fn lend_aware(page_count: u32, vcpus: usize, rights: Rights, cache: CacheMode) -> (Self, LeaseId) {
        let mut bench = Self::new_on(Capabilities::LEND_AWARE, page_count as usize, vcpus);
        let (lease, first, count) = (lease(0, 1), AperturePage(0), page_count);
        let (loss, label) = (LossPolicy::Fault, ClaimedLabel::default());
        let set = ToBroker::SetRegion { lease, first, count, rights, loss, cache, label };
        assert_eq!(bench.ask(set), [FromBroker::RegionSet { lease, result: Ok(()) }]);
        (bench, lease)
    }

    /// One turn of the event loop.
    pub fn turn(&mut self) -> (Turn, Turn) {
        let lender = self.broker.serve_lender(&mut self.xen, &mut self.link, MESSAGES_PER_TURN);
        let requests = self.broker.serve_requests(&mut self.xen, &mut self.link);
        let borrower =
            self.broker.serve_borrower(&mut self.xen, &mut self.link, &mut self.borrower, BORROWER_STEPS);
        (lender, if borrower == Turn::More { borrower } else { requests })
    }

    /// Turns until the loop would wait.
    pub fn run(&mut self) {
        for _ in 0..10_000 {
            let (lender, requests) = self.turn();
            if lender != Turn::More && requests != Turn::More {
                return;
            }
        }
        panic!("the event loop never waits");
    }

    /// The borrower's link is attached and has said hello; gives what the borrower is told.
    pub fn attach(&mut self) -> Vec<ToBorrower> {
        let answers = self.ask(attach(ATTACHMENT));
        assert_eq!(answers, [FromBroker::BorrowerAttached { attachment: ATTACHMENT, result: Ok(()) }]);
        let hello = borrower_hello(self.broker.table().page_count());
        self.hear(hello)
    }

    /// The borrower sends a message; gives all that the broker then tells it.
    pub fn hear(&mut self, message: FromBorrower) -> Vec<ToBorrower> {
        self.borrower.to_broker.push_back(message);
        self.told()
    }

    /// What the borrower is told.
    pub fn told(&mut self) -> Vec<ToBorrower> {
        self.run();
        self.borrower.to_borrower.drain(..).collect()
    }

    /// The lender sends a message; gives all that the broker then says.
    pub fn ask(&mut self, message: ToBroker) -> Vec<FromBroker> {
        self.link.to_broker.push_back(message);
        self.run();
        self.link.to_lender.drain(..).collect()
    }

    /// Asks for frames to be made present; gives the answer.
    pub fn present(&mut self, lease: LeaseId, sequence: u64, extents: &[ClaimedExtent]) -> PresentOutcome {
        match self.ask(present(77, lease, sequence, extents))[..] {
            [FromBroker::Presented { ticket: 77, outcome }] => outcome,
            ref other => panic!("{other:?}"),
        }
    }

    /// Invalidates; gives what was acknowledged.
    pub fn invalidate(
        &mut self,
        sequence: u64,
        lease: LeaseId,
        first: u32,
        count: u32,
    ) -> Result<u32, RemoveFailure> {
        match self.ask(invalidate(sequence, lease, first, count))[..] {
            [FromBroker::Invalidated { sequence: answered, result }] if answered == sequence => result,
            ref other => panic!("{other:?}"),
        }
    }

    /// Does what an access asks for on the lender's pages.
    pub fn do_access(&mut self, access: &FromBroker) -> ToBroker {
        let FromBroker::Access { id, page, offset, operation, .. } = access else { panic!("{access:?}") };
        let bytes = self.pages.get_mut(&u64::from(page.0)).expect("an access to a page nobody lends");
        let offset = usize::from(*offset);
        let outcome = match operation {
            _ if self.lost_for_the_lender.contains(&page.0) => AccessOutcome::Lost,
            AccessOperation::Read { length } => {
                let read = &bytes[offset..offset + usize::from(*length)];
                AccessOutcome::Read { bytes: heapless::Vec::from_slice(read).unwrap() }
            }
            AccessOperation::Write { bytes: written } => {
                assert!(!written.is_empty());
                bytes[offset..offset + written.len()].copy_from_slice(written);
                AccessOutcome::Written
            }
        };
        ToBroker::Completed { id: *id, outcome }
    }

    /// Serves accesses until the broker asks for none; gives the accesses.
    pub fn serve(&mut self) -> Vec<FromBroker> {
        let mut served = Vec::new();
        loop {
            self.run();
            let asked: Vec<_> = self.link.to_lender.drain(..).collect();
            if asked.is_empty() {
                return served;
            }
            for access in asked {
                let answer = self.do_access(&access);
                self.link.to_broker.push_back(answer);
                served.push(access);
            }
        }
    }

    /// Sends a request and serves it to its end; gives the datum.
    pub fn request(&mut self, vcpu: u16, claim: IoreqClaim) -> u64 {
        self.xen.inner.send_request(vcpu, claim);
        self.serve();
        self.xen.inner.take_response(vcpu).expect("the request is completed")
    }

    /// The table must say exactly what Xen has, and the borrower must live.
    pub fn check(&self) {
        assert_eq!(self.xen.inner.death, None);
        self.check_table();
    }

    /// The table must say exactly what Xen has.
    pub fn check_table(&self) {
        let (table, lent) = (self.broker.table(), self.xen.inner.lent());
        let mut present = 0;
        for page in 0..table.page_count() {
            if let PageState::Present { mfn, .. } = table.page(page) {
                assert_eq!(lent.get(&page), Some(&mfn.0), "page {page}");
                present += 1;
            }
        }
        assert_eq!(present, lent.len(), "Xen has entries that the table does not have");
    }

    pub fn is_closed(&self) -> bool {
        matches!(self.broker.link_state(), LinkState::Closed(_))
    }
}

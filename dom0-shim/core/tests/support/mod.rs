// SPDX-License-Identifier: MIT OR Apache-2.0
//! A link over rings in memory, and a broker that does what a test tells it.
#![allow(dead_code, missing_docs)]

use xenlend_protocol::extent::ClaimedExtent;
use xenlend_protocol::frame::{AperturePage, Mfn};
use xenlend_protocol::label::ClaimedLabel;
use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::message::{AccessOperation, FromBroker, PresentOutcome, ToBroker, VERSION};
use xenlend_protocol::ring::plain_memory::PlainMemory;
use xenlend_protocol::ring::{Consumer, Priority, Producer};
use xenlend_shim_core::crew::{Place, MAX_WORKERS};
use xenlend_shim_core::events::Event;
use xenlend_shim_core::histogram::BUCKETS;
use xenlend_shim_core::kind::Kind;
use xenlend_shim_core::link::{
    Config, ForceEnd, InvalidateStart, Link, PageIn, Posted, PresentStanding, Reason, Tables, MAX_WAITS,
};
use xenlend_shim_core::mirror::{chunk_count, Mirror};
use xenlend_shim_core::regions::{Aperture, Caller, NewRegion, Plan, ProcessId, Slot, MAX_REGIONS};
use xenlend_shim_core::storage::Storage;
use xenlend_shim_core::uapi::RegionRequest;
use xenlend_shim_core::window::Extents;

pub struct Vectors;
impl Storage for Vectors {
    type Slice<T> = Vec<T>;
}

pub type TestLink = Link<PlainMemory, Vectors>;

/// Both ends of a link.
pub struct Pair {
    pub link: TestLink,
    pub to_broker: PlainMemory,
    received: Consumer<PlainMemory>,
    pub sent: Producer<PlainMemory>,
}

/// Who makes the region calls.
pub const CALLER: Caller = Caller { descriptor: 1, process: ProcessId(11), user_limit: (1 << 47) - 4096 };
/// The same process, with another descriptor.
pub const OTHER_CALLER: Caller = Caller { descriptor: 2, ..CALLER };

pub const APERTURE_ADDRESS: u64 = 0x10_0000_0000;
pub const APERTURE_PAGES: u32 = 16384;

impl Pair {
    /// Hello is in the ring.
    pub fn new() -> Self {
        Self::on(Kind::Stock)
    }

    /// The same on that kind of Xen.
    pub fn on(kind: Kind) -> Self {
        let aperture = Aperture { address: APERTURE_ADDRESS, size: u64::from(APERTURE_PAGES) * 4096 };
        let config = Config { borrower: 7, broker: 8, aperture, flags: 0, kind };
        let tables = Tables {
            slots: (0..MAX_REGIONS).map(|_| Slot::EMPTY).collect(),
            requests: vec![None; 4],
            waits: vec![None; MAX_WAITS],
            workers: vec![Place::Free; MAX_WORKERS],
            page_ins: vec![None; MAX_WORKERS],
            events: vec![Event::default(); 32],
            histogram: vec![0; BUCKETS],
        };
        let (to_broker, to_lender) = (PlainMemory::default(), PlainMemory::default());
        let mut link = Link::new(config, tables, to_broker.clone(), to_lender.clone());
        link.greet().unwrap();
        let received = Consumer::new(to_broker.clone());
        Self { link, to_broker, received, sent: Producer::new(to_lender) }
    }

    /// Welcomed.
    pub fn connected() -> Self {
        Self::connected_on(Kind::Stock)
    }

    /// The same on that kind of Xen.
    pub fn connected_on(kind: Kind) -> Self {
        let mut pair = Self::on(kind);
        let Some(ToBroker::Hello { features, .. }) = pair.next() else { panic!("no Hello") };
        let aperture_pages = APERTURE_PAGES;
        pair.say(FromBroker::Welcome { version: VERSION, features, aperture_pages, lease_capacity: 64 });
        pair
    }

    /// With a region of so many pages from `first` on, at user address `user`.
    pub fn region(&mut self, slot: u32, first: u32, pages: u32, user: u64) -> LeaseId {
        let new = self.plan(slot, first, pages, user);
        let mirror =
            Mirror::new(new.first, vec![0; new.count as usize], vec![0; chunk_count(new.first, new.count)]);
        self.link.insert_region(&new, mirror);
        self.link.post_set(new.lease).unwrap();
        assert!(matches!(self.next(), Some(ToBroker::SetRegion { .. })));
        assert_eq!(self.link.set_answer(new.lease), None);
        self.say(FromBroker::RegionSet { lease: new.lease, result: Ok(()) });
        assert_eq!(self.link.set_answer(new.lease), Some(Ok(())));
        new.lease
    }

    pub fn plan(&self, slot: u32, first: u32, pages: u32, user: u64) -> NewRegion {
        match self.link.plan_region(&request(slot, first, pages, user), CALLER).unwrap() {
            Plan::Create(new) => new,
            other => panic!("{other:?}"),
        }
    }

    /// The next message that the broker gets.
    pub fn next(&mut self) -> Option<ToBroker> {
        self.received.receive().unwrap()
    }

    /// The broker says something, and the lender's event handler takes it.
    #[allow(clippy::needless_pass_by_value)]
    pub fn say(&mut self, message: FromBroker) {
        self.say_unheard(message);
        self.link.drain(64);
    }

    /// The broker says something that the lender has not taken yet.
    #[allow(clippy::needless_pass_by_value)]
    pub fn say_unheard(&mut self, message: FromBroker) {
        self.sent.send(&message, Priority::Reserved).unwrap();
    }

    pub fn access(&mut self, id: u32, lease: LeaseId, page: u32) {
        let operation = AccessOperation::Read { length: 8 };
        let page = AperturePage(page);
        self.say(FromBroker::Access { id, lease, page, offset: 0, operation, wants_page: true });
    }
}

pub fn request(slot: u32, first: u32, pages: u32, user: u64) -> RegionRequest {
    RegionRequest {
        slot,
        flags: 0,
        guest_phys_addr: APERTURE_ADDRESS + u64::from(first) * 4096,
        memory_size: u64::from(pages) * 4096,
        userspace_addr: user,
        label: ClaimedLabel::default(),
    }
}

/// First byte of the regions in the process.
pub const USER: u64 = 0x7f00_0000_0000;

pub fn extents(page: u32, mfn: u64, count: u32) -> Extents {
    let mut extents = Extents::new();
    extents.push(ClaimedExtent { page: AperturePage(page), mfn: Mfn(mfn), count }).unwrap();
    extents
}

pub fn page_in(pair: &mut Pair, lease: LeaseId, page: u32) -> PageIn {
    pair.link.begin_page_in(lease, AperturePage(page)).unwrap()
}

/// Makes pages present, with the broker's yes.
pub fn present(pair: &mut Pair, lease: LeaseId, page: u32, mfn: u64, count: u32) {
    let page_in = page_in(pair, lease, page);
    let posted = pair.link.post_present(&page_in, &extents(page, mfn, count), None);
    assert_eq!(posted, Posted::Yes { completed: false });
    let Some(ToBroker::Present { ticket, .. }) = pair.next() else { panic!("no Present") };
    pair.say(FromBroker::Presented {
        ticket,
        outcome: PresentOutcome::Added { entries_2mib: 0, entries_4kib: 1 },
    });
    assert!(matches!(pair.link.present_standing(), PresentStanding::Answered(PresentOutcome::Added { .. })));
    pair.link.end_present();
    pair.link.end_page_in(&page_in);
}

pub fn invalidate(pair: &mut Pair, lease: LeaseId, page: u32, count: u32) -> InvalidateStart {
    pair.link.start_invalidate(lease, AperturePage(page), count, true)
}

/// Everything present is named once; then the mirror is empty.
pub fn force(pair: &mut Pair, reason: Reason, gone: bool) -> (u32, ForceEnd) {
    assert!(pair.link.begin_force(pair.link.cause(reason)));
    let mut pages = 0;
    while let Some((lease, run)) = pair.link.force_next() {
        while let Some(taken) = pair.link.force_removed(lease, &run) {
            pages += taken.count;
        }
    }
    (pages, pair.link.end_force(gone))
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! A broker's end of the link, in the memory of the test, and a driver over it.
#![allow(dead_code)]

use std::cell::RefCell;
use std::rc::Rc;

use xenlend_front_core::aperture::Aperture;
use xenlend_front_core::events::Event;
use xenlend_front_core::frontend::{Frontend, Turn};
use xenlend_front_core::lease::MAX_LEASES;
use xenlend_front_core::link::{Link, Phase, Tables, Touch};
use xenlend_front_core::page_set::{words_for, Pages};
use xenlend_front_core::prefault::MAX_PREFAULTS;
use xenlend_front_core::storage::Storage;
use xenlend_protocol::frame::AperturePage;
use xenlend_protocol::frontend::{FromBorrower, ToBorrower};
use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::message::{CacheMode, LossPolicy, Rights};
use xenlend_protocol::ring::{Consumer, Priority, Producer, RingMemory};

pub const APERTURE_GFN: u64 = 0x100_0000;
pub const APERTURE_PAGES: u32 = 4096;

/// Tables of the tests.
pub struct Vectors;

impl Storage for Vectors {
    type Slice<T> = Vec<T>;
}

#[derive(Default)]
struct RingState {
    produced: u32,
    consumed: u32,
    waiting: bool,
    data: Vec<u8>,
}

/// A ring that both ends of the test share.
#[derive(Clone)]
pub struct TestRing(Rc<RefCell<RingState>>);

impl TestRing {
    fn new() -> Self {
        Self(Rc::new(RefCell::new(RingState { data: vec![0; 4096], ..RingState::default() })))
    }

    /// What a hostile end does.
    pub fn set_produced(&self, value: u32) {
        self.0.borrow_mut().produced = value;
    }

    /// As above.
    pub fn set_consumed(&self, value: u32) {
        self.0.borrow_mut().consumed = value;
    }

    /// As above.
    pub fn scribble(&self, offset: usize, bytes: &[u8]) {
        for (index, byte) in bytes.iter().enumerate() {
            self.0.borrow_mut().data[(offset + index) % 4096] = *byte;
        }
    }
}

impl RingMemory for TestRing {
    fn load_produced(&self) -> u32 {
        self.0.borrow().produced
    }
    fn store_produced(&self, value: u32) {
        self.0.borrow_mut().produced = value;
    }
    fn load_consumed(&self) -> u32 {
        self.0.borrow().consumed
    }
    fn store_consumed(&self, value: u32) {
        self.0.borrow_mut().consumed = value;
    }
    fn load_waiting(&self) -> bool {
        self.0.borrow().waiting
    }
    fn store_waiting(&self, waits: bool) {
        self.0.borrow_mut().waiting = waits;
    }
    fn read(&self, offset: u32, bytes: &mut [u8]) {
        let offset = offset as usize;
        bytes.copy_from_slice(&self.0.borrow().data[offset..offset + bytes.len()]);
    }
    fn write(&self, offset: u32, bytes: &[u8]) {
        let offset = offset as usize;
        self.0.borrow_mut().data[offset..offset + bytes.len()].copy_from_slice(bytes);
    }
}

pub type TestFrontend = Frontend<TestRing, Vectors>;

/// A driver, and the broker that it talks to.
pub struct Bench {
    pub driver: TestFrontend,
    pub to_driver: Producer<TestRing>,
    pub from_driver: Consumer<TestRing>,
    pub inbound: TestRing,
    pub outbound: TestRing,
}

pub fn driver() -> TestFrontend {
    Frontend::new(vec![Event::default(); 64], vec![None; MAX_PREFAULTS])
}

pub fn tables() -> Tables<Vectors> {
    let words = || vec![0; words_for(APERTURE_PAGES)];
    Tables { leases: vec![None; MAX_LEASES], present: words(), wanted: words(), lost: words() }
}

impl Bench {
    /// A driver that has said Hello.
    pub fn greeting() -> Self {
        Self::over(driver())
    }

    /// A new link for a driver that has none.
    pub fn over(mut driver: TestFrontend) -> Self {
        let (inbound, outbound) = (TestRing::new(), TestRing::new());
        let aperture = Aperture::check(APERTURE_GFN, APERTURE_PAGES.into(), 40).unwrap();
        let link = Link::new(aperture, inbound.clone(), outbound.clone(), tables());
        assert!(driver.connect(link).is_none());
        let to_driver = Producer::new(inbound.clone());
        let from_driver = Consumer::new(outbound.clone());
        Self { driver, to_driver, from_driver, inbound, outbound }
    }

    /// A driver whose broker has answered.
    pub fn connected() -> Self {
        let mut bench = Self::greeting();
        bench.welcome();
        bench
    }

    pub fn welcome(&mut self) {
        assert!(matches!(self.said(), Some(FromBorrower::Hello { .. })));
        assert_eq!(self.say(ToBorrower::Welcome { version: 1, features: 0 }), Turn::More);
    }

    /// A driver with one lease at this place of the table.
    pub fn with_lease(index: u16, first: u32, count: u32, loss: LossPolicy) -> (Self, LeaseId, u64) {
        let mut bench = Self::connected();
        let id = LeaseId { index, generation: 1 };
        bench.say(lease(id, first, count, loss));
        let serial = bench.serial_of(id);
        (bench, id, serial)
    }

    pub fn serial_of(&self, id: LeaseId) -> u64 {
        self.driver.link().unwrap().leases().find(|lease| lease.id == id).unwrap().serial
    }

    /// The broker says something and the driver handles it, zap included.
    pub fn say(&mut self, message: ToBorrower) -> Turn {
        self.to_driver.send(&message, Priority::Reserved).unwrap();
        let turn = self.driver.turn();
        if let Turn::Zap(_, sequence) = turn {
            self.driver.zapped(sequence);
        }
        turn
    }

    /// What the driver has said next.
    pub fn said(&mut self) -> Option<FromBorrower> {
        self.from_driver.receive().unwrap()
    }

    pub fn phase(&self) -> Phase {
        self.driver.link().unwrap().phase()
    }

    pub fn touch(&mut self, serial: u64, page: u32) -> xenlend_front_core::link::Answer {
        let mapping = Pages { first: 0, end: APERTURE_PAGES };
        self.driver.touch(&Touch { serial, page, mapping }, false)
    }
}

pub fn lease(id: LeaseId, first: u32, count: u32, loss: LossPolicy) -> ToBorrower {
    ToBorrower::Lease {
        lease: id,
        first: AperturePage(first),
        count,
        rights: Rights::ReadWrite,
        loss,
        cache: CacheMode::WriteCombining,
    }
}

pub fn present(lease: LeaseId, first: u32, count: u32) -> ToBorrower {
    ToBorrower::Present { lease, first: AperturePage(first), count }
}

pub fn lost(lease: LeaseId, first: u32, count: u32) -> ToBorrower {
    ToBorrower::Lost { lease, first: AperturePage(first), count }
}

pub fn unavailable(lease: LeaseId, first: u32, count: u32) -> ToBorrower {
    ToBorrower::Unavailable { lease, first: AperturePage(first), count }
}

pub fn revoked(sequence: u64, lease: LeaseId, first: u32, count: u32, ended: bool) -> ToBorrower {
    ToBorrower::Revoked { sequence, lease, first: AperturePage(first), count, ended }
}

pub fn wait_for(lease: LeaseId, page: u32, count: u32) -> FromBorrower {
    FromBorrower::WaitFor { lease, page: AperturePage(page), count }
}

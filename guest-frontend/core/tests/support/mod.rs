// SPDX-License-Identifier: MIT OR Apache-2.0
//! A broker's end of the link, in the memory of the test, and a driver over it.
#![allow(dead_code)]

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
use xenlend_protocol::label::ClaimedLabel;
use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::message::{CacheMode, LossPolicy, Rights, VERSION};
use xenlend_protocol::ring::plain_memory::PlainMemory;
use xenlend_protocol::ring::{Consumer, Priority, Producer};

pub const APERTURE_GFN: u64 = 0x100_0000;
pub const APERTURE_PAGES: u32 = 4096;

/// Tables of the tests.
pub struct Vectors;

impl Storage for Vectors {
    type Slice<T> = Vec<T>;
}

pub type TestFrontend = Frontend<PlainMemory, Vectors>;

/// A driver, and the broker that it talks to.
pub struct Bench {
    pub driver: TestFrontend,
    pub to_driver: Producer<PlainMemory>,
    pub from_driver: Consumer<PlainMemory>,
    pub inbound: PlainMemory,
    pub outbound: PlainMemory,
}

pub fn driver() -> TestFrontend {
    Frontend::new(vec![Event::default(); 64], vec![None; MAX_PREFAULTS])
}

pub fn tables(pages: u32) -> Tables<Vectors> {
    let words = || vec![0; words_for(pages)];
    Tables { leases: vec![None; MAX_LEASES], present: words(), wanted: words(), lost: words() }
}

impl Bench {
    /// A driver that has said Hello.
    pub fn greeting() -> Self {
        Self::over(driver())
    }

    /// A new link for a driver that has none.
    pub fn over(driver: TestFrontend) -> Self {
        Self::with_aperture(driver, APERTURE_PAGES)
    }

    /// The same, with an aperture of so many pages.
    pub fn with_aperture(mut driver: TestFrontend, pages: u32) -> Self {
        let (inbound, outbound) = (PlainMemory::default(), PlainMemory::default());
        let aperture = Aperture::check(APERTURE_GFN, pages.into(), 40).unwrap();
        let link = Link::new(aperture, inbound.clone(), outbound.clone(), tables(pages));
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
        assert_eq!(self.say(ToBorrower::Welcome { version: VERSION, features: 0 }), Turn::More);
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
        label: ClaimedLabel::default(),
    }
}

/// The same announcement with a label.
pub fn labelled(mut announcement: ToBorrower, text: &[u8]) -> ToBorrower {
    if let ToBorrower::Lease { label, .. } = &mut announcement {
        *label = ClaimedLabel::new(text).unwrap();
    }
    announcement
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

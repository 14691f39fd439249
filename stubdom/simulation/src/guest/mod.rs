// SPDX-License-Identifier: MIT OR Apache-2.0
//! The borrower's driver, simulated: the real core, and around it the order of effects of
//! `guest-frontend/module`, file by file, over page tables of programs that have mapped leases.

pub mod bus;
pub mod check;
pub mod coverage;
pub mod fault;
pub mod liar;
pub mod link_end;
pub mod program;
pub mod work;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use xenlend_front_core::aperture::Aperture;
use xenlend_front_core::events::Event;
use xenlend_front_core::frontend::Frontend;
use xenlend_front_core::lease::MAX_LEASES;
use xenlend_front_core::link::{Link, Tables};
use xenlend_front_core::page_set::{words_for, Pages};
use xenlend_front_core::prefault::MAX_PREFAULTS;
use xenlend_front_core::storage::Storage;
use xenlend_protocol::frontend::ToBorrower;
use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::ring::plain_memory::PlainMemory;

use crate::fault::Fault;
use crate::lender::Vectors;
use crate::world::{Sim, World};
use crate::xen::{APERTURE, PAGES};

/// Programs that map leases.
pub const PROGRAMS: usize = 3;
/// All pages of the aperture.
pub const ALL: Pages = Pages { first: 0, end: PAGES };

impl Storage for Vectors {
    type Slice<T> = Vec<T>;
}

/// The real core.
pub type Core = Frontend<PlainMemory, Vectors>;

/// An entry of a program's page table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The lease that the program has mapped.
    pub lease: LeaseId,
    /// Its serial number.
    pub serial: u64,
    /// Whoever touched could not wait: the second stage decides.
    pub forced: bool,
}

/// A mapping of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// The lease.
    pub lease: LeaseId,
    /// Its serial number.
    pub serial: u64,
    /// The pages.
    pub pages: Pages,
}

/// A program: one mapping and its page table.
#[derive(Debug)]
pub struct Program {
    /// What it has mapped.
    pub mapping: Option<Mapping>,
    /// Its page table.
    pub entries: Vec<Option<Entry>>,
    /// It has been killed.
    pub killed: bool,
}

/// Pages that the borrower has granted, and what it calls them.
#[derive(Clone, Debug)]
pub struct Granted {
    /// Its number for them.
    pub reference: u32,
    /// The ring towards the borrower.
    pub to_borrower: PlainMemory,
    /// The ring towards the broker.
    pub to_broker: PlainMemory,
}

/// The driver's part of the world.
pub struct Guest {
    /// Under the mutex.
    pub core: RefCell<Core>,
    /// Wake-ups so far.
    pub wakes: Cell<u64>,
    /// The work item is queued.
    pub queued: Cell<bool>,
    /// The work item runs.
    pub working: Cell<bool>,
    /// The programs.
    pub programs: RefCell<Vec<Program>>,
    /// Pages that the work item is taking out of page tables.
    pub zapping: Cell<Option<Pages>>,
    /// A link is being taken down, and everything of it zapped.
    pub parting: Cell<bool>,
    /// The ring pages that exist.
    pub granted: RefCell<Option<Granted>>,
    /// The number of the next ones.
    pub next_reference: Cell<u32>,
    /// What somebody wants of the bus: a link, or none.
    pub wanted_link: Cell<Option<bool>>,
    /// The link has ended by itself.
    pub ended: Cell<bool>,
    /// What the broker has said and the core has not taken.
    pub said: RefCell<VecDeque<ToBorrower>>,
    /// Pages that were said to be present, and that nothing else was said of since.
    pub told_present: RefCell<Vec<bool>>,
    /// Which event has met which standing of a page.
    pub coverage: RefCell<coverage::PageCoverage>,
    /// Something that the checks look at has changed.
    pub changed: Cell<bool>,
}

impl Guest {
    /// A driver without a link.
    pub fn new() -> Self {
        let program = || Program { mapping: None, entries: vec![None; PAGES as usize], killed: false };
        Self {
            core: RefCell::new(Frontend::new(vec![Event::default(); 16], vec![None; MAX_PREFAULTS])),
            wakes: Cell::new(0),
            queued: Cell::new(false),
            working: Cell::new(false),
            programs: RefCell::new((0..PROGRAMS).map(|_| program()).collect()),
            zapping: Cell::new(None),
            parting: Cell::new(false),
            granted: RefCell::new(None),
            next_reference: Cell::new(1),
            wanted_link: Cell::new(None),
            ended: Cell::new(false),
            said: RefCell::new(VecDeque::new()),
            told_present: RefCell::new(vec![false; PAGES as usize]),
            coverage: RefCell::default(),
            changed: Cell::new(false),
        }
    }

    /// Grants new ring pages.
    pub fn grant(&self) -> Granted {
        let reference = self.next_reference.replace(self.next_reference.get() + 1);
        let granted =
            Granted { reference, to_borrower: PlainMemory::default(), to_broker: PlainMemory::default() };
        *self.granted.borrow_mut() = Some(granted.clone());
        self.said.borrow_mut().clear();
        self.told_present.borrow_mut().fill(false);
        granted
    }
}

impl Default for Guest {
    fn default() -> Self {
        Self::new()
    }
}

/// A link of the core over ring pages.
///
/// # Panics
/// Never: the aperture is a sound one.
pub fn new_link(granted: &Granted) -> Link<PlainMemory, Vectors> {
    let aperture = Aperture::check(APERTURE / 4096, u64::from(PAGES), 40).expect("a sound aperture");
    let words = || vec![0; words_for(PAGES)];
    let tables = Tables { leases: vec![None; MAX_LEASES], present: words(), wanted: words(), lost: words() };
    Link::new(aperture, granted.to_borrower.clone(), granted.to_broker.clone(), tables)
}

/// Runs `act` under the mutex, in a step of its own.
pub async fn locked<T>(sim: &Sim, act: impl FnOnce(&mut Core) -> T) -> T {
    sim.step().await;
    locked_now(sim, act)
}

/// The same, in the step that is being taken.
pub fn locked_now<T>(sim: &World, act: impl FnOnce(&mut Core) -> T) -> T {
    let guest = &sim.guest;
    let mut core = guest.core.borrow_mut();
    let result = act(&mut core);
    let effects = core.take_effects();
    drop(core);
    guest.changed.set(true);
    if effects.wake && !sim.config.has(Fault::ForgetWake) {
        guest.wakes.set(guest.wakes.get() + 1);
    }
    if effects.notify {
        sim.broker_pending.set(true);
    }
    if effects.work {
        guest.queued.set(true);
    }
    result
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The lender's module, simulated: the real core, and around it the order of effects of `dom0-shim/module`,
//! file by file and function by function, with a step of its own for every lock, hypercall and wait.

pub mod attach;
pub mod force;
pub mod frames;
pub mod frontend;
pub mod leases;
pub mod link;
pub mod lookup;
pub mod page_in;
pub mod permissions;
pub mod revoke;
pub mod visits;
pub mod worker;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use xenlend_protocol::label::{ClaimedLabel, Label};
use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::ring::plain_memory::PlainMemory;
use xenlend_shim_core::crew::{Place, MAX_WORKERS};
use xenlend_shim_core::events::Event;
use xenlend_shim_core::histogram::BUCKETS;
use xenlend_shim_core::kind::Kind;
use xenlend_shim_core::link::{Config as LinkConfig, Link as CoreLink, Tables, MAX_WAITS};
use xenlend_shim_core::permits::{places_for, Permit, Permits};
use xenlend_shim_core::regions::{Aperture, Slot, MAX_REGIONS};
use xenlend_shim_core::storage::Storage;
use xenlend_shim_core::window::Extents;

use crate::config::Config;
use crate::lending::{BORROWER, BROKER};
use crate::world::Sim;
use crate::xen::{APERTURE, PAGES};

/// Tables in vectors.
pub struct Vectors;

impl Storage for Vectors {
    type Slice<T> = Vec<T>;
}

/// The real core.
pub type Core = CoreLink<PlainMemory, Vectors>;

/// First byte of the process's memory.
const USER: u64 = 0x7f00_0000_0000;

/// The address of a page of the process.
pub fn user_address(user: u32) -> u64 {
    USER + u64::from(user) * 4096
}

/// The page of the process at an address.
pub fn user_page(address: u64) -> u32 {
    ((address - USER) / 4096) as u32
}

/// What the spinlock protects.
pub struct State {
    /// All that is decided.
    pub core: Core,
    /// The lease that the worker is in the address space of.
    pub worker_in: Option<LeaseId>,
    /// The worker has to end.
    pub stopping: bool,
}

/// A region and its notifier.
#[derive(Debug)]
pub struct RegionObject {
    /// Its lease.
    pub lease: LeaseId,
    /// First page of the aperture.
    pub first: u32,
    /// Number of pages.
    pub count: u32,
    /// First page of the process.
    pub user: u32,
    /// Notifiers are called for it.
    pub armed: Cell<bool>,
    /// Invalidations that have set its sequence and not ended.
    pub invalidating: Cell<u32>,
}

impl RegionObject {
    /// The page of the process behind a page of the aperture.
    pub fn user_page(&self, page: u32) -> Option<u32> {
        let offset = page.checked_sub(self.first).filter(|offset| *offset < self.count)?;
        Some(self.user + offset)
    }

    /// Whether pages of the process are in it.
    pub fn overlaps(&self, first: u32, count: u32) -> bool {
        self.user < first + count && first < self.user + self.count
    }
}

/// A `Present` that the broker has not answered.
pub struct InFlight {
    /// Its ticket.
    pub ticket: u32,
    /// Its frames.
    pub extents: Extents,
}

/// The mutexes of a link.
#[derive(Clone, Copy, Debug)]
pub enum Lock {
    /// Region calls and detach.
    Running,
    /// Revocation by force.
    Force,
    /// Frame permissions.
    Permissions,
}

/// A mutex that is held.
pub struct Guard {
    sim: Sim,
    lock: Lock,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.sim.lender.locks[self.lock as usize].set(false);
    }
}

/// The module's part of the world.
pub struct Lender {
    /// The kind of Xen.
    pub kind: Kind,
    /// Under the spinlock.
    pub state: RefCell<State>,
    /// Wake-ups so far.
    pub wakes: Cell<u64>,
    locks: [Cell<bool>; 3],
    /// Permission counts.
    pub permits: RefCell<Permits<Vec<Permit>>>,
    /// Whoever makes a region call has been killed.
    pub signalled: Cell<bool>,
    /// The worker's fault has been interrupted.
    pub interrupted: Cell<bool>,
    /// Regions with their notifiers.
    pub regions: RefCell<Vec<Rc<RegionObject>>>,
    /// What each region was called, those that have ended too. No two calls name one alike.
    pub labels: RefCell<HashMap<LeaseId, Label>>,
    calls: Cell<u32>,
    /// What the broker has been asked to add.
    pub presents: RefCell<Vec<InFlight>>,
    /// The ticket of the next one.
    pub next_ticket: Cell<u32>,
    /// The event channel is there.
    pub connected: Cell<bool>,
    /// The broker has had a look at the clock since the event channel is gone.
    pub missed: Cell<bool>,
    /// The broker is held for good.
    pub condemned: Cell<bool>,
    /// The lender has removed entries that the broker's table still has.
    pub removes: Cell<bool>,
    /// No more regions.
    pub ended: Cell<bool>,
}

impl Lender {
    /// A link that is attached.
    pub fn new(config: &Config, to_broker: PlainMemory, to_lender: PlainMemory) -> Self {
        let aperture = Aperture { address: APERTURE, size: u64::from(PAGES) * 4096 };
        let kind = if config.is_lend_aware() { Kind::LendAware } else { Kind::Stock };
        let link = LinkConfig { borrower: BORROWER, broker: BROKER, aperture, flags: 0, kind };
        let tables = Tables {
            slots: (0..MAX_REGIONS).map(|_| Slot::EMPTY).collect(),
            waits: vec![None; MAX_WAITS],
            workers: vec![Place::Free; MAX_WORKERS],
            page_ins: vec![None; MAX_WORKERS],
            requests: vec![None; config.vcpus * 2 + 8],
            events: vec![Event::default(); 8],
            histogram: vec![0; BUCKETS],
        };
        let core = CoreLink::new(link, tables, to_broker, to_lender);
        Self {
            kind,
            state: RefCell::new(State { core, worker_in: None, stopping: false }),
            wakes: Cell::new(0),
            locks: Default::default(),
            permits: RefCell::new(Permits::new(vec![Permit::default(); places_for(PAGES + 1024)])),
            signalled: Cell::new(false),
            interrupted: Cell::new(false),
            regions: RefCell::new(Vec::new()),
            labels: RefCell::default(),
            calls: Cell::new(0),
            presents: RefCell::new(Vec::new()),
            next_ticket: Cell::new(0),
            connected: Cell::new(true),
            missed: Cell::new(false),
            condemned: Cell::new(false),
            removes: Cell::new(false),
            ended: Cell::new(false),
        }
    }

    /// A label that no region had before.
    pub fn next_label(&self) -> ClaimedLabel {
        self.calls.set(self.calls.get() + 1);
        ClaimedLabel::new(format!("call {}", self.calls.get()).as_bytes()).unwrap_or_default()
    }

    /// Says hello.
    ///
    /// # Panics
    /// If something was said before.
    pub fn greet(&self) {
        self.state.borrow_mut().core.greet().expect("the ring is empty");
    }

    /// Takes a mutex.
    pub async fn lock(sim: &Sim, lock: Lock) -> Guard {
        sim.until(move |world| !world.lender.locks[lock as usize].get()).await;
        sim.lender.locks[lock as usize].set(true);
        Guard { sim: Rc::clone(sim), lock }
    }
}

/// The event handler.
pub fn on_event(sim: &Sim) {
    link::locked_now(sim, |state| {
        state.core.drain(link::DRAIN_LIMIT);
        state.core.wake();
    });
}

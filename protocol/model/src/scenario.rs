// SPDX-License-Identifier: MIT OR Apache-2.0
//! How much may happen in one exploration. Each is small enough to be exhausted.

use heapless::Vec;

use crate::state::{
    Broker, Doing, Lease, Link, Pending, Region, Revoker, Revoking, Server, Shim, Slot, State, Vcpu, Worker,
    Working, World, Xen, PAGES, REVOKERS, VCPUS,
};

/// Which of the rules of `protocol/DESIGN.md` the lender makes use of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lender {
    /// The one in `dom0-shim`: it finds out itself that a page-in was overtaken, and posts no such Present.
    AsWritten,
    /// One that the protocol allows as well: it tells the broker of every invalidation with a page-in in
    /// flight, stamps a Present with the newest one before its lookup, and leaves it to the broker to
    /// find it stale.
    ReliesOnBroker,
}

/// The bounds of one exploration.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// For reports.
    pub name: &'static str,
    /// Pages that vCPUs touch and notifiers name.
    pub pages: usize,
    /// Touches of absent pages, for each vCPU.
    pub touches: [u8; VCPUS],
    /// Whether a vCPU may do so with `rep stos`.
    pub repeats: [bool; VCPUS],
    /// Notifier calls; two can run at a time.
    pub notifiers: u8,
    /// Deadlines that pass though the broker runs.
    pub delays: u8,
    /// Pauses of the broker by an administrator, who may resume it.
    pub stops: u8,
    /// The broker may die.
    pub broker_dies: bool,
    /// The borrower may be destroyed.
    pub borrower_dies: bool,
    /// The region may be closed.
    pub closes: bool,
    /// The link may be detached.
    pub detaches: bool,
    /// Which lender.
    pub lender: Lender,
    /// States that it has at least: fewer mean that something has become unreachable.
    pub least_states: usize,
    /// Situations that it must reach, by the names of [`crate::situations`].
    pub reaches: &'static [&'static str],
}

const NOTHING: Scenario = Scenario {
    name: "",
    pages: 1,
    touches: [1, 0],
    repeats: [false, false],
    notifiers: 0,
    delays: 0,
    stops: 0,
    broker_dies: false,
    borrower_dies: false,
    closes: false,
    detaches: false,
    lender: Lender::AsWritten,
    least_states: 0,
    reaches: &[],
};

/// Faults, plain and repeated, against invalidations.
pub const FAULTS: Scenario = Scenario {
    name: "faults",
    touches: [2, 1],
    repeats: [false, true],
    notifiers: 1,
    ..NOTHING
};

/// Two vCPUs and repeated writes, without misfortune.
pub const REPEATED: Scenario =
    Scenario { name: "repeated writes", touches: [1, 2], repeats: [false, true], ..NOTHING };

/// A broker that is slow, and one that an administrator pauses and resumes.
pub const SLOW_BROKER: Scenario =
    Scenario { name: "slow broker", touches: [2, 0], notifiers: 2, delays: 1, stops: 1, ..NOTHING };

/// A broker that dies at any step.
pub const BROKER_DIES: Scenario = Scenario {
    name: "broker dies",
    touches: [1, 1],
    notifiers: 2,
    delays: 1,
    broker_dies: true,
    ..NOTHING
};

/// A borrower that dies at any step.
pub const BORROWER_DIES: Scenario = Scenario {
    name: "borrower dies",
    touches: [2, 0],
    notifiers: 2,
    delays: 1,
    borrower_dies: true,
    ..NOTHING
};

/// Two pages, and invalidations of one or both at a time.
pub const TWO_PAGES: Scenario =
    Scenario { name: "two pages", pages: 2, touches: [2, 1], notifiers: 2, ..NOTHING };

/// Two pages and a broker that is slow.
pub const SLOW_TWO_PAGES: Scenario = Scenario {
    name: "two pages, slow broker",
    pages: 2,
    touches: [2, 0],
    notifiers: 2,
    delays: 1,
    ..NOTHING
};

/// The region is closed, the link detached, the broker leaves.
pub const THE_END: Scenario = Scenario {
    name: "the end",
    touches: [2, 1],
    repeats: [false, true],
    closes: true,
    detaches: true,
    ..NOTHING
};

/// The same with a notifier and a broker that is slow.
pub const SLOW_END: Scenario = Scenario {
    name: "slow end",
    touches: [1, 1],
    notifiers: 1,
    delays: 1,
    closes: true,
    detaches: true,
    ..NOTHING
};

/// The lender that leaves staleness to the broker.
pub const STALE: Scenario = Scenario {
    name: "stale",
    touches: [2, 0],
    notifiers: 2,
    delays: 1,
    stops: 1,
    lender: Lender::ReliesOnBroker,
    ..NOTHING
};

/// All of them.
pub const SCENARIOS: [Scenario; 10] =
    [FAULTS, REPEATED, SLOW_BROKER, BROKER_DIES, BORROWER_DIES, TWO_PAGES, SLOW_TWO_PAGES, THE_END, SLOW_END, STALE];

impl Scenario {
    /// Connected, with one region of which nothing is present.
    pub fn first_state(&self) -> State {
        State {
            frames: [0; PAGES],
            shim: Shim {
                link: Link::Connected,
                mirror: [None; PAGES],
                listed: None,
                newest: 0,
                forced_through: 0,
                epoch: 0,
                present: Pending::None,
                queue: Vec::new(),
                region: Region::Active,
                revokers: [Revoker { pages: 0, step: Revoking::NotBegun }; REVOKERS],
                worker: Worker {
                    step: Working::Idle,
                    page: 0,
                    wants_page: false,
                    answer: None,
                    laters: 0,
                    sampled: 0,
                },
                force: None,
                ended_borrower: false,
            },
            to_broker: Vec::new(),
            to_lender: Vec::new(),
            broker: Broker {
                alive: true,
                has_left: false,
                held: false,
                stopped: false,
                is_alone: false,
                doing: Doing::Nothing,
                table: [None; PAGES],
                invalidated: [0; PAGES],
                floor: 0,
                lease: Lease::Active,
                slots: [Slot::Idle; VCPUS],
                asked: [0; VCPUS],
                given_up: [0; VCPUS],
            },
            xen: Xen {
                entries: [None; PAGES],
                permitted: [false; PAGES],
                vcpus: [Vcpu::InGuest; VCPUS],
                paused: false,
                alive: true,
                crash: None,
                server: Server::Enabled,
            },
            world: World {
                touches: self.touches,
                notifiers: self.notifiers,
                delays: self.delays,
                stops: self.stops,
                broker_dies: self.broker_dies,
                borrower_dies: self.borrower_dies,
                closes: self.closes,
                detaches: self.detaches,
                misfortune: false,
                supervised: false,
            },
        }
    }
}

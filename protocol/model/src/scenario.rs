// SPDX-License-Identifier: MIT OR Apache-2.0
//! How much may happen in one exploration. Each is small enough to be exhausted.

use heapless::Vec;

use crate::situations as reached;
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
// Each is a fact of its own, and all of them occur together.
#[allow(clippy::struct_excessive_bools)]
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
    touches: [2, 2],
    repeats: [false, true],
    notifiers: 2,
    least_states: 100_000,
    reaches: &[reached::PRESENT, reached::OVERTAKEN, reached::BUSY, reached::FAULT_WAITS, reached::LATER],
    ..NOTHING
};

/// Two vCPUs and repeated writes, without misfortune.
pub const REPEATED: Scenario = Scenario {
    name: "repeated writes",
    touches: [2, 2],
    repeats: [true, true],
    least_states: 10_000,
    reaches: &[reached::LATER, reached::REPEATS_IN_PROCESS, reached::REPEATS_ANSWERED, reached::RACING_EXIT],
    ..NOTHING
};

/// A broker that is slow, and one that an administrator pauses and resumes.
pub const SLOW_BROKER: Scenario = Scenario {
    name: "slow broker",
    touches: [2, 0],
    notifiers: 2,
    delays: 2,
    stops: 1,
    least_states: 100_000,
    reaches: &[
        reached::FORCED,
        reached::LENDS_AGAIN,
        reached::CONDEMNED,
        reached::HELD_BEFORE_ADD,
        reached::HELD_BEFORE_REMOVE,
        reached::LATE_ACKNOWLEDGEMENT,
    ],
    ..NOTHING
};

/// A broker that dies at any step.
pub const BROKER_DIES: Scenario = Scenario {
    name: "broker dies",
    touches: [1, 1],
    notifiers: 2,
    delays: 1,
    broker_dies: true,
    least_states: 400_000,
    reaches: &[reached::DEAD_WITH_ENTRIES, reached::SUPERVISED, reached::FORCED, reached::BUSY],
    ..NOTHING
};

/// A borrower that dies at any step.
pub const BORROWER_DIES: Scenario = Scenario {
    name: "borrower dies",
    touches: [2, 0],
    notifiers: 2,
    delays: 1,
    borrower_dies: true,
    least_states: 40_000,
    reaches: &[reached::NO_BORROWER, reached::FORCED],
    ..NOTHING
};

/// Two pages, and invalidations of one or both at a time.
pub const TWO_PAGES: Scenario = Scenario {
    name: "two pages",
    pages: 2,
    touches: [2, 1],
    notifiers: 2,
    least_states: 300_000,
    reaches: &[
        reached::PRESENT,
        reached::OVERTAKEN,
        reached::BUSY,
        reached::FAULT_WAITS,
        reached::RACING_EXIT,
    ],
    ..NOTHING
};

/// Two pages and a broker that is slow.
pub const SLOW_TWO_PAGES: Scenario = Scenario {
    name: "two pages, slow broker",
    pages: 2,
    touches: [2, 0],
    notifiers: 2,
    delays: 1,
    least_states: 300_000,
    reaches: &[
        reached::LENDS_AGAIN,
        reached::CONDEMNED,
        reached::HELD_BEFORE_ADD,
        reached::HELD_BEFORE_REMOVE,
        reached::LATE_ACKNOWLEDGEMENT,
    ],
    ..NOTHING
};

/// The region is closed, the link detached, the broker leaves.
pub const THE_END: Scenario = Scenario {
    name: "the end",
    touches: [2, 1],
    repeats: [false, true],
    closes: true,
    detaches: true,
    least_states: 60_000,
    reaches: &[reached::LEFT, reached::GIVEN_UP, reached::LATER],
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
    least_states: 400_000,
    reaches: &[reached::LEFT, reached::GIVEN_UP, reached::LENDS_AGAIN, reached::CONDEMNED],
    ..NOTHING
};

/// The end of everything, with a broker that dies at any step of it.
pub const BROKER_DIES_AT_THE_END: Scenario = Scenario {
    name: "broker dies at the end",
    touches: [1, 1],
    broker_dies: true,
    closes: true,
    detaches: true,
    least_states: 30_000,
    reaches: &[reached::DEAD_WITH_ENTRIES, reached::SUPERVISED, reached::GIVEN_UP],
    ..NOTHING
};

/// The end of everything, with a borrower that dies at any step of it.
pub const BORROWER_DIES_AT_THE_END: Scenario = Scenario {
    name: "borrower dies at the end",
    touches: [1, 1],
    notifiers: 1,
    borrower_dies: true,
    closes: true,
    detaches: true,
    least_states: 50_000,
    reaches: &[reached::NO_BORROWER, reached::GIVEN_UP, reached::BUSY],
    ..NOTHING
};

/// The lender that leaves staleness to the broker.
pub const STALE: Scenario = Scenario {
    name: "stale",
    touches: [2, 0],
    notifiers: 2,
    delays: 1,
    lender: Lender::ReliesOnBroker,
    least_states: 50_000,
    reaches: &[reached::STALE, reached::LENDS_AGAIN, reached::CONDEMNED],
    ..NOTHING
};

/// All of them.
pub const SCENARIOS: [Scenario; 12] = [
    FAULTS,
    REPEATED,
    SLOW_BROKER,
    BROKER_DIES,
    BORROWER_DIES,
    TWO_PAGES,
    SLOW_TWO_PAGES,
    THE_END,
    SLOW_END,
    BROKER_DIES_AT_THE_END,
    BORROWER_DIES_AT_THE_END,
    STALE,
];

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

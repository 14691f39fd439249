// SPDX-License-Identifier: MIT OR Apache-2.0
//! Everything that exists in one history.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use xenlend_protocol::ring::plain_memory::PlainMemory;

use crate::config::{Config, Mode};
use crate::guest::liar::BorrowerLiar;
use crate::guest::link_end::BorrowerEnd;
use crate::guest::{bus, work, Guest};
use crate::history::Event;
use crate::lender::Lender;
use crate::lending::Lending;
use crate::liar::Liar;
use crate::memory::Memory;
use crate::schedule::{Chooser, Source};
use crate::task::{Tasks, Turn, Wait, BUS, WORK, WORKER};
use crate::vcpu::Vcpu;
use crate::wire::BrokerEnd;
use crate::xen::{Entry, Xen};

/// The world, as everybody holds it.
pub type Sim = Rc<World>;

/// A look at the clock: an eighth of the deadline.
pub const LOOK_MS: u64 = 100;
/// The lender's deadline.
pub const DEADLINE_MS: u32 = 800;
/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// A second-stage entry names a frame that was given back.
    StaleEntry,
    /// A message in flight can make such an entry.
    StaleMessage,
    /// Xen has an entry that the lender's mirror does not have.
    MirrorMisses,
    /// The broker's table is not what Xen has.
    TableDiffers,
    /// A part of a 2 MiB entry was removed: that can fail.
    SplitEntry,
    /// The borrower was killed, and not by itself.
    BorrowerDied,
    /// An access gave what was never there.
    StaleData,
    /// A write went nowhere.
    LostWrite,
    /// A lease went from one state to another as it may not.
    LeaseTransition,
    /// A link broke though nobody had broken a contract.
    Link,
    /// Somebody waits for ever.
    Stuck,
    /// The lender waits for the broker for longer than it may, whatever the broker does.
    LongWait,
    /// An answer too many, too few, or to nothing.
    Answers,
    /// An instruction ended in an exception though its page was neither lost nor out of its reach.
    Exception,
    /// Somebody but the guest's own instruction touched lent memory or the borrower's.
    ForeignAccess,
    /// An instruction is run again though its page is not there.
    EarlyRetry,
    /// A frame was put where another was lent.
    LentOver,
    /// A frame is lent that is not released.
    NotReleased,
    /// Permissions or releases were left behind.
    Permissions,
    /// A program of the borrower has an entry that it may not have.
    BadEntry,
    /// A program can see another's lease.
    OtherLease,
    /// A lease has the label of another.
    OtherLabel,
    /// The borrower was told something that is not so.
    Told,
    /// The borrower has more of the lender's kernel's memory than it may.
    TooManyZeros,
}

/// The first thing that went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What.
    pub wrong: Wrong,
    /// In words.
    pub text: String,
    /// Steps taken before.
    pub step: usize,
}

/// See the module.
pub struct World {
    /// What holds throughout.
    pub config: Config,
    /// Xen.
    pub xen: RefCell<Xen>,
    /// The lender's process.
    pub memory: RefCell<Memory>,
    /// The lender's module.
    pub lender: Lender,
    /// The broker's end of the link.
    pub broker_end: BrokerEnd,
    /// A lender that lies, in its mode.
    pub liar: RefCell<Liar>,
    /// The borrower.
    pub vcpus: RefCell<Vec<Vcpu>>,
    /// The borrower's driver and programs.
    pub guest: Guest,
    /// The broker's end of the borrower's link.
    pub borrower_end: BorrowerEnd,
    /// A borrower's driver that lies, in its mode.
    pub borrower_liar: RefCell<BorrowerLiar>,
    /// The flows of the lender's kernel, and of the borrower's.
    pub tasks: Tasks,
    /// The clock.
    pub now_ms: Cell<u64>,
    /// The broker's event channels have something.
    pub broker_pending: Cell<bool>,
    /// The lender's event channel has something.
    pub interrupt_pending: Cell<bool>,
    /// The broker is in the middle of a turn.
    pub inside_broker: Cell<bool>,
    /// Faults of the process never end, for now.
    pub faults_stuck: Cell<bool>,
    /// Messages that the broker has taken.
    pub taken: Cell<u32>,
    /// When a broker that creeps or babbles moves next.
    pub moves_at_ms: Cell<u64>,
    /// Pauses of the broker by the administrator.
    pub broker_held: Cell<u32>,
    /// The borrower did something that may kill it.
    pub suicidal: Cell<bool>,
    /// vCPUs that were sent back to pages where nothing is, in this turn of the broker.
    pub sent_back: RefCell<Vec<(usize, u32)>>,
    /// Pages of leases that were over when the broker's last turn ended, and of which its driver has yet to speak.
    pub ending: RefCell<Vec<bool>>,
    /// The borrower's driver had a link when the broker's last turn ended.
    pub had_driver: Cell<bool>,
    /// In this turn of the broker the driver has said that it has taken pages out of programs.
    pub heard_zap: Cell<bool>,
    /// Looks at the clock since everything is coming to rest: nobody else could do anything.
    pub idle_looks: Cell<u32>,
    /// Questions that the broker has asked.
    pub questions: Cell<u32>,
    /// Those that it had asked when it took a vCPU's fault up.
    pub asked_before: RefCell<Vec<u32>>,
    /// Page of each question that is open, by ticket.
    pub asked: RefCell<Vec<(u32, u32)>>,
    /// A lender that lies has said that it had removed everything, and it had not.
    pub forced_falsely: Cell<bool>,
    /// The broker has ended the link, or has lied: what accesses give is its own affair.
    pub no_data: Cell<bool>,
    /// Incidents that happened.
    pub disturbed: Cell<bool>,
    /// Versions at the last check.
    pub(crate) checked: Cell<(u64, u64)>,
    /// The second stage at the last check.
    pub(crate) seen: RefCell<Vec<Entry>>,
    pub(crate) chooser: RefCell<Chooser>,
    violation: RefCell<Option<Violation>>,
    trace: RefCell<Option<Vec<String>>>,
}

impl World {
    /// A borrower, a broker that has just started, and a lender that has said hello.
    pub fn new(config: Config, source: Source, traced: bool) -> Sim {
        let (to_broker, to_lender) = (PlainMemory::default(), PlainMemory::default());
        let sim = Rc::new(Self {
            config,
            xen: RefCell::new(Xen::new(config.vcpus)),
            memory: RefCell::new(Memory::new(config.vcpus, config.seed)),
            lender: Lender::new(&config, to_broker.clone(), to_lender.clone()),
            broker_end: BrokerEnd::new(to_broker.clone(), to_lender.clone()),
            liar: RefCell::new(Liar::new(to_broker, to_lender)),
            vcpus: RefCell::new((0..config.vcpus).map(Vcpu::new).collect()),
            guest: Guest::new(),
            borrower_end: BorrowerEnd::default(),
            borrower_liar: RefCell::default(),
            tasks: Tasks::default(),
            now_ms: Cell::new(0),
            broker_pending: Cell::new(true),
            interrupt_pending: Cell::new(false),
            inside_broker: Cell::new(false),
            faults_stuck: Cell::new(false),
            taken: Cell::new(0),
            moves_at_ms: Cell::new(0),
            broker_held: Cell::new(0),
            suicidal: Cell::new(false),
            sent_back: RefCell::default(),
            had_driver: Cell::new(false),
            heard_zap: Cell::new(false),
            ending: RefCell::default(),
            idle_looks: Cell::new(0),
            questions: Cell::new(0),
            asked_before: RefCell::new(vec![0; config.vcpus]),
            asked: RefCell::default(),
            forced_falsely: Cell::new(false),
            no_data: Cell::new(false),
            disturbed: Cell::new(false),
            checked: Cell::new((0, 0)),
            seen: RefCell::default(),
            chooser: RefCell::new(Chooser::new(source)),
            violation: RefCell::new(None),
            trace: RefCell::new(traced.then(Vec::new)),
        });
        if config.is_lend_aware() {
            sim.xen.borrow_mut().lending = Some(Lending::new(config.fault));
        }
        if config.mode == Mode::LyingLender {
            sim.xen.borrow_mut().permits_all = true;
        } else {
            sim.lender.greet();
            sim.tasks.start([WORKER], "worker", crate::lender::worker::work(Rc::clone(&sim)));
        }
        if config.driver {
            sim.tasks.start([WORK], "work item", work::work(Rc::clone(&sim)));
            sim.tasks.start([BUS], "bus", bus::run(Rc::clone(&sim)));
        }
        sim
    }

    /// Whether a vCPU of the borrower has nothing to do.
    pub fn has_idle_vcpu(&self) -> bool {
        self.vcpus.borrow().iter().any(Vcpu::is_idle)
    }

    /// Whether a vCPU of the borrower can run something.
    pub fn has_free_vcpu(&self) -> bool {
        self.vcpus.borrow().iter().any(Vcpu::is_free)
    }

    /// A number below `limit`; 0 is always the harmless one.
    pub fn draw(&self, limit: u32) -> u32 {
        self.chooser.borrow_mut().draw(limit)
    }

    /// Yes, once in so many times; never if that is 0.
    pub fn once_in(&self, times: u32) -> bool {
        times > 0 && self.draw(times) == times - 1 && times > 1
    }

    /// Says what is wrong. Only the first thing counts.
    pub fn fail(&self, wrong: Wrong, text: String) {
        let step = self.chooser.borrow().steps();
        self.note(|| format!("WRONG: {wrong:?}: {text}"));
        self.violation.borrow_mut().get_or_insert(Violation { wrong, text, step });
    }

    /// Whether something is wrong.
    pub fn has_failed(&self) -> bool {
        self.violation.borrow().is_some()
    }

    /// Tells the reader of a trace.
    pub fn note(&self, text: impl FnOnce() -> String) {
        if let Some(trace) = self.trace.borrow_mut().as_mut() {
            trace.push(text());
        }
    }

    /// Whether nothing counts any more.
    pub fn is_over(&self) -> bool {
        self.chooser.borrow().is_over()
    }

    /// Whether everything is coming to rest.
    pub fn is_resting(&self) -> bool {
        self.chooser.borrow().is_resting()
    }

    /// What went wrong, what happened, and the trace.
    pub fn result(&self) -> (Option<Violation>, Vec<Event>, Vec<String>) {
        let history = self.chooser.borrow_mut().take_history();
        let trace = self.trace.borrow_mut().take().unwrap_or_default();
        (self.violation.borrow_mut().take(), history, trace)
    }

    /// A step boundary of a flow.
    pub fn step(self: &Rc<Self>) -> Turn {
        Turn::new(self, Wait::Nothing)
    }

    /// A step boundary, until a condition holds.
    pub fn until(self: &Rc<Self>, condition: impl Fn(&World) -> bool + 'static) -> Turn {
        Turn::new(self, Wait::Until(Box::new(condition)))
    }
}

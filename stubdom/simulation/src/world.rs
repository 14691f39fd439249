// SPDX-License-Identifier: MIT OR Apache-2.0
//! Everything that exists in one history, and who takes the next step.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use xenlend_shim_core::link::State;

use crate::config::{Config, Mode};
use crate::history::{Actor, Event};
use crate::invariants;
use crate::lender::Lender;
use crate::liar::Liar;
use crate::memory::Memory;
use crate::random::Random;
use crate::ring_memory;
use crate::task::{Tasks, Turn, Wait, TASKS, WORKER};
use crate::vcpu::Vcpu;
use crate::wire::BrokerEnd;
use crate::xen::Xen;

/// The world, as everybody holds it.
pub type Sim = Rc<World>;

/// A look at the clock: an eighth of the deadline.
pub const LOOK_MS: u64 = 100;
/// The lender's deadline.
pub const DEADLINE_MS: u32 = 800;
/// Steps within which everything must come to rest when nothing new begins.
const REST_STEPS: u32 = 60_000;

/// Steps that are still taken when nothing more can be lent.
const STEPS_AFTER_THE_END: usize = 150;

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
    /// An answer too many, too few, or to nothing.
    Answers,
    /// Permissions were left behind.
    Permissions,
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Main,
    Rest,
    Over,
}

/// Where the next choice comes from.
pub enum Source {
    /// The seed, for so many steps.
    Random(Random, usize),
    /// A history.
    Replay(Vec<Event>),
}

struct Chooser {
    phase: Phase,
    source: Source,
    replayed: usize,
    history: Vec<Event>,
    /// Draws of the event that is being replayed.
    draws: std::collections::VecDeque<u32>,
    rest_steps: u32,
    rest_next: usize,
    /// Steps taken when the link was found to be over.
    ended_at: Option<usize>,
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
    /// The lender's flows.
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
    /// Pauses of the broker by the administrator.
    pub broker_held: Cell<u32>,
    /// The borrower did something that may kill it.
    pub suicidal: Cell<bool>,
    /// Looks at the clock since everything is coming to rest: nobody else could do anything.
    pub idle_looks: Cell<u32>,
    /// Incidents that happened.
    pub disturbed: Cell<bool>,
    /// Versions at the last check.
    pub(crate) checked: Cell<(u64, u64)>,
    chooser: RefCell<Chooser>,
    violation: RefCell<Option<Violation>>,
    trace: RefCell<Option<Vec<String>>>,
}

impl World {
    /// A borrower, a broker that has just started, and a lender that has said hello.
    pub fn new(config: Config, source: Source, traced: bool) -> Sim {
        let (to_broker, to_lender) = (ring_memory::Memory::default(), ring_memory::Memory::default());
        let chooser = Chooser {
            phase: Phase::Main,
            source,
            replayed: 0,
            history: Vec::new(),
            draws: std::collections::VecDeque::new(),
            rest_steps: 0,
            rest_next: 0,
            ended_at: None,
        };
        let sim = Rc::new(Self {
            config,
            xen: RefCell::new(Xen::new(config.vcpus)),
            memory: RefCell::new(Memory::new(config.vcpus, config.seed)),
            lender: Lender::new(&config, to_broker.clone(), to_lender.clone()),
            broker_end: BrokerEnd::new(to_broker.clone(), to_lender.clone()),
            liar: RefCell::new(Liar::new(to_broker, to_lender)),
            vcpus: RefCell::new((0..config.vcpus).map(Vcpu::new).collect()),
            tasks: Tasks::default(),
            now_ms: Cell::new(0),
            broker_pending: Cell::new(true),
            interrupt_pending: Cell::new(false),
            inside_broker: Cell::new(false),
            faults_stuck: Cell::new(false),
            broker_held: Cell::new(0),
            suicidal: Cell::new(false),
            idle_looks: Cell::new(0),
            disturbed: Cell::new(false),
            checked: Cell::new((0, 0)),
            chooser: RefCell::new(chooser),
            violation: RefCell::new(None),
            trace: RefCell::new(traced.then(Vec::new)),
        });
        if config.mode == Mode::LyingLender {
            sim.xen.borrow_mut().permits_all = true;
        } else {
            sim.lender.greet();
            sim.tasks.start([WORKER], "worker", crate::lender::worker::work(Rc::clone(&sim)));
        }
        sim
    }

    /// A number below `limit`; 0 is always the harmless one.
    pub fn draw(&self, limit: u32) -> u32 {
        let chooser = &mut *self.chooser.borrow_mut();
        if chooser.phase != Phase::Main {
            return 0;
        }
        let drawn = match &mut chooser.source {
            Source::Random(random, _) => random.below(limit),
            Source::Replay(_) => chooser.draws.pop_front().unwrap_or(0) % limit,
        };
        if let Some(event) = chooser.history.last_mut() {
            event.draws.push(drawn);
        }
        drawn
    }

    /// Yes, once in so many times; never if that is 0.
    pub fn once_in(&self, times: u32) -> bool {
        times > 0 && self.draw(times) == times - 1 && times > 1
    }

    /// Says what is wrong. Only the first thing counts.
    pub fn fail(&self, wrong: Wrong, text: String) {
        let step = self.chooser.borrow().history.len();
        self.note(|| format!("WRONG: {wrong:?}: {text}"));
        self.violation.borrow_mut().get_or_insert(Violation { wrong, text, step });
    }

    /// Tells the reader of a trace.
    pub fn note(&self, text: impl FnOnce() -> String) {
        if let Some(trace) = self.trace.borrow_mut().as_mut() {
            trace.push(text());
        }
    }

    /// Whether nothing counts any more.
    pub fn is_over(&self) -> bool {
        self.chooser.borrow().phase == Phase::Over
    }

    /// Whether everything is coming to rest.
    pub fn is_resting(&self) -> bool {
        self.chooser.borrow().phase != Phase::Main
    }

    /// What went wrong, what happened, and the trace.
    pub fn result(&self) -> (Option<Violation>, Vec<Event>, Vec<String>) {
        let history = std::mem::take(&mut self.chooser.borrow_mut().history);
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

    /// A place in the broker's work where everybody else may go first. False if the broker never goes on.
    pub fn interleave(self: &Rc<Self>) -> bool {
        invariants::check(self);
        while let Some(actor) = self.next_actor() {
            if actor == Actor::Broker {
                return true;
            }
            self.perform(actor);
        }
        false
    }

    /// Whether an actor can take a step.
    pub fn is_enabled(&self, actor: Actor) -> bool {
        let honest = self.config.mode != Mode::LyingLender;
        match actor {
            Actor::Broker => {
                self.xen.borrow().broker.runs() && (self.inside_broker.get() || self.broker_pending.get())
            }
            Actor::Interrupt => honest && self.interrupt_pending.get(),
            // The broker looks once a second whether its lender is there.
            Actor::Clock => {
                self.tasks.any_timed() || !self.lender.connected.get() && !self.lender.missed.get()
            }
            Actor::Vcpu(vcpu) => {
                let vcpus = self.vcpus.borrow();
                vcpus.get(usize::from(vcpu)).is_some_and(|vcpu| vcpu.can_go_on(&self.xen.borrow()))
            }
            Actor::Task(task) => task < TASKS && self.tasks.can_go_on(task, self),
            Actor::MemoryOperation | Actor::RegionCall => honest,
            Actor::ProcessWrite => !self.memory.borrow().gone,
            Actor::Incident => self.config.incidents > 0,
            Actor::Liar => !honest,
        }
    }

    /// Who may be next, and how often.
    fn candidates(&self) -> [(Actor, u32); 15] {
        let Config { clock, incidents, mode, .. } = self.config;
        let starts = if mode == Mode::LyingLender { 0 } else { 1 };
        let liar = if mode == Mode::LyingLender { 15 } else { 0 };
        [
            (Actor::Broker, 12),
            (Actor::Interrupt, 8),
            (Actor::Vcpu(0), 6),
            (Actor::Vcpu(1), 6),
            (Actor::Vcpu(2), 6),
            (Actor::Task(0), 12),
            (Actor::Task(1), 8),
            (Actor::Task(2), 8),
            (Actor::Task(3), 8),
            (Actor::Task(4), 8),
            (Actor::Clock, clock),
            (Actor::Incident, if self.draw_less_incidents() { incidents } else { 0 }),
            (Actor::Liar, liar),
            (Actor::MemoryOperation, 3 * starts),
            (Actor::RegionCall, starts),
        ]
    }

    /// Incidents are rare: they are thinned by the number of steps taken.
    fn draw_less_incidents(&self) -> bool {
        self.chooser.borrow().history.len() % 16 == 15
    }

    /// The next actor, which has been recorded.
    pub fn next_actor(self: &Rc<Self>) -> Option<Actor> {
        if self.violation.borrow().is_some() {
            self.chooser.borrow_mut().phase = Phase::Over;
        }
        loop {
            let phase = self.chooser.borrow().phase;
            let next = match phase {
                Phase::Over => return None,
                Phase::Main => self.choose(),
                Phase::Rest => self.next_at_rest(),
            };
            match (next, phase) {
                (Some(actor), _) => {
                    self.note(|| format!("- {actor:?}"));
                    return Some(actor);
                }
                (None, Phase::Main) => {
                    self.note(|| "- (coming to rest)".to_owned());
                    self.chooser.borrow_mut().phase = Phase::Rest;
                    self.begin_rest();
                }
                (None, _) => {
                    invariants::check_rest(self);
                    self.chooser.borrow_mut().phase = Phase::Over;
                    return None;
                }
            }
        }
    }

    fn choose(&self) -> Option<Actor> {
        let is_over = self.nothing_more_can_be_lent();
        let replayed = {
            let chooser = &mut *self.chooser.borrow_mut();
            let taken = chooser.history.len();
            match &chooser.source {
                Source::Random(_, steps) => {
                    let ended_at = if is_over { *chooser.ended_at.get_or_insert(taken) } else { taken };
                    if taken >= *steps || taken > ended_at + STEPS_AFTER_THE_END {
                        return None;
                    }
                    None
                }
                Source::Replay(events) => {
                    let from = chooser.replayed;
                    let event = (from..events.len()).find(|at| self.is_enabled(events[*at].actor))?;
                    chooser.replayed = event + 1;
                    chooser.draws = events[event].draws.iter().copied().collect();
                    Some(events[event].actor)
                }
            }
        };
        let actor = match replayed {
            Some(actor) => actor,
            None => self.choose_by_weight()?,
        };
        self.chooser.borrow_mut().history.push(Event { actor, draws: Vec::new() });
        Some(actor)
    }

    fn nothing_more_can_be_lent(&self) -> bool {
        let xen = self.xen.borrow();
        let state = self.lender.state.borrow().core.state();
        let link = matches!(state, State::Condemned(_) | State::Detached);
        link || xen.broker.dying || xen.borrower.dying || xen.borrower.crashed.is_some()
    }

    fn choose_by_weight(&self) -> Option<Actor> {
        let extra = [(Actor::Task(5), 8), (Actor::Task(6), 8), (Actor::ProcessWrite, 2)];
        let mut candidates = [(Actor::Broker, 0); 18];
        for (place, candidate) in candidates.iter_mut().zip(self.candidates().into_iter().chain(extra)) {
            let (actor, weight) = candidate;
            *place = (actor, if weight > 0 && self.is_enabled(actor) { weight } else { 0 });
        }
        let total: u32 = candidates.iter().map(|(_, weight)| weight).sum();
        let chooser = &mut *self.chooser.borrow_mut();
        let Source::Random(random, _) = &mut chooser.source else { return None };
        let mut drawn = random.below(total.max(1));
        candidates.into_iter().find_map(|(actor, weight)| match drawn.checked_sub(weight) {
            Some(left) => {
                drawn = left;
                None
            }
            None => Some(actor),
        })
    }

    fn begin_rest(&self) {
        self.faults_stuck.set(false);
        let mut xen = self.xen.borrow_mut();
        xen.tables_left = u32::MAX;
        let held = self.broker_held.replace(0);
        xen.broker.pauses -= held;
    }

    /// Everybody in turn, nobody begins anything, and time passes only when nobody else can do anything.
    fn next_at_rest(&self) -> Option<Actor> {
        let everybody = (0..TASKS).map(Actor::Task).chain((0..3).map(Actor::Vcpu));
        let everybody: Vec<_> = everybody.chain([Actor::Interrupt, Actor::Broker, Actor::Liar]).collect();
        let (from, steps) = {
            let chooser = &mut *self.chooser.borrow_mut();
            chooser.rest_steps += 1;
            (chooser.rest_next, chooser.rest_steps)
        };
        if steps > REST_STEPS {
            self.fail(Wrong::Stuck, format!("no rest: {:?}", self.tasks.names()));
            return None;
        }
        let places = (from..from + everybody.len()).map(|at| at % everybody.len());
        let enabled = |at: &usize| match everybody[*at] {
            // A vCPU that has nothing to do begins nothing.
            Actor::Vcpu(vcpu) => {
                let vcpus = self.vcpus.borrow();
                vcpus.get(usize::from(vcpu)).is_some_and(|at| !at.is_idle())
                    && self.is_enabled(everybody[*at])
            }
            Actor::Liar => self.is_enabled(Actor::Liar) && self.liar.borrow_mut().has_something_to_do(),
            actor => self.is_enabled(actor),
        };
        let mut places = places;
        if let Some(at) = places.find(enabled) {
            self.chooser.borrow_mut().rest_next = at + 1;
            return Some(everybody[at]);
        }
        self.is_enabled(Actor::Clock).then_some(Actor::Clock)
    }

    /// Takes the step of an actor other than the broker, and checks.
    pub fn perform(self: &Rc<Self>, actor: Actor) {
        match actor {
            Actor::Broker => {}
            Actor::Interrupt => {
                self.interrupt_pending.set(false);
                crate::lender::on_event(self);
            }
            Actor::Clock => {
                self.now_ms.set(self.now_ms.get() + LOOK_MS);
                self.idle_looks.set(self.idle_looks.get() + u32::from(self.is_resting()));
                if !self.lender.connected.get() {
                    self.lender.missed.set(true);
                    self.broker_pending.set(true);
                }
            }
            Actor::Vcpu(vcpu) => crate::vcpu::step(self, usize::from(vcpu)),
            Actor::Task(task) => self.tasks.run(task),
            Actor::MemoryOperation => crate::operation::begin(self),
            Actor::RegionCall => crate::lender::leases::begin_call(self),
            Actor::ProcessWrite => crate::operation::write(self),
            Actor::Incident => crate::incident::happen(self),
            Actor::Liar => crate::liar::step(self),
        }
        invariants::check(self);
    }
}

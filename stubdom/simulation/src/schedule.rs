// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who takes the next step: the seed, a history, or everybody in turn while things come to rest.

use std::collections::VecDeque;
use std::rc::Rc;

use xenlend_shim_core::link::State;

use crate::config::{Config, Mode};
use crate::history::{Actor, Event};
use crate::invariants;
use crate::random::Random;
use crate::task::{BUS, FIRST_PROGRAM, TASKS, TOOL, WORK};
use crate::vcpu::Vcpu;
use crate::world::{World, Wrong, LOOK_MS};
use crate::xen::Entry;

/// Steps within which everything must come to rest when nothing new begins.
const REST_STEPS: u32 = 60_000;
/// The same on a lend-aware Xen, where each of a region's lost pages may be asked for, be lent as zeros for a moment
/// and be asked for again a few times.
const REST_STEPS_LEND_AWARE: u32 = 1_000_000;
/// Steps that are still taken when nothing more can be lent.
const STEPS_AFTER_THE_END: usize = 150;

/// Actors that have a weight.
const CANDIDATES: usize = 26;

/// How far a history is.
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

/// Chooses, and remembers what was chosen.
pub struct Chooser {
    phase: Phase,
    source: Source,
    replayed: usize,
    history: Vec<Event>,
    /// Draws of the event that is being replayed.
    draws: VecDeque<u32>,
    rest_steps: u32,
    rest_next: usize,
    /// Steps taken when the link was found to be over.
    ended_at: Option<usize>,
}

impl Chooser {
    /// Of a history that has not begun.
    pub fn new(source: Source) -> Self {
        Self {
            phase: Phase::Main,
            source,
            replayed: 0,
            history: Vec::new(),
            draws: VecDeque::new(),
            rest_steps: 0,
            rest_next: 0,
            ended_at: None,
        }
    }

    /// A number below `limit` for the step that is being taken; 0 when everything comes to rest.
    pub fn draw(&mut self, limit: u32) -> u32 {
        if self.phase != Phase::Main {
            return 0;
        }
        let drawn = match &mut self.source {
            Source::Random(random, _) => random.below(limit),
            Source::Replay(_) => self.draws.pop_front().unwrap_or(0) % limit,
        };
        if let Some(event) = self.history.last_mut() {
            event.draws.push(drawn);
        }
        drawn
    }

    /// Steps so far.
    pub fn steps(&self) -> usize {
        self.history.len()
    }

    /// What has happened.
    pub fn take_history(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.history)
    }

    /// Whether nothing counts any more.
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Whether everything is coming to rest.
    pub fn is_resting(&self) -> bool {
        self.phase != Phase::Main
    }
}

impl World {
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
            Actor::Interrupt => self.broker_end.owes_room.get() || honest && self.interrupt_pending.get(),
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
            Actor::Program => self.config.driver && self.xen.borrow().borrower.runs() && self.has_idle_vcpu(),
            Actor::BorrowerLiar => {
                self.config.mode == Mode::LyingBorrower && self.xen.borrow().borrower.runs()
            }
        }
    }

    /// Who may be next, and how often.
    fn candidates(&self) -> [(Actor, u32); CANDIDATES] {
        let Config { clock, incidents, mode, driver, .. } = self.config;
        // With a driver the processors have its programs to run.
        let vcpus = self.vcpus.borrow();
        let vcpu = |id: usize| {
            let begins = vcpus.get(id).is_some_and(Vcpu::is_idle);
            if driver && begins {
                1
            } else {
                6
            }
        };
        let starts = u32::from(mode != Mode::LyingLender);
        let liar = if mode == Mode::LyingLender { 15 } else { 0 };
        [
            (Actor::Broker, 12),
            (Actor::Interrupt, 8),
            (Actor::Vcpu(0), vcpu(0)),
            (Actor::Vcpu(1), vcpu(1)),
            (Actor::Vcpu(2), vcpu(2)),
            (Actor::Task(0), 12),
            (Actor::Task(1), 8),
            (Actor::Task(2), 8),
            (Actor::Task(3), 8),
            (Actor::Task(4), 8),
            (Actor::Task(5), 8),
            (Actor::Task(6), 8),
            (Actor::Task(TOOL), 8),
            (Actor::Task(WORK), 12),
            (Actor::Task(BUS), 8),
            (Actor::Task(FIRST_PROGRAM), 8),
            (Actor::Task(FIRST_PROGRAM + 1), 8),
            (Actor::Task(FIRST_PROGRAM + 2), 8),
            (Actor::Program, if driver { 6 } else { 0 }),
            (Actor::BorrowerLiar, 8),
            (Actor::ProcessWrite, 2),
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
        if self.has_failed() {
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
        let mut candidates = self.candidates();
        for (actor, weight) in &mut candidates {
            if *weight > 0 && !self.is_enabled(*actor) {
                *weight = 0;
            }
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
        if xen.lending.is_some() {
            // Where its own pages are nothing can be lent: it would go on asking.
            for entry in &mut xen.entries {
                if matches!(entry, Entry::BorrowerRam | Entry::Foreign) {
                    *entry = Entry::Absent;
                }
            }
            xen.version += 1;
        }
        let held = self.broker_held.replace(0);
        // One that was resumed though it should not have been has fewer.
        xen.broker.pauses = xen.broker.pauses.saturating_sub(held);
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
        let limit = if self.config.is_lend_aware() { REST_STEPS_LEND_AWARE } else { REST_STEPS };
        if steps > limit {
            self.fail(Wrong::Stuck, format!("no rest: {:?}", self.tasks.names(0..TASKS)));
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
            Actor::Liar => {
                let there = self.xen.borrow().broker.runs() && self.is_enabled(Actor::Liar);
                there && self.liar.borrow_mut().has_something_to_do()
            }
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
                if self.broker_end.owes_room.replace(false) {
                    self.broker_pending.set(true);
                }
                self.interrupt_pending.set(false);
                if self.config.mode != Mode::LyingLender {
                    crate::lender::on_event(self);
                }
            }
            Actor::Clock => {
                self.now_ms.set(self.now_ms.get() + LOOK_MS);
                crate::temper::on_clock(self);
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
            Actor::Program => crate::guest::program::begin(self),
            Actor::BorrowerLiar => crate::guest::liar::step(self),
        }
        invariants::check(self);
    }
}

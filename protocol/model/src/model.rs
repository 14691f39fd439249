// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every step that can be taken in a state, and whose it is.

use stateright::{Model, Property};

use crate::properties;
use crate::scenario::{Lender, Scenario};
use crate::seed::Seed;
use crate::state::{
    Doing, Link, PageSet, Region, RequestState, Revoking, Server, State, Vcpu, Who, Working, CLOSER,
    REVOKERS, VCPUS,
};
use crate::xen;

/// One exploration: bounds, and at most one mistake.
#[derive(Clone, Copy, Debug)]
pub struct Protocol {
    scenario: Scenario,
    seed: Option<Seed>,
    pub(crate) lender: Lender,
}

/// A step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// A vCPU touches an absent page.
    Touch { vcpu: usize, page: usize, repeats: bool },
    /// A vCPU takes its answer.
    TakeAnswer { vcpu: usize },
    /// Xen looks at the entry again.
    EndExit { vcpu: usize },
    /// Xen re-emulates.
    EndEmulation { vcpu: usize },
    /// The broker takes a message.
    BrokerReceives,
    /// The broker's add.
    BrokerAdds,
    /// The broker's remove.
    BrokerRemoves,
    /// The broker's answer.
    BrokerAnswers,
    /// The broker serves a vCPU.
    BrokerServes { vcpu: usize },
    /// The broker finds no lender.
    BrokerNoticesNoLender,
    /// The broker takes no new requests.
    BrokerDisables,
    /// The broker takes its server away and ends.
    BrokerLeaves,
    /// The lender takes a message.
    Drain,
    /// The kernel invalidates.
    Notify { revoker: usize, pages: PageSet },
    /// A revoker goes on.
    See { revoker: usize },
    /// A deadline passes.
    Expire(Who),
    /// Somebody takes the mutex of forced revocation.
    BeginForce(Who),
    /// Its holder goes on.
    ForceSteps,
    /// The worker goes on.
    WorkerSteps,
    /// The worker's lookup needs a fault.
    WorkerFaults,
    /// The region is closed.
    Close,
    /// Its end goes on.
    GoOnClosing,
    /// The link is detached.
    Detach,
    /// An administrator pauses the broker.
    Stop,
    /// An administrator resumes it.
    Resume,
    /// The broker dies.
    BrokerDies,
    /// The borrower is destroyed.
    BorrowerDies,
    /// The supervisor destroys a borrower that is stuck.
    Supervise,
}

/// Whose doing a step is: on what it may be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Lender, broker or Xen: it comes.
    System,
    /// The borrower's scheduling: a hostile one never does it.
    Borrower,
    /// May happen or not.
    World,
}

impl Protocol {
    /// Without mistakes.
    pub fn sound(scenario: Scenario) -> Self {
        Self { scenario, seed: None, lender: scenario.lender }
    }

    /// With one mistake.
    pub fn seeded(scenario: Scenario, seed: Seed) -> Self {
        Self { seed: Some(seed), ..Self::sound(scenario) }
    }

    pub(crate) fn is_seeded(&self, seed: Seed) -> bool {
        self.seed == Some(seed)
    }

    /// Calls `found` with every step of a state.
    fn each_step(&self, state: &State, found: &mut impl FnMut(Action, By)) {
        if state.xen.crash.is_some() {
            return;
        }
        self.steps_of_borrower(state, found);
        self.steps_of_broker(state, found);
        self.steps_of_lender(state, found);
        self.steps_of_world(state, found);
    }

    fn steps_of_borrower(&self, state: &State, found: &mut impl FnMut(Action, By)) {
        let runs = state.xen.alive && !state.xen.paused;
        for vcpu in 0..VCPUS {
            match state.xen.vcpus[vcpu] {
                Vcpu::InGuest if runs && state.world.touches[vcpu] > 0 => {
                    for page in (0..self.scenario.pages).filter(|page| state.xen.entries[*page].is_none()) {
                        found(Action::Touch { vcpu, page, repeats: false }, By::World);
                        if self.scenario.repeats[vcpu] {
                            found(Action::Touch { vcpu, page, repeats: true }, By::World);
                        }
                    }
                }
                Vcpu::Exiting { .. } => found(Action::EndExit { vcpu }, By::System),
                Vcpu::Waiting { state: RequestState::Answered, .. } if runs => {
                    found(Action::TakeAnswer { vcpu }, By::Borrower);
                }
                Vcpu::InGuest | Vcpu::Waiting { .. } => {}
                Vcpu::Emulating { .. } => found(Action::EndEmulation { vcpu }, By::System),
            }
        }
    }

    fn steps_of_broker(&self, state: &State, found: &mut impl FnMut(Action, By)) {
        if !state.broker.can_run() {
            return;
        }
        match state.broker.doing {
            Doing::Adding { .. } => return found(Action::BrokerAdds, By::System),
            Doing::Removing { .. } => return found(Action::BrokerRemoves, By::System),
            Doing::Answering { .. } => {
                if self.may_answer(state) {
                    found(Action::BrokerAnswers, By::System);
                }
                return;
            }
            Doing::Nothing => {}
        }
        if !state.to_broker.is_empty() && !state.broker.is_alone {
            found(Action::BrokerReceives, By::System);
        }
        for vcpu in (0..VCPUS).filter(|vcpu| Self::can_serve(state, *vcpu)) {
            found(Action::BrokerServes { vcpu }, By::System);
        }
        if state.shim.link == Link::Detached && !state.broker.is_alone {
            found(Action::BrokerNoticesNoLender, By::System);
        }
        if state.broker.is_alone && state.xen.server == Server::Enabled {
            found(Action::BrokerDisables, By::System);
        }
        if self.may_leave(state) {
            found(Action::BrokerLeaves, By::System);
        }
    }

    fn steps_of_lender(&self, state: &State, found: &mut impl FnMut(Action, By)) {
        if self.can_drain(state) {
            found(Action::Drain, By::System);
        }
        if self.worker_can_step(state) {
            found(Action::WorkerSteps, By::System);
        }
        if Self::worker_can_fault(state) {
            found(Action::WorkerFaults, By::World);
        }
        for revoker in (0..REVOKERS).filter(|revoker| Self::can_see(state, *revoker)) {
            found(Action::See { revoker }, By::System);
        }
        if Self::can_go_on_closing(state) {
            found(Action::GoOnClosing, By::System);
        }
        if state.shim.force.is_some() {
            found(Action::ForceSteps, By::System);
        }
        for who in (0..REVOKERS).map(Who::Revoker).chain([Who::Worker]) {
            if Self::wants_force_now(state, who).is_some() {
                found(Action::BeginForce(who), By::System);
            }
            if self.is_waiting_in_vain(state, who) {
                // A broker that runs is expected to answer: nothing may depend on a deadline then,
                // unless there is no link any more.
                if !state.broker.can_run() || state.shim.link == Link::Detached {
                    found(Action::Expire(who), By::System);
                } else if state.world.delays > 0 {
                    found(Action::Expire(who), By::World);
                }
            }
        }
    }

    fn steps_of_world(&self, state: &State, found: &mut impl FnMut(Action, By)) {
        let is_free = |revoker: &usize| state.shim.revokers[*revoker].step == Revoking::NotBegun;
        let has_region = matches!(state.shim.region, Region::Active | Region::Ending | Region::Silent);
        if let Some(revoker) = (0..CLOSER).find(is_free).filter(|_| state.world.notifiers > 0 && has_region) {
            for pages in 1..1 << self.scenario.pages {
                found(Action::Notify { revoker, pages }, By::World);
            }
        }
        if state.world.closes {
            found(Action::Close, By::World);
        }
        if self.can_detach(state) {
            found(Action::Detach, By::World);
        }
        if state.broker.alive {
            if state.broker.stopped {
                found(Action::Resume, By::World);
            } else if state.world.stops > 0 {
                found(Action::Stop, By::World);
            }
            if state.world.broker_dies {
                found(Action::BrokerDies, By::World);
            }
        }
        if state.world.borrower_dies && state.xen.alive {
            found(Action::BorrowerDies, By::World);
        }
        if Self::is_stuck(state) && !self.is_seeded(Seed::NoSupervisor) {
            found(Action::Supervise, By::System);
        }
    }

    /// `Watch::turn`: a vCPU waits for an answer that nobody can give, and the link says so.
    fn is_stuck(state: &State) -> bool {
        let waits = |vcpu: &Vcpu| {
            matches!(vcpu, Vcpu::Waiting { state: RequestState::Ready | RequestState::InProcess, .. })
        };
        let known = !state.broker.alive || matches!(state.shim.link, Link::Condemned(_));
        state.xen.alive && known && state.xen.vcpus.iter().any(waits)
    }

    /// Whether a step by any of these can be taken.
    pub fn can_go_on(&self, state: &State, by: &[By]) -> bool {
        let mut any = false;
        self.each_step(state, &mut |_, whose| any |= by.contains(&whose));
        any
    }
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![self.scenario.first_state()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.each_step(state, &mut |action, _| actions.push(action));
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        let state = &mut next;
        match action {
            Action::Touch { vcpu, page, repeats } => xen::touch(state, vcpu, page, repeats),
            Action::TakeAnswer { vcpu } => xen::take_answer(state, vcpu),
            Action::EndExit { vcpu } => xen::end_exit(state, vcpu),
            Action::EndEmulation { vcpu } => xen::end_emulation(state, vcpu),
            Action::BrokerReceives => self.broker_receives(state),
            Action::BrokerAdds => Self::broker_adds(state),
            Action::BrokerRemoves => Self::broker_removes(state),
            Action::BrokerAnswers => Self::broker_answers(state),
            Action::BrokerServes { vcpu } => Self::broker_serves(state, vcpu),
            Action::BrokerNoticesNoLender => Self::broker_notices_no_lender(state),
            Action::BrokerDisables => Self::broker_disables(state),
            Action::BrokerLeaves => Self::broker_leaves(state),
            Action::Drain => self.drain(state),
            Action::Notify { revoker, pages } => self.notify(state, revoker, pages),
            Action::See { revoker } => self.see(state, revoker),
            Action::Expire(who) => self.expire(state, who),
            Action::BeginForce(who) => {
                let cause = Self::wants_force_now(state, who)?;
                Self::begin_force(state, who, cause);
            }
            Action::ForceSteps => self.force_steps(state),
            Action::WorkerSteps => self.worker_steps(state),
            Action::WorkerFaults => Self::worker_faults(state),
            Action::Close => self.close(state),
            Action::GoOnClosing => Self::go_on_closing(state),
            Action::Detach => Self::detach(state),
            Action::Stop => {
                state.world.stops -= 1;
                state.world.misfortune = true;
                state.broker.stopped = true;
            }
            Action::Resume => state.broker.stopped = false,
            Action::BrokerDies => {
                state.world.broker_dies = false;
                state.world.misfortune = true;
                state.broker.alive = false;
                forget_broker(state);
            }
            Action::BorrowerDies => {
                state.world.borrower_dies = false;
                state.world.misfortune = true;
                state.xen.destroy_borrower();
            }
            Action::Supervise => {
                state.world.supervised = true;
                state.xen.destroy_borrower();
            }
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}

/// What a dead broker had in mind makes no difference between states.
fn forget_broker(state: &mut State) {
    let broker = &mut state.broker;
    broker.stopped = false;
    broker.doing = Doing::Nothing;
    broker.table = Default::default();
    broker.invalidated = Default::default();
    broker.floor = 0;
    broker.asked = Default::default();
    broker.given_up = Default::default();
}

/// Whether the worker is between the beginning and the end of the bracket.
pub(crate) fn may_hold_bracket(step: Working) -> bool {
    matches!(
        step,
        Working::Pausing(_)
            | Working::Paused(_)
            | Working::Recording(_)
            | Working::Posted
            | Working::WantsForce(_)
            | Working::Forces
            | Working::Ending(_)
    )
}

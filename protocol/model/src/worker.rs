// SPDX-License-Identifier: MIT OR Apache-2.0
//! The page-in worker: an access, then the page-in that it asks for, with the pause bracket.

use crate::model::Protocol;
use crate::scenario::Lender;
use crate::seed::Seed;
use crate::shim::{catch_up, clear, fail, is_invalidating, is_lending, send, was_not_added};
use crate::state::{
    Cause, Frame, Link, Listed, Outcome, Pending, Reason, Region, Request, State, ToBroker, Working,
};

/// Answers of Later before a page-in is given up.
const MAX_LATERS: u8 = 1;

impl Protocol {
    /// Whether the worker's next step can be done now.
    pub(crate) fn worker_can_step(&self, state: &State) -> bool {
        let shim = &state.shim;
        match shim.worker.step {
            Working::Idle => {
                shim.link != Link::Detached
                    && (!shim.queue.is_empty() || matches!(shim.link, Link::Failing(_)))
            }
            Working::AccessFaulting | Working::Faulting => {
                // The page may come from a process that waits for the borrower.
                !is_invalidating(state) && !state.xen.paused
            }
            Working::Listed => !is_invalidating(state),
            Working::Pausing(_) => !state.xen.is_on_processor() || !state.xen.alive,
            Working::Posted => {
                let failing = matches!(shim.link, Link::Failing(_));
                shim.present != Pending::Unanswered || failing
            }
            Working::WantsForce(_) | Working::Forces => false,
            Working::Finishing => {
                !(matches!(shim.link, Link::Forcing(_)) && shim.worker.answer.is_some())
                    || self.is_seeded(Seed::AnswerDroppedWhileForcing)
            }
            _ => true,
        }
    }

    /// The worker's next step.
    pub(crate) fn worker_steps(&self, state: &mut State) {
        match state.shim.worker.step {
            Working::Idle => take_request(state),
            Working::Accessing | Working::AccessFaulting => {
                let wanted = state.shim.worker.wants_page && self.begin_page_in(state);
                state.shim.worker.step = if wanted { Working::Listed } else { Working::Finishing };
            }
            Working::Listed => state.shim.worker.step = Working::ReadBegun,
            Working::ReadBegun | Working::Faulting => {
                let page = state.shim.worker.page;
                state.shim.worker.step = Working::Found(state.frames[page]);
            }
            Working::Found(frame) => self.begin_bracket(state, frame),
            Working::Pausing(frame) => state.shim.worker.step = Working::Paused(frame),
            Working::Paused(frame) => self.post(state, frame),
            Working::Recording(frame) => {
                record(state, frame);
                state.shim.worker.step = Working::Posted;
            }
            Working::Posted => see_answer(state),
            Working::Ending(outcome) => {
                let keeps = outcome == Some(Outcome::Later) && self.is_seeded(Seed::BracketKeptAfterLater);
                if !keeps {
                    state.xen.paused = false;
                }
                state.shim.worker.step = Working::Ended(outcome);
            }
            Working::Ended(outcome) => self.act_on(state, outcome),
            Working::Finishing => {
                if let Some((vcpu, id)) = state.shim.worker.answer.take() {
                    if matches!(state.shim.link, Link::Connected | Link::Forced) {
                        send(state, ToBroker::Completed { vcpu, id });
                    }
                }
                state.shim.listed = None;
                rest(state);
            }
            Working::WantsForce(_) | Working::Forces => {}
        }
    }

    /// Whether the next step may need a fault first.
    pub(crate) fn worker_can_fault(state: &State) -> bool {
        matches!(state.shim.worker.step, Working::Accessing | Working::ReadBegun)
    }

    /// The page has to be faulted in before it can be accessed or looked up.
    pub(crate) fn worker_faults(state: &mut State) {
        state.shim.worker.step = match state.shim.worker.step {
            Working::Accessing => Working::AccessFaulting,
            _ => Working::Faulting,
        };
    }

    /// `Link::begin_page_in`
    fn begin_page_in(&self, state: &mut State) -> bool {
        let page = state.shim.worker.page;
        let possible =
            is_lending(state) && state.shim.region == Region::Active && state.shim.mirror[page].is_none();
        possible && self.restart(state)
    }

    /// `Link::restart_page_in`: lists it with a clear mark.
    fn restart(&self, state: &mut State) -> bool {
        if state.shim.region != Region::Active || !is_lending(state) {
            return false;
        }
        let page = state.shim.worker.page;
        if !self.is_seeded(Seed::ListedAfterLookup) {
            state.shim.listed = Some(Listed { page, overtaken: false });
        }
        if self.lender == Lender::ReliesOnBroker {
            state.shim.worker.sampled = state.shim.newest;
        }
        if self.is_seeded(Seed::BracketOverFault) && state.xen.alive {
            state.xen.paused = true;
        }
        true
    }

    fn again(&self, state: &mut State) {
        let goes_on = self.restart(state);
        state.shim.worker.step = if goes_on { Working::Listed } else { Working::Finishing };
    }

    /// `page_in::send_one`: a last look before the borrower is paused.
    fn begin_bracket(&self, state: &mut State, frame: Frame) {
        if self.is_seeded(Seed::ListedAfterLookup) {
            state.shim.listed = Some(Listed { page: state.shim.worker.page, overtaken: false });
        }
        if !self.is_current(state) {
            return self.again(state);
        }
        if !state.xen.alive {
            state.shim.worker.step = Working::Finishing;
            return;
        }
        if self.is_seeded(Seed::AddWithoutBracket) {
            state.shim.worker.step = Working::Paused(frame);
            return;
        }
        state.xen.paused = true;
        state.shim.worker.step = Working::Pausing(frame);
    }

    fn is_current(&self, state: &State) -> bool {
        self.is_seeded(Seed::OvertakenPosted) || state.shim.listed.is_some_and(|listed| !listed.overtaken)
    }

    /// `Link::post_present`: look, post, record, answer, in one critical section.
    fn post(&self, state: &mut State, frame: Frame) {
        let page = state.shim.worker.page;
        if !is_lending(state) || state.shim.present != Pending::None || !self.is_current(state) {
            state.xen.paused = false;
            return self.again(state);
        }
        let sequence = match self.lender {
            Lender::AsWritten => state.shim.newest,
            Lender::ReliesOnBroker => state.shim.worker.sampled,
        };
        send(state, ToBroker::Present { page, frame, sequence });
        state.shim.present = Pending::Unanswered;
        if let Some((vcpu, id)) = state.shim.worker.answer.take() {
            send(state, ToBroker::Completed { vcpu, id });
        }
        if self.is_seeded(Seed::MirrorAfterPost) {
            state.shim.worker.step = Working::Recording(frame);
        } else {
            record(state, frame);
            state.shim.worker.step = Working::Posted;
        }
    }

    /// `page_in::await_answer`, behind the bracket.
    fn act_on(&self, state: &mut State, outcome: Option<Outcome>) {
        let page = state.shim.worker.page;
        if outcome.is_some_and(was_not_added) {
            clear(state, 1 << page);
        }
        state.shim.worker.step = Working::Finishing;
        match outcome {
            Some(Outcome::Stale) => self.again(state),
            Some(Outcome::Later) if state.shim.worker.laters < MAX_LATERS => {
                // The queue keeps places for accesses; a page-in that finds none is dropped.
                let _ = state.shim.queue.push(Request::Again(page));
            }
            _ => {}
        }
    }
}

fn take_request(state: &mut State) {
    catch_up(state);
    if let Link::Failing(reason) = state.shim.link {
        state.shim.worker.step = Working::WantsForce(Cause { reason, epoch: state.shim.epoch });
        return;
    }
    let worker = &mut state.shim.worker;
    match state.shim.queue.remove(0) {
        Request::Access(access) => {
            worker.page = access.page;
            worker.answer = Some((access.vcpu, access.id));
            worker.laters = 0;
            worker.wants_page = access.wants_page;
        }
        Request::Again(page) => {
            worker.page = page;
            worker.laters = MAX_LATERS;
            worker.wants_page = true;
        }
    }
    worker.step = match state.shim.region {
        Region::Active => Working::Accessing,
        _ => Working::Finishing,
    };
}

fn record(state: &mut State, frame: Frame) {
    let page = state.shim.worker.page;
    state.shim.mirror[page] = Some(frame);
    state.xen.permitted[page] = true;
}

fn see_answer(state: &mut State) {
    state.shim.worker.step = match (state.shim.present, state.shim.link) {
        (Pending::Unanswered, Link::Failing(reason)) => {
            Working::WantsForce(Cause { reason, epoch: state.shim.epoch })
        }
        (Pending::Answered(outcome), _) => {
            state.shim.present = Pending::None;
            if outcome == Outcome::AlreadyPresent {
                fail(state, Reason::Breach);
            }
            Working::Ending(Some(outcome))
        }
        _ => Working::Ending(None),
    };
}

fn rest(state: &mut State) {
    let worker = &mut state.shim.worker;
    // What is over makes no difference between states.
    worker.page = 0;
    worker.laters = 0;
    worker.sampled = 0;
    worker.wants_page = false;
    worker.step = Working::Idle;
}

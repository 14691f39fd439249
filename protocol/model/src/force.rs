// SPDX-License-Identifier: MIT OR Apache-2.0
//! Revocation by force, one at a time: hold the broker, remove everything, resume it or not.

use crate::model::Protocol;
use crate::seed::Seed;
use crate::shim::{all, clear, overtake, send};
use crate::state::{
    Cause, Force, ForceStep, Link, Page, Pending, Reason, Region, Revoking, Standing, State, ToBroker, Who,
    Working, CLOSER, PAGES,
};
use crate::xen::Removed;

impl Protocol {
    /// Why somebody waits for the mutex, if it does.
    pub(crate) fn wants_force_now(state: &State, who: Who) -> Option<Cause> {
        if state.shim.force.is_some() {
            return None;
        }
        match who {
            Who::Worker => match state.shim.worker.step {
                Working::WantsForce(cause) => Some(cause),
                _ => None,
            },
            Who::Revoker(index) => match state.shim.revokers[index].step {
                Revoking::WantsForce { cause, .. } => Some(cause),
                _ => None,
            },
        }
    }

    /// `Link::begin_force`, with the mutex taken.
    pub(crate) fn begin_force(state: &mut State, who: Who, cause: Cause) {
        let reason = if state.xen.alive { cause.reason } else { Reason::BorrowerGone };
        let is_stale = reason == Reason::Deadline && cause.epoch != state.shim.epoch;
        match who {
            Who::Worker => state.shim.worker.step = Working::Forces,
            Who::Revoker(index) => {
                let Revoking::WantsForce { place, .. } = state.shim.revokers[index].step else { return };
                state.shim.revokers[index].step = Revoking::Forces { place };
            }
        }
        let forcing = match state.shim.link {
            Link::Connected if is_stale => None,
            Link::Condemned(_) | Link::Detached | Link::Forcing(_) => None,
            Link::Forced if reason == Reason::Deadline => None,
            Link::Failing(first) if reason != Reason::BorrowerGone => Some(first),
            Link::Failing(_) | Link::Connected | Link::Forced => Some(reason),
        };
        let Some(reason) = forcing else { return after_force(state, who) };
        state.shim.link = Link::Forcing(reason);
        overtake(state, all());
        state.shim.force = Some(Force { who, step: ForceStep::Hold, broker_is_gone: false });
    }

    /// `force::revoke_all`: the next step of whoever holds the mutex.
    pub(crate) fn force_steps(&self, state: &mut State) {
        let Some(mut force) = state.shim.force else { return };
        match force.step {
            ForceStep::Hold => {
                // Synchronous: a hypercall of the broker has ended or will not begin.
                state.broker.held = !self.is_seeded(Seed::ForceWithoutPause);
                force.broker_is_gone = !state.broker.alive;
                force.step = ForceStep::Remove;
                if force.broker_is_gone && self.is_seeded(Seed::BrokerGoneLeavesEntries) {
                    clear(state, all());
                }
            }
            ForceStep::Remove => match (0..PAGES).find(|page| state.shim.mirror[*page].is_some()) {
                Some(page) => {
                    self.remove(state, page);
                    clear(state, 1 << page);
                }
                None => force.step = ForceStep::End,
            },
            ForceStep::End => {
                let resumes = self.end_force(state, force.broker_is_gone);
                force.step = ForceStep::Resume;
                if !resumes {
                    state.shim.force = None;
                    return after_force(state, force.who);
                }
            }
            ForceStep::Resume => {
                state.broker.held = false;
                state.shim.force = None;
                return after_force(state, force.who);
            }
        }
        state.shim.force = Some(force);
    }

    /// `force::remove` of one page.
    fn remove(&self, state: &mut State, page: Page) {
        if self.is_seeded(Seed::DenyBeforeRemoval) {
            state.xen.permitted[page] = false;
        }
        match state.xen.remove(page) {
            Removed::Entry | Removed::Absent | Removed::NoDomain => {}
            Removed::Refused => {
                // `force::end_borrower`
                state.shim.ended_borrower = true;
                state.xen.destroy_borrower();
            }
        }
    }

    /// `Link::end_force`: whether the broker is resumed.
    fn end_force(&self, state: &mut State, broker_is_gone: bool) -> bool {
        let Link::Forcing(reason) = state.shim.link else { return false };
        let unanswered = state.shim.present == Pending::Unanswered;
        state.shim.present = Pending::None;
        state.shim.epoch += 1;
        state.shim.forced_through = state.shim.newest;
        for revoker in &mut state.shim.revokers {
            if let Revoking::Posted { standing, .. } = &mut revoker.step {
                *standing = Standing::Forced;
            }
        }
        let reason = match reason {
            Reason::BorrowerGone => reason,
            _ if broker_is_gone => Reason::BrokerGone,
            _ => reason,
        };
        let harmless = !unanswered || self.is_seeded(Seed::ResumedWithPresentUnanswered);
        if reason == Reason::Deadline && harmless {
            let sequence = state.shim.newest;
            send(state, ToBroker::Forced { sequence });
            let awaited = !self.is_seeded(Seed::ForcedNotAwaited);
            state.shim.link = if awaited { Link::Forced } else { Link::Connected };
            return true;
        }
        state.shim.link = Link::Condemned(reason);
        false
    }

    /// Whether somebody waits for the broker in vain: it has drained and found nothing.
    pub(crate) fn is_waiting_in_vain(&self, state: &State, who: Who) -> bool {
        let drainable = matches!(state.shim.link, Link::Connected | Link::Forced);
        if drainable && !state.to_lender.is_empty() {
            return false;
        }
        match who {
            Who::Worker => {
                state.shim.worker.step == Working::Posted
                    && state.shim.present == Pending::Unanswered
                    && !self.is_seeded(Seed::BracketWithoutDeadline)
            }
            Who::Revoker(index) => match state.shim.revokers[index].step {
                Revoking::Posted { standing: Standing::Waiting, .. } => {
                    !self.is_seeded(Seed::InvalidationWithoutDeadline)
                }
                Revoking::Busy => true,
                Revoking::Returned => index == CLOSER && state.shim.region == Region::Dropping,
                _ => false,
            },
        }
    }

    /// The deadline passes, and nothing has moved; or the broker's domain is found dead.
    pub(crate) fn expire(&self, state: &mut State, who: Who) {
        let reason = if state.broker.alive { Reason::Deadline } else { Reason::BrokerGone };
        let cause = Cause { reason, epoch: state.shim.epoch };
        if state.broker.can_run() {
            state.world.delays -= 1;
            state.world.misfortune = true;
        }
        match who {
            Who::Worker => state.shim.worker.step = Working::WantsForce(cause),
            Who::Revoker(index) => match state.shim.revokers[index].step {
                Revoking::Posted { sequence, .. } => self.wants_force(state, index, reason, sequence),
                _ => state.shim.revokers[index].step = Revoking::WantsForce { cause, place: None },
            },
        }
    }
}

/// What its caller does behind a forced revocation.
fn after_force(state: &mut State, who: Who) {
    match who {
        Who::Worker => {
            // It revoked because it was waiting, or because it had nothing to do and the link is failing.
            let in_bracket = state.xen.paused || state.shim.listed.is_some();
            state.shim.worker.step = if in_bracket { Working::Ending(None) } else { Working::Idle };
        }
        Who::Revoker(CLOSER) if state.shim.region == Region::Dropping => {
            state.shim.revokers[CLOSER].step = Revoking::Returned;
            state.shim.region = Region::TakenOut;
        }
        Who::Revoker(index) => state.shim.revokers[index].step = Revoking::Again,
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The lender's kernel: what it takes from the broker, and revocation with the broker's help.

use crate::model::Protocol;
use crate::scenario::Lender;
use crate::seed::Seed;
use crate::state::{
    has, pages_of, Cause, Link, Outcome, PageSet, Pending, Reason, Region, Request, Revoking, Standing,
    State, ToBroker, ToLender, Working, CLOSER, PLACES, REVOKERS,
};

impl Protocol {
    /// Whether the event handler, or whoever waits, may take a message.
    pub(crate) fn can_drain(&self, state: &State) -> bool {
        let in_worker = matches!(state.shim.worker.step, Working::Idle | Working::Posted);
        matches!(state.shim.link, Link::Connected | Link::Forced)
            && (in_worker || !self.is_seeded(Seed::AcknowledgementInWorker))
            && (!state.to_lender.is_empty() || is_caught_up(state))
    }

    /// `Link::drain`, one message.
    pub(crate) fn drain(&self, state: &mut State) {
        if !state.to_lender.is_empty() {
            match state.to_lender.remove(0) {
                ToLender::Presented(outcome) => match state.shim.present {
                    Pending::Unanswered => state.shim.present = Pending::Answered(outcome),
                    _ => fail(state, Reason::Breach),
                },
                ToLender::Invalidated { sequence, removed } => self.acknowledged(state, sequence, removed),
                ToLender::Access(access) => {
                    let room = state.shim.queue.push(Request::Access(access));
                    room.expect("the queue has a place for each vCPU");
                }
                ToLender::Dropped { removed } => {
                    if state.shim.region == Region::Dropping {
                        state.shim.region = Region::Dropped;
                    }
                    if !removed {
                        fail(state, Reason::RemoveFailed);
                    }
                }
            }
        }
        catch_up(state);
    }

    /// `Invalidations::acknowledge`
    fn acknowledged(&self, state: &mut State, sequence: u8, removed: bool) {
        let late = sequence <= state.shim.forced_through;
        if late && !self.is_seeded(Seed::LateAcknowledgementIsBreach) {
            return;
        }
        for revoker in &mut state.shim.revokers {
            match &mut revoker.step {
                Revoking::Posted { sequence: posted, standing } if *posted == sequence => {
                    *standing = if removed { Standing::Removed } else { Standing::Failed };
                    if !removed {
                        fail(state, Reason::RemoveFailed);
                    }
                    return;
                }
                // It comes too late to be used, but it is owed.
                Revoking::WantsForce { place: Some(posted), .. } if *posted == sequence => return,
                _ => {}
            }
        }
        fail(state, Reason::Breach);
    }

    /// `revoke::on_notifier`: the mark, and the first step, under one lock.
    pub(crate) fn notify(&self, state: &mut State, revoker: usize, pages: PageSet) {
        state.world.notifiers -= 1;
        state.shim.revokers[revoker].pages = pages;
        self.begin(state, revoker);
    }

    /// `Link::start_invalidate`
    pub(crate) fn begin(&self, state: &mut State, index: usize) {
        let pages = state.shim.revokers[index].pages;
        let listed = state.shim.listed.filter(|listed| has(pages, listed.page));
        let tells_broker = self.lender == Lender::ReliesOnBroker && state.shim.link == Link::Connected;
        if !tells_broker {
            overtake(state, pages);
        }
        let is_in_flight = listed.is_some() && tells_broker;
        if !is_in_flight && !pages_of(pages).any(|page| state.shim.mirror[page].is_some()) {
            returned(state, index);
            return;
        }
        let epoch = state.shim.epoch;
        let forced_by = |reason| Revoking::WantsForce { cause: Cause { reason, epoch }, place: None };
        state.shim.revokers[index].step = match state.shim.link {
            Link::Connected if places_taken(state) >= PLACES => Revoking::Busy,
            Link::Connected => {
                state.shim.newest += 1;
                let sequence = state.shim.newest;
                send(state, ToBroker::Invalidate { sequence, pages });
                Revoking::Posted { sequence, standing: Standing::Waiting }
            }
            Link::Failing(reason) | Link::Forcing(reason) | Link::Condemned(reason) => forced_by(reason),
            Link::Forced | Link::Detached => forced_by(Reason::Breach),
        };
    }

    /// Whether a revoker that waits has something to see.
    pub(crate) fn can_see(state: &State, index: usize) -> bool {
        match state.shim.revokers[index].step {
            Revoking::Busy => state.shim.link != Link::Connected || places_taken(state) < PLACES,
            Revoking::Posted { standing, .. } => {
                standing != Standing::Waiting || matches!(state.shim.link, Link::Failing(_))
            }
            Revoking::Clearing | Revoking::Again => true,
            _ => false,
        }
    }

    /// `revoke::carry_on` and `revoke::finish`: the next step of a revoker.
    pub(crate) fn see(&self, state: &mut State, index: usize) {
        match state.shim.revokers[index].step {
            Revoking::Busy | Revoking::Again => self.begin(state, index),
            Revoking::Posted { sequence, standing } => match (standing, state.shim.link) {
                (Standing::Removed, _) => state.shim.revokers[index].step = Revoking::Clearing,
                (Standing::Forced, _) => returned(state, index),
                (Standing::Waiting, Link::Failing(reason)) => {
                    self.wants_force(state, index, reason, sequence);
                }
                (Standing::Failed | Standing::Waiting, _) => {
                    self.wants_force(state, index, Reason::RemoveFailed, sequence);
                }
            },
            Revoking::Clearing => {
                clear(state, state.shim.revokers[index].pages);
                returned(state, index);
            }
            _ => {}
        }
    }

    /// Gives the broker up for this invalidation.
    pub(crate) fn wants_force(&self, state: &mut State, index: usize, reason: Reason, sequence: u8) {
        let cause = Cause { reason, epoch: state.shim.epoch };
        let place = (!self.is_seeded(Seed::EndedBeforeForce)).then_some(sequence);
        state.shim.revokers[index].step = Revoking::WantsForce { cause, place };
    }

    /// `leases::end_region`, first step: no more page-ins, then everything is revoked.
    pub(crate) fn close(&self, state: &mut State) {
        state.world.closes = false;
        state.shim.region = Region::Ending;
        overtake(state, all());
        state.shim.revokers[CLOSER].pages = all();
        self.begin(state, CLOSER);
    }

    /// Whether the end of the region can go on.
    pub(crate) fn can_go_on_closing(state: &State) -> bool {
        if state.shim.revokers[CLOSER].step != Revoking::Returned {
            return false;
        }
        match state.shim.region {
            // The notifier's end waits for its calls that run.
            Region::Silent => !is_invalidating(state) && !matches!(state.shim.link, Link::Forcing(_)),
            Region::Dropping => !is_lending_or_about_to(state.shim.link),
            Region::Dropped => true,
            _ => false,
        }
    }

    /// `leases::end_region`: asks for the drop, or takes the region out when it is answered or never will be.
    pub(crate) fn go_on_closing(state: &mut State) {
        match (state.shim.region, state.shim.link) {
            (Region::Silent, Link::Connected | Link::Forced) => {
                send(state, ToBroker::Drop);
                state.shim.region = Region::Dropping;
            }
            _ => state.shim.region = Region::TakenOut,
        }
    }

    /// Whether `attach::detach` can have got to its end.
    pub(crate) fn can_detach(&self, state: &State) -> bool {
        // Each access that waits has to be answered first, which waits for the end of a force.
        let interrupts_force = self.is_seeded(Seed::DetachedWhileForcing) && state.shim.queue.is_empty();
        let may_now = match state.shim.link {
            Link::Connected | Link::Forced | Link::Failing(_) => true,
            Link::Forcing(_) => interrupts_force,
            // The tool says that the borrower has to go too, whatever waits in it.
            Link::Condemned(_) | Link::Detached => false,
        };
        let region_is_over =
            state.shim.region == Region::TakenOut && state.shim.revokers[CLOSER].step == Revoking::Returned;
        state.world.detaches && region_is_over && may_now
    }

    /// `attach::detach`, behind the end of the regions: every access that waits is lost, the link is over.
    pub(crate) fn detach(state: &mut State) {
        state.world.detaches = false;
        for request in core::mem::take(&mut state.shim.queue) {
            if let (Request::Access(access), Link::Connected | Link::Forced) = (request, state.shim.link) {
                send(state, ToBroker::Completed { vcpu: access.vcpu, id: access.id });
            }
        }
        state.shim.link = Link::Detached;
        overtake(state, all());
    }
}

/// Whether messages may still come.
fn is_lending_or_about_to(link: Link) -> bool {
    matches!(link, Link::Connected | Link::Forced | Link::Forcing(_))
}

/// `Link::fail`
pub(crate) fn fail(state: &mut State, reason: Reason) {
    if matches!(state.shim.link, Link::Connected | Link::Forced) {
        state.shim.link = Link::Failing(reason);
        overtake(state, all());
    }
}

fn is_caught_up(state: &State) -> bool {
    let has_read = !state.to_broker.iter().any(|message| matches!(message, ToBroker::Forced { .. }));
    state.shim.link == Link::Forced && has_read && state.to_lender.is_empty()
}

/// `Link::catch_up`
pub(crate) fn catch_up(state: &mut State) {
    if is_caught_up(state) {
        state.shim.link = Link::Connected;
    }
}

/// `Link::is_lending`
pub(crate) fn is_lending(state: &mut State) -> bool {
    catch_up(state);
    state.shim.link == Link::Connected
}

/// `InFlight::overtake`
pub(crate) fn overtake(state: &mut State, pages: PageSet) {
    if let Some(listed) = state.shim.listed.as_mut().filter(|listed| has(pages, listed.page)) {
        listed.overtaken = true;
    }
}

/// `revoke::clear`: out of the mirror, and the permissions go.
pub(crate) fn clear(state: &mut State, pages: PageSet) {
    for page in pages_of(pages) {
        state.shim.mirror[page] = None;
        state.xen.permitted[page] = false;
    }
}

/// A notifier returns: the kernel lets go of the frames. The end of the region goes on.
fn returned(state: &mut State, index: usize) {
    state.shim.revokers[index].step = Revoking::Returned;
    if index == CLOSER {
        state.shim.region = Region::Silent;
        return;
    }
    for page in pages_of(state.shim.revokers[index].pages) {
        state.frames[page] += 1;
    }
}

/// Whether the kernel counts an invalidation as running: `mmu_interval_read_begin` waits, and so does a
/// fault that needs a lock of the driver that moves the memory.
pub(crate) fn is_invalidating(state: &State) -> bool {
    let notifiers = &state.shim.revokers[..CLOSER];
    notifiers.iter().any(|one| !matches!(one.step, Revoking::NotBegun | Revoking::Returned))
}

/// Invalidations that have not ended.
fn places_taken(state: &State) -> usize {
    let is_open = |step: Revoking| {
        matches!(
            step,
            Revoking::Posted { .. }
                | Revoking::Clearing
                | Revoking::WantsForce { place: Some(_), .. }
                | Revoking::Forces { place: Some(_) }
        )
    };
    (0..REVOKERS).filter(|index| is_open(state.shim.revokers[*index].step)).count()
}

/// Whether the answer means that the page did not become present.
pub(crate) fn was_not_added(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Later | Outcome::Stale | Outcome::Failed)
}

pub(crate) fn all() -> PageSet {
    PageSet::MAX
}

pub(crate) fn send(state: &mut State, message: ToBroker) {
    state.to_broker.push(message).expect("the bounds of the scenario fit the ring");
}

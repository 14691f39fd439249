// SPDX-License-Identifier: MIT OR Apache-2.0
//! The broker: one message or one vCPU at a time, with every hypercall and every answer a step of its own.

use crate::model::Protocol;
use crate::seed::Seed;
use crate::state::{
    pages_of, Access, Doing, Lease, Outcome, Page, PageSet, RequestState, Sequence, Server, Slot, State,
    Then, ToBroker, ToLender, Vcpu, PAGES, VCPUS,
};
use crate::xen::Removed;

impl Protocol {
    /// `Broker::serve_lender`: takes a message and decides.
    pub(crate) fn broker_receives(&self, state: &mut State) {
        let message = state.to_broker.remove(0);
        match message {
            ToBroker::Present { page, frame, sequence } => {
                let outcome = self.judge(state, page, frame, sequence);
                state.broker.doing = match outcome {
                    None => Doing::Adding { page, frame },
                    Some(outcome) => answering(ToLender::Presented(outcome)),
                };
            }
            ToBroker::Invalidate { sequence, pages } => self.begin_invalidate(state, sequence, pages),
            ToBroker::Forced { sequence } => {
                state.broker.floor = sequence;
                if !self.is_seeded(Seed::TableKeptAfterForced) {
                    state.broker.table = [None; PAGES];
                }
                if state.broker.lease == Lease::Revoking {
                    state.broker.lease = Lease::Vacant;
                }
            }
            ToBroker::Completed { vcpu, id } => {
                let broker = &mut state.broker;
                if broker.given_up[vcpu] & (1 << id) != 0 {
                    broker.given_up[vcpu] &= !(1 << id);
                } else if broker.slots[vcpu] == (Slot::Asked { id }) {
                    broker.slots[vcpu] = Slot::Answered;
                }
            }
            ToBroker::Drop => {
                if state.broker.lease != Lease::Vacant {
                    state.broker.lease = Lease::Revoking;
                }
                begin_removing(state, all_pages(), Then::Dropped);
            }
        }
    }

    /// The checks of a Present, in their order; none if it can be added.
    fn judge(&self, state: &State, page: Page, frame: u8, sequence: Sequence) -> Option<Outcome> {
        let broker = &state.broker;
        if broker.lease != Lease::Active {
            return Some(Outcome::Stale);
        }
        if !self.is_seeded(Seed::StaleAccepted) && would_be_stale(state, page, sequence) {
            return Some(Outcome::Stale);
        }
        match broker.table[page] {
            Some(present) if present == frame => return Some(Outcome::Added),
            Some(_) => return Some(Outcome::AlreadyPresent),
            None => {}
        }
        (0..VCPUS).any(|vcpu| self.would_kill(state, vcpu, page)).then_some(Outcome::Later)
    }

    /// `present::would_kill`: a repeated write of any state but NONE.
    fn would_kill(&self, state: &State, vcpu: usize, page: Page) -> bool {
        let Vcpu::Waiting { page: written, repeats: true, state: request } = state.xen.vcpus[vcpu] else {
            return false;
        };
        let overlooked = match request {
            RequestState::Ready => Seed::AddOverReadyStos,
            RequestState::InProcess => Seed::AddOverAcceptedStos,
            RequestState::Answered => Seed::AddOverAnsweredStos,
        };
        written == page && !self.is_seeded(overlooked)
    }

    fn begin_invalidate(&self, state: &mut State, sequence: Sequence, pages: PageSet) {
        let acknowledgement = ToLender::Invalidated { sequence, removed: true };
        if state.broker.lease == Lease::Vacant {
            state.broker.doing = answering(acknowledgement);
            return;
        }
        for page in pages_of(pages) {
            state.broker.invalidated[page] = sequence;
        }
        if self.is_seeded(Seed::AcknowledgeBeforeUnmap) {
            let then_remove = present_pages(state, pages);
            state.broker.doing = Doing::Answering { message: acknowledgement, then_remove };
            return;
        }
        if self.is_seeded(Seed::UnmapSkipped) {
            pages_of(pages).for_each(|page| state.broker.table[page] = None);
        }
        begin_removing(state, pages, Then::Acknowledge(sequence));
    }

    /// The hypercall that adds.
    pub(crate) fn broker_adds(state: &mut State) {
        let Doing::Adding { page, frame } = state.broker.doing else { return };
        let added = state.xen.add(page, frame);
        if added {
            state.broker.table[page] = Some(frame);
        }
        let outcome = if added { Outcome::Added } else { Outcome::Failed };
        state.broker.doing = answering(ToLender::Presented(outcome));
    }

    /// The hypercall that removes, for the next page.
    pub(crate) fn broker_removes(state: &mut State) {
        let Doing::Removing { left, then } = state.broker.doing else { return };
        let Some(page) = pages_of(left).next() else { return };
        match state.xen.remove(page) {
            Removed::Entry => {
                state.broker.table[page] = None;
                go_on_removing(state, left & !(1 << page), then);
            }
            // Xen says no: it stays in the table and is reported.
            Removed::Absent | Removed::Refused | Removed::NoDomain => end_removing(state, then, false),
        }
    }

    /// `Broker::flush`: the answer goes into the ring.
    pub(crate) fn broker_answers(state: &mut State) {
        let Doing::Answering { message, then_remove } = state.broker.doing else { return };
        send(state, message);
        state.broker.doing = match then_remove {
            0 => Doing::Nothing,
            left => Doing::Removing { left, then: Then::Nothing },
        };
    }

    /// Whether the answer may go out.
    pub(crate) fn may_answer(&self, state: &State) -> bool {
        let waits =
            matches!(state.broker.doing, Doing::Answering { message: ToLender::Invalidated { .. }, .. })
                && state.xen.vcpus.iter().any(|vcpu| matches!(vcpu, Vcpu::Waiting { .. }));
        !(waits && self.is_seeded(Seed::AcknowledgementAwaitsBorrower))
    }

    /// Whether `Broker::serve_vcpu` has something to do.
    pub(crate) fn can_serve(state: &State, vcpu: usize) -> bool {
        let is_ready = matches!(state.xen.vcpus[vcpu], Vcpu::Waiting { state: RequestState::Ready, .. });
        match state.broker.slots[vcpu] {
            Slot::Idle => is_ready,
            Slot::Asked { .. } => false,
            Slot::Answered => true,
        }
    }

    /// `Broker::serve_vcpu`: takes a request up and asks the lender, or completes it.
    pub(crate) fn broker_serves(state: &mut State, vcpu: usize) {
        let Vcpu::Waiting { page, repeats, .. } = state.xen.vcpus[vcpu] else {
            // The borrower was destroyed.
            state.broker.slots[vcpu] = Slot::Idle;
            return;
        };
        let asks = state.broker.slots[vcpu] == Slot::Idle
            && state.broker.lease == Lease::Active
            && !state.broker.is_alone;
        let request = if asks {
            let id = state.broker.asked[vcpu];
            state.broker.asked[vcpu] += 1;
            state.broker.slots[vcpu] = Slot::Asked { id };
            let wants_page = !repeats && state.broker.table[page].is_none();
            send(state, ToLender::Access(Access { vcpu, id, page, wants_page }));
            RequestState::InProcess
        } else {
            state.broker.slots[vcpu] = Slot::Idle;
            RequestState::Answered
        };
        state.xen.vcpus[vcpu] = Vcpu::Waiting { page, repeats, state: request };
    }

    /// `Broker::lender_gone`: removes everything and ends what was asked.
    pub(crate) fn broker_notices_no_lender(state: &mut State) {
        state.broker.is_alone = true;
        give_up(state);
        begin_removing(state, all_pages(), Then::Nothing);
    }

    /// `Departure::advance`, first step.
    pub(crate) fn broker_disables(state: &mut State) {
        state.xen.server = Server::Disabled;
    }

    /// `Broker::is_finished`: whether the server may go.
    pub(crate) fn may_leave(&self, state: &State) -> bool {
        let begun = state.xen.server == Server::Disabled
            && state.broker.is_alone
            && state.broker.doing == Doing::Nothing
            && state.broker.table == [None; PAGES];
        let drained = state.broker.slots == [Slot::Idle; VCPUS]
            && !state.xen.vcpus.iter().any(|vcpu| matches!(vcpu, Vcpu::Waiting { .. }));
        begun && (drained || self.is_seeded(Seed::LeaveWithoutDraining))
    }

    /// `Departure::advance`, last step.
    pub(crate) fn broker_leaves(state: &mut State) {
        state.xen.server = Server::Destroyed;
        state.broker.alive = false;
        state.broker.has_left = true;
    }
}

/// `InvalidationHistory::overtakes`
pub(crate) fn would_be_stale(state: &State, page: Page, sequence: Sequence) -> bool {
    sequence < state.broker.floor || state.broker.invalidated[page] > sequence
}

fn answering(message: ToLender) -> Doing {
    Doing::Answering { message, then_remove: 0 }
}

fn all_pages() -> PageSet {
    (1 << PAGES) - 1
}

fn present_pages(state: &State, pages: PageSet) -> PageSet {
    pages_of(pages).filter(|page| state.broker.table[*page].is_some()).map(|page| 1 << page).sum()
}

fn begin_removing(state: &mut State, pages: PageSet, then: Then) {
    let left = present_pages(state, pages);
    go_on_removing(state, left, then);
}

fn go_on_removing(state: &mut State, left: PageSet, then: Then) {
    if left == 0 {
        end_removing(state, then, true);
    } else {
        state.broker.doing = Doing::Removing { left, then };
    }
}

fn end_removing(state: &mut State, then: Then, removed: bool) {
    state.broker.doing = match then {
        Then::Acknowledge(sequence) => answering(ToLender::Invalidated { sequence, removed }),
        Then::Dropped => {
            give_up(state);
            if removed {
                state.broker.lease = Lease::Vacant;
            }
            answering(ToLender::Dropped { removed })
        }
        Then::Nothing => Doing::Nothing,
    };
}

/// Outstanding accesses end by the loss policy; their answers will be ignored.
fn give_up(state: &mut State) {
    for vcpu in 0..VCPUS {
        if let Slot::Asked { id } = state.broker.slots[vcpu] {
            state.broker.slots[vcpu] = Slot::Answered;
            state.broker.given_up[vcpu] |= 1 << id;
        }
    }
}

fn send(state: &mut State, message: ToLender) {
    state.to_lender.push(message).expect("the bounds of the scenario fit the ring");
}

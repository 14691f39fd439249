// SPDX-License-Identifier: MIT OR Apache-2.0
//! What must hold in every state, and what must be reached.

use stateright::Property;

use crate::broker::would_be_stale;
use crate::model::{may_hold_bracket, By, Protocol};
use crate::state::{
    Doing, Link, Outcome, Pending, Reason, Region, RequestState, Revoking, Server, State, ToBroker, ToLender,
    Vcpu, Working, CLOSER, PAGES, PLACES,
};

/// Names of what must always hold.
pub mod names {
    /// What always holds (README.md), number 1, first half.
    pub const FREED: &str = "no second-stage entry names a frame that a notifier has returned for";
    /// Number 1, second half.
    pub const IN_FLIGHT: &str = "nothing in flight can make such an entry";
    /// Revocation by force removes what the mirror has.
    pub const MIRROR: &str = "the mirror has every entry";
    /// The end of a region.
    pub const ENDED: &str = "a region that has ended has no entries";
    /// An add that meets a fault or an unfinished `rep stos`, and an add over another entry.
    pub const CRASH: &str = "Xen never kills the borrower";
    /// Number 2, and that no deadlock exists.
    pub const REVOKED: &str = "every revocation ends without the borrower";
    /// The pause bracket.
    pub const BRACKET: &str = "the bracket ends without the borrower, and nothing is faulted in inside it";
    /// Nothing of the lender is left half done.
    pub const RESTS: &str = "the worker and the end of the region come to rest without the borrower";
    /// An access to an absent page stops one vCPU, and ends.
    pub const ANSWERED: &str = "every vCPU gets its answer, or its borrower is destroyed";
    /// Nobody pays for nothing.
    pub const INNOCENT: &str = "without misfortune no broker is forced and no borrower destroyed";
    /// Both sides are honest here.
    pub const BREACH: &str = "nobody is blamed for a breach";
    /// The fallback's last resort.
    pub const REMOVABLE: &str = "the lender never has to end the borrower to revoke";
    /// `protocol/DESIGN.md`, reserved space.
    pub const RESERVE: &str = "an invalidation always finds room in the ring";
}

/// Situations that the explorations must reach together: else they show nothing of them.
pub mod situations {
    /// A page is present.
    pub const PRESENT: &str = "a page is present";
    /// A Present meets a repeated write.
    pub const LATER: &str = "a Present is answered Later";
    /// A Present comes too late.
    pub const STALE: &str = "a Present is answered Stale";
    /// The shim's own list.
    pub const OVERTAKEN: &str = "a page-in is overtaken before its Present";
    /// `rep stos` taken up, while a Present of its page is handled.
    pub const REPEATS_IN_PROCESS: &str = "a repeated write is in process while its page is asked for";
    /// The same, completed and not taken by Xen.
    pub const REPEATS_ANSWERED: &str =
        "a repeated write is answered but not re-emulated while its page is asked for";
    /// The fault of the same page by another vCPU.
    pub const RACING_EXIT: &str = "a vCPU is about to fault while the bracket begins";
    /// More invalidations than places.
    pub const BUSY: &str = "an invalidation waits for a place";
    /// Forced, and resumed.
    pub const FORCED: &str = "a broker is resumed after a forced revocation";
    /// It lends again.
    pub const LENDS_AGAIN: &str = "a resumed broker has a page present";
    /// It is held.
    pub const CONDEMNED: &str = "a broker with a Present unanswered is held for good";
    /// Between check and hypercall.
    pub const HELD_BEFORE_ADD: &str = "a broker is held between its check and its add";
    /// In the middle of a removal.
    pub const HELD_BEFORE_REMOVE: &str = "a broker is held before its remove";
    /// An answer to what was forced.
    pub const LATE_ACKNOWLEDGEMENT: &str = "an acknowledgement comes after its invalidation was forced";
    /// The broker is dead, and entries are left.
    pub const DEAD_WITH_ENTRIES: &str = "a broker dies with a page present";
    /// Its vCPU.
    pub const SUPERVISED: &str = "a borrower that waits for a dead broker is destroyed";
    /// The end.
    pub const LEFT: &str = "the broker has left a borrower that lives on";
    /// An answer nobody waits for.
    pub const GIVEN_UP: &str = "an access is given up by the broker and answered later";
    /// The borrower is gone in the middle.
    pub const NO_BORROWER: &str = "a broker is told that its borrower is gone";
    /// A fault that waits for the driver that waits for the acknowledgement.
    pub const FAULT_WAITS: &str = "a page-in waits for a lock that an invalidation holds";
}

/// All properties of the model.
pub(crate) fn all() -> Vec<Property<Protocol>> {
    let mut all = invariants();
    all.extend(reached());
    all
}

fn invariants() -> Vec<Property<Protocol>> {
    vec![
        always(names::FREED, |_, state| {
            let freed = |page: usize| state.xen.entries[page].is_some_and(|frame| frame < state.frames[page]);
            !(0..PAGES).any(freed)
        }),
        always(names::IN_FLIGHT, |_, state| {
            // Who holds it has gone, or will see a Present unanswered: it will never be resumed.
            let for_good = state.shim.force.is_none() || state.shim.present == Pending::Unanswered;
            if !state.broker.alive || (state.broker.held && for_good) {
                return true;
            }
            let adding = match state.broker.doing {
                Doing::Adding { page, frame } => frame < state.frames[page],
                _ => false,
            };
            let posted = state.to_broker.iter().any(|message| match *message {
                ToBroker::Present { page, frame, sequence } => {
                    frame < state.frames[page] && !would_be_stale(state, page, sequence)
                }
                _ => false,
            });
            !adding && !posted
        }),
        always(names::MIRROR, |_, state| {
            (0..PAGES).all(|page| {
                let entry = state.xen.entries[page];
                entry.is_none() || entry == state.shim.mirror[page]
            })
        }),
        always(names::ENDED, |_, state| {
            let ended = !matches!(state.shim.region, Region::Active | Region::Ending);
            !ended || state.xen.entries == [None; PAGES]
        }),
        always(names::CRASH, |_, state| state.xen.crash.is_none()),
        always(names::REVOKED, |protocol, state| {
            let open = |step: Revoking| !matches!(step, Revoking::NotBegun | Revoking::Returned);
            let any_open = state.shim.force.is_some() || state.shim.revokers.iter().any(|one| open(one.step));
            !any_open || goes_on(protocol, state)
        }),
        always(names::BRACKET, |protocol, state| {
            !state.xen.paused || (may_hold_bracket(state.shim.worker.step) && goes_on(protocol, state))
        }),
        always(names::RESTS, |protocol, state| {
            let rests = state.shim.worker.step == Working::Idle
                && matches!(state.shim.region, Region::Active | Region::TakenOut);
            rests || goes_on(protocol, state)
        }),
        always(names::ANSWERED, |protocol, state| {
            let waits = state.xen.vcpus.iter().any(|vcpu| *vcpu != Vcpu::InGuest);
            // Whoever pauses the broker answers for the time until it is resumed.
            let by_administrator = state.broker.alive && state.broker.stopped;
            !waits
                || by_administrator
                || state.xen.crash.is_some()
                || protocol.can_go_on(state, &[By::System, By::Borrower])
        }),
        always(names::INNOCENT, |_, state| {
            let undisturbed = matches!(state.shim.link, Link::Connected | Link::Detached);
            state.world.misfortune || (undisturbed && !state.world.supervised)
        }),
        always(names::BREACH, |_, state| {
            !matches!(
                state.shim.link,
                Link::Failing(Reason::Breach)
                    | Link::Forcing(Reason::Breach)
                    | Link::Condemned(Reason::Breach)
            )
        }),
        always(names::REMOVABLE, |_, state| !state.shim.ended_borrower),
        always(names::RESERVE, |_, state| {
            let count =
                |is: fn(&ToBroker) -> bool| state.to_broker.iter().filter(|message| is(message)).count();
            let invalidates = count(|message| matches!(message, ToBroker::Invalidate { .. }));
            let forced = count(|message| matches!(message, ToBroker::Forced { .. }));
            invalidates <= PLACES && forced <= 1
        }),
    ]
}

fn always(name: &'static str, holds: fn(&Protocol, &State) -> bool) -> Property<Protocol> {
    Property::always(name, holds)
}

fn sometimes(name: &'static str, holds: fn(&Protocol, &State) -> bool) -> Property<Protocol> {
    Property::sometimes(name, holds)
}

fn goes_on(protocol: &Protocol, state: &State) -> bool {
    state.xen.crash.is_some() || protocol.can_go_on(state, &[By::System])
}

fn reached() -> Vec<Property<Protocol>> {
    vec![
        sometimes(situations::PRESENT, |_, state| state.xen.entries.iter().any(Option::is_some)),
        sometimes(situations::LATER, |_, state| answered(state, Outcome::Later)),
        sometimes(situations::STALE, |_, state| answered(state, Outcome::Stale)),
        sometimes(situations::OVERTAKEN, |_, state| {
            state.shim.listed.is_some_and(|listed| listed.overtaken)
                && matches!(state.shim.worker.step, Working::Paused(_))
        }),
        sometimes(situations::REPEATS_IN_PROCESS, |_, state| meets_repeats(state, RequestState::InProcess)),
        sometimes(situations::REPEATS_ANSWERED, |_, state| meets_repeats(state, RequestState::Answered)),
        sometimes(situations::RACING_EXIT, |_, state| {
            let page = state.shim.worker.page;
            matches!(state.shim.worker.step, Working::Pausing(_))
                && state
                    .xen
                    .vcpus
                    .iter()
                    .any(|vcpu| matches!(*vcpu, Vcpu::Exiting { page: at, .. } if at == page))
        }),
        sometimes(situations::BUSY, |_, state| {
            state.shim.revokers.iter().any(|one| one.step == Revoking::Busy)
        }),
        sometimes(situations::FORCED, |_, state| state.shim.link == Link::Forced),
        sometimes(situations::LENDS_AGAIN, |_, state| {
            state.shim.epoch > 0 && state.xen.entries.iter().any(Option::is_some)
        }),
        sometimes(situations::CONDEMNED, |_, state| {
            let was_deadline = state.shim.link == Link::Condemned(Reason::Deadline);
            was_deadline && state.broker.alive && state.xen.alive
        }),
        sometimes(situations::HELD_BEFORE_ADD, |_, state| {
            state.broker.held && matches!(state.broker.doing, Doing::Adding { .. })
        }),
        sometimes(situations::HELD_BEFORE_REMOVE, |_, state| {
            state.broker.held && matches!(state.broker.doing, Doing::Removing { .. })
        }),
        sometimes(situations::LATE_ACKNOWLEDGEMENT, |_, state| {
            let is_late = |message: &ToLender| match message {
                ToLender::Invalidated { sequence, .. } => *sequence <= state.shim.forced_through,
                _ => false,
            };
            matches!(state.shim.link, Link::Connected | Link::Forced)
                && state.to_lender.first().is_some_and(is_late)
        }),
        sometimes(situations::DEAD_WITH_ENTRIES, |_, state| {
            !state.broker.alive && state.xen.entries.iter().any(Option::is_some)
        }),
        sometimes(situations::SUPERVISED, |_, state| state.world.supervised),
        sometimes(situations::LEFT, |_, state| {
            state.broker.has_left && state.xen.alive && state.xen.server == Server::Destroyed
        }),
        sometimes(situations::GIVEN_UP, |_, state| {
            let mut messages = state.to_broker.iter();
            messages.any(|message| match *message {
                ToBroker::Completed { vcpu, id } => state.broker.given_up[vcpu] & (1 << id) != 0,
                _ => false,
            })
        }),
        sometimes(situations::NO_BORROWER, |_, state| {
            !state.xen.alive
                && matches!(
                    state.broker.doing,
                    Doing::Answering { message: ToLender::Invalidated { removed: false, .. }, .. }
                )
        }),
        sometimes(situations::FAULT_WAITS, |_, state| {
            let posted =
                state.shim.revokers[..CLOSER].iter().any(|one| matches!(one.step, Revoking::Posted { .. }));
            matches!(state.shim.worker.step, Working::Faulting | Working::AccessFaulting) && posted
        }),
    ]
}

fn answered(state: &State, outcome: Outcome) -> bool {
    state.shim.present == Pending::Answered(outcome)
}

fn meets_repeats(state: &State, request: RequestState) -> bool {
    let Some(ToBroker::Present { page, .. }) = state.to_broker.first() else { return false };
    state.xen.vcpus.iter().any(|vcpu| match vcpu {
        Vcpu::Waiting { page: at, repeats: true, state } => at == page && *state == request,
        _ => false,
    })
}

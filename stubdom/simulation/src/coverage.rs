// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which event has met which state of a lease, and what cannot happen.

use std::fmt;

use xenlend_lending::lease::{LeaseEvent, LeaseState};

const STATES: [LeaseState; 3] = [LeaseState::Vacant, LeaseState::Active, LeaseState::Revoking];
const EVENTS: [LeaseEvent; 7] = [
    LeaseEvent::Granted,
    LeaseEvent::Presented,
    LeaseEvent::Invalidated,
    LeaseEvent::PagesLost,
    LeaseEvent::Dropped,
    LeaseEvent::Emptied,
    LeaseEvent::Forced,
];

/// Cells of the table that no history reaches, each with its reason.
pub const IMPOSSIBLE: [(LeaseState, LeaseEvent, &str); 2] = [
    (
        LeaseState::Vacant,
        LeaseEvent::Emptied,
        "only what was being revoked becomes empty: no message says it",
    ),
    (
        LeaseState::Active,
        LeaseEvent::Emptied,
        "Dropped comes first, in the same call: by then it is revoking",
    ),
];

/// How often each event has met each state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    met: [[u64; EVENTS.len()]; STATES.len()],
}

impl Coverage {
    /// An event has met a state.
    pub fn record(&mut self, state: LeaseState, event: LeaseEvent) {
        let state = STATES.iter().position(|other| *other == state);
        let event = EVENTS.iter().position(|other| *other == event);
        if let (Some(state), Some(event)) = (state, event) {
            self.met[state][event] += 1;
        }
    }

    /// Adds another history's.
    pub fn add(&mut self, other: &Self) {
        let pairs = self.met.iter_mut().flatten().zip(other.met.iter().flatten());
        pairs.for_each(|(sum, more)| *sum += more);
    }

    /// Cells that can be reached and were not; and cells that were reached and cannot be.
    pub fn gaps(&self) -> Vec<(LeaseState, LeaseEvent)> {
        let cells = STATES
            .iter()
            .enumerate()
            .flat_map(|(state, _)| (0..EVENTS.len()).map(move |event| (state, event)));
        cells
            .filter(|(state, event)| {
                let impossible =
                    IMPOSSIBLE.iter().any(|(of, with, _)| *of == STATES[*state] && *with == EVENTS[*event]);
                (self.met[*state][*event] > 0) == impossible
            })
            .map(|(state, event)| (STATES[state], EVENTS[event]))
            .collect()
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{:<10}", "")?;
        EVENTS.iter().try_for_each(|event| write!(to, "{:>13}", format!("{event:?}")))?;
        writeln!(to)?;
        for (state, row) in STATES.iter().zip(&self.met) {
            write!(to, "{:<10}", format!("{state:?}"))?;
            for (event, met) in EVENTS.iter().zip(row) {
                let impossible =
                    *met == 0 && IMPOSSIBLE.iter().any(|(of, with, _)| of == state && with == event);
                write!(to, "{:>13}", if impossible { "impossible".to_owned() } else { met.to_string() })?;
            }
            writeln!(to)?;
        }
        IMPOSSIBLE.iter().try_for_each(|(state, event, why)| writeln!(to, "{state:?} x {event:?}: {why}"))
    }
}

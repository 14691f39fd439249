// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which event has met which state of something, and what cannot happen.

use std::fmt::{self, Debug};
use std::marker::PhantomData;

use xenlend_lending::lease::{LeaseEvent, LeaseState};

/// Something that has states and meets events.
pub trait Machine: 'static {
    /// Its states.
    type State: Copy + Debug + PartialEq;
    /// Its events.
    type Event: Copy + Debug + PartialEq;
    /// All of them.
    const STATES: &'static [Self::State];
    /// All of them.
    const EVENTS: &'static [Self::Event];
    /// Cells of the table that no history reaches, each with its reason.
    const IMPOSSIBLE: &'static [(Self::State, Self::Event, &'static str)];
    /// Cells that take some ten million steps, each with the test that has it at once.
    const RARE: &'static [(Self::State, Self::Event, &'static str)];
}

/// How often each event has met each state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table<M> {
    met: Vec<u64>,
    machine: PhantomData<M>,
}

impl<M: Machine> Default for Table<M> {
    fn default() -> Self {
        Self { met: vec![0; M::STATES.len() * M::EVENTS.len()], machine: PhantomData }
    }
}

impl<M: Machine> Table<M> {
    /// An event has met a state.
    pub fn record(&mut self, state: M::State, event: M::Event) {
        let state = M::STATES.iter().position(|other| *other == state);
        let event = M::EVENTS.iter().position(|other| *other == event);
        if let (Some(state), Some(event)) = (state, event) {
            self.met[state * M::EVENTS.len() + event] += 1;
        }
    }

    /// Adds another history's.
    pub fn add(&mut self, other: &Self) {
        self.met.iter_mut().zip(&other.met).for_each(|(sum, more)| *sum += more);
    }

    /// Cells that can be reached and were not; and cells that were reached and cannot be.
    pub fn gaps(&self) -> Vec<(M::State, M::Event)> {
        let cells = M::STATES.iter().flat_map(|state| M::EVENTS.iter().map(|event| (*state, *event)));
        cells
            .zip(&self.met)
            .filter(|(cell, met)| !is_among(M::RARE, *cell) && (**met > 0) == is_among(M::IMPOSSIBLE, *cell))
            .map(|(cell, _)| cell)
            .collect()
    }
}

fn is_among<S: Copy + PartialEq, E: Copy + PartialEq>(cells: &[(S, E, &str)], cell: (S, E)) -> bool {
    cells.iter().any(|other| (other.0, other.1) == cell)
}

impl<M: Machine> fmt::Display for Table<M> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{:<10}", "")?;
        M::EVENTS.iter().try_for_each(|event| write!(to, "{:>13}", format!("{event:?}")))?;
        writeln!(to)?;
        for (state, row) in M::STATES.iter().zip(self.met.chunks(M::EVENTS.len())) {
            write!(to, "{:<10}", format!("{state:?}"))?;
            for (event, met) in M::EVENTS.iter().zip(row) {
                let impossible = *met == 0 && is_among(M::IMPOSSIBLE, (*state, *event));
                write!(to, "{:>13}", if impossible { "impossible".to_owned() } else { met.to_string() })?;
            }
            writeln!(to)?;
        }
        let mut unusual = M::IMPOSSIBLE.iter().chain(M::RARE);
        unusual.try_for_each(|(state, event, why)| writeln!(to, "{state:?} x {event:?}: {why}"))
    }
}

/// The lease machine of the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfLeases;

impl Machine for OfLeases {
    type State = LeaseState;
    type Event = LeaseEvent;
    const STATES: &'static [LeaseState] = &[LeaseState::Vacant, LeaseState::Active, LeaseState::Revoking];
    const EVENTS: &'static [LeaseEvent] = &[
        LeaseEvent::Granted,
        LeaseEvent::Presented,
        LeaseEvent::Invalidated,
        LeaseEvent::PagesLost,
        LeaseEvent::Dropped,
        LeaseEvent::Emptied,
        LeaseEvent::Forced,
    ];
    const IMPOSSIBLE: &'static [(LeaseState, LeaseEvent, &'static str)] = &[
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
    const RARE: &'static [(LeaseState, LeaseEvent, &'static str)] = &[];
}

/// Events and leases.
pub type Coverage = Table<OfLeases>;

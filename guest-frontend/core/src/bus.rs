// SPDX-License-Identifier: MIT OR Apache-2.0
//! The driver's part in the state machine of xenbus.

/// `enum xenbus_state`: there is no such node.
pub const UNKNOWN: u32 = 0;
/// `enum xenbus_state`
pub const INITIALISING: u32 = 1;
/// `enum xenbus_state`
pub const INIT_WAIT: u32 = 2;
/// `enum xenbus_state`
pub const INITIALISED: u32 = 3;
/// `enum xenbus_state`
pub const CONNECTED: u32 = 4;
/// `enum xenbus_state`
pub const CLOSING: u32 = 5;
/// `enum xenbus_state`
pub const CLOSED: u32 = 6;

/// How far the driver is with its device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Waits for a backend that waits for it.
    #[default]
    Waiting,
    /// Has named its grants and its port.
    Named,
    /// Has seen the backend connected.
    Connected,
    /// Has said that it closes; its pages stay until the backend has let go of them.
    Parting,
    /// Has failed: a new probe is needed.
    Failed,
}

/// What to do about the backend's new state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Nothing,
    /// Make pages and a port, name them, say Initialised.
    Connect,
    /// Say Connected.
    Announce,
    /// Zap everything and say Closing.
    Part,
    /// The backend has let go: zap what is left, free the pages, say Closed.
    Free,
    /// As `Free`, then as `Connect`.
    FreeAndConnect,
}

/// What the backend's state means; one that is not known counts as closed, for a backend that is gone
/// has none.
#[must_use]
pub fn on_backend(phase: Phase, backend: u32) -> Step {
    match (phase, backend) {
        (Phase::Waiting, INIT_WAIT) => Step::Connect,
        // It may have closed and begun anew before anybody looked.
        (Phase::Parting | Phase::Connected, INIT_WAIT) => Step::FreeAndConnect,
        (Phase::Named, CONNECTED) => Step::Announce,
        (Phase::Named | Phase::Connected, CLOSING) => Step::Part,
        (Phase::Waiting, _) | (_, INITIALISING..=CLOSING) => Step::Nothing,
        // Closed, or gone.
        (Phase::Named | Phase::Connected | Phase::Parting | Phase::Failed, _) => Step::Free,
    }
}

/// Whether a backend has let go of the driver's pages.
#[must_use]
pub fn has_let_go(backend: u32) -> bool {
    !matches!(backend, INITIALISED..=CLOSING)
}

/// Whether a device has to be bound as a new one: its nodes name another backend than the bus
/// knows, and they are complete, since their state is written last.
#[must_use]
pub fn is_another(is_replaced: bool, own_state: impl FnOnce() -> u32) -> bool {
    is_replaced && own_state() != UNKNOWN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_bound_anew_when_the_nodes_of_another_are_complete() {
        // Whatever this driver has written into them before it noticed.
        let bound: Vec<u32> = (0..9).filter(|state| is_another(true, || *state)).collect();
        assert_eq!(bound, (1..9).collect::<Vec<_>>());
        assert!((0..9).all(|state| !is_another(false, || state)), "they name its backend");
    }

    #[test]
    fn every_state_of_the_backend_means_something_in_every_phase() {
        use Phase::{Connected, Failed, Named, Parting, Waiting};
        use Step::{Announce, Connect, Free, FreeAndConnect, Nothing, Part};
        // Unknown, Initialising, InitWait, Initialised, Connected, Closing, Closed, Reconfiguring
        let table = [
            (Waiting, [Nothing, Nothing, Connect, Nothing, Nothing, Nothing, Nothing, Nothing]),
            (Named, [Free, Nothing, Nothing, Nothing, Announce, Part, Free, Free]),
            (Connected, [Free, Nothing, FreeAndConnect, Nothing, Nothing, Part, Free, Free]),
            (Parting, [Free, Nothing, FreeAndConnect, Nothing, Nothing, Nothing, Free, Free]),
            (Failed, [Free, Nothing, Nothing, Nothing, Nothing, Nothing, Free, Free]),
        ];
        for (phase, steps) in table {
            for (state, step) in steps.into_iter().enumerate() {
                assert_eq!(on_backend(phase, state as u32), step, "{phase:?} {state}");
            }
        }
    }

    #[test]
    fn pages_are_kept_while_a_backend_may_have_them() {
        let kept: Vec<u32> = (0..9).filter(|state| !has_let_go(*state)).collect();
        assert_eq!(kept, [INITIALISED, CONNECTED, CLOSING]);
    }
}

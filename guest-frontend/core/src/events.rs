// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the event stream of the driver tells.

use xenlend_event_log::Logged;
pub use xenlend_event_log::{Cursor, EventLog};

/// What `read()` gives: `struct xenlend_guest_event`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// One of the kinds below.
    pub kind: u32,
    /// Depends on the kind.
    pub status: u32,
    /// First byte of the aperture that is concerned.
    pub offset: u64,
    /// How many bytes are.
    pub bytes: u64,
    /// Depends on the kind.
    pub value: u64,
}

/// `XENLEND_GUEST_EVENT_CONNECTED`
pub const CONNECTED: u32 = 1;
/// `XENLEND_GUEST_EVENT_LEASE`
pub const LEASE: u32 = 2;
/// `XENLEND_GUEST_EVENT_ENDED`
pub const ENDED: u32 = 3;
/// `XENLEND_GUEST_EVENT_REVOKED`
pub const REVOKED: u32 = 4;
/// `XENLEND_GUEST_EVENT_LOST`
pub const LOST: u32 = 5;
/// `XENLEND_GUEST_EVENT_CLOSING`
pub const CLOSING: u32 = 6;
/// `XENLEND_GUEST_EVENT_PREFAULTED`
pub const PREFAULTED: u32 = 7;
/// `XENLEND_GUEST_EVENT_LOOK_AGAIN`
pub const LOOK_AGAIN: u32 = 8;

/// Events that are kept.
pub const MAX_EVENTS: usize = 256;

impl Logged for Event {
    fn missed(count: u64) -> Self {
        Self { kind: LOOK_AGAIN, value: count, ..Self::default() }
    }
}

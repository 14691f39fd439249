// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the event stream of a link tells.

use xenlend_event_log::Logged;
pub use xenlend_event_log::{Cursor, EventLog};

/// What `read()` gives: `struct xenlend_event`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// `XENLEND_EVENT_*`.
    pub kind: u32,
    /// Region slot, where one is concerned.
    pub slot: u32,
    /// First byte of the borrower's address space, where one is concerned.
    pub address: u64,
    /// Depends on the kind.
    pub value: u64,
}

/// `XENLEND_EVENT_CONNECTED`
pub const CONNECTED: u32 = 1;
/// `XENLEND_EVENT_LOST`
pub const LOST: u32 = 2;
/// `XENLEND_EVENT_BROKER_FORCED`
pub const BROKER_FORCED: u32 = 3;
/// `XENLEND_EVENT_BROKER_CONDEMNED`
pub const BROKER_CONDEMNED: u32 = 4;
/// `XENLEND_EVENT_DETACHED`
pub const DETACHED: u32 = 5;
/// `XENLEND_EVENT_REFUSED`
pub const REFUSED: u32 = 6;
/// `XENLEND_EVENT_OVERFLOW`
pub const OVERFLOW: u32 = 7;
/// The highest.
pub const LAST: u32 = OVERFLOW;

impl Logged for Event {
    fn missed(count: u64) -> Self {
        Self { kind: OVERFLOW, slot: 0, address: 0, value: count }
    }
}

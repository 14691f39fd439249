// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the interrupt handler of a link holds.

use crate::kernel_api::event_channel::Port;

/// A link's port; its state is the driver's.
pub struct Link {
    /// The broker binds to it.
    pub port: Port,
}

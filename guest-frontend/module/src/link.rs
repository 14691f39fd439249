// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the interrupt handler of a link holds.

use core::sync::atomic::{AtomicBool, Ordering};

use crate::kernel_api::event_channel::Port;
use crate::kernel_api::work;

/// A link's port; its state is the driver's.
pub struct Link {
    /// The broker binds to it.
    pub port: Port,
    /// Something has come since the last event.
    has_come: AtomicBool,
}

impl Link {
    /// Of a link that has just been made.
    pub fn new(port: Port) -> Self {
        Self { port, has_come: AtomicBool::new(true) }
    }

    /// In the event handler. False if nothing has come since the event before: a broker that
    /// notifies for nothing gets its events later.
    pub fn on_event(&self) -> bool {
        work::queue();
        self.has_come.swap(false, Ordering::Relaxed)
    }

    /// The work item has found something.
    pub fn note_message(&self) {
        self.has_come.store(true, Ordering::Relaxed);
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The event channel of a link.

use core::ffi::{c_int, c_void};
use core::sync::atomic::{AtomicBool, Ordering};

use super::ffi;
use super::shared::Shared;
use crate::errno::Errno;
use crate::link::Link;

/// A port that the broker binds to. Closed with its interrupt, or when it goes if it never got one.
pub struct Port {
    number: u32,
    has_interrupt: AtomicBool,
}

impl Port {
    /// Allocates one for a domain.
    pub fn new(remote: u16) -> Result<Self, Errno> {
        // SAFETY: a hypercall with its own buffer.
        match unsafe { ffi::xenlend_event_channel_new(remote) } {
            port @ 1.. => Ok(Self { number: port as u32, has_interrupt: AtomicBool::new(false) }),
            error => Err(Errno::from_kernel(error)),
        }
    }

    /// Its number.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Notifies the other end. Does not sleep.
    pub fn notify(&self) {
        // SAFETY: a port that is not bound, or closed, is told in vain.
        unsafe { ffi::xenlend_event_channel_notify(self.number) };
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        if !*self.has_interrupt.get_mut() {
            // SAFETY: allocated by `new`, and nobody else closes it: it never had an interrupt.
            unsafe { ffi::xenlend_event_channel_close(self.number) };
        }
    }
}

/// The interrupt handler of a port. Holds the link that it works for.
pub struct Handler {
    irq: c_int,
    link: Option<Shared<Link>>,
}

impl Handler {
    /// Starts to handle events of the link's port.
    pub fn bind(link: &Shared<Link>) -> Result<Self, Errno> {
        let raw: *mut c_void = link.as_raw();
        let port = link.port.number();
        // SAFETY: the port is ours and open.
        let irq = match unsafe { ffi::xenlend_event_channel_bind(port) } {
            irq @ 1.. => irq,
            error => return Err(Errno::from_kernel(error)),
        };
        // Whatever closes the interrupt closes the port: a second close could hit somebody else's.
        link.port.has_interrupt.store(true, Ordering::Relaxed);
        // SAFETY: the handler runs until `unbind`, and the value holds the link until then.
        match unsafe { ffi::xenlend_event_channel_handle_irq(irq, raw) } {
            0 => Ok(Self { irq, link: Some(link.clone()) }),
            error => {
                // SAFETY: bound above, and nobody handles it.
                unsafe { ffi::xenlend_event_channel_put(port) };
                Err(Errno::from_kernel(error))
            }
        }
    }
}

impl Drop for Handler {
    fn drop(&mut self) {
        if let Some(link) = self.link.take() {
            // SAFETY: bound by `bind` with this link; waits for running handlers and closes the port.
            unsafe { ffi::xenlend_event_channel_unbind(self.irq, link.as_raw()) };
        }
    }
}

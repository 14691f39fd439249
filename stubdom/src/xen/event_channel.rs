// SPDX-License-Identifier: MIT OR Apache-2.0
//! Event channels, two-level interface, never delivered: the domain polls.

use core::mem::zeroed;

use heapless::Vec;
use xenlend_xen_abi::event_channel::{
    evtchn_bind_interdomain, evtchn_close, evtchn_send, evtchn_status, Port, BIND_INTERDOMAIN, CLOSE, SEND,
    STATUS, STATUS_INTERDOMAIN,
};
use xenlend_xen_abi::hypercall::EVENT_CHANNEL_OP;
use xenlend_xen_abi::sched::POLL_PORTS_MAX;
use xenlend_xen_abi::{DomainId, DOMID_SELF};

use super::hypercall::operate;
use super::{sched, shared_info};
use crate::start_error::StartError;

/// Binds a port of this domain to one that another domain offers.
///
/// # Errors
/// Xen's error number.
pub fn bind(remote_domain: DomainId, remote_port: Port) -> Result<Port, u16> {
    let mut call = evtchn_bind_interdomain { remote_dom: remote_domain, remote_port, local_port: 0 };
    // SAFETY: the call takes the structure only.
    unsafe { operate(EVENT_CHANNEL_OP, u64::from(BIND_INTERDOMAIN), &mut call) }?;
    Ok(call.local_port)
}

/// Notifies the other end. To a closed one it goes nowhere, which is no error.
pub fn notify(port: Port) {
    let mut call = evtchn_send { port };
    // SAFETY: the call takes the structure only.
    let result = unsafe { operate(EVENT_CHANNEL_OP, u64::from(SEND), &mut call) };
    assert!(result.is_ok(), "EVTCHNOP_send to port {port}: {result:?}");
}

/// Closes a port of this domain.
pub fn close(port: Port) {
    let mut call = evtchn_close { port };
    // SAFETY: the call takes the structure only.
    let result = unsafe { operate(EVENT_CHANNEL_OP, u64::from(CLOSE), &mut call) };
    assert!(result.is_ok(), "EVTCHNOP_close of port {port}: {result:?}");
    // What came last is nobody's business any more.
    shared_info::take_pending(port);
}

/// Whether the other end still exists.
pub fn is_connected(port: Port) -> bool {
    // SAFETY: plain numbers; all zero is a value.
    let mut call: evtchn_status = unsafe { zeroed() };
    call.dom = DOMID_SELF;
    call.port = port;
    // SAFETY: the call takes the structure only.
    let result = unsafe { operate(EVENT_CHANNEL_OP, u64::from(STATUS), &mut call) };
    result.is_ok() && call.status == STATUS_INTERDOMAIN
}

/// The ports that the event loop waits for.
#[derive(Default)]
pub struct WaitSet {
    ports: Vec<Port, POLL_PORTS_MAX>,
    /// Whether the last one is the borrower's link.
    has_borrower: bool,
}

impl WaitSet {
    /// Adds a port.
    ///
    /// # Errors
    /// If there are more than Xen polls at once.
    pub fn add(&mut self, port: Port) -> Result<(), StartError> {
        self.ports.push(port).map_err(|_| StartError::Configuration("more than 128 event channels"))
    }

    /// The port of the borrower's link, while there is one. Room for it is kept by the bound on vCPUs.
    pub fn set_borrower(&mut self, port: Option<Port>) {
        if self.has_borrower {
            self.ports.pop();
        }
        self.has_borrower = port.is_some_and(|port| self.ports.push(port).is_ok());
    }

    /// Number of ports.
    pub fn len(&self) -> usize {
        self.ports.len()
    }

    /// Forgets what has been announced so far; to be called before looking at what there is to do.
    pub fn clear(&self) {
        for &port in &self.ports {
            shared_info::take_pending(port);
        }
    }

    /// Sleeps until a port is pending (at once if one already is) or the system time is reached.
    pub fn wait(&mut self, until_ns: u64) {
        sched::poll(&mut self.ports, until_ns);
    }
}

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
}

impl WaitSet {
    /// Begins anew: whoever is to be waited for is added in each turn.
    pub fn restart(&mut self) {
        self.ports.clear();
    }

    /// Adds a port. Whoever opens one keeps to the bound.
    pub fn add(&mut self, port: Port) {
        assert!(self.ports.push(port).is_ok(), "more than {POLL_PORTS_MAX} event channels");
    }

    /// Forgets what has been announced so far; to be called before looking at what there is to do. A port that
    /// is added later keeps what it has, and the next wait ends at once.
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

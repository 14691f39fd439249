// SPDX-License-Identifier: MIT OR Apache-2.0
//! Waiting and ending.

use xenlend_xen_abi::event_channel::Port;
use xenlend_xen_abi::hypercall::SCHED_OP;
use xenlend_xen_abi::sched::{sched_poll, sched_shutdown, POLL, SHUTDOWN, SHUTDOWN_CRASH, SHUTDOWN_POWEROFF};

use super::hypercall::operate;

/// Sleeps in Xen until one of these ports is pending or the system time is reached (0: no limit). May
/// return early: callers look at what they wait for.
///
/// With no port listed Xen can lose a wake-up (`xen/common/sched/core.c:do_poll`): there must be one.
pub fn poll(ports: &mut [Port], until_ns: u64) {
    assert!(!ports.is_empty());
    let mut call = sched_poll { ports: ports.as_mut_ptr(), nr_ports: ports.len() as u32, timeout: until_ns };
    // SAFETY: Xen reads the ports during the call only.
    let result = unsafe { operate(SCHED_OP, u64::from(POLL), &mut call) };
    assert!(result.is_ok(), "SCHEDOP_poll: {result:?}");
}

/// Ends the domain as crashed.
pub fn shutdown_crash() -> ! {
    shutdown(SHUTDOWN_CRASH)
}

/// Ends the domain because its work is done.
pub fn power_off() -> ! {
    shutdown(SHUTDOWN_POWEROFF)
}

fn shutdown(reason: u32) -> ! {
    let mut call = sched_shutdown { reason };
    loop {
        // SAFETY: the call takes the structure only; it does not return.
        let _ = unsafe { operate(SCHED_OP, u64::from(SHUTDOWN), &mut call) };
    }
}

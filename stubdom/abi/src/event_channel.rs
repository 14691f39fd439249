// SPDX-License-Identifier: MIT OR Apache-2.0
//! `EVTCHNOP_*` (`public/event_channel.h`), numbers and layouts from `xen-sys`.

pub use xen_sys::{evtchn_bind_interdomain, evtchn_close, evtchn_send, evtchn_status};

/// A port of this domain (`evtchn_port_t`).
pub type Port = u32;

/// `EVTCHNOP_bind_interdomain`.
pub const BIND_INTERDOMAIN: u32 = xen_sys::EVTCHNOP_bind_interdomain;
/// `EVTCHNOP_close`.
pub const CLOSE: u32 = xen_sys::EVTCHNOP_close;
/// `EVTCHNOP_send`.
pub const SEND: u32 = xen_sys::EVTCHNOP_send;
/// `EVTCHNOP_status`.
pub const STATUS: u32 = xen_sys::EVTCHNOP_status;
/// `EVTCHNSTAT_interdomain`: bound to a port of another domain.
pub const STATUS_INTERDOMAIN: u32 = xen_sys::EVTCHNSTAT_interdomain;
/// Ports of the two-level interface (`EVTCHN_2L_NR_CHANNELS`).
pub const TWO_LEVEL_PORTS: u32 = 4096;

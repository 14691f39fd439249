// SPDX-License-Identifier: MIT OR Apache-2.0
//! HVM parameters (`public/hvm/params.h`, `public/hvm/hvm_op.h`): where a PVH domain finds its rings.

use crate::DomainId;

/// `HVMOP_get_param`.
pub const GET_PARAM: u32 = 1;
/// `HVM_PARAM_STORE_PFN`: frame of the xenstore ring.
pub const PARAM_STORE_PFN: u32 = 1;
/// `HVM_PARAM_STORE_EVTCHN`: its port.
pub const PARAM_STORE_EVTCHN: u32 = 2;
/// `HVM_PARAM_CONSOLE_PFN`: frame of the console ring.
pub const PARAM_CONSOLE_PFN: u32 = 17;
/// `HVM_PARAM_CONSOLE_EVTCHN`: its port.
pub const PARAM_CONSOLE_EVTCHN: u32 = 18;
/// `XEN_HVM_DEBUGCONS_IOPORT`: bytes written here land in Xen's own log.
pub const DEBUG_CONSOLE_PORT: u16 = xen_sys::XEN_HVM_DEBUGCONS_IOPORT as u16;

/// `struct xen_hvm_param`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct HvmParam {
    /// Whose.
    pub domid: DomainId,
    /// Zero.
    pub pad: u16,
    /// `PARAM_*`.
    pub index: u32,
    /// Out.
    pub value: u64,
}

const _: () = assert!(core::mem::size_of::<HvmParam>() == 16);

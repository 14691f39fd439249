// SPDX-License-Identifier: MIT OR Apache-2.0
//! `XEN_DOMCTL_*` (`public/domctl.h`): Xen's tool interface. It is not stable: every call carries the
//! interface version (`version.rs`), and Xen refuses all but its own with EACCES.

#[cfg(feature = "layouts")]
mod call;

#[cfg(feature = "layouts")]
pub use call::{DomainInfo, Domctl, IomemPermission, MemoryMapping, SetTarget, PAYLOAD_BYTES};

/// `XEN_DOMCTL_destroydomain`.
pub const DESTROYDOMAIN: u32 = 2;
/// `XEN_DOMCTL_pausedomain`.
pub const PAUSEDOMAIN: u32 = 3;
/// `XEN_DOMCTL_unpausedomain`.
pub const UNPAUSEDOMAIN: u32 = 4;
/// `XEN_DOMCTL_getdomaininfo`.
pub const GETDOMAININFO: u32 = 5;
/// `XEN_DOMCTL_iomem_permission`.
pub const IOMEM_PERMISSION: u32 = 20;
/// `XEN_DOMCTL_memory_mapping`.
pub const MEMORY_MAPPING: u32 = 39;
/// `XEN_DOMCTL_set_target`.
pub const SET_TARGET: u32 = 46;
/// `XEN_DOMCTL_get_device_group`.
pub const GET_DEVICE_GROUP: u32 = 50;
/// `DPCI_ADD_MAPPING`: `add_mapping` of `struct xen_domctl_memory_mapping` when entries are added.
pub const ADD_MAPPING: u32 = 1;
/// `DPCI_REMOVE_MAPPING`.
pub const REMOVE_MAPPING: u32 = 0;
/// `XEN_DOMINF_dying`.
pub const DOMINF_DYING: u32 = 1 << 0;
/// `XEN_DOMINF_hvm_guest`.
pub const DOMINF_HVM_GUEST: u32 = 1 << 1;
/// `XEN_DOMINF_shutdown`.
pub const DOMINF_SHUTDOWN: u32 = 1 << 2;
/// `XEN_DOMINF_paused`.
pub const DOMINF_PAUSED: u32 = 1 << 3;

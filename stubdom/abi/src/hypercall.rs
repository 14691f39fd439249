// SPDX-License-Identifier: MIT OR Apache-2.0
//! Hypercall numbers (`public/xen.h`), from `xen-sys`.

/// `memory_op`: physmap and resources.
pub const MEMORY_OP: u32 = xen_sys::__HYPERVISOR_memory_op;
/// `xen_version`.
pub const XEN_VERSION: u32 = xen_sys::__HYPERVISOR_xen_version;
/// `grant_table_op`.
pub const GRANT_TABLE_OP: u32 = xen_sys::__HYPERVISOR_grant_table_op;
/// `sched_op`: poll and shutdown.
pub const SCHED_OP: u32 = xen_sys::__HYPERVISOR_sched_op;
/// `event_channel_op`.
pub const EVENT_CHANNEL_OP: u32 = xen_sys::__HYPERVISOR_event_channel_op;
/// `hvm_op`: HVM parameters.
pub const HVM_OP: u32 = xen_sys::__HYPERVISOR_hvm_op;
/// `domctl`: not a stable interface, see [`crate::domctl`].
pub const DOMCTL: u32 = xen_sys::__HYPERVISOR_domctl;
/// `dm_op`: device emulation for another domain.
pub const DM_OP: u32 = xen_sys::__HYPERVISOR_dm_op;
/// Bytes of one entry of the hypercall page.
pub const HYPERCALL_PAGE_ENTRY_BYTES: usize = 32;

/// CPUID leaf at which Xen's own leaves may begin, in steps of [`CPUID_STEP`].
pub const CPUID_FIRST: u32 = 0x4000_0000;
/// Distance between the candidate leaves.
pub const CPUID_STEP: u32 = 0x100;
/// Last candidate.
pub const CPUID_LAST: u32 = 0x4001_0000;
/// "XenVMMXenVMM" as CPUID returns it in ebx, ecx, edx.
pub const CPUID_SIGNATURE: [u32; 3] = [0x566e_6558, 0x6558_4d4d, 0x4d4d_566e];

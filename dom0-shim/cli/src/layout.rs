// SPDX-License-Identifier: MIT OR Apache-2.0
//! The structures of `xenlend.h`, byte for byte.
//!
//! `tests/header.rs` compiles the header and compares every offset.

use serde::{Deserialize, Serialize};

/// `XENLEND_RING_REFS`: grants for the broker.
pub const RING_REFS: usize = 3;
/// `XENLEND_MAX_REGIONS`: slots of one borrower.
pub const MAX_REGIONS: u32 = 64;
/// `XENLEND_LABEL_BYTES`: a label and the zeros behind it.
pub const LABEL_BYTES: usize = 32;
/// `XENLEND_APERTURE_DEFAULT_LIMIT`: bytes of an aperture, unless the administrator allows more.
pub const APERTURE_DEFAULT_LIMIT: u64 = 1 << 30;
/// `XENLEND_APERTURE_MAX`: the most that may be allowed, in bytes.
pub const APERTURE_MAX: u64 = 64 << 30;
/// `XENLEND_ATTACH_CHECK`: verify every acknowledgement.
pub const ATTACH_CHECK: u32 = 1 << 0;
/// `XENLEND_STATUS_LEND_AWARE`: Xen knows lent frames.
pub const STATUS_LEND_AWARE: u32 = 1 << 16;
/// `XENLEND_REGION_READONLY`: refused on stock Xen.
pub const REGION_READONLY: u32 = 1 << 1;
/// `XENLEND_REGION_LOSS_FAULT`: lost pages fault instead of reading as zeros.
pub const REGION_LOSS_FAULT: u32 = 1 << 8;
/// `XENLEND_REGION_WRITE_BACK`: refused on stock Xen.
pub const REGION_WRITE_BACK: u32 = 1 << 9;

/// `XENLEND_RESOLVE_RETRY`: look again.
pub const RESOLVE_RETRY: u32 = 1;
/// `XENLEND_RESOLVE_LOSS`: nothing will come of it.
pub const RESOLVE_LOSS: u32 = 2;

/// `XENLEND_FRONTEND_NONE`.
pub const FRONTEND_NONE: u32 = 0;
/// `XENLEND_FRONTEND_GRANT`: a grant could not be mapped.
pub const FRONTEND_GRANT: u32 = 1;
/// `XENLEND_FRONTEND_EVENT_CHANNEL`: the port could not be bound.
pub const FRONTEND_EVENT_CHANNEL: u32 = 2;
/// `XENLEND_FRONTEND_IN_USE`.
pub const FRONTEND_IN_USE: u32 = 3;

/// `XENLEND_EVENT_CONNECTED`.
pub const EVENT_CONNECTED: u32 = 1;
/// `XENLEND_EVENT_LOST`.
pub const EVENT_LOST: u32 = 2;
/// `XENLEND_EVENT_BROKER_FORCED`.
pub const EVENT_BROKER_FORCED: u32 = 3;
/// `XENLEND_EVENT_BROKER_CONDEMNED`.
pub const EVENT_BROKER_CONDEMNED: u32 = 4;
/// `XENLEND_EVENT_DETACHED`.
pub const EVENT_DETACHED: u32 = 5;
/// `XENLEND_EVENT_REFUSED`.
pub const EVENT_REFUSED: u32 = 6;
/// `XENLEND_EVENT_OVERFLOW`.
pub const EVENT_OVERFLOW: u32 = 7;

/// `struct xenlend_attach`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs, reason = "documented in the header")]
pub struct Attach {
    pub borrower: u16,
    pub broker: u16,
    pub flags: u32,
    pub aperture_address: u64,
    pub aperture_size: u64,
    pub deadline_ms: u32,
    pub vcpus: u32,
    pub ring_refs: [u32; RING_REFS],
    pub event_channel: u32,
    pub aperture_limit: u64,
}

/// `struct xenlend_xen`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs, reason = "documented in the header")]
pub struct Xen {
    pub borrower: u16,
    pub reserved: u16,
    pub flags: u32,
}

/// `struct xenlend_detach`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs, reason = "documented in the header")]
pub struct Detach {
    pub borrower: u16,
    pub reserved: [u16; 3],
}

/// `struct xenlend_allow_bar`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs, reason = "documented in the header")]
pub struct AllowBar {
    pub borrower: u16,
    pub bar: u8,
    pub devfn: u8,
    pub segment: u32,
    pub bus: u32,
    pub reserved: u32,
    pub frames: u64,
}

/// `struct xenlend_bind`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs, reason = "documented in the header")]
pub struct Bind {
    pub borrower: u16,
    pub reserved: [u16; 3],
}

/// `struct xenlend_attach_frontend`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs, reason = "documented in the header")]
pub struct AttachFrontend {
    pub borrower: u16,
    pub reserved: [u16; 3],
    pub ring_refs: [u32; RING_REFS],
    pub event_channel: u32,
    pub failure: u32,
    pub failure_errno: u32,
}

/// `struct xenlend_detach_frontend`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs, reason = "documented in the header")]
pub struct DetachFrontend {
    pub borrower: u16,
    pub reserved: [u16; 3],
}

/// `struct xenlend_region`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs, reason = "documented in the header")]
pub struct RawRegion {
    pub slot: u32,
    pub flags: u32,
    pub guest_phys_addr: u64,
    pub memory_size: u64,
    pub userspace_addr: u64,
}

/// `struct xenlend_region2`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs, reason = "documented in the header")]
pub struct RawRegion2 {
    pub slot: u32,
    pub flags: u32,
    pub guest_phys_addr: u64,
    pub memory_size: u64,
    pub userspace_addr: u64,
    pub label: [u8; LABEL_BYTES],
}

/// `struct xenlend_region_info`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs, reason = "documented in the header")]
pub struct RawRegionInfo {
    pub borrower: u16,
    pub reserved: u16,
    pub slot: u32,
    pub flags: u32,
    pub reserved2: u32,
    pub guest_phys_addr: u64,
    pub memory_size: u64,
    pub label: [u8; LABEL_BYTES],
}

/// `struct xenlend_resolve`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs, reason = "documented in the header")]
pub struct RawResolve {
    pub slot: u32,
    pub answer: u32,
    pub guest_phys_addr: u64,
    pub memory_size: u64,
}

/// `struct xenlend_event`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "documented in the header")]
pub struct RawEvent {
    pub kind: u32,
    pub slot: u32,
    pub address: u64,
    pub value: u64,
}

/// `struct xenlend_counters`: cumulative counts of one link.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "documented in the header")]
pub struct Counters {
    pub invalidations: u64,
    pub unrelated_invalidations: u64,
    pub revoked_pages: u64,
    pub stage2_faults: u64,
    pub page_ins: u64,
    pub adds_2mib: u64,
    pub adds_4kib: u64,
    pub laters: u64,
    pub retries: u64,
    pub migrations_to_vram: u64,
    pub migrations_to_ram: u64,
    pub dom0_mapping_hypercalls: u64,
    pub pause_brackets: u64,
    pub messages_sent: u64,
    pub messages_received: u64,
    pub forced_revocations: u64,
    pub lies: u64,
    pub deny_failures: u64,
    pub lost_pages: u64,
    pub refused_frames: u64,
    pub present_pages: u64,
    pub lent_bytes: u64,
    pub revoke_ns_max: u64,
    pub revoke_ns_p50: u64,
    pub revoke_ns_p99: u64,
    pub wants: u64,
    pub borrower_attached: u64,
}

/// `struct xenlend_version`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "documented in the header")]
pub struct Version {
    pub version: u32,
    pub oldest: u32,
}

/// `struct xenlend_capability`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "documented in the header")]
pub struct Capability {
    pub capability: u32,
    pub reserved: u32,
    pub value: u64,
}

/// `XENLEND_API_VERSION`
pub const API_VERSION: u32 = 2;
/// `XENLEND_CAP_SLOTS`
pub const CAP_SLOTS: u32 = 1;
/// `XENLEND_CAP_LABEL_BYTES`
pub const CAP_LABEL_BYTES: u32 = 2;
/// `XENLEND_CAP_REGION_FLAGS`
pub const CAP_REGION_FLAGS: u32 = 3;
/// `XENLEND_CAP_LAST_EVENT`
pub const CAP_LAST_EVENT: u32 = 4;
/// `XENLEND_CAP_COUNTERS`
pub const CAP_COUNTERS: u32 = 5;
/// `XENLEND_CAP_RESOLVE`
pub const CAP_RESOLVE: u32 = 6;

/// `struct xenlend_status`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs, reason = "documented in the header")]
pub struct Status {
    pub borrower: u16,
    pub broker: u16,
    pub next: u16,
    pub state: u16,
    pub reason: u32,
    pub regions: u32,
    pub protocol_version: u32,
    pub flags: u32,
    pub aperture_address: u64,
    pub aperture_size: u64,
    pub counters: Counters,
}

const _: () = assert!(size_of::<Attach>() == 56);
const _: () = assert!(size_of::<Xen>() == 8);
const _: () = assert!(size_of::<Detach>() == 8);
const _: () = assert!(size_of::<AllowBar>() == 24);
const _: () = assert!(size_of::<Bind>() == 8);
const _: () = assert!(size_of::<RawRegion>() == 32);
const _: () = assert!(size_of::<RawRegion2>() == 64);
const _: () = assert!(size_of::<RawRegionInfo>() == 64);
const _: () = assert!(size_of::<RawResolve>() == 24);
const _: () = assert!(size_of::<RawEvent>() == 24);
const _: () = assert!(size_of::<AttachFrontend>() == 32);
const _: () = assert!(size_of::<DetachFrontend>() == 8);
const _: () = assert!(size_of::<Counters>() == 216);
const _: () = assert!(size_of::<Status>() == 256);

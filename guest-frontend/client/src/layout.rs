// SPDX-License-Identifier: MIT OR GPL-2.0 WITH Linux-syscall-note
//! The structures and numbers of `xenlend-guest.h`, byte for byte.
//!
//! `tests/header.rs` compiles the header and compares every offset.

use rustix::ioctl::{opcode, Opcode};

/// `XENLEND_GUEST_IOC_MAGIC`
pub const MAGIC: u8 = 0xC5;
/// `XENLEND_GUEST_INFO`
pub const INFO: Opcode = opcode::read::<RawInfo>(MAGIC, 0x20);
/// `XENLEND_GUEST_GET_LEASES`
pub const GET_LEASES: Opcode = opcode::read_write::<RawLeases>(MAGIC, 0x24);
/// `XENLEND_GUEST_PREFAULT`
pub const PREFAULT: Opcode = opcode::write::<RawPrefault>(MAGIC, 0x22);
/// `XENLEND_GUEST_COUNTERS`
pub const COUNTERS: Opcode = opcode::read::<Counters>(MAGIC, 0x23);

/// `XENLEND_GUEST_LABEL_BYTES`
pub const LABEL_BYTES: usize = 32;
/// `XENLEND_GUEST_CAP_MAP_TYPES`
pub const CAP_MAP_TYPES: u64 = 1 << 0;
/// `XENLEND_GUEST_MAP_COHERENT`
pub const MAP_COHERENT: u64 = 1 << 61;
/// `XENLEND_GUEST_MAP_UNCACHED`
pub const MAP_UNCACHED: u64 = 1 << 60;

/// `XENLEND_GUEST_LEASE_WRITABLE`
pub const LEASE_WRITABLE: u32 = 1 << 0;
/// `XENLEND_GUEST_LEASE_LOSS_FAULT`
pub const LEASE_LOSS_FAULT: u32 = 1 << 1;
/// `XENLEND_GUEST_LEASE_WRITE_BACK`
pub const LEASE_WRITE_BACK: u32 = 1 << 2;

/// `XENLEND_GUEST_EVENT_CONNECTED`
pub const EVENT_CONNECTED: u32 = 1;
/// `XENLEND_GUEST_EVENT_LEASE`
pub const EVENT_LEASE: u32 = 2;
/// `XENLEND_GUEST_EVENT_ENDED`
pub const EVENT_ENDED: u32 = 3;
/// `XENLEND_GUEST_EVENT_REVOKED`
pub const EVENT_REVOKED: u32 = 4;
/// `XENLEND_GUEST_EVENT_LOST`
pub const EVENT_LOST: u32 = 5;
/// `XENLEND_GUEST_EVENT_CLOSING`
pub const EVENT_CLOSING: u32 = 6;
/// `XENLEND_GUEST_EVENT_PREFAULTED`
pub const EVENT_PREFAULTED: u32 = 7;
/// `XENLEND_GUEST_EVENT_LOOK_AGAIN`
pub const EVENT_LOOK_AGAIN: u32 = 8;

/// `struct xenlend_guest_info`
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs, reason = "documented in the header")]
pub struct RawInfo {
    pub api_version: u32,
    pub state: u32,
    pub aperture_address: u64,
    pub aperture_bytes: u64,
    pub capabilities: u64,
}

/// `struct xenlend_guest_lease`
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs, reason = "documented in the header")]
pub struct RawLease {
    pub index: u32,
    pub generation: u32,
    pub serial: u64,
    pub offset: u64,
    pub bytes: u64,
    pub flags: u32,
    pub reserved: u32,
    pub label: [u8; LABEL_BYTES],
}

/// `struct xenlend_guest_leases`
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs, reason = "documented in the header")]
pub struct RawLeases {
    pub leases: u64,
    pub capacity: u32,
    pub count: u32,
    pub lease_bytes: u32,
    pub reserved: u32,
}

/// `struct xenlend_guest_prefault`
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs, reason = "documented in the header")]
pub struct RawPrefault {
    pub offset: u64,
    pub bytes: u64,
    pub cookie: u64,
}

/// `struct xenlend_guest_event`
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "documented in the header")]
pub struct RawEvent {
    pub kind: u32,
    pub status: u32,
    pub offset: u64,
    pub bytes: u64,
    pub value: u64,
}

/// `struct xenlend_guest_counters`: since the driver was loaded.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "documented in the header")]
pub struct Counters {
    pub guest_page_faults: u64,
    pub zaps: u64,
    pub pages_inserted: u64,
    pub entries_2mib: u64,
    pub waits: u64,
    pub prefaults: u64,
    pub bus_errors: u64,
    pub unavailable: u64,
    pub forced_insertions: u64,
    pub messages_sent: u64,
    pub messages_received: u64,
    pub links: u64,
}

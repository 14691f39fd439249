// SPDX-License-Identifier: MIT OR Apache-2.0
//! The structures of `guest-frontend/uapi/xenlend-guest.h`, to and from the bytes of a process.

pub mod map;
pub mod request;

use xenlend_protocol::frame::PAGE_SIZE;
use xenlend_protocol::label::LABEL_FIELD_BYTES;
use xenlend_protocol::message::{CacheMode, LossPolicy, Rights};

use crate::aperture::Aperture;
use crate::counters::{Counters, COUNT};
use crate::events::Event;
use crate::lease::Lease;
use crate::link::Phase;
use crate::page_set::Pages;

const MAGIC: u32 = 0xC5;
const WRITE: u32 = 1;
const READ: u32 = 2;

const fn request(direction: u32, number: u32, bytes: usize) -> u32 {
    direction << 30 | (bytes as u32) << 16 | MAGIC << 8 | number
}

/// `XENLEND_GUEST_API_VERSION`
pub const API_VERSION: u32 = 3;
/// Bytes of `struct xenlend_guest_info`.
pub const INFO_BYTES: usize = 32;
/// Bytes of `struct xenlend_guest_leases`.
pub const LEASES_BYTES: usize = 24;
/// Bytes of `struct xenlend_guest_lease`.
pub const LEASE_BYTES: usize = 40 + LABEL_FIELD_BYTES;
/// The same in version 2, where a caller does not say it.
const LEASE_BYTES_2: usize = 72;
/// Bytes of `struct xenlend_guest_prefault`.
pub const PREFAULT_BYTES: usize = 24;
/// Bytes of `struct xenlend_guest_event`.
pub const EVENT_BYTES: usize = 32;
/// Bytes of `struct xenlend_guest_counters`.
pub const COUNTERS_BYTES: usize = 8 * COUNT;

/// `XENLEND_GUEST_INFO`
pub const INFO: u32 = request(READ, 0x20, INFO_BYTES);
/// `XENLEND_GUEST_GET_LEASES`
pub const GET_LEASES: u32 = request(READ | WRITE, 0x24, LEASES_BYTES);
/// `XENLEND_GUEST_PREFAULT`
pub const PREFAULT: u32 = request(WRITE, 0x22, PREFAULT_BYTES);
/// `XENLEND_GUEST_COUNTERS`
pub const COUNTERS: u32 = request(READ, 0x23, COUNTERS_BYTES);

/// `XENLEND_GUEST_CAP_MAP_TYPES`: the flags of `mmap()`'s offset.
pub const CAP_MAP_TYPES: u64 = 1 << 0;
/// What this driver can do.
const CAPABILITIES: u64 = CAP_MAP_TYPES;

/// `XENLEND_GUEST_LEASE_WRITABLE`
pub const LEASE_WRITABLE: u32 = 1 << 0;
/// `XENLEND_GUEST_LEASE_LOSS_FAULT`
pub const LEASE_LOSS_FAULT: u32 = 1 << 1;
/// `XENLEND_GUEST_LEASE_WRITE_BACK`
pub const LEASE_WRITE_BACK: u32 = 1 << 2;

/// A request to bring pages in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefaultRequest {
    /// The pages.
    pub pages: Pages,
    /// What the program calls it.
    pub cookie: u64,
}

/// Offset and size in the aperture, in bytes.
#[must_use]
pub fn page_bytes(pages: Pages) -> (u64, u64) {
    let bytes = |count: u32| u64::from(count).saturating_mul(PAGE_SIZE);
    (bytes(pages.first), bytes(pages.count()))
}

/// The pages of a range of bytes of the aperture: page aligned, not empty.
#[must_use]
pub fn pages_of(offset: u64, bytes: u64) -> Option<Pages> {
    if (offset | bytes) % PAGE_SIZE != 0 || bytes == 0 {
        return None;
    }
    let end = offset.checked_add(bytes)?;
    let page = |at: u64| u32::try_from(at / PAGE_SIZE).ok();
    Some(Pages { first: page(offset)?, end: page(end)? })
}

/// `struct xenlend_guest_info`
#[must_use]
pub fn encode_info(link: Option<(Phase, Aperture)>) -> [u8; INFO_BYTES] {
    let state = match link {
        None => 0,
        Some((Phase::New | Phase::Greeting, _)) => 1,
        Some((Phase::Connected, _)) => 2,
        Some((Phase::Closed(_), _)) => 3,
    };
    let (address, bytes) = link.map_or((0, 0), |(_, aperture)| (aperture.address(), aperture.bytes()));
    let mut out = Writer::default();
    out.word(API_VERSION).word(state).double(address).double(bytes).double(CAPABILITIES);
    out.bytes
}

/// Where leases go, of `struct xenlend_guest_leases`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseRoom {
    /// Address of the first.
    pub address: u64,
    /// Room for so many.
    pub capacity: u32,
    /// From one to the next: as large as a lease is in the caller's header.
    pub stride: usize,
}

impl LeaseRoom {
    /// Where a lease goes.
    #[must_use]
    pub fn at(&self, index: usize) -> u64 {
        self.address.wrapping_add((index as u64).wrapping_mul(self.stride as u64))
    }
}

/// Where leases go; `None` if they are of a size that no header has.
#[must_use]
pub fn decode_leases(bytes: &[u8; LEASES_BYTES]) -> Option<LeaseRoom> {
    let stride = match word(bytes, 16) as usize {
        0 => LEASE_BYTES_2,
        stride => stride,
    };
    let fits = (LEASE_BYTES_2..=request::MAX_BYTES).contains(&stride) && stride % request::WORD_BYTES == 0;
    let is_known = fits && word(bytes, 20) == 0;
    is_known.then_some(LeaseRoom { address: double(bytes, 0), capacity: word(bytes, 8), stride })
}

/// `struct xenlend_guest_leases` as it goes back: so many leases there are.
pub fn encode_lease_count(bytes: &mut [u8; LEASES_BYTES], count: u32) {
    for (cell, byte) in bytes.iter_mut().skip(12).zip(count.to_ne_bytes()) {
        *cell = byte;
    }
}

/// `struct xenlend_guest_lease`
#[must_use]
pub fn encode_lease(lease: &Lease) -> [u8; LEASE_BYTES] {
    let (offset, bytes) = page_bytes(lease.pages);
    let mut flags = 0;
    if lease.rights == Rights::ReadWrite {
        flags |= LEASE_WRITABLE;
    }
    if lease.loss == LossPolicy::Fault {
        flags |= LEASE_LOSS_FAULT;
    }
    if lease.cache == CacheMode::WriteBack {
        flags |= LEASE_WRITE_BACK;
    }
    let mut out = Writer::default();
    out.word(u32::from(lease.id.index)).word(lease.id.generation).double(lease.serial);
    out.double(offset).double(bytes).word(flags).word(0).put(&lease.label.to_field());
    out.bytes
}

/// `struct xenlend_guest_prefault`; `None` if it names no pages.
#[must_use]
pub fn decode_prefault(bytes: &[u8; PREFAULT_BYTES]) -> Option<PrefaultRequest> {
    let pages = pages_of(double(bytes, 0), double(bytes, 8))?;
    Some(PrefaultRequest { pages, cookie: double(bytes, 16) })
}

/// `struct xenlend_guest_event`
#[must_use]
pub fn encode_event(event: &Event) -> [u8; EVENT_BYTES] {
    let mut out = Writer::default();
    out.word(event.kind).word(event.status);
    out.double(event.offset).double(event.bytes).double(event.value);
    out.bytes
}

/// `struct xenlend_guest_counters`
#[must_use]
pub fn encode_counters(counters: &Counters) -> [u8; COUNTERS_BYTES] {
    let mut out = Writer::default();
    for value in counters.values() {
        out.double(value);
    }
    out.bytes
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let four = bytes.get(at..).and_then(|rest| rest.first_chunk::<4>()).copied();
    u32::from_ne_bytes(four.unwrap_or_default())
}

fn double(bytes: &[u8], at: usize) -> u64 {
    let eight = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()).copied();
    u64::from_ne_bytes(eight.unwrap_or_default())
}

/// Fields one after the other.
struct Writer<const N: usize> {
    bytes: [u8; N],
    at: usize,
}

impl<const N: usize> Default for Writer<N> {
    fn default() -> Self {
        Self { bytes: [0; N], at: 0 }
    }
}

impl<const N: usize> Writer<N> {
    fn word(&mut self, value: u32) -> &mut Self {
        self.put(&value.to_ne_bytes())
    }

    fn double(&mut self, value: u64) -> &mut Self {
        self.put(&value.to_ne_bytes())
    }

    fn put(&mut self, bytes: &[u8]) -> &mut Self {
        for (cell, byte) in self.bytes.iter_mut().skip(self.at).zip(bytes) {
            *cell = *byte;
        }
        self.at = self.at.saturating_add(bytes.len());
        self
    }
}

#[cfg(test)]
mod tests {
    use xenlend_protocol::label::ClaimedLabel;
    use xenlend_protocol::lease_id::LeaseId;

    use super::*;

    #[test]
    fn a_lease_ends_with_its_label_and_zeros() {
        let lease = Lease {
            id: LeaseId { index: 3, generation: 1 },
            serial: 9,
            pages: Pages { first: 1, end: 3 },
            rights: Rights::ReadWrite,
            loss: LossPolicy::Zeros,
            cache: CacheMode::WriteCombining,
            label: ClaimedLabel::new(b"fb 0").unwrap().check().unwrap(),
        };
        let bytes = encode_lease(&lease);
        assert_eq!(bytes[32..44], [1, 0, 0, 0, 0, 0, 0, 0, b'f', b'b', b' ', b'0']);
        assert_eq!(bytes[44..], [0; 28]);
        assert_eq!(bytes.len(), 72);
    }

    #[test]
    fn leases_go_where_the_callers_header_has_them() {
        let room = |stride: u32, reserved: u32| {
            let mut bytes = [0; LEASES_BYTES];
            bytes[..8].copy_from_slice(&0x1000_u64.to_ne_bytes());
            bytes[8] = 5;
            bytes[16..20].copy_from_slice(&stride.to_ne_bytes());
            bytes[20..24].copy_from_slice(&reserved.to_ne_bytes());
            decode_leases(&bytes)
        };
        assert_eq!(room(0, 0), Some(LeaseRoom { address: 0x1000, capacity: 5, stride: 72 }));
        assert_eq!(room(96, 0).map(|room| room.at(2)), Some(0x1000 + 2 * 96));
        for (stride, reserved) in [(64, 0), (76, 0), (264, 0), (72, 1)] {
            assert_eq!(room(stride, reserved), None, "{stride} {reserved}");
        }
    }

    #[test]
    fn ranges_of_bytes_are_whole_pages() {
        assert_eq!(pages_of(4096, 8192), Some(Pages { first: 1, end: 3 }));
        for (offset, bytes) in [(0, 0), (1, 4096), (0, 4095), (u64::MAX - 4095, 8192), (0, 1 << 45)] {
            assert_eq!(pages_of(offset, bytes), None, "{offset:#x} {bytes:#x}");
        }
    }
}

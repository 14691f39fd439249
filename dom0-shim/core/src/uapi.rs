// SPDX-License-Identifier: MIT OR Apache-2.0
//! The structures of `dom0-shim/uapi/xenlend.h`, to and from the bytes of a process.

use xenlend_protocol::label::{ClaimedLabel, Label, LABEL_FIELD_BYTES};
use xenlend_protocol::refusal::AttachFailure;

use crate::counters::{Counters, COUNT};
use crate::events::Event;

/// `XENLEND_IOC_MAGIC`
pub const MAGIC: u32 = 0xC5;
const WRITE: u32 = 1;
const READ: u32 = 2;

const fn request(direction: u32, number: u32, bytes: usize) -> u32 {
    direction << 30 | (bytes as u32) << 16 | MAGIC << 8 | number
}

/// Bytes of `struct xenlend_attach`.
pub const ATTACH_BYTES: usize = 56;
/// Bytes of `struct xenlend_detach`, of `struct xenlend_bind`, of `struct xenlend_xen`, and of
/// `struct xenlend_version`.
pub const DOMAIN_BYTES: usize = 8;
/// Bytes of `struct xenlend_allow_bar`.
pub const ALLOW_BAR_BYTES: usize = 24;
/// Bytes of `struct xenlend_region`.
pub const REGION_BYTES: usize = 32;
/// Bytes of `struct xenlend_region2`.
pub const REGION2_BYTES: usize = REGION_BYTES + LABEL_FIELD_BYTES;
/// Bytes of `struct xenlend_region_info`.
pub const REGION_INFO_BYTES: usize = 32 + LABEL_FIELD_BYTES;
/// Bytes of `struct xenlend_attach_frontend`.
pub const ATTACH_FRONTEND_BYTES: usize = 32;
/// Bytes of `struct xenlend_capability`.
pub const CAPABILITY_BYTES: usize = 16;
/// Bytes of `struct xenlend_resolve`.
pub const RESOLVE_BYTES: usize = 24;
/// Bytes of `struct xenlend_event`.
pub const EVENT_BYTES: usize = 24;
/// Bytes of `struct xenlend_status`.
pub const STATUS_BYTES: usize = 40 + 8 * COUNT;

/// `XENLEND_ATTACH`
pub const ATTACH: u32 = request(READ | WRITE, 0x10, ATTACH_BYTES);
/// `XENLEND_DETACH`
pub const DETACH: u32 = request(WRITE, 0x11, DOMAIN_BYTES);
/// `XENLEND_ALLOW_BAR`
pub const ALLOW_BAR: u32 = request(READ | WRITE, 0x12, ALLOW_BAR_BYTES);
/// `XENLEND_BIND`
pub const BIND: u32 = request(WRITE, 0x13, DOMAIN_BYTES);
/// `XENLEND_STATUS`
pub const STATUS: u32 = request(READ | WRITE, 0x14, STATUS_BYTES);
/// `XENLEND_SET_USER_MEMORY_REGION`
pub const SET_USER_MEMORY_REGION: u32 = request(WRITE, 0x15, REGION_BYTES);

/// `XENLEND_SET_USER_MEMORY_REGION2`
pub const SET_USER_MEMORY_REGION2: u32 = request(WRITE, 0x18, REGION2_BYTES);
/// `XENLEND_GET_REGION`
pub const GET_REGION: u32 = request(READ | WRITE, 0x19, REGION_INFO_BYTES);

/// `XENLEND_RESOLVE`
pub const RESOLVE: u32 = request(WRITE, 0x1c, RESOLVE_BYTES);

/// `XENLEND_ATTACH_FRONTEND`
pub const ATTACH_FRONTEND: u32 = request(READ | WRITE, 0x16, ATTACH_FRONTEND_BYTES);
/// `XENLEND_DETACH_FRONTEND`
pub const DETACH_FRONTEND: u32 = request(WRITE, 0x17, DOMAIN_BYTES);

/// `XENLEND_XEN`
pub const XEN: u32 = request(READ | WRITE, 0x20, DOMAIN_BYTES);

/// `XENLEND_VERSION`
pub const VERSION: u32 = request(READ | WRITE, 0x21, DOMAIN_BYTES);
/// `XENLEND_CAPABILITY`
pub const CAPABILITY: u32 = request(READ | WRITE, 0x22, CAPABILITY_BYTES);
/// `XENLEND_APERTURE_DEFAULT_LIMIT`
pub const APERTURE_DEFAULT_LIMIT: u64 = 1 << 30;
/// `XENLEND_APERTURE_MAX`: the tables of so many pages are within what the kernel allocates at once (2 GiB).
pub const APERTURE_MAX: u64 = 64 << 30;

/// `XENLEND_ATTACH_CHECK`
pub const ATTACH_CHECK: u32 = 1 << 0;
/// `XENLEND_STATUS_LEND_AWARE`, in the flags of a status only
pub const STATUS_LEND_AWARE: u32 = 1 << 16;
/// `XENLEND_REGION_READONLY`
pub const REGION_READONLY: u32 = 1 << 1;
/// `XENLEND_REGION_LOSS_FAULT`
pub const REGION_LOSS_FAULT: u32 = 1 << 8;
/// `XENLEND_REGION_WRITE_BACK`
pub const REGION_WRITE_BACK: u32 = 1 << 9;

/// `struct xenlend_attach`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attach {
    /// The borrower's domain.
    pub borrower: u16,
    /// The broker's.
    pub broker: u16,
    /// `ATTACH_*`
    pub flags: u32,
    /// In bytes.
    pub aperture_address: u64,
    /// In bytes.
    pub aperture_size: u64,
    /// 0 for the default.
    pub deadline_ms: u32,
    /// vCPUs of the borrower.
    pub vcpus: u32,
    /// Out: grants for the broker.
    pub ring_refs: [u32; 3],
    /// Out: port for the broker.
    pub event_channel: u32,
    /// The largest aperture that the administrator allows, in bytes; 0 for the default.
    pub aperture_limit: u64,
}

/// `struct xenlend_allow_bar`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllowBar {
    /// The borrower's domain.
    pub borrower: u16,
    /// Number of the BAR.
    pub bar: u8,
    /// Device and function.
    pub devfn: u8,
    /// PCI segment.
    pub segment: u32,
    /// PCI bus.
    pub bus: u32,
    /// Must be 0.
    pub reserved: u32,
    /// Out: frames that may be lent.
    pub frames: u64,
}

/// `struct xenlend_attach_frontend`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttachFrontend {
    /// The borrower's domain.
    pub borrower: u16,
    /// Whether the reserved fields, and those of the answer, are 0.
    pub is_clean: bool,
    /// The frontend's grants for the broker.
    pub ring_refs: [u32; 3],
    /// The frontend's port for the broker.
    pub event_channel: u32,
    /// Out: why the broker refused.
    pub failure: Option<AttachFailure>,
}

/// `struct xenlend_region`, `struct xenlend_region2`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegionRequest {
    /// Place in the table.
    pub slot: u32,
    /// `REGION_*`
    pub flags: u32,
    /// First byte in the borrower's address space.
    pub guest_phys_addr: u64,
    /// Bytes; 0 deletes.
    pub memory_size: u64,
    /// First byte in the process.
    pub userspace_addr: u64,
    /// What it is to be called.
    pub label: ClaimedLabel,
}

/// `struct xenlend_resolve`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolve {
    /// The region's slot.
    pub slot: u32,
    /// What is to become of those who wait.
    pub answer: ResolveAnswer,
    /// First byte in the borrower's address space.
    pub guest_phys_addr: u64,
    /// Bytes.
    pub memory_size: u64,
}

/// `XENLEND_RESOLVE_*`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResolveAnswer {
    /// They look again.
    Retry,
    /// They end by the loss policy.
    Loss,
}

/// `struct xenlend_region_info`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegionInfo {
    /// Its slot.
    pub slot: u32,
    /// `REGION_*`
    pub flags: u32,
    /// First byte in the borrower's address space.
    pub guest_phys_addr: u64,
    /// In bytes.
    pub memory_size: u64,
    /// What it is called.
    pub label: Label,
}

/// `struct xenlend_status`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The borrower's domain.
    pub borrower: u16,
    /// The broker's.
    pub broker: u16,
    /// In: ask for the first link from here on.
    pub next: u16,
    /// `enum xenlend_link_state`
    pub state: u16,
    /// `enum xenlend_reason`
    pub reason: u32,
    /// Regions that exist.
    pub regions: u32,
    /// 0 before the connection.
    pub protocol_version: u32,
    /// `ATTACH_*` and `STATUS_*`
    pub flags: u32,
    /// In bytes.
    pub aperture_address: u64,
    /// In bytes.
    pub aperture_size: u64,
    /// The counts.
    pub counters: Counters,
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |chunk| u16::from_le_bytes(*chunk))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |chunk| u32::from_le_bytes(*chunk))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |chunk| u64::from_le_bytes(*chunk))
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    for (cell, byte) in bytes.iter_mut().skip(at).zip(value) {
        *cell = *byte;
    }
}

impl Attach {
    /// Reads it.
    pub fn decode(bytes: &[u8; ATTACH_BYTES]) -> Self {
        Self {
            borrower: u16_at(bytes, 0),
            broker: u16_at(bytes, 2),
            flags: u32_at(bytes, 4),
            aperture_address: u64_at(bytes, 8),
            aperture_size: u64_at(bytes, 16),
            deadline_ms: u32_at(bytes, 24),
            vcpus: u32_at(bytes, 28),
            ring_refs: [u32_at(bytes, 32), u32_at(bytes, 36), u32_at(bytes, 40)],
            event_channel: u32_at(bytes, 44),
            aperture_limit: u64_at(bytes, 48),
        }
    }

    /// Whether the aperture is within the limits: the administrator's and the module's own. A guest may have
    /// chosen its size.
    pub fn is_within_limit(&self) -> bool {
        let limit = if self.aperture_limit == 0 { APERTURE_DEFAULT_LIMIT } else { self.aperture_limit };
        self.aperture_size <= limit.min(APERTURE_MAX)
    }

    /// Writes the fields that are answers.
    pub fn encode_answer(&self, bytes: &mut [u8; ATTACH_BYTES]) {
        let [control, to_broker, to_lender] = self.ring_refs;
        put(bytes, 32, &control.to_le_bytes());
        put(bytes, 36, &to_broker.to_le_bytes());
        put(bytes, 40, &to_lender.to_le_bytes());
        put(bytes, 44, &self.event_channel.to_le_bytes());
    }
}

/// Reads `struct xenlend_detach` or `struct xenlend_bind`; `None` if a reserved field is not 0.
pub fn decode_domain(bytes: &[u8; DOMAIN_BYTES]) -> Option<u16> {
    (u64_at(bytes, 0) >> 16 == 0).then_some(u16_at(bytes, 0))
}

/// Writes the answer into `struct xenlend_xen`.
pub fn encode_xen(bytes: &mut [u8; DOMAIN_BYTES], flags: u32) {
    put(bytes, 4, &flags.to_le_bytes());
}

/// Writes the answer into `struct xenlend_version`.
pub fn encode_version(bytes: &mut [u8; DOMAIN_BYTES], version: u32, oldest: u32) {
    put(bytes, 0, &version.to_le_bytes());
    put(bytes, 4, &oldest.to_le_bytes());
}

/// Reads which capability is asked for; `None` if the reserved field is not 0.
pub fn decode_capability(bytes: &[u8; CAPABILITY_BYTES]) -> Option<u32> {
    (u32_at(bytes, 4) == 0).then_some(u32_at(bytes, 0))
}

/// Writes the answer into `struct xenlend_capability`.
pub fn encode_capability(bytes: &mut [u8; CAPABILITY_BYTES], value: u64) {
    put(bytes, 8, &value.to_le_bytes());
}

impl AllowBar {
    /// Reads it.
    pub fn decode(bytes: &[u8; ALLOW_BAR_BYTES]) -> Self {
        let [bar, devfn] = u16_at(bytes, 2).to_le_bytes();
        Self {
            borrower: u16_at(bytes, 0),
            bar,
            devfn,
            segment: u32_at(bytes, 4),
            bus: u32_at(bytes, 8),
            reserved: u32_at(bytes, 12),
            frames: u64_at(bytes, 16),
        }
    }

    /// Writes the answer.
    pub fn encode_answer(&self, bytes: &mut [u8; ALLOW_BAR_BYTES]) {
        put(bytes, 16, &self.frames.to_le_bytes());
    }
}

impl AttachFrontend {
    /// Reads it.
    pub fn decode(bytes: &[u8; ATTACH_FRONTEND_BYTES]) -> Self {
        Self {
            borrower: u16_at(bytes, 0),
            is_clean: u64_at(bytes, 0) >> 16 == 0 && u64_at(bytes, 24) == 0,
            ring_refs: [u32_at(bytes, 8), u32_at(bytes, 12), u32_at(bytes, 16)],
            event_channel: u32_at(bytes, 20),
            failure: None,
        }
    }

    /// Writes the answer.
    pub fn encode_answer(&self, bytes: &mut [u8; ATTACH_FRONTEND_BYTES]) {
        let (failure, errno): (u32, u16) = match self.failure {
            None => (0, 0),
            Some(AttachFailure::Grant { errno }) => (1, errno),
            Some(AttachFailure::EventChannel { errno }) => (2, errno),
            Some(AttachFailure::InUse) => (3, 0),
        };
        put(bytes, 24, &failure.to_le_bytes());
        put(bytes, 28, &u32::from(errno).to_le_bytes());
    }
}

impl RegionRequest {
    /// Reads it.
    pub fn decode(bytes: &[u8; REGION_BYTES]) -> Self {
        Self {
            slot: u32_at(bytes, 0),
            flags: u32_at(bytes, 4),
            guest_phys_addr: u64_at(bytes, 8),
            memory_size: u64_at(bytes, 16),
            userspace_addr: u64_at(bytes, 24),
            label: ClaimedLabel::default(),
        }
    }

    /// Reads one with a label; `None` if that has no end in its field, or something behind it.
    pub fn decode2(bytes: &[u8; REGION2_BYTES]) -> Option<Self> {
        let (region, field) = bytes.split_first_chunk()?;
        let label = ClaimedLabel::from_field(field.first_chunk()?)?;
        Some(Self { label, ..Self::decode(region) })
    }
}

impl Resolve {
    /// Reads it; `None` if the answer is none that is known.
    pub fn decode(bytes: &[u8; RESOLVE_BYTES]) -> Option<Self> {
        let answer = match u32_at(bytes, 4) {
            1 => ResolveAnswer::Retry,
            2 => ResolveAnswer::Loss,
            _ => return None,
        };
        let (guest_phys_addr, memory_size) = (u64_at(bytes, 8), u64_at(bytes, 16));
        Some(Self { slot: u32_at(bytes, 0), answer, guest_phys_addr, memory_size })
    }
}

/// Reads which region is asked for: borrower, and the first slot that it may have. `None` if a reserved field
/// is not 0.
pub fn decode_region_info(bytes: &[u8; REGION_INFO_BYTES]) -> Option<(u16, u32)> {
    let is_clean = u16_at(bytes, 2) == 0 && u32_at(bytes, 12) == 0;
    is_clean.then_some((u16_at(bytes, 0), u32_at(bytes, 4)))
}

impl RegionInfo {
    /// Writes the answer.
    pub fn encode_answer(&self, bytes: &mut [u8; REGION_INFO_BYTES]) {
        put(bytes, 4, &self.slot.to_le_bytes());
        put(bytes, 8, &self.flags.to_le_bytes());
        put(bytes, 16, &self.guest_phys_addr.to_le_bytes());
        put(bytes, 24, &self.memory_size.to_le_bytes());
        put(bytes, 32, &self.label.to_field());
    }
}

/// Writes `struct xenlend_event`.
pub fn encode_event(event: &Event) -> [u8; EVENT_BYTES] {
    let mut bytes = [0; EVENT_BYTES];
    put(&mut bytes, 0, &event.kind.to_le_bytes());
    put(&mut bytes, 4, &event.slot.to_le_bytes());
    put(&mut bytes, 8, &event.address.to_le_bytes());
    put(&mut bytes, 16, &event.value.to_le_bytes());
    bytes
}

/// Reads which link a status is asked of: borrower and `next`.
pub fn decode_status(bytes: &[u8; STATUS_BYTES]) -> (u16, bool) {
    (u16_at(bytes, 0), u16_at(bytes, 4) != 0)
}

impl Status {
    /// Writes it.
    pub fn encode(&self) -> [u8; STATUS_BYTES] {
        let mut bytes = [0; STATUS_BYTES];
        put(&mut bytes, 0, &self.borrower.to_le_bytes());
        put(&mut bytes, 2, &self.broker.to_le_bytes());
        put(&mut bytes, 4, &self.next.to_le_bytes());
        put(&mut bytes, 6, &self.state.to_le_bytes());
        put(&mut bytes, 8, &self.reason.to_le_bytes());
        put(&mut bytes, 12, &self.regions.to_le_bytes());
        put(&mut bytes, 16, &self.protocol_version.to_le_bytes());
        put(&mut bytes, 20, &self.flags.to_le_bytes());
        put(&mut bytes, 24, &self.aperture_address.to_le_bytes());
        put(&mut bytes, 32, &self.aperture_size.to_le_bytes());
        for (cell, count) in bytes
            .iter_mut()
            .skip(40)
            .zip(self.counters.in_order().iter().flat_map(|count| count.to_le_bytes()))
        {
            *cell = count;
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_the_numbers_of_the_header() {
        // The module's glue asserts the same numbers against the header itself.
        assert_eq!(ATTACH, 0xC038_C510);
        assert_eq!(DETACH, 0x4008_C511);
        assert_eq!(ALLOW_BAR, 0xC018_C512);
        assert_eq!(BIND, 0x4008_C513);
        assert_eq!(STATUS, 0xC100_C514);
        assert_eq!(ATTACH_FRONTEND, 0xC020_C516);
        assert_eq!(DETACH_FRONTEND, 0x4008_C517);
        assert_eq!(SET_USER_MEMORY_REGION, 0x4020_C515);
        assert_eq!(SET_USER_MEMORY_REGION2, 0x4040_C518);
        assert_eq!(GET_REGION, 0xC040_C519);
        assert_eq!(XEN, 0xC008_C520);
        assert_eq!(VERSION, 0xC008_C521);
        assert_eq!(CAPABILITY, 0xC010_C522);
        assert_eq!(RESOLVE, 0x4018_C51C);
    }

    #[test]
    fn reserved_fields_of_a_domain_must_be_zero() {
        assert_eq!(decode_domain(&[3, 1, 0, 0, 0, 0, 0, 0]), Some(0x103));
        assert_eq!(decode_domain(&[3, 1, 0, 0, 0, 0, 0, 1]), None);
    }

    #[test]
    fn attach_answers_leave_the_question_alone() {
        let mut bytes = [0xAA; ATTACH_BYTES];
        let mut attach = Attach::decode(&bytes);
        assert_eq!(attach.aperture_size, 0xAAAA_AAAA_AAAA_AAAA);
        attach.ring_refs = [1, 2, 3];
        attach.event_channel = 9;
        attach.encode_answer(&mut bytes);
        assert_eq!((&bytes[..32], &bytes[48..]), (&[0xAA; 32][..], &[0xAA; 8][..]));
        assert_eq!(Attach::decode(&bytes), attach);
    }

    #[test]
    fn no_aperture_is_larger_than_the_administrator_or_the_module_allows() {
        let within = |aperture_size, aperture_limit| {
            let attach = Attach::decode(&[0; ATTACH_BYTES]);
            Attach { aperture_size, aperture_limit, ..attach }.is_within_limit()
        };
        assert!(within(1 << 30, 0) && !within((1 << 30) + 1, 0));
        assert!(within(4 << 30, 4 << 30) && !within((4 << 30) + 1, 4 << 30));
        assert!(!within(2 << 30, 1));
        for claimed in [127 << 30, 128 << 30, 16 << 40, u64::MAX] {
            assert!(!within(claimed, 0), "{claimed:#x}");
            assert!(!within(claimed, u64::MAX), "{claimed:#x}, whatever is allowed");
        }
        assert!(within(64 << 30, u64::MAX));
    }

    #[test]
    fn a_frontends_answer_leaves_the_question_alone() {
        let mut bytes: [u8; ATTACH_FRONTEND_BYTES] = core::array::from_fn(|at| at as u8);
        let attach = AttachFrontend::decode(&bytes);
        assert_eq!((attach.borrower, attach.is_clean), (0x0100, false));
        assert_eq!(attach.ring_refs, [0x0b0a_0908, 0x0f0e_0d0c, 0x1312_1110]);
        assert_eq!(attach.event_channel, 0x1716_1514);
        let question = bytes[..24].to_vec();
        let failure = Some(AttachFailure::EventChannel { errno: 0x0102 });
        AttachFrontend { failure, ..attach }.encode_answer(&mut bytes);
        assert_eq!(bytes[..24], question);
        assert_eq!(bytes[24..], [2, 0, 0, 0, 2, 1, 0, 0]);
        let mut clean = [0; ATTACH_FRONTEND_BYTES];
        clean[..2].copy_from_slice(&[7, 1]);
        clean[8] = 1;
        assert!(AttachFrontend::decode(&clean).is_clean);
        for reserved in [2, 7, 24, 31] {
            let mut dirty = clean;
            dirty[reserved] = 1;
            assert!(!AttachFrontend::decode(&dirty).is_clean, "{reserved}");
        }
    }

    #[test]
    fn an_answer_to_those_who_wait_is_one_of_two() {
        let mut bytes: [u8; RESOLVE_BYTES] = core::array::from_fn(|at| at as u8);
        assert_eq!(Resolve::decode(&bytes), None);
        for (number, answer) in [(1, ResolveAnswer::Retry), (2, ResolveAnswer::Loss)] {
            bytes[4..8].copy_from_slice(&[number, 0, 0, 0]);
            let resolve = Resolve::decode(&bytes).unwrap();
            assert_eq!((resolve.slot, resolve.answer), (0x0302_0100, answer));
            assert_eq!(resolve.guest_phys_addr, 0x0f0e_0d0c_0b0a_0908);
            assert_eq!(resolve.memory_size, 0x1716_1514_1312_1110);
        }
        bytes[4] = 3;
        assert_eq!(Resolve::decode(&bytes), None);
    }

    #[test]
    fn a_label_is_the_second_half_of_a_region() {
        let mut bytes: [u8; REGION2_BYTES] = core::array::from_fn(|at| if at < 32 { at as u8 } else { 0 });
        bytes[32..35].copy_from_slice(b"fb0");
        let region = RegionRequest::decode2(&bytes).unwrap();
        assert_eq!((region.slot, region.userspace_addr), (0x0302_0100, 0x1f1e_1d1c_1b1a_1918));
        assert_eq!(region.label.as_bytes(), b"fb0");
        let without = RegionRequest::decode(bytes.first_chunk().unwrap());
        assert_eq!(without, RegionRequest { label: ClaimedLabel::default(), ..region });
        bytes[32..].fill(b'x');
        assert_eq!(RegionRequest::decode2(&bytes), None, "without an end");
    }

    #[test]
    fn a_regions_answer_leaves_the_borrower_alone() {
        let mut bytes = [0; REGION_INFO_BYTES];
        bytes[..8].copy_from_slice(&[5, 1, 0, 0, 9, 0, 0, 0]);
        assert_eq!(decode_region_info(&bytes), Some((0x105, 9)));
        for reserved in [2, 3, 12, 15] {
            let mut dirty = bytes;
            dirty[reserved] = 1;
            assert_eq!(decode_region_info(&dirty), None, "{reserved}");
        }
        let label = ClaimedLabel::new(b"cursor").unwrap().check().unwrap();
        let (guest_phys_addr, memory_size) = (0x10_0000_0000, 4096);
        RegionInfo { slot: 12, flags: 2, guest_phys_addr, memory_size, label }.encode_answer(&mut bytes);
        assert_eq!(bytes[..16], [5, 1, 0, 0, 12, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[16..32], [0, 0, 0, 0, 16, 0, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[32..38], *b"cursor");
        assert_eq!(bytes[38..], [0; 26]);
    }

    #[test]
    fn a_status_ends_with_the_last_count() {
        let counters = Counters { borrower_attached: 0x0102_0304_0506_0708, ..Counters::default() };
        let status = Status { borrower: 5, counters, ..Status::default() };
        let bytes = status.encode();
        assert_eq!(bytes[STATUS_BYTES - 8..], [8, 7, 6, 5, 4, 3, 2, 1]);
        assert_eq!(bytes[0], 5);
    }
}

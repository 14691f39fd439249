// SPDX-License-Identifier: MIT OR Apache-2.0
//! Byte layout of the shared pages of a link, checked at compile time.
//!
//! `protocol/DESIGN.md`, "Pages", gives the same numbers as text.

use crate::message::{MAX_INVALIDATIONS, MAX_MESSAGE_BYTES};

/// Pages of one link: control, data of the first ring, data of the second.
pub const LINK_PAGES: usize = 3;
/// Bytes of the data area of one direction; a power of two.
pub const CAPACITY: u32 = 4096;
/// Every frame starts at, and every index is, a multiple of this many bytes.
pub const ALIGNMENT: u32 = 8;
/// Bytes before the message: its length, little endian.
pub const HEADER_BYTES: u32 = 4;

/// Offset in the control page of the fields of the ring whose data is page 1: towards the
/// broker on the lender's link, towards the borrower on the borrower's.
pub const FIRST_RING_OFFSET: usize = 0;
/// Offset in the control page of the fields of the ring whose data is page 2.
pub const SECOND_RING_OFFSET: usize = 256;
/// Offset in a ring's fields: bytes produced so far. Written by the producer.
pub const PRODUCED_OFFSET: usize = 0;
/// Offset in a ring's fields: not 0 while the producer waits for room. Written by the producer.
pub const WAITING_OFFSET: usize = 64;
/// Offset in a ring's fields: bytes consumed so far. Written by the consumer.
pub const CONSUMED_OFFSET: usize = 128;

/// Largest frame: header, largest message, padding.
pub const MAX_FRAME_BYTES: u32 = frame_bytes(MAX_MESSAGE_BYTES as u32);
/// Encoded size of the largest `Invalidate`; an `Invalidated` is smaller.
pub const MAX_INVALIDATE_BYTES: u32 = 29;
/// Encoded size of the largest `Forced`.
pub const MAX_FORCED_BYTES: u32 = 11;
/// Bytes of a data area that only messages of [`Priority::Reserved`](super::Priority::Reserved)
/// may use: all the invalidations that may be outstanding, and one `Forced` behind them.
pub const RESERVED_BYTES: u32 =
    MAX_INVALIDATIONS as u32 * frame_bytes(MAX_INVALIDATE_BYTES) + frame_bytes(MAX_FORCED_BYTES);

/// Bytes of the data area that a message of this encoded length takes.
#[must_use]
pub const fn frame_bytes(message_bytes: u32) -> u32 {
    message_bytes.saturating_add(HEADER_BYTES).saturating_add(ALIGNMENT - 1) & !(ALIGNMENT - 1)
}

const _: () = {
    assert!(CAPACITY.is_power_of_two());
    assert!(CAPACITY % ALIGNMENT == 0);
    assert!(HEADER_BYTES < ALIGNMENT);
    assert!(MAX_FRAME_BYTES % ALIGNMENT == 0);
    assert!(MAX_FRAME_BYTES == 392);
    assert!(RESERVED_BYTES == 336);
    // A normal message of any size fits an otherwise empty ring.
    assert!(MAX_FRAME_BYTES + RESERVED_BYTES <= CAPACITY);
    // Each shared field has a cache line of its own inside the control page.
    assert!(SECOND_RING_OFFSET - FIRST_RING_OFFSET >= 192);
    assert!(SECOND_RING_OFFSET + CONSUMED_OFFSET + 64 <= 4096);
    assert!(PRODUCED_OFFSET % 64 == 0 && WAITING_OFFSET % 64 == 0 && CONSUMED_OFFSET % 64 == 0);
};

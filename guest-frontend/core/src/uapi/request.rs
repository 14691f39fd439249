// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which call an ioctl number is, and how large the caller's structure is.
//!
//! Structures grow at their end, and with them the numbers. So a call is known by the rest of its number: a
//! program's structure may be that of an older header, which is served as far as it goes, or of a newer one, in
//! which everything that this driver does not know has to be zero.

use super::{COUNTERS, GET_LEASES, INFO, PREFAULT};

/// The largest structure that a caller may have, in bytes.
pub const MAX_BYTES: usize = 256;
/// Structures are made of these.
pub const WORD_BYTES: usize = 8;

/// A call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// `XENLEND_GUEST_INFO`
    Info,
    /// `XENLEND_GUEST_GET_LEASES`
    GetLeases,
    /// `XENLEND_GUEST_PREFAULT`
    Prefault,
    /// `XENLEND_GUEST_COUNTERS`
    Counters,
}

/// Every call with its number of today, and the bytes of its structure in version 2, which is as small as one
/// can be.
const CALLS: [(Call, u32, usize); 4] = [
    (Call::Info, INFO, 24),
    (Call::GetLeases, GET_LEASES, 16),
    (Call::Prefault, PREFAULT, 24),
    (Call::Counters, COUNTERS, 96),
];

/// What is wrong with a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// It is no call of this driver.
    Call,
    /// No header has a structure of that size for the call.
    Size,
}

/// A call of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Which.
    pub call: Call,
    /// Bytes of the caller's structure: whole words, at most [`MAX_BYTES`].
    pub bytes: usize,
}

impl Request {
    /// What the number of an ioctl asks for.
    ///
    /// # Errors
    /// It asks for nothing.
    pub fn find(number: u32) -> Result<Self, Unknown> {
        let same = |known: &&(Call, u32, usize)| without_size(known.1) == without_size(number);
        let (call, _, least) = *CALLS.iter().find(same).ok_or(Unknown::Call)?;
        let bytes = size_of_structure(number);
        let fits = bytes >= least && bytes <= MAX_BYTES && bytes % WORD_BYTES == 0;
        fits.then_some(Self { call, bytes }).ok_or(Unknown::Size)
    }
}

/// Bits 16 to 29 are the size.
const SIZE: u32 = 0x3FFF << 16;

fn without_size(number: u32) -> u32 {
    number & !SIZE
}

fn size_of_structure(number: u32) -> usize {
    ((number & SIZE) >> 16) as usize
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a vCPU's request asks for, checked, and cut into pieces.
//!
//! Read Xen's `public/hvm/ioreq.h` and `arch/x86/hvm/emulate.c:hvmemul_do_io`. A
//! request of any number of elements, in either direction, is one run of bytes: both of
//! its sides move in step, so the direction only says which end `address` names. A value
//! instead of memory is repeated for every element.

use xenlend_protocol::frame::PAGE_SIZE;
use xenlend_protocol::message::MAX_ACCESS_BYTES;

use crate::hypervisor::IoreqClaim;

/// `IOREQ_TYPE_COPY`.
pub const KIND_COPY: u8 = 1;
/// `IOREQ_TYPE_INVALIDATE`.
pub const KIND_INVALIDATE: u8 = 8;
/// `STATE_IOREQ_READY`.
pub const STATE_READY: u8 = 1;
/// `STATE_IOREQ_INPROCESS`.
pub const STATE_INPROCESS: u8 = 2;
/// `STATE_IORESP_READY`: completed, and not yet taken up by Xen.
pub const STATE_RESPONSE_READY: u8 = 3;
/// What Xen's own null handler reads.
pub const ALL_ONES: u64 = u64::MAX;
/// Elements that Xen puts into one request at most: it cuts at each page.
pub const MAX_ELEMENTS: u32 = 4096;

/// A request, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Bytes to move.
    Access(Access),
    /// The borrower's physmap changed: cached views of its RAM are stale.
    ForgetMemory,
    /// Nothing that this broker serves: reads all ones, writes go nowhere.
    Unknown,
}

/// Which way bytes move, and the other side's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Movement {
    /// Aperture to the vCPU; one element.
    ReadValue,
    /// Aperture to the borrower's RAM, from this guest-physical address up.
    ReadToMemory(u64),
    /// The low bytes of this value into every element.
    WriteValue(u64),
    /// The borrower's RAM, from this guest-physical address up, to the aperture.
    WriteFromMemory(u64),
}

/// Bytes to move between the aperture and the vCPU or the borrower's RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Guest-physical address of the lowest byte.
    address: u64,
    /// Bytes in all; address and length overflow nothing, on either side.
    length: u32,
    /// Bytes of an element: 1, 2, 4 or 8.
    size: u32,
    movement: Movement,
    /// The request's own `data`.
    data: u64,
    kills_if_added: bool,
}

/// Part of an access that stays in one page on both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Place of its first byte in the access.
    pub start: u32,
    /// Bytes, 1 to [`MAX_ACCESS_BYTES`].
    pub length: u16,
    /// Guest-physical address in the aperture.
    pub address: u64,
    /// Guest-physical address in the borrower's RAM, if the access has that side.
    pub memory: Option<u64>,
}

impl Request {
    /// Checks a claim. Whatever is no sensible access is [`Request::Unknown`].
    pub fn check(claim: &IoreqClaim) -> Self {
        match claim.kind {
            KIND_COPY => Access::check(claim).map_or(Self::Unknown, Self::Access),
            KIND_INVALIDATE => Self::ForgetMemory,
            _ => Self::Unknown,
        }
    }
}

impl Access {
    fn check(claim: &IoreqClaim) -> Option<Self> {
        let size = claim.size;
        if !matches!(size, 1 | 2 | 4 | 8) || claim.count == 0 || claim.count > MAX_ELEMENTS {
            return None;
        }
        // A plain write never crosses a page: Xen cuts it there. What crosses is one element of a
        // `rep stos`, cut off from the rest (`hvmemul_do_io`), and as deadly as several.
        let crosses_page = u64::from(size) > to_end_of_page(claim.address);
        let of_rep_stos = claim.count > 1 || claim.downwards || crosses_page;
        let kills_if_added = !claim.is_read && !claim.data_is_pointer && of_rep_stos;
        if claim.is_read && !claim.data_is_pointer {
            // Of several elements read into one value the last stays.
            let address = span(claim, claim.address)?.last_element;
            return Some(Self {
                address,
                length: size,
                size,
                movement: Movement::ReadValue,
                data: claim.data,
                kills_if_added,
            });
        }
        let aperture = span(claim, claim.address)?;
        let movement = match (claim.data_is_pointer, claim.is_read) {
            (false, _) => Movement::WriteValue(claim.data),
            (true, true) => Movement::ReadToMemory(span(claim, claim.data)?.lowest),
            (true, false) => Movement::WriteFromMemory(span(claim, claim.data)?.lowest),
        };
        Some(Self {
            address: aperture.lowest,
            length: aperture.length,
            size,
            movement,
            data: claim.data,
            kills_if_added,
        })
    }

    /// Which way bytes move.
    pub fn movement(&self) -> Movement {
        self.movement
    }

    /// What the request is completed with, given the value read: Xen takes that, and of
    /// everything else its own datum back.
    pub fn datum(&self, value_read: u64) -> u64 {
        if self.movement == Movement::ReadValue {
            value_read
        } else {
            self.data
        }
    }

    /// Whether bytes go to the aperture.
    pub fn is_write(&self) -> bool {
        matches!(self.movement, Movement::WriteValue(_) | Movement::WriteFromMemory(_))
    }

    /// Whether Xen kills the borrower if a page of this access becomes present while it is
    /// outstanding: `rep stos`, whose re-emulation then sends a different request.
    pub fn kills_if_added(&self) -> bool {
        self.kills_if_added
    }

    /// The piece that starts at a byte of the access; none behind the last byte.
    pub fn piece_at(&self, start: u32) -> Option<Piece> {
        let left = self.length.checked_sub(start).filter(|left| *left > 0)?;
        let address = self.address.checked_add(u64::from(start))?;
        let memory = match self.movement {
            Movement::ReadValue | Movement::WriteValue(_) => None,
            Movement::ReadToMemory(memory) | Movement::WriteFromMemory(memory) => {
                Some(memory.checked_add(u64::from(start))?)
            }
        };
        let length = u64::from(left)
            .min(MAX_ACCESS_BYTES as u64)
            .min(to_end_of_page(address))
            .min(memory.map_or(PAGE_SIZE, to_end_of_page));
        Some(Piece { start, length: length as u16, address, memory })
    }

    /// Every piece, upwards.
    pub fn pieces(&self) -> impl Iterator<Item = Piece> + '_ {
        let mut start = 0_u32;
        core::iter::from_fn(move || {
            let piece = self.piece_at(start)?;
            start = start.saturating_add(u32::from(piece.length));
            Some(piece)
        })
    }

    /// The bytes that a repeated value puts into a piece.
    pub fn fill(&self, value: u64, piece: &Piece, bytes: &mut [u8]) {
        let element = value.to_le_bytes();
        // The size is a power of two.
        let phases = (piece.start..).map(|byte| (byte & self.size.saturating_sub(1)) as usize);
        for (byte, phase) in bytes.iter_mut().zip(phases) {
            *byte = element.get(phase).copied().unwrap_or_default();
        }
    }
}

/// One side of a request: where its bytes are.
struct Span {
    lowest: u64,
    last_element: u64,
    length: u32,
}

/// The bytes of all elements, if none of their addresses overflows.
fn span(claim: &IoreqClaim, first_element: u64) -> Option<Span> {
    let length = claim.count.checked_mul(claim.size)?;
    let behind_first = u64::from(length.checked_sub(claim.size)?);
    let last_element = if claim.downwards {
        first_element.checked_sub(behind_first)?
    } else {
        first_element.checked_add(behind_first)?
    };
    let lowest = first_element.min(last_element);
    lowest.checked_add(u64::from(length))?;
    Some(Span { lowest, last_element, length })
}

fn to_end_of_page(address: u64) -> u64 {
    PAGE_SIZE.saturating_sub(address % PAGE_SIZE)
}

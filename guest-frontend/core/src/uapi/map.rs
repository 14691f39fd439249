// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `mmap()` asks for: the pages, and how they are to be mapped.

use xenlend_protocol::frame::PAGE_SIZE;
use xenlend_protocol::message::CacheMode;

use crate::page_set::Pages;

/// `XENLEND_GUEST_MAP_COHERENT`
pub const MAP_COHERENT: u64 = 1 << 61;
/// `XENLEND_GUEST_MAP_UNCACHED`
pub const MAP_UNCACHED: u64 = 1 << 60;
/// Bits of an offset that are no address: those that no header has a name for have to be zero.
const MAP_FLAGS: u64 = 0xFF << 56;

/// How a program wants a lease mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// As the lease is.
    AsItIs,
    /// Stores become visible in program order; refused if the lease is not so.
    Coherent,
    /// Each access goes to memory; for a lease that is write-combining.
    Uncached,
}

/// How a mapping is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapType {
    /// Stores may be gathered, and become visible in any order.
    WriteCombining = 0,
    /// Every access by itself, in program order.
    Uncached = 1,
    /// As ordinary memory.
    WriteBack = 2,
}

impl MapType {
    /// For a lease of this mode; `None`: not as is demanded.
    #[must_use]
    pub fn of(mode: CacheMode, demand: Demand) -> Option<Self> {
        match (mode, demand) {
            (CacheMode::WriteCombining, Demand::AsItIs) => Some(Self::WriteCombining),
            (CacheMode::WriteCombining, Demand::Uncached) => Some(Self::Uncached),
            (CacheMode::WriteBack, Demand::AsItIs | Demand::Coherent) => Some(Self::WriteBack),
            (CacheMode::WriteCombining, Demand::Coherent) | (CacheMode::WriteBack, Demand::Uncached) => None,
        }
    }

    /// Whether the kernel can make entries of 2 MiB so: it gives them the type that the whole aperture has.
    #[must_use]
    pub fn has_2mib(self) -> bool {
        self == Self::WriteCombining
    }
}

/// What a mapping is of, in the one number that the kernel keeps with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapName {
    /// The lease.
    pub serial: u64,
    /// How it is mapped.
    pub kind: MapType,
}

impl MapName {
    /// The number; serials end long before they do not fit.
    #[must_use]
    pub fn to_number(self) -> u64 {
        self.serial.wrapping_shl(2) | self.kind as u64
    }

    /// Of the number; what no mapping has is mapped with the least promises.
    #[must_use]
    pub fn of_number(number: u64) -> Self {
        let kind = match number & 3 {
            1 => MapType::Uncached,
            2 => MapType::WriteBack,
            _ => MapType::WriteCombining,
        };
        Self { serial: number >> 2, kind }
    }
}

/// What `mmap()` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapRequest {
    /// The pages.
    pub pages: Pages,
    /// How.
    pub demand: Demand,
}

/// Why it asks for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadMap {
    /// A flag that this driver does not know, or two that exclude each other.
    Flags,
    /// Pages that no aperture has.
    Pages,
}

impl MapRequest {
    /// What an offset and a length ask for, both in pages.
    ///
    /// # Errors
    /// Why that is nothing.
    pub fn find(offset: u64, count: u64) -> Result<Self, BadMap> {
        let [coherent, uncached, flags] =
            [MAP_COHERENT, MAP_UNCACHED, MAP_FLAGS].map(|bits| bits / PAGE_SIZE);
        let demand = match offset & flags {
            0 => Demand::AsItIs,
            given if given == coherent => Demand::Coherent,
            given if given == uncached => Demand::Uncached,
            _ => return Err(BadMap::Flags),
        };
        let (first, count) = (u32::try_from(offset & !flags), u32::try_from(count));
        let pages = first.ok().zip(count.ok()).and_then(|(first, count)| Pages::counted(first, count));
        Ok(Self { pages: pages.ok_or(BadMap::Pages)?, demand })
    }
}

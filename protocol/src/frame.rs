// SPDX-License-Identifier: MIT OR Apache-2.0
//! Frame numbers, as newtypes without free arithmetic.
//!
//! Words follow the glossary of Xen's `xen/include/xen/mm.h`.

use serde::{Deserialize, Serialize};

/// Bytes in one frame.
pub const PAGE_SIZE: u64 = 4096;
/// Frames in one 2 MiB second-stage entry.
pub const FRAMES_PER_2MIB: u32 = 512;

/// Machine frame number: how Xen itself numbers frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Mfn(pub u64);

/// A page of the aperture: its gfn minus the aperture's first gfn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AperturePage(pub u32);

impl Mfn {
    /// The frame `count` frames further on, if there is such a number.
    #[must_use]
    pub fn checked_add(self, count: u64) -> Option<Self> {
        self.0.checked_add(count).map(Self)
    }

    /// Whether a 2 MiB entry may start at this frame.
    #[must_use]
    pub fn is_2mib_aligned(self) -> bool {
        self.in_2mib() == 0
    }

    /// Frames from the 2 MiB boundary below to this frame.
    #[must_use]
    pub fn in_2mib(self) -> u32 {
        const FRAMES: u64 = FRAMES_PER_2MIB as u64;
        (self.0 % FRAMES) as u32
    }
}

impl AperturePage {
    /// The page `count` pages further on, if there is such a number.
    #[must_use]
    pub fn checked_add(self, count: u32) -> Option<Self> {
        self.0.checked_add(count).map(Self)
    }

    /// Pages from the 2 MiB boundary below to this page. The aperture's first gfn is a
    /// multiple of 2 MiB, so this is the gfn's too.
    #[must_use]
    pub fn in_2mib(self) -> u32 {
        self.0 % FRAMES_PER_2MIB
    }
}

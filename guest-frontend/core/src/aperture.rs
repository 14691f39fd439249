// SPDX-License-Identifier: MIT OR Apache-2.0
//! The aperture as the backend's nodes name it, checked.

use xenlend_protocol::frame::{FRAMES_PER_2MIB, PAGE_SIZE};

use crate::page_set::Pages;

const FRAMES: u64 = FRAMES_PER_2MIB as u64;

/// The window of this guest's address space in which leases appear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aperture {
    gfn: u64,
    pages: u32,
}

impl Aperture {
    /// Checks what the nodes say: not empty, both ends at 2 MiB, below the end of the physical
    /// address space of so many bits. `None` if it cannot be an aperture.
    #[must_use]
    pub fn check(gfn: u64, pages: u64, physical_bits: u32) -> Option<Self> {
        let frames = 1_u64.checked_shl(physical_bits.checked_sub(12)?)?;
        let pages = u32::try_from(pages).ok().filter(|pages| *pages > 0)?;
        let end = gfn.checked_add(u64::from(pages))?;
        let aligned = gfn % FRAMES == 0 && pages % FRAMES_PER_2MIB == 0;
        (aligned && gfn > 0 && end <= frames).then_some(Self { gfn, pages })
    }

    /// Its first frame.
    #[must_use]
    pub fn gfn(self) -> u64 {
        self.gfn
    }

    /// Its pages.
    #[must_use]
    pub fn page_count(self) -> u32 {
        self.pages
    }

    /// All of them.
    #[must_use]
    pub fn all(self) -> Pages {
        Pages { first: 0, end: self.pages }
    }

    /// Its first byte in the physical address space.
    #[must_use]
    pub fn address(self) -> u64 {
        self.gfn.saturating_mul(PAGE_SIZE)
    }

    /// Its size.
    #[must_use]
    pub fn bytes(self) -> u64 {
        u64::from(self.pages).saturating_mul(PAGE_SIZE)
    }

    /// The frame of a page of the aperture.
    #[must_use]
    pub fn frame(self, page: u32) -> u64 {
        self.gfn.saturating_add(u64::from(page))
    }
}

/// Where in the free address space an aperture should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// So many bytes.
    pub bytes: u64,
    /// At the lowest free place from here on,
    pub lowest: u64,
    /// up to this byte.
    pub highest: u64,
}

/// Above what the kernel takes for grants and foreign pages, which begins at the lowest free place; below what
/// AMD's processors keep for themselves, 12 GiB below 1 TiB.
const LOWEST: u64 = 256 << 30;

impl Place {
    /// For so many bytes in a physical address space of so many bits. `None`: nothing is asked for, or it
    /// is no aperture, or more than a quarter of the address space.
    #[must_use]
    pub fn of(bytes: u64, physical_bits: u32) -> Option<Self> {
        let end = 1_u64.checked_shl(physical_bits)?;
        let lowest = LOWEST.min(end / 2);
        let fits = bytes > 0 && bytes <= end / 4 && bytes % (FRAMES * PAGE_SIZE) == 0;
        fits.then_some(Self { bytes, lowest, highest: end.saturating_sub(1) })
    }
}

#[cfg(test)]
mod tests {
    use super::{Aperture, Place};

    #[test]
    fn a_place_is_high_and_large_enough() {
        let place = Place::of(256 << 20, 40).unwrap();
        assert_eq!((place.lowest, place.highest), (256 << 30, (1 << 40) - 1));
        assert_eq!(Place::of(2 << 20, 36).unwrap().lowest, 32 << 30);
        for (bytes, bits) in
            [(0, 40), (1 << 20, 40), (3 << 20, 40), ((256 << 30) + (2 << 20), 40), (2 << 20, 64)]
        {
            assert_eq!(Place::of(bytes, bits), None, "{bytes:#x} {bits}");
        }
    }

    #[test]
    fn only_a_sane_window_is_taken() {
        let aperture = Aperture::check(0x100_0000, 65536, 40).unwrap();
        assert_eq!((aperture.address(), aperture.bytes()), (64 << 30, 256 << 20));
        assert_eq!(aperture.frame(3), 0x100_0003);
        for (gfn, pages) in
            [(0, 512), (0x200, 0), (0x201, 512), (0x200, 511), (u64::MAX - 511, 512), (0x200, 1 << 32)]
        {
            assert_eq!(Aperture::check(gfn, pages, 40), None, "{gfn:#x} {pages}");
        }
        assert_eq!(Aperture::check((1 << 28) - 512, 1024, 40), None, "leaves the address space");
        assert_eq!(Aperture::check(0x200, 512, 11), None, "no such processor");
    }
}

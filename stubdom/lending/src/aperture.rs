// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the aperture is in the borrower's physical address space.

use xenlend_protocol::frame::{AperturePage, FRAMES_PER_2MIB, PAGE_SIZE};

const BYTES_PER_2MIB: u64 = FRAMES_PER_2MIB as u64 * PAGE_SIZE;

/// The aperture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aperture {
    first_byte: u64,
    pages: u32,
}

/// The aperture is empty, not at a multiple of 2 MiB, or leaves the address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadAperture;

impl Aperture {
    /// An aperture of `pages` pages at a guest-physical address.
    ///
    /// # Errors
    /// [`BadAperture`].
    pub fn new(first_byte: u64, pages: u32) -> Result<Self, BadAperture> {
        let length = u64::from(pages).saturating_mul(PAGE_SIZE);
        let fits = first_byte.checked_add(length).is_some();
        if pages == 0 || !fits || first_byte % BYTES_PER_2MIB != 0 {
            return Err(BadAperture);
        }
        Ok(Self { first_byte, pages })
    }

    /// Its first gfn.
    pub fn first_gfn(&self) -> u64 {
        self.first_byte / PAGE_SIZE
    }

    /// Number of pages.
    pub fn page_count(&self) -> u32 {
        self.pages
    }

    /// The page that a guest-physical address is in, and the byte of it.
    pub fn locate(&self, address: u64) -> Option<(AperturePage, u16)> {
        let byte = address.checked_sub(self.first_byte)?;
        let page = u32::try_from(byte / PAGE_SIZE).ok().filter(|page| *page < self.pages)?;
        Some((AperturePage(page), (byte % PAGE_SIZE) as u16))
    }
}

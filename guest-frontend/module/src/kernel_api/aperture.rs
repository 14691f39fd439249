// SPDX-License-Identifier: MIT OR Apache-2.0
//! The aperture's place in the physical address space.

use xenlend_front_core::aperture::Aperture;

use super::ffi;
use crate::errno::{Errno, EBUSY};

/// Width of a physical address.
pub fn address_bits() -> u32 {
    // SAFETY: reads a variable that is constant after boot.
    unsafe { ffi::xenlend_aperture_address_bits() }
}

/// The aperture is this driver's, and write-combining, while this lives.
pub struct Claim {
    address: u64,
    bytes: u64,
    combines: bool,
}

impl Claim {
    /// Claims it; refused if somebody else has a part of it, or it is RAM.
    pub fn new(aperture: Aperture) -> Result<Self, Errno> {
        let (address, bytes) = (aperture.address(), aperture.bytes());
        // SAFETY: asks about any range.
        if unsafe { ffi::xenlend_aperture_has_ram(address, bytes) } {
            return Err(EBUSY);
        }
        // SAFETY: any range may be asked for; given back by `drop`.
        match unsafe { ffi::xenlend_aperture_claim(address, bytes) } {
            0 => {}
            error => return Err(Errno::from_kernel(error)),
        }
        let mut claim = Self { address, bytes, combines: false };
        // SAFETY: the range is this driver's; undone by `drop`.
        match unsafe { ffi::xenlend_aperture_combine(address, bytes) } {
            0 => claim.combines = true,
            error => return Err(Errno::from_kernel(error)),
        }
        Ok(claim)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.combines {
            // SAFETY: made by `new`; nothing maps the range any more.
            unsafe { ffi::xenlend_aperture_uncombine(self.address, self.bytes) };
        }
        // SAFETY: claimed by `new`.
        unsafe { ffi::xenlend_aperture_release(self.address, self.bytes) };
    }
}

/// Free address space for an aperture, taken while this lives.
pub struct Reservation(());

impl Reservation {
    /// Takes it; the kernel chooses the lowest free place between the two addresses, both included. There
    /// is one at a time.
    pub fn new(bytes: u64, lowest: u64, highest: u64) -> Result<(Self, u64), Errno> {
        let mut address = 0;
        // SAFETY: any range may be asked for; `address` is written. `space.rs` makes one at a time.
        match unsafe { ffi::xenlend_aperture_reserve(bytes, lowest, highest, &raw mut address) } {
            0 => Ok((Self(()), address)),
            error => Err(Errno::from_kernel(error)),
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // SAFETY: taken by `new`; no claim is inside it any more.
        unsafe { ffi::xenlend_aperture_give_back() };
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! PCI devices.

use core::ffi::c_void;
use core::ptr::NonNull;

use xenlend_shim_core::bars::{self, Place};

use super::ffi;
use crate::errno::Errno;

pub use super::ffi::Msix;

/// A counted reference of a device, which may have gone meanwhile. Dropping the last one may sleep.
pub struct Device {
    device: NonNull<c_void>,
}

// SAFETY: the device is counted atomically, and what is read of it may be read by any task.
unsafe impl Send for Device {}
// SAFETY: as above.
unsafe impl Sync for Device {}

impl Device {
    /// The device that has this address now.
    pub fn find(segment: u32, bus: u32, devfn: u8) -> Option<Self> {
        // SAFETY: any address may be asked for; a reference comes back.
        let device = unsafe { ffi::xenlend_pci_find(segment, bus, u32::from(devfn)) };
        NonNull::new(device).map(|device| Self { device })
    }

    /// A reference of the device that C tells of.
    ///
    /// # Safety
    /// The device is alive.
    pub(super) unsafe fn new(device: NonNull<c_void>) -> Self {
        // SAFETY: the caller says that it is alive.
        unsafe { ffi::xenlend_pci_get(device.as_ptr()) };
        Self { device }
    }

    /// Where the MSI-X structures in one of its BARs are.
    pub fn msix(&self, number: u8) -> Result<Msix, Errno> {
        let mut msix = Msix::default();
        // SAFETY: the device is alive; `msix` is written.
        match unsafe { ffi::xenlend_pci_msix(self.device.as_ptr(), u32::from(number), &raw mut msix) } {
            0 => Ok(msix),
            error => Err(Errno::from_kernel(error)),
        }
    }
}

impl PartialEq for Device {
    fn eq(&self, other: &Self) -> bool {
        self.device == other.device
    }
}

impl bars::Device for Device {
    fn place(&self, number: u8) -> Option<Place> {
        let (mut address, mut bytes) = (0, 0);
        let number = u32::from(number);
        let (to, size) = (&raw mut address, &raw mut bytes);
        // SAFETY: the device is alive; both numbers are written if there is such a BAR.
        let is_there = unsafe { ffi::xenlend_pci_place(self.device.as_ptr(), number, to, size) };
        is_there.then_some(Place { address, bytes })
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: gives back one reference.
        unsafe { ffi::xenlend_pci_put(self.device.as_ptr()) };
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! PCI devices.

use super::ffi;
use crate::errno::Errno;

pub use super::ffi::Bar;

/// Where a BAR and the MSI-X structures in it are.
pub fn bar(segment: u32, bus: u32, devfn: u8, number: u8) -> Result<Bar, Errno> {
    let mut bar = Bar::default();
    // SAFETY: any device may be asked for; `bar` is written.
    match unsafe { ffi::xenlend_pci_bar(segment, bus, u32::from(devfn), u32::from(number), &raw mut bar) } {
        0 => Ok(bar),
        error => Err(Errno::from_kernel(error)),
    }
}

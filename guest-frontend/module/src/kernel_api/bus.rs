// SPDX-License-Identifier: MIT OR Apache-2.0
//! A device on xenbus.

use core::ffi::{c_int, c_void, CStr};
use core::ptr::NonNull;

use super::ffi;
use crate::errno::Errno;

/// A device that this driver is bound to. Valid from its probe until its remove has returned: whoever
/// keeps a copy gives it up before that.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Device(NonNull<c_void>);

// SAFETY: xenbus devices are for use by any task.
unsafe impl Send for Device {}
// SAFETY: as above.
unsafe impl Sync for Device {}

impl Device {
    pub(super) fn new(device: *mut c_void) -> Option<Self> {
        NonNull::new(device).map(Self)
    }

    /// The backend's domain.
    pub fn backend(self) -> u16 {
        // SAFETY: the device is bound.
        unsafe { ffi::xenlend_bus_backend(self.0.as_ptr()) }
    }

    /// A number among the backend's nodes.
    pub fn read(self, name: &CStr) -> Result<u64, Errno> {
        let mut value = 0;
        // SAFETY: the device is bound; the name ends with a zero; `value` is written.
        match unsafe { ffi::xenlend_bus_read(self.0.as_ptr(), name.as_ptr(), &raw mut value) } {
            0 => Ok(value),
            error => Err(Errno::from_kernel(error)),
        }
    }

    /// Writes a number among the device's own nodes.
    pub fn write(self, name: &CStr, value: u64, hex: bool) -> Result<(), Errno> {
        // SAFETY: the device is bound; the name ends with a zero.
        match unsafe { ffi::xenlend_bus_write(self.0.as_ptr(), name.as_ptr(), value, hex) } {
            0 => Ok(()),
            error => Err(Errno::from_kernel(error)),
        }
    }

    /// Says how far it is. The kernel writes what went wrong to the error node.
    pub fn switch(self, state: u32) {
        // SAFETY: the device is bound.
        let _ = unsafe { ffi::xenlend_bus_switch(self.0.as_ptr(), state) };
    }

    /// Writes the error node and says Closing.
    pub fn fail(self, error: Errno, text: &CStr) {
        // SAFETY: the device is bound; the text ends with a zero.
        unsafe { ffi::xenlend_bus_fail(self.0.as_ptr(), -c_int::from(error.0), text.as_ptr()) };
    }

    /// Whether its nodes are there.
    pub fn exists(self) -> bool {
        // SAFETY: the device is bound.
        unsafe { ffi::xenlend_bus_exists(self.0.as_ptr()) }
    }

    /// Waits until the backend has let go, or so long. Not in xenbus's own thread.
    pub fn await_backend(self, ms: u32) {
        // SAFETY: the device is bound; may sleep.
        unsafe { ffi::xenlend_bus_await_backend(self.0.as_ptr(), ms) };
    }
}

/// Tells dom0's tool where an aperture may be.
pub fn offer(first_frame: u64, pages: u64) -> Result<(), Errno> {
    // SAFETY: may sleep; writes a node of this domain.
    match unsafe { ffi::xenlend_bus_offer(first_frame, pages) } {
        0 => Ok(()),
        error => Err(Errno::from_kernel(error)),
    }
}

/// Takes that back.
pub fn withdraw() {
    // SAFETY: as above.
    unsafe { ffi::xenlend_bus_withdraw() };
}

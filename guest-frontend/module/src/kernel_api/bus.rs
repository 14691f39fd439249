// SPDX-License-Identifier: MIT OR Apache-2.0
//! A device on xenbus.

use core::ffi::{c_char, c_int, c_void, CStr};
use core::marker::PhantomData;
use core::ptr::NonNull;

use super::ffi;
use crate::errno::Errno;

/// A device that is bound to this driver for as long as `'bound`, which is a call of the bus.
#[derive(Clone, Copy)]
pub struct Device<'bound> {
    device: NonNull<c_void>,
    bound: PhantomData<&'bound ()>,
}

impl Device<'_> {
    /// Runs `act` on a device of C's; `None` if that is none.
    ///
    /// # Safety
    /// The device is bound until `act` has returned.
    pub(super) unsafe fn with<T>(
        device: *mut c_void,
        act: impl for<'bound> FnOnce(Device<'bound>) -> T,
    ) -> Option<T> {
        let device = NonNull::new(device)?;
        Some(act(Device { device, bound: PhantomData }))
    }

    /// A reference that outlives this call.
    pub fn keep(self) -> KeptDevice {
        // SAFETY: the device is bound, so it exists.
        unsafe { ffi::xenlend_bus_keep(self.device.as_ptr()) };
        KeptDevice(self.device)
    }

    /// Whether it is the one that was kept.
    pub fn is(self, kept: Option<&KeptDevice>) -> bool {
        kept.is_some_and(|kept| kept.0 == self.device)
    }

    /// A reference with the place of its backend; `None` if memory is short.
    pub fn bound(self) -> Option<BoundDevice> {
        // SAFETY: the device is bound, so the bus knows its backend.
        let otherend = NonNull::new(unsafe { ffi::xenlend_bus_otherend(self.device.as_ptr()) })?;
        Some(BoundDevice { device: self.keep(), otherend })
    }

    /// The backend's domain.
    pub fn backend(self) -> u16 {
        // SAFETY: the device is bound.
        unsafe { ffi::xenlend_bus_backend(self.device.as_ptr()) }
    }

    /// A number among the backend's nodes.
    pub fn read(self, name: &CStr) -> Result<u64, Errno> {
        let mut value = 0;
        // SAFETY: the device is bound; the name ends with a zero; `value` is written.
        match unsafe { ffi::xenlend_bus_read(self.device.as_ptr(), name.as_ptr(), &raw mut value) } {
            0 => Ok(value),
            error => Err(Errno::from_kernel(error)),
        }
    }

    /// Writes a number among the device's own nodes.
    pub fn write(self, name: &CStr, value: u64, hex: bool) -> Result<(), Errno> {
        // SAFETY: the device is bound; the name ends with a zero.
        match unsafe { ffi::xenlend_bus_write(self.device.as_ptr(), name.as_ptr(), value, hex) } {
            0 => Ok(()),
            error => Err(Errno::from_kernel(error)),
        }
    }

    /// Says how far it is. The kernel writes what went wrong to the error node.
    pub fn switch(self, state: u32) {
        // SAFETY: the device is bound.
        let _ = unsafe { ffi::xenlend_bus_switch(self.device.as_ptr(), state) };
    }

    /// Writes the error node and says Closing.
    pub fn fail(self, error: Errno, text: &CStr) {
        // SAFETY: the device is bound; the text ends with a zero.
        unsafe { ffi::xenlend_bus_fail(self.device.as_ptr(), -c_int::from(error.0), text.as_ptr()) };
    }

    /// Whether its nodes are there.
    pub fn exists(self) -> bool {
        // SAFETY: the device is bound.
        unsafe { ffi::xenlend_bus_exists(self.device.as_ptr()) }
    }

    /// Waits until the backend has let go, or so long. Whether it has. Not in xenbus's own thread.
    pub fn await_backend(self, ms: u32) -> bool {
        // SAFETY: the device is bound; may sleep.
        unsafe { ffi::xenlend_bus_await_backend(self.device.as_ptr(), ms) }
    }

    /// As [`Self::await_backend`], in any thread: looks again and again.
    pub fn poll_backend(self, ms: u32) -> bool {
        // SAFETY: as above.
        unsafe { ffi::xenlend_bus_poll_backend(self.device.as_ptr(), ms) }
    }
}

/// A counted reference to a device, bound or not. What needs a backend takes a [`Device`].
pub struct KeptDevice(NonNull<c_void>);

// SAFETY: xenbus devices are for use by any task, and counted by the kernel.
unsafe impl Send for KeptDevice {}
// SAFETY: as above.
unsafe impl Sync for KeptDevice {}

impl KeptDevice {
    /// Says how far it is; in vain if its nodes are gone.
    pub fn switch(&self, state: u32) {
        // SAFETY: the device exists as long as `self`; only its own name is used.
        let _ = unsafe { ffi::xenlend_bus_switch(self.0.as_ptr(), state) };
    }
}

impl KeptDevice {
    /// Its own state among its nodes; 0 if they are not there.
    pub fn state(&self) -> u32 {
        // SAFETY: the device exists as long as `self`; only its own name is used.
        unsafe { ffi::xenlend_bus_state(self.0.as_ptr()) }
    }

    /// Unbinds it if it is bound, and binds it as a new one. Not under a lock that the bus's calls
    /// take.
    pub fn rebind(&self) {
        // SAFETY: the device exists as long as `self`; the bus has a lock of its own for this.
        unsafe { ffi::xenlend_bus_rebind(self.0.as_ptr()) };
    }
}

/// A device, and where its backend was when it was bound.
pub struct BoundDevice {
    /// The device.
    pub device: KeptDevice,
    otherend: NonNull<c_char>,
}

// SAFETY: the text is never changed, and freed by whoever drops `self`, in any task.
unsafe impl Send for BoundDevice {}
// SAFETY: as above.
unsafe impl Sync for BoundDevice {}

impl BoundDevice {
    /// Whether the device's nodes name another backend now: they are those of another device in its
    /// place.
    pub fn is_replaced(&self) -> bool {
        // SAFETY: the device exists as long as `self`, only its own name is used; the text ends
        // with a zero.
        unsafe { ffi::xenlend_bus_names_another(self.device.0.as_ptr(), self.otherend.as_ptr()) }
    }
}

impl Drop for BoundDevice {
    fn drop(&mut self) {
        // SAFETY: it came from `xenlend_bus_otherend` and nobody else has it.
        unsafe { ffi::xenlend_bus_free_otherend(self.otherend.as_ptr()) };
    }
}

impl Clone for KeptDevice {
    fn clone(&self) -> Self {
        // SAFETY: the device exists as long as `self`.
        unsafe { ffi::xenlend_bus_keep(self.0.as_ptr()) };
        Self(self.0)
    }
}

impl Drop for KeptDevice {
    fn drop(&mut self) {
        // SAFETY: gives back the reference that was taken when `self` was made.
        unsafe { ffi::xenlend_bus_forget(self.0.as_ptr()) };
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

/// Whether it has been told.
pub fn is_offered() -> bool {
    // SAFETY: may sleep; looks for a node of this domain.
    unsafe { ffi::xenlend_bus_is_offered() }
}

/// Takes that back.
pub fn withdraw() {
    // SAFETY: as above.
    unsafe { ffi::xenlend_bus_withdraw() };
}

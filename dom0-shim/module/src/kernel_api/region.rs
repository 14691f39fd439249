// SPDX-License-Identifier: MIT OR Apache-2.0
//! A region as the kernel sees it: an address space and its MMU notifier.

use core::ffi::{c_ulong, c_void};
use core::ptr::NonNull;

use xenlend_protocol::lease_id::LeaseId;
use xenlend_shim_core::regions::{Caller, ProcessId};

use super::ffi;
use super::shared::Shared;
use crate::errno::{Errno, ENOMEM};
use crate::link::Link;

/// The calling process, which uses this descriptor.
pub fn current_process(descriptor: u32) -> Caller {
    // SAFETY: asks about the current task.
    let process = ProcessId(unsafe { ffi::xenlend_region_current_process() });
    // SAFETY: a constant of the kernel and its processor.
    let user_limit = unsafe { ffi::xenlend_region_user_limit() };
    Caller { descriptor, process, user_limit }
}

/// A counted reference. Dropping the last one may sleep.
pub struct RegionObject {
    pub(super) region: NonNull<c_void>,
}

// SAFETY: the object is counted atomically and its contents are for use by any task.
unsafe impl Send for RegionObject {}
// SAFETY: as above.
unsafe impl Sync for RegionObject {}

impl RegionObject {
    /// Of the calling process's address space.
    fn new(link: &Shared<Link>) -> Result<Self, Errno> {
        let raw = link.clone().into_raw();
        // SAFETY: takes over the reference of the link.
        let region = unsafe { ffi::xenlend_region_new(raw) };
        if let Some(region) = NonNull::new(region) {
            return Ok(Self { region });
        }
        // SAFETY: it was not taken over.
        drop(unsafe { Shared::<Link>::from_raw(raw) });
        Err(ENOMEM)
    }

    /// Waits until no invalidation that overlaps the region is running, and gives the sequence.
    pub fn read_begin(&self) -> c_ulong {
        // SAFETY: the object is alive and was armed before it was made known.
        unsafe { ffi::xenlend_region_read_begin(self.region.as_ptr()) }
    }
}

/// A region of which the kernel tells invalidations, until this is dropped: soon after that it
/// tells no more, but what it is telling now goes on.
pub struct Armed {
    object: RegionObject,
}

impl Armed {
    /// These bytes of the calling process. Waits for the process's own lock on what it has mapped,
    /// so the caller holds no lock of the link.
    pub fn new(link: &Shared<Link>, start: u64, bytes: u64) -> Result<Self, Errno> {
        let object = RegionObject::new(link)?;
        let region = object.region.as_ptr();
        // SAFETY: the object is alive, its link is set, and it has not been armed before.
        match unsafe { ffi::xenlend_region_arm(region, start as c_ulong, bytes as c_ulong) } {
            0 => Ok(Self { object }),
            error => Err(Errno::from_kernel(error)),
        }
    }

    /// Gives the region its lease, under the link's lock. Before this it is told of invalidations
    /// in vain.
    pub fn name(&self, lease: LeaseId) {
        let lease = u64::from(lease.generation) << 32 | u64::from(lease.index);
        // SAFETY: the object is alive.
        unsafe { ffi::xenlend_region_name(self.object.region.as_ptr(), lease) };
    }

    /// The object.
    pub fn object(&self) -> &RegionObject {
        &self.object
    }
}

impl Drop for Armed {
    fn drop(&mut self) {
        let object = self.object.clone();
        // SAFETY: armed by `new`, and dropped once; takes over the reference of the clone.
        unsafe { ffi::xenlend_region_retire(object.region.as_ptr()) };
        core::mem::forget(object);
    }
}

impl Clone for RegionObject {
    fn clone(&self) -> Self {
        // SAFETY: the object is alive.
        unsafe { ffi::xenlend_region_get(self.region.as_ptr()) };
        Self { region: self.region }
    }
}

impl Drop for RegionObject {
    fn drop(&mut self) {
        // SAFETY: gives back one reference.
        unsafe { ffi::xenlend_region_put(self.region.as_ptr()) };
    }
}

/// Inside the notifier: the object whose sequence has to be set under the lock.
pub struct Notified {
    region: *mut c_void,
    sequence: c_ulong,
    is_release: bool,
}

impl Notified {
    pub(super) fn new(region: *mut c_void, sequence: c_ulong, is_release: bool) -> Self {
        Self { region, sequence, is_release }
    }

    /// Whether the process of the region ends: its address space does, or the caller is of it and was killed.
    pub fn is_of_death(&self) -> bool {
        // SAFETY: the notifier's caller keeps the object alive, and its callback is running.
        self.is_release || unsafe { ffi::xenlend_region_is_killed(self.region) }
    }

    /// To be called with the link's lock held, before the list of page-ins is marked.
    pub fn set_sequence(&self) {
        // SAFETY: the notifier's caller keeps the object alive, and its callback is running.
        unsafe { ffi::xenlend_region_set_sequence(self.region, self.sequence) };
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! A fault of a program in its mapping of a lease.

use core::ffi::c_void;
use core::marker::PhantomData;

use xenlend_front_core::link::Touch;
use xenlend_front_core::page_set::Pages;

use super::ffi::{self, RawFault};

/// `vm_fault_t`: what became of it.
pub type Outcome = u32;
/// `VM_FAULT_OOM`
pub const OUT_OF_MEMORY: Outcome = 0x1;
/// `VM_FAULT_SIGBUS`
pub const BUS: Outcome = 0x2;
/// `VM_FAULT_NOPAGE`: the entry is there.
pub const NOPAGE: Outcome = 0x100;
/// `VM_FAULT_RETRY`
pub const RETRY: Outcome = 0x400;
/// `VM_FAULT_FALLBACK`: not with 2 MiB.
pub const FALLBACK: Outcome = 0x800;

/// The fault, whose locks are held until [`Fault::unlock`].
pub struct Fault<'a> {
    raw: &'a RawFault,
    /// It belongs to the faulting task.
    here: PhantomData<*mut ()>,
}

impl<'a> Fault<'a> {
    pub(super) fn new(raw: &'a RawFault) -> Self {
        Self { raw, here: PhantomData }
    }

    /// What it means to the core; `None` if it is beyond what an aperture can have.
    pub fn touch(&self) -> Option<Touch> {
        let page = |page: u64| u32::try_from(page).ok();
        Some(Touch {
            serial: self.raw.serial,
            page: page(self.raw.page)?,
            mapping: Pages { first: page(self.raw.first)?, end: page(self.raw.end)? },
        })
    }

    /// Whether the locks may be let go of to wait.
    pub fn may_wait(&self) -> bool {
        self.raw.may_wait != 0
    }

    /// Whether it has been tried before.
    pub fn is_retry(&self) -> bool {
        self.raw.is_retry != 0
    }

    /// Whether it may be answered with [`RETRY`], but without waiting.
    pub fn must_not_wait(&self) -> bool {
        self.raw.must_not_wait != 0
    }

    /// Whether [`Self::insert`] needs no memory.
    pub fn has_table(&self) -> bool {
        // SAFETY: the fault's locks are held: nothing but `unlock`, which is called last, lets go of them.
        unsafe { ffi::xenlend_fault_has_table(self.raw.fault) }
    }

    /// Has it so; may wait for memory, of which the program's cgroup may have too little. False if there is
    /// none. Not under the driver's mutex.
    pub fn make_table(&self) -> bool {
        // SAFETY: as above.
        unsafe { ffi::xenlend_fault_make_table(self.raw.fault) == 0 }
    }

    /// Maps one page. `page` is one of the mapping's, which the core has checked.
    pub fn insert(&self, page: u32, frame: u64) -> Outcome {
        // SAFETY: the fault's locks are held: nothing but `unlock`, which is called last, lets go of them.
        unsafe { ffi::xenlend_fault_insert(self.raw.fault, u64::from(page), frame) }
    }

    /// Maps the 2 MiB around the touch, which are inside the mapping.
    pub fn insert_huge(&self, frame: u64) -> Outcome {
        // SAFETY: as above.
        unsafe { ffi::xenlend_fault_insert_huge(self.raw.fault, frame) }
    }

    /// Lets go of the fault's locks. The answer must be [`RETRY`], and nothing else may be done with
    /// the fault: to be called once, only if [`Self::may_wait`].
    pub fn unlock(&self) -> Kept {
        // SAFETY: the caller calls it last, and once: `fault::sleep` is the one place.
        Kept(unsafe { ffi::xenlend_fault_unlock(self.raw.fault) })
    }
}

/// Keeps the driver for a task that waits without locks.
pub struct Kept(*mut c_void);

impl Drop for Kept {
    fn drop(&mut self) {
        // SAFETY: gives back what `unlock` took.
        unsafe { ffi::xenlend_fault_forget(self.0) };
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! A fault of a program in its mapping of a lease.
//!
//! The kernel holds the fault's locks for as long as there is a [`Fault`]. Everything that ends one consumes it
//! and gives the [`Reply`] that belongs to it, so nothing is inserted without the locks, and "retry" is only
//! said in the way that the kernel expects.

use core::ffi::c_void;
use core::marker::PhantomData;

use xenlend_front_core::aperture::Aperture;
use xenlend_front_core::link::Touch;
use xenlend_front_core::page_set::Pages;
use xenlend_front_core::uapi::map::{MapName, MapType};
use xenlend_protocol::frame::FRAMES_PER_2MIB;

use super::ffi::{self, RawFault};

/// What came of a fault whose locks are still held: a `vm_fault_t` other than `VM_FAULT_RETRY`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Outcome(u32);

/// `VM_FAULT_OOM`
pub const OUT_OF_MEMORY: Outcome = Outcome(0x1);
/// `VM_FAULT_SIGBUS`
pub const BUS: Outcome = Outcome(0x2);
/// `VM_FAULT_NOPAGE`: the entry is there, or the touch is made again.
pub const NOPAGE: Outcome = Outcome(0x100);
/// `VM_FAULT_FALLBACK`: not with 2 MiB.
pub const FALLBACK: Outcome = Outcome(0x800);
/// `VM_FAULT_RETRY`
const RETRY: u32 = 0x400;

/// What the kernel is told, a `vm_fault_t`. The fault has ended.
#[must_use]
pub struct Reply {
    number: u32,
    /// It is the faulting task's.
    here: PhantomData<*mut ()>,
}

impl Reply {
    /// The number.
    pub(super) fn into_kernel(self) -> u32 {
        self.number
    }
}

/// The fault, with its locks held.
pub struct Fault<'a> {
    raw: &'a RawFault,
    /// It belongs to the faulting task.
    here: PhantomData<*mut ()>,
}

impl<'a> Fault<'a> {
    /// What C was asked about.
    ///
    /// # Safety
    /// The fault's locks are held, and nobody else lets go of them. There is one `Fault` of it.
    pub(super) unsafe fn new(raw: &'a RawFault) -> Self {
        Self { raw, here: PhantomData }
    }

    /// What it means to the core; `None` if it is beyond what an aperture can have.
    pub fn touch(&self) -> Option<Touch> {
        let page = u32::try_from(self.raw.page).ok()?;
        Some(Touch::in_one_table(self.name().serial, page, self.mapping()?, self.raw.slot))
    }

    /// Whether the locks may be let go of to wait.
    pub fn may_wait(&self) -> bool {
        self.raw.may_wait != 0
    }

    /// Whether it has been tried before.
    pub fn is_retry(&self) -> bool {
        self.raw.is_retry != 0
    }

    /// Whether the touch is an instruction of the program: after a signal's handler it is run
    /// again.
    pub fn heeds_signals(&self) -> bool {
        self.raw.heeds_signals != 0
    }

    /// Whether it may be answered with [`Self::retry`]: "retry", without having waited.
    pub fn must_not_wait(&self) -> bool {
        self.raw.must_not_wait != 0
    }

    /// Whether [`Self::insert`] needs no memory.
    pub fn has_table(&self) -> bool {
        // SAFETY: the fault's locks are held: only what consumes `self` lets go of them.
        unsafe { ffi::xenlend_fault_has_table(self.raw.fault) }
    }

    /// Has it so; may wait for memory, of which the program's cgroup may have too little. False if there is
    /// none. Not under the driver's mutex.
    pub fn make_table(&self) -> bool {
        // SAFETY: as above.
        unsafe { ffi::xenlend_fault_make_table(self.raw.fault) == 0 }
    }

    /// Maps one page of the aperture. One that is not the mapping's is [`BUS`].
    pub fn insert(&self, page: u32, aperture: Aperture) -> Outcome {
        if !self.mapping().is_some_and(|mapping| mapping.contains(page)) {
            return BUS;
        }
        let (fault, frame, page) = (self.raw.fault, aperture.frame(page), u64::from(page));
        let outcome = match self.name().kind {
            // SAFETY: the fault's locks are held, as above; the page is one of the mapping's.
            MapType::WriteCombining => unsafe { ffi::xenlend_fault_insert(fault, page, frame) },
            // SAFETY: as above.
            MapType::Uncached | MapType::WriteBack => unsafe {
                ffi::xenlend_fault_insert_typed(fault, page, frame)
            },
        };
        Outcome(outcome)
    }

    /// Whether [`Self::insert_huge`] can be tried.
    pub fn has_2mib(&self) -> bool {
        self.name().kind.has_2mib()
    }

    /// Maps the 2 MiB of the aperture around the touch; [`FALLBACK`] if the mapping does not have them all.
    pub fn insert_huge(&self, aperture: Aperture) -> Outcome {
        let block = u32::try_from(self.raw.page).ok().map(|page| Pages::block(page, FRAMES_PER_2MIB));
        match self.mapping().zip(block) {
            Some((mapping, block)) if mapping.covers(block) && self.has_2mib() => {
                let frame = aperture.frame(block.first);
                // SAFETY: the fault's locks are held, as above; the pages are the mapping's.
                Outcome(unsafe { ffi::xenlend_fault_insert_huge(self.raw.fault, frame) })
            }
            _ => FALLBACK,
        }
    }

    /// Ends it with its locks held.
    pub fn answer(self, outcome: Outcome) -> Reply {
        Reply { number: outcome.0, here: self.here }
    }

    /// Ends it with "retry", without waiting, if [`Self::must_not_wait`]. Another one's touch is made again.
    pub fn retry(self) -> Reply {
        let number = if self.must_not_wait() { RETRY } else { NOPAGE.0 };
        Reply { number, here: self.here }
    }

    /// Lets go of its locks, if [`Self::may_wait`]; else gives it back.
    pub fn unlock(self) -> Result<Unlocked, Self> {
        if !self.may_wait() {
            return Err(self);
        }
        // SAFETY: the locks are held and may be let go of; `self`, which is consumed, was the only way to use them.
        let kept = unsafe { ffi::xenlend_fault_unlock(self.raw.fault) };
        Ok(Unlocked { kept, here: self.here })
    }

    fn name(&self) -> MapName {
        MapName::of_number(self.raw.name)
    }

    fn mapping(&self) -> Option<Pages> {
        let page = |page: u64| u32::try_from(page).ok();
        Some(Pages { first: page(self.raw.first)?, end: page(self.raw.end)? })
    }
}

/// A fault without locks, whose task may wait. Keeps the driver.
pub struct Unlocked {
    kept: *mut c_void,
    here: PhantomData<*mut ()>,
}

impl Unlocked {
    /// Ends it: the touch is tried again.
    pub fn retry(self) -> Reply {
        Reply { number: RETRY, here: self.here }
    }
}

impl Drop for Unlocked {
    fn drop(&mut self) {
        // SAFETY: gives back what `unlock` took.
        unsafe { ffi::xenlend_fault_forget(self.kept) };
    }
}

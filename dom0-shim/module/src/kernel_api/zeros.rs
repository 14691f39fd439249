// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pages of zeros of this kernel's own.

use xenlend_protocol::frame::Mfn;

use super::ffi;

/// A page of zeros that nobody else has; freed when dropped, which does not sleep.
pub struct Zeros(Mfn);

impl Zeros {
    /// `None` if memory is short. May sleep.
    pub fn new() -> Option<Self> {
        let mut mfn = 0;
        // SAFETY: allocates, and writes the number on success.
        unsafe { ffi::xenlend_zeros_new(&raw mut mfn) }.then(|| Self(Mfn(mfn)))
    }

    /// Its frame.
    pub fn mfn(&self) -> Mfn {
        self.0
    }

    /// Keeps it beyond this value: the mirror names it from now on.
    pub fn into_mirror(self) {
        core::mem::forget(self);
    }

    /// Takes it back from a run that the mirror gave with the mark of such a page.
    ///
    /// The mirror gives each entry once, and only entries that are marked come from [`Self::into_mirror`].
    pub fn from_mirror(run: &xenlend_shim_core::mirror::Run) -> Option<Self> {
        // Not then_some(): that would make, and so free, one of every frame that is not marked.
        run.zeros.then(|| Self(run.mfn))
    }
}

impl Drop for Zeros {
    fn drop(&mut self) {
        // SAFETY: it came from `xenlend_zeros_new` and nobody else has it: nothing is lent of it any more.
        unsafe { ffi::xenlend_zeros_free(self.0 .0) };
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The module's own lifetime.

use super::ffi;

/// Keeps the module loaded while it lives.
pub struct ModuleReference(());

impl ModuleReference {
    /// Takes one; the caller runs inside the module and so holds one already.
    pub fn take() -> Self {
        // SAFETY: the module is in use by the caller.
        unsafe { ffi::xenlend_module_get() };
        Self(())
    }
}

impl Drop for ModuleReference {
    fn drop(&mut self) {
        // SAFETY: returns what `take` took; the caller holds another one.
        unsafe { ffi::xenlend_module_put() };
    }
}

/// Whether the module was loaded as the control of a test, which adds frames without pausing the borrower.
pub fn adds_unpaused() -> bool {
    // SAFETY: reads a parameter that is constant after loading.
    unsafe { ffi::xenlend_module_adds_unpaused() }
}

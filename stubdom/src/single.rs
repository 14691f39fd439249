// SPDX-License-Identifier: MIT OR Apache-2.0
//! Statics that somebody owns: each is handed out once.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};

/// A static whose first caller gets it, for good, and nobody else.
pub struct Single<T> {
    value: UnsafeCell<T>,
    taken: AtomicBool,
}

// SAFETY: the value is reached through `take` only, which gives it to one caller, whatever flow of control
// that is; for another thread to have it, it must be one that may be sent there.
unsafe impl<T: Send> Sync for Single<T> {}

impl<T> Single<T> {
    /// The static's first value.
    pub const fn new(value: T) -> Self {
        Self { value: UnsafeCell::new(value), taken: AtomicBool::new(false) }
    }

    /// The value, for the first caller; none for every other.
    #[allow(clippy::mut_from_ref, reason = "one caller gets it, once")]
    pub fn take(&'static self) -> Option<&'static mut T> {
        if self.taken.swap(true, Ordering::AcqRel) {
            return None;
        }
        // SAFETY: `taken` was false, and never is again: this is the only reference there will ever be.
        Some(unsafe { &mut *self.value.get() })
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Statics of a domain that has one vCPU and never takes an interrupt.

use core::cell::UnsafeCell;

/// A static that only one flow of control can reach.
#[repr(transparent)]
pub struct Single<T>(UnsafeCell<T>);

// SAFETY: there is one vCPU, interrupts stay masked from entry on, and the exceptions' handler never
// returns and never touches a `Single`: no second flow of control exists.
unsafe impl<T> Sync for Single<T> {}

impl<T> Single<T> {
    /// The static's first value.
    pub const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    /// Where the value is.
    pub const fn get(&self) -> *mut T {
        self.0.get()
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Counted references to a value in kernel memory, which C may hold too.

use core::ffi::c_void;
use core::ops::Deref;
use core::ptr::NonNull;
use core::sync::atomic::{fence, AtomicUsize, Ordering};

use super::ffi;

/// Bytes of what is moved from where it was made to its memory.
const LARGEST: usize = 1024;

struct Counted<T> {
    references: AtomicUsize,
    value: T,
}

/// A counted reference. Dropping the last one may sleep.
pub struct Shared<T> {
    counted: NonNull<Counted<T>>,
}

// SAFETY: references go to any task; the value is shared, so it must be `Sync`, and
// whoever drops the last one drops it, so it must be `Send`.
unsafe impl<T: Send + Sync> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// Moves a value into kernel memory; `None` if that is short.
    pub fn new(value: T) -> Option<Self> {
        const { assert!(size_of::<T>() <= LARGEST, "this is moved over the kernel's small stacks") };
        if align_of::<Counted<T>>() > 8 {
            return None;
        }
        // SAFETY: any size may be asked for.
        let memory = NonNull::new(unsafe { ffi::xenlend_memory_new(size_of::<Counted<T>>()) })?;
        let counted = memory.cast::<Counted<T>>();
        // SAFETY: the memory is large enough, aligned to 8, and owned by nobody else.
        unsafe { counted.write(Counted { references: AtomicUsize::new(1), value }) };
        Some(Self { counted })
    }

    /// The reference as C keeps it. [`Self::from_raw`] takes it back.
    pub fn into_raw(self) -> *mut c_void {
        let raw = self.counted.as_ptr().cast::<c_void>();
        core::mem::forget(self);
        raw
    }

    /// Where the value is, for C to hand back while somebody holds a reference.
    pub fn as_raw(&self) -> *mut c_void {
        self.counted.as_ptr().cast::<c_void>()
    }

    /// Takes back a reference.
    ///
    /// # Safety
    /// `raw` came from [`Self::into_raw`] of the same type, and is taken back once.
    pub(super) unsafe fn from_raw(raw: *mut c_void) -> Option<Self> {
        NonNull::new(raw.cast::<Counted<T>>()).map(|counted| Self { counted })
    }

    /// The value behind a pointer that C was given.
    ///
    /// # Safety
    /// `raw` came from [`Self::into_raw`] or [`Self::as_raw`] of the same type, and a reference is
    /// held for as long as `'a`.
    pub(super) unsafe fn borrow_raw<'a>(raw: *mut c_void) -> &'a T {
        // SAFETY: the caller vouches for the type and for the lifetime.
        unsafe { &(*raw.cast::<Counted<T>>()).value }
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        // SAFETY: `self` keeps the memory alive.
        unsafe { self.counted.as_ref() }.references.fetch_add(1, Ordering::Relaxed);
        Self { counted: self.counted }
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: `self` keeps the memory alive.
        &unsafe { self.counted.as_ref() }.value
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        // SAFETY: `self` keeps the memory alive until here.
        if unsafe { self.counted.as_ref() }.references.fetch_sub(1, Ordering::Release) != 1 {
            return;
        }
        // Everything that others did with the value comes before its end.
        fence(Ordering::Acquire);
        // SAFETY: it was the last reference: the value is dropped once and not used again.
        unsafe { self.counted.drop_in_place() };
        // SAFETY: the memory came from `xenlend_memory_new` and is not used again.
        unsafe { ffi::xenlend_memory_free(self.counted.as_ptr().cast::<c_void>()) };
    }
}

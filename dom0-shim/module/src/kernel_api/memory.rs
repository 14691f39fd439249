// SPDX-License-Identifier: MIT OR Apache-2.0
//! Kernel memory for tables.

use core::ffi::c_void;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

use super::{ffi, Storage};

/// So many values in memory of the kernel; freed when dropped, which may sleep.
pub struct KernelSlice<T> {
    first: NonNull<T>,
    count: usize,
}

// SAFETY: it owns its values like a `Vec` does.
unsafe impl<T: Send> Send for KernelSlice<T> {}
// SAFETY: shared access gives shared access to the values only.
unsafe impl<T: Sync> Sync for KernelSlice<T> {}

impl<T> KernelSlice<T> {
    /// Allocates, and makes each value; `None` if memory is short, or if that is 2 GiB or more. May sleep.
    pub fn new(count: usize, mut make: impl FnMut() -> T) -> Option<Self> {
        let bytes = count.max(1).checked_mul(size_of::<T>().max(1))?;
        // The kernel warns of more than that at once, and an administrator may have it panic then.
        if i32::try_from(bytes).is_err() {
            return None;
        }
        // The kernel aligns to 8 at least, and to a power-of-two size up to a page.
        if align_of::<T>() > 8 {
            return None;
        }
        // SAFETY: any size may be asked for.
        let memory = NonNull::new(unsafe { ffi::xenlend_memory_new(bytes) })?;
        let first = memory.cast::<T>();
        for index in 0..count {
            // SAFETY: `index` is inside the allocation of `count` values, which is aligned
            // for `T` and owned by nobody else.
            unsafe { first.add(index).write(make()) };
        }
        Some(Self { first, count })
    }
}

impl<T> Deref for KernelSlice<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `new` has written `count` values, and `self` owns them.
        unsafe { core::slice::from_raw_parts(self.first.as_ptr(), self.count) }
    }
}

impl<T> DerefMut for KernelSlice<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`, and `self` is borrowed exclusively.
        unsafe { core::slice::from_raw_parts_mut(self.first.as_ptr(), self.count) }
    }
}

impl<T> Drop for KernelSlice<T> {
    fn drop(&mut self) {
        let values: *mut [T] = &raw mut **self;
        // SAFETY: the values are valid, owned, and not used again.
        unsafe { values.drop_in_place() };
        // SAFETY: the memory came from `xenlend_memory_new` and is not used again.
        unsafe { ffi::xenlend_memory_free(self.first.as_ptr().cast::<c_void>()) };
    }
}

/// One value in memory of the kernel; freed when dropped, which may sleep.
pub struct KernelBox<T> {
    value: NonNull<T>,
}

// SAFETY: it owns its value like a `Box` does.
unsafe impl<T: Send> Send for KernelBox<T> {}
// SAFETY: shared access gives shared access to the value only.
unsafe impl<T: Sync> Sync for KernelBox<T> {}

impl<T> KernelBox<T> {
    /// Moves a value there; `None` if memory is short. May sleep.
    pub fn new(value: T) -> Option<Self> {
        // The kernel aligns to 8 at least.
        if align_of::<T>() > 8 {
            return None;
        }
        // SAFETY: any size may be asked for.
        let memory = NonNull::new(unsafe { ffi::xenlend_memory_new(size_of::<T>().max(1)) })?;
        let place = memory.cast::<T>();
        // SAFETY: the memory is large enough, aligned, and owned by nobody else.
        unsafe { place.write(value) };
        Some(Self { value: place })
    }

    /// Where the value is.
    pub fn as_ptr(&self) -> *mut T {
        self.value.as_ptr()
    }
}

impl<T> Drop for KernelBox<T> {
    fn drop(&mut self) {
        // SAFETY: `new` has written the value, which `self` owns and which is not used again.
        unsafe { self.value.drop_in_place() };
        // SAFETY: the memory came from `xenlend_memory_new` and is not used again.
        unsafe { ffi::xenlend_memory_free(self.value.as_ptr().cast::<c_void>()) };
    }
}

/// The kernel's memory for the core's tables.
pub struct KernelMemory;

impl Storage for KernelMemory {
    type Slice<T> = KernelSlice<T>;
}

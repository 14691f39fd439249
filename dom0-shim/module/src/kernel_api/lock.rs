// SPDX-License-Identifier: MIT OR Apache-2.0
//! Locks around values. These are in memory of their own: whatever has locks in it is moved over
//! the kernel's small stacks when it is made.

use core::cell::UnsafeCell;
use core::ffi::{c_ulong, c_void};
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

use super::ffi;
use super::memory::KernelBox;

/// A spinlock with interrupts off: nothing under it sleeps, allocates or frees.
pub struct SpinLock<T> {
    lock: NonNull<c_void>,
    value: KernelBox<UnsafeCell<T>>,
}

// SAFETY: the lock gives one holder at a time access to the value.
unsafe impl<T: Send> Send for SpinLock<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for SpinLock<T> {}

/// Holds a [`SpinLock`]; not to be moved to another processor, hence not `Send`.
pub struct SpinGuard<'a, T> {
    lock: &'a SpinLock<T>,
    flags: c_ulong,
    here: PhantomData<*mut ()>,
}

impl<T> SpinLock<T> {
    /// `None` if memory is short.
    pub fn new(value: T) -> Option<Self> {
        let value = KernelBox::new(UnsafeCell::new(value))?;
        // SAFETY: allocates.
        let lock = NonNull::new(unsafe { ffi::xenlend_spinlock_new() })?;
        Some(Self { lock, value })
    }

    /// Takes the lock. Not recursive.
    pub fn lock(&self) -> SpinGuard<'_, T> {
        // SAFETY: the lock lives as long as `self`.
        let flags = unsafe { ffi::xenlend_spinlock_lock(self.lock.as_ptr()) };
        SpinGuard { lock: self, flags, here: PhantomData }
    }
}

impl<T> Drop for SpinLock<T> {
    fn drop(&mut self) {
        // SAFETY: nobody holds it, since `self` is owned; it is not used again.
        unsafe { ffi::xenlend_spinlock_free(self.lock.as_ptr()) };
    }
}

impl<T> Deref for SpinGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the lock is held, so nobody else has the value.
        unsafe { &*(*self.lock.value.as_ptr()).get() }
    }
}

impl<T> DerefMut for SpinGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the lock is held, so nobody else has the value; the guard is borrowed exclusively.
        unsafe { &mut *(*self.lock.value.as_ptr()).get() }
    }
}

impl<T> Drop for SpinGuard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: this guard took the lock, on this processor, with these flags.
        unsafe { ffi::xenlend_spinlock_unlock(self.lock.lock.as_ptr(), self.flags) };
    }
}

/// A sleeping lock.
pub struct Mutex<T> {
    mutex: NonNull<c_void>,
    value: KernelBox<UnsafeCell<T>>,
}

// SAFETY: the lock gives one holder at a time access to the value.
unsafe impl<T: Send> Send for Mutex<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Mutex<T> {}

/// Holds a [`Mutex`]; the task that took it gives it back, hence not `Send`.
pub struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
    here: PhantomData<*mut ()>,
}

impl<T> Mutex<T> {
    /// `None` if memory is short.
    pub fn new(value: T) -> Option<Self> {
        let value = KernelBox::new(UnsafeCell::new(value))?;
        // SAFETY: allocates.
        let mutex = NonNull::new(unsafe { ffi::xenlend_mutex_new() })?;
        Some(Self { mutex, value })
    }

    /// Takes the lock; may sleep. Not recursive.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        // SAFETY: the mutex lives as long as `self`.
        unsafe { ffi::xenlend_mutex_lock(self.mutex.as_ptr()) };
        MutexGuard { mutex: self, here: PhantomData }
    }

    /// The same; `None` if the task was killed while it waited.
    pub fn lock_killable(&self) -> Option<MutexGuard<'_, T>> {
        // SAFETY: the mutex lives as long as `self`.
        let taken = unsafe { ffi::xenlend_mutex_lock_killable(self.mutex.as_ptr()) } == 0;
        taken.then(|| MutexGuard { mutex: self, here: PhantomData })
    }
}

impl<T> Drop for Mutex<T> {
    fn drop(&mut self) {
        // SAFETY: nobody holds it, since `self` is owned; it is not used again.
        unsafe { ffi::xenlend_mutex_free(self.mutex.as_ptr()) };
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the mutex is held, so nobody else has the value.
        unsafe { &*(*self.mutex.value.as_ptr()).get() }
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the mutex is held, so nobody else has the value; the guard is borrowed exclusively.
        unsafe { &mut *(*self.mutex.value.as_ptr()).get() }
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: this guard took the mutex in this task.
        unsafe { ffi::xenlend_mutex_unlock(self.mutex.mutex.as_ptr()) };
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Kernel threads of a link: its workers, and those that wait for pages.

use core::ffi::c_void;
use core::ptr::NonNull;

use super::ffi;
use super::shared::Shared;
use crate::crew::Post;
use crate::errno::{Errno, ENOMEM};
use crate::waiter::Errand;

/// A thread, which ends by itself.
pub struct Worker {
    task: NonNull<c_void>,
}

// SAFETY: a task is counted and may be signalled by anybody.
unsafe impl Send for Worker {}
// SAFETY: as above.
unsafe impl Sync for Worker {}

impl Worker {
    /// Starts a worker at its post.
    pub fn start(post: &Shared<Post>) -> Result<Self, Errno> {
        let raw = post.clone().into_raw();
        // SAFETY: takes over the reference of the post.
        let task = unsafe { ffi::xenlend_worker_start(raw, post.link().borrower) };
        if let Some(task) = NonNull::new(task) {
            return Ok(Self { task });
        }
        // SAFETY: it was not taken over.
        drop(unsafe { Shared::<Post>::from_raw(raw) });
        Err(ENOMEM)
    }

    /// Starts a thread that runs an errand once.
    pub fn start_waiter(errand: &Shared<Errand>) -> Result<Self, Errno> {
        let raw = errand.clone().into_raw();
        // SAFETY: takes over the reference of the errand.
        let task = unsafe { ffi::xenlend_worker_start_waiter(raw, errand.link.borrower) };
        if let Some(task) = NonNull::new(task) {
            return Ok(Self { task });
        }
        // SAFETY: it was not taken over.
        drop(unsafe { Shared::<Errand>::from_raw(raw) });
        Err(ENOMEM)
    }

    /// Ends whatever killable wait it is in: a page that never comes. Does not sleep.
    pub fn interrupt(&self) {
        // SAFETY: the task structure is alive; a thread that has ended is told in vain.
        unsafe { ffi::xenlend_worker_interrupt(self.task.as_ptr()) };
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // SAFETY: gives back the reference that `start` got.
        unsafe { ffi::xenlend_worker_put(self.task.as_ptr()) };
    }
}

/// By the worker itself: forgets an interruption.
pub fn resume() {
    // SAFETY: flushes the signals of the calling kernel thread, which takes no other.
    unsafe { ffi::xenlend_worker_resume() };
}

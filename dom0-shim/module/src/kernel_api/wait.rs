// SPDX-License-Identifier: MIT OR Apache-2.0
//! Waiting for a change: a wait queue with a count of wake-ups.
//!
//! A waiter reads the count under the lock of what it waits for, finds that it has to wait, lets go
//! and waits until the count is another one: no wake-up is lost.

use core::ffi::{c_int, c_ulong, c_void};
use core::ptr::NonNull;

use super::ffi;

/// Wake-ups so far.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Seen(c_ulong);

/// What may end a wait early.
#[derive(Clone, Copy)]
pub enum Mode {
    /// Nothing: a notifier or a close waits.
    Uninterruptible = 0,
    /// SIGKILL.
    Killable = 1,
    /// Any signal.
    Interruptible = 2,
    /// Nothing; does not count as load.
    Idle = 3,
}

/// How a wait ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Woken {
    /// There was a wake-up.
    Yes,
    /// Time is up.
    TimeOut,
    /// A signal came.
    Signal,
}

/// What `poll()` of the kernel hands down.
pub struct PollTable {
    pub(super) file: *mut c_void,
    pub(super) table: *mut c_void,
}

/// The queue.
pub struct WaitQueue {
    queue: NonNull<c_void>,
}

// SAFETY: the kernel's wait queues are for use by any task.
unsafe impl Send for WaitQueue {}
// SAFETY: as above.
unsafe impl Sync for WaitQueue {}

impl WaitQueue {
    /// `None` if memory is short.
    pub fn new() -> Option<Self> {
        // SAFETY: allocates.
        let queue = NonNull::new(unsafe { ffi::xenlend_wait_new() })?;
        Some(Self { queue })
    }

    /// The count now.
    pub fn seen(&self) -> Seen {
        // SAFETY: the queue lives as long as `self`.
        Seen(unsafe { ffi::xenlend_wait_count(self.queue.as_ptr()) })
    }

    /// Wakes everybody. The caller holds the lock of what is waited for; does not sleep.
    pub fn wake(&self) {
        // SAFETY: the queue lives as long as `self`.
        unsafe { ffi::xenlend_wait_wake(self.queue.as_ptr()) };
    }

    /// Waits until there is another wake-up than was seen, at most so long; 0 is for ever.
    pub fn wait(&self, seen: Seen, ms: u32, mode: Mode) -> Woken {
        // SAFETY: the queue lives as long as `self`; the caller is a task that may sleep.
        match unsafe { ffi::xenlend_wait_for(self.queue.as_ptr(), seen.0, ms, mode as c_int) } {
            1.. => Woken::Yes,
            0 => Woken::TimeOut,
            _ => Woken::Signal,
        }
    }

    /// Lets `poll()` wait here too.
    pub fn poll(&self, table: &PollTable) {
        // SAFETY: file and table came from the kernel for this call; the queue lives as long
        // as the link, which the descriptor holds.
        unsafe { ffi::xenlend_wait_poll(self.queue.as_ptr(), table.file, table.table) };
    }
}

impl Drop for WaitQueue {
    fn drop(&mut self) {
        // SAFETY: nobody waits, since `self` is owned; it is not used again.
        unsafe { ffi::xenlend_wait_free(self.queue.as_ptr()) };
    }
}

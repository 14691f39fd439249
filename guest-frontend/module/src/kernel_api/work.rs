// SPDX-License-Identifier: MIT OR Apache-2.0
//! The work item.

use super::ffi;

/// Has it run, once more if it is running. Never sleeps.
pub fn queue() {
    // SAFETY: the item is static, and its function runs only while the module is loaded: see `cancel`.
    unsafe { ffi::xenlend_work_queue() };
}

/// Waits for its end. The caller has taken the link away, so that a run that is queued later finds
/// nothing to do.
pub fn cancel() {
    // SAFETY: may sleep; the caller holds nothing that the work item takes.
    unsafe { ffi::xenlend_work_cancel() };
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Counts the domain's work, for what lies between an `Invalidate` and its acknowledgement.

use core::sync::atomic::{AtomicU64, Ordering};

use xenlend_lending::revocation_work::Work;

/// Atomic, since last words make hypercalls too, from wherever an exception came.
static TURNS: AtomicU64 = AtomicU64::new(0);
static CALLS: AtomicU64 = AtomicU64::new(0);
static MESSAGES: AtomicU64 = AtomicU64::new(0);

/// What has been done so far.
pub fn done() -> Work {
    let [turns, calls, messages] = [&TURNS, &CALLS, &MESSAGES].map(|sum| sum.load(Ordering::Relaxed));
    Work { turns, calls, messages }
}

/// A turn begins.
pub fn turn() {
    TURNS.fetch_add(1, Ordering::Relaxed);
}

/// A hypercall is made.
pub fn call() {
    CALLS.fetch_add(1, Ordering::Relaxed);
}

/// A message was taken or said.
pub fn message() {
    MESSAGES.fetch_add(1, Ordering::Relaxed);
}

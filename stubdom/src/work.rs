// SPDX-License-Identifier: MIT OR Apache-2.0
//! Counts the domain's work, for what lies between an `Invalidate` and its acknowledgement.

use xenlend_lending::revocation_work::Work;

use crate::single::Single;

static WORK: Single<Work> = Single::new(Work { turns: 0, calls: 0, messages: 0 });

/// What has been done so far.
pub fn done() -> Work {
    // SAFETY: one flow of control, and a copy.
    unsafe { *WORK.get() }
}

/// Changes the sums.
fn add(turns: u64, calls: u64, messages: u64) {
    let done = done();
    let sum = Work {
        turns: done.turns.wrapping_add(turns),
        calls: done.calls.wrapping_add(calls),
        messages: done.messages.wrapping_add(messages),
    };
    // SAFETY: one flow of control, and no reference to it is kept anywhere.
    unsafe { *WORK.get() = sum };
}

/// A turn begins.
pub fn turn() {
    add(1, 0, 0);
}

/// A hypercall is made.
pub fn call() {
    add(0, 1, 0);
}

/// A message was taken or said.
pub fn message() {
    add(0, 0, 1);
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where tables live: memory of a size fixed at start that the caller supplies.

use core::ops::DerefMut;

/// Memory for tables. The kernel module hands in its own allocations, the tests vectors.
pub trait Storage {
    /// So many values of one type; freed when dropped.
    type Slice<T>: DerefMut<Target = [T]>;
}

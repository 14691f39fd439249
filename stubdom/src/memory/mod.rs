// SPDX-License-Identifier: MIT OR Apache-2.0
//! The domain's own memory: what Xen leaves at entry, page tables, heap.

pub mod entry_memory;
pub mod exceptions;
pub mod heap;
pub mod intrinsics;
pub mod page_table;

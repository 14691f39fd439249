// SPDX-License-Identifier: MIT OR Apache-2.0
//! The domain's own memory: page tables, heap, and the window in which other domains' pages appear.

pub mod exceptions;
pub mod heap;
pub mod intrinsics;
pub mod page_table;
pub mod window;

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The border to the C glue: the only files with `unsafe`. Everything that leaves here is safe.
//!
//! What does not differ from the lender's module is that module's own file.

pub mod aperture;
pub mod bus;
mod exports;
pub mod fault;
mod ffi;
pub mod mapping;
pub mod parameters;
pub mod work;

#[path = "../../../../dom0-shim/module/src/kernel_api/event_channel.rs"]
pub mod event_channel;
#[path = "../../../../dom0-shim/module/src/kernel_api/ffi_common.rs"]
mod ffi_common;
#[path = "../../../../dom0-shim/module/src/kernel_api/grant.rs"]
pub mod grant;
#[allow(dead_code, reason = "the lender's module uses the rest")]
#[path = "../../../../dom0-shim/module/src/kernel_api/lock.rs"]
pub mod lock;
#[allow(unused_macros, dead_code, reason = "the lender's module uses the rest")]
#[macro_use]
#[path = "../../../../dom0-shim/module/src/kernel_api/log.rs"]
pub mod log;
#[path = "../../../../dom0-shim/module/src/kernel_api/memory.rs"]
pub mod memory;
#[path = "../../../../dom0-shim/module/src/kernel_api/shared.rs"]
pub mod shared;
#[allow(dead_code, reason = "the lender's module uses the rest")]
#[path = "../../../../dom0-shim/module/src/kernel_api/user.rs"]
pub mod user;
#[allow(dead_code, reason = "the lender's module uses the rest")]
#[path = "../../../../dom0-shim/module/src/kernel_api/wait.rs"]
pub mod wait;

pub use memory::KernelMemory;

use xenlend_front_core::storage::Storage;

// SPDX-License-Identifier: MIT OR Apache-2.0
//! `SCHEDOP_*` (`public/sched.h`), numbers and layouts from `xen-sys`.

pub use xen_sys::{sched_poll, sched_shutdown};

/// `SCHEDOP_shutdown`.
pub const SHUTDOWN: u32 = xen_sys::SCHEDOP_shutdown;
/// `SCHEDOP_poll`.
pub const POLL: u32 = xen_sys::SCHEDOP_poll;
/// `SHUTDOWN_poweroff`.
pub const SHUTDOWN_POWEROFF: u32 = xen_sys::SHUTDOWN_poweroff;
/// `SHUTDOWN_crash`: the toolstack shows it and keeps the logs.
pub const SHUTDOWN_CRASH: u32 = xen_sys::SHUTDOWN_crash;
/// Most ports that one poll may list (`xen/common/sched/core.c:do_poll`).
pub const POLL_PORTS_MAX: usize = 128;

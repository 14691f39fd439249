// SPDX-License-Identifier: MIT OR GPL-2.0 WITH Linux-syscall-note
//! A guest program's way to the memory that is lent to it: `/dev/xenlend`.
//!
//! [`Device`] lists leases, brings pages in and gives events; [`Mapping`] is a mapped piece of a lease, which
//! the lender writes too, so that there is no reference to its bytes, only volatile accesses.

mod device;
mod event;
mod ioctl;
mod label;
pub mod layout;
mod mapping;

pub use device::{Device, Info, Lease, MapType, State, DEVICE_PATH};
pub use event::{ClosingReason, Event, PrefaultStatus};
pub use label::Label;
pub use layout::Counters;
pub use mapping::{Mapping, Word};

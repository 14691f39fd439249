// SPDX-License-Identifier: MIT OR Apache-2.0
//! The lender's uAPI for Rust programs: `/dev/xen/xenlend` (`dom0-shim/uapi/xenlend.h`).
//!
//! Read the header first: it says what each call means and how it fails. This crate
//! adds the types, nothing else. The unsafe calls are in `ioctl.rs` alone.

mod descriptor;
mod device;
mod event;
mod ioctl;
mod label;
pub mod layout;
pub mod number;
mod words;

pub use descriptor::{BorrowerFd, Region, Resolve};
pub use device::{Attached, BarAddress, Device, FrontendRefusal, FrontendRings, RegionInfo, DEVICE_PATH};
pub use event::Event;
pub use label::Label;
pub use layout::{Counters, Status};
pub use words::{FrameRefusal, LinkState, Reason};

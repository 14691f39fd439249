// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the lab's parts say to each other: the host's `xtask`, the agent in dom0 and the agents in the
//! guests.

pub mod frame;
pub mod guest;
pub mod host;

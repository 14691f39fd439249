// SPDX-License-Identifier: MIT OR Apache-2.0
//! One vCPU's request on its way through its pieces.

/// Progress of one vCPU's request. The storage starts with `VcpuSlot::default()`.
#[derive(Debug, Default)]
pub struct VcpuSlot {}

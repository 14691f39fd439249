// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ioctl numbers of `xenlend.h`, computed as its `_IOW` and `_IOWR` do.

use rustix::ioctl::{opcode, Opcode};

use crate::layout::{
    AllowBar, Attach, AttachFrontend, Bind, Capability, Detach, DetachFrontend, RawRegion, RawRegion2,
    RawRegionInfo, RawResolve, Status, Version, Xen,
};

/// `XENLEND_IOC_MAGIC`.
pub const MAGIC: u8 = 0xC5;
/// `XENLEND_ATTACH`.
pub const ATTACH: Opcode = opcode::read_write::<Attach>(MAGIC, 0x10);
/// `XENLEND_DETACH`.
pub const DETACH: Opcode = opcode::write::<Detach>(MAGIC, 0x11);
/// `XENLEND_ALLOW_BAR`.
pub const ALLOW_BAR: Opcode = opcode::read_write::<AllowBar>(MAGIC, 0x12);
/// `XENLEND_BIND`.
pub const BIND: Opcode = opcode::write::<Bind>(MAGIC, 0x13);
/// `XENLEND_STATUS`.
pub const STATUS: Opcode = opcode::read_write::<Status>(MAGIC, 0x14);
/// `XENLEND_SET_USER_MEMORY_REGION`.
pub const SET_USER_MEMORY_REGION: Opcode = opcode::write::<RawRegion>(MAGIC, 0x15);
/// `XENLEND_SET_USER_MEMORY_REGION2`.
pub const SET_USER_MEMORY_REGION2: Opcode = opcode::write::<RawRegion2>(MAGIC, 0x18);
/// `XENLEND_GET_REGION`.
pub const GET_REGION: Opcode = opcode::read_write::<RawRegionInfo>(MAGIC, 0x19);
/// `XENLEND_RESOLVE`.
pub const RESOLVE: Opcode = opcode::write::<RawResolve>(MAGIC, 0x1c);
/// `XENLEND_XEN`.
pub const XEN: Opcode = opcode::read_write::<Xen>(MAGIC, 0x20);
/// `XENLEND_ATTACH_FRONTEND`.
pub const ATTACH_FRONTEND: Opcode = opcode::read_write::<AttachFrontend>(MAGIC, 0x16);
/// `XENLEND_DETACH_FRONTEND`.
pub const DETACH_FRONTEND: Opcode = opcode::write::<DetachFrontend>(MAGIC, 0x17);
/// `XENLEND_VERSION`.
pub const VERSION: Opcode = opcode::read_write::<Version>(MAGIC, 0x21);
/// `XENLEND_CAPABILITY`.
pub const CAPABILITY: Opcode = opcode::read_write::<Capability>(MAGIC, 0x22);

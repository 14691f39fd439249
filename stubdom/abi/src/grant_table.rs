// SPDX-License-Identifier: MIT OR Apache-2.0
//! `GNTTABOP_*` (`public/grant_table.h`): mapping pages that another domain has granted.

use crate::{errno, DomainId};

/// `GNTTABOP_map_grant_ref`.
pub const MAP_GRANT_REF: u32 = 0;
/// `GNTTABOP_unmap_grant_ref`.
pub const UNMAP_GRANT_REF: u32 = 1;
/// `GNTMAP_host_map`: a mapping for the CPU.
pub const HOST_MAP: u32 = 1 << 1;

/// `struct gnttab_map_grant_ref`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct MapGrantRef {
    /// In: physical address where the page shall appear (a translated caller).
    pub host_addr: u64,
    /// In: [`HOST_MAP`].
    pub flags: u32,
    /// In: the grant.
    pub grant_ref: u32,
    /// In: who granted it.
    pub dom: DomainId,
    /// Out: 0 or a negative `GNTST_*`.
    pub status: i16,
    /// Out: names the mapping when it is ended.
    pub handle: u32,
    /// Out.
    pub dev_bus_addr: u64,
}

/// `struct gnttab_unmap_grant_ref`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct UnmapGrantRef {
    /// As when it was mapped.
    pub host_addr: u64,
    /// Zero.
    pub dev_bus_addr: u64,
    /// As Xen returned it.
    pub handle: u32,
    /// Out: 0 or a negative `GNTST_*`.
    pub status: i16,
}

/// `GNTST_bad_domain`.
pub const GNTST_BAD_DOMAIN: i16 = -2;
/// `GNTST_bad_gntref`.
pub const GNTST_BAD_GNTREF: i16 = -3;
/// `GNTST_permission_denied`.
pub const GNTST_PERMISSION_DENIED: i16 = -8;
/// `GNTST_eagain`.
pub const GNTST_EAGAIN: i16 = -12;
/// `GNTST_no_space`.
pub const GNTST_NO_SPACE: i16 = -13;

/// What a `GNTST_*` says.
pub const fn status_name(status: i16) -> &'static str {
    match status {
        0 => "okay",
        GNTST_BAD_DOMAIN => "bad domain",
        GNTST_BAD_GNTREF => "bad grant reference",
        -4 => "bad handle",
        -5 => "bad address",
        GNTST_PERMISSION_DENIED => "permission denied",
        -9 => "bad page",
        GNTST_EAGAIN => "try again",
        GNTST_NO_SPACE => "no space",
        _ => "general error",
    }
}

/// The error number of Xen that says the same as a `GNTST_*`.
pub const fn status_errno(status: i16) -> u16 {
    match status {
        GNTST_BAD_DOMAIN => errno::ESRCH,
        GNTST_BAD_GNTREF => errno::ENOENT,
        GNTST_PERMISSION_DENIED => errno::EPERM,
        GNTST_EAGAIN => errno::EAGAIN,
        GNTST_NO_SPACE => errno::ENOSPC,
        _ => errno::EINVAL,
    }
}

const _: () = {
    use core::mem::size_of;
    assert!(size_of::<MapGrantRef>() == 32 && size_of::<UnmapGrantRef>() == 24);
};

// SPDX-License-Identifier: MIT OR Apache-2.0
//! `GNTTABOP_*` (`public/grant_table.h`): mapping pages that another domain has granted.

use crate::DomainId;

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

/// What a `GNTST_*` says.
pub const fn status_name(status: i16) -> &'static str {
    match status {
        0 => "okay",
        -2 => "bad domain",
        -3 => "bad grant reference",
        -4 => "bad handle",
        -5 => "bad address",
        -8 => "permission denied",
        -9 => "bad page",
        -12 => "try again",
        -13 => "no space",
        _ => "general error",
    }
}

const _: () = {
    use core::mem::size_of;
    assert!(size_of::<MapGrantRef>() == 32 && size_of::<UnmapGrantRef>() == 24);
};

// SPDX-License-Identifier: MIT OR Apache-2.0
//! `XENMEM_*` (`public/memory.h`): the physmap of a translated domain.

use crate::DomainId;

/// `XENMEM_add_to_physmap`.
pub const ADD_TO_PHYSMAP: u64 = 7;
/// `XENMEM_remove_from_physmap`.
pub const REMOVE_FROM_PHYSMAP: u64 = 15;
/// `XENMEM_add_to_physmap_batch`.
pub const ADD_TO_PHYSMAP_BATCH: u64 = 23;
/// `XENMEM_acquire_resource`.
pub const ACQUIRE_RESOURCE: u64 = 28;
/// `XENMAPSPACE_shared_info`.
pub const MAPSPACE_SHARED_INFO: u32 = 0;
/// `XENMAPSPACE_gmfn_foreign`.
pub const MAPSPACE_GMFN_FOREIGN: u16 = 4;
/// `XENMEM_resource_ioreq_server`.
pub const RESOURCE_IOREQ_SERVER: u16 = 0;
/// `XENMEM_resource_ioreq_server_frame_ioreq(0)`: the page with the synchronous requests.
pub const RESOURCE_FRAME_IOREQ: u64 = 1;

/// `struct xen_add_to_physmap`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct AddToPhysmap {
    /// Whose physmap.
    pub domid: DomainId,
    /// For ranges only.
    pub size: u16,
    /// `MAPSPACE_*`.
    pub space: u32,
    /// Index in that space.
    pub idx: u64,
    /// Where the page shall appear.
    pub gpfn: u64,
}

/// `struct xen_add_to_physmap_batch`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct AddToPhysmapBatch {
    /// Whose physmap.
    pub domid: DomainId,
    /// `MAPSPACE_*`.
    pub space: u16,
    /// Entries of the three arrays.
    pub size: u16,
    /// Whose pages, for [`MAPSPACE_GMFN_FOREIGN`].
    pub foreign_domid: DomainId,
    /// Address of an array of u64: frames in the foreign domain.
    pub idxs: u64,
    /// Address of an array of u64: where they shall appear.
    pub gpfns: u64,
    /// Address of an array of i32: 0 or a negative error number for each.
    pub errs: u64,
}

/// `struct xen_remove_from_physmap`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct RemoveFromPhysmap {
    /// Whose physmap.
    pub domid: DomainId,
    /// Explicit padding.
    pub pad: [u16; 3],
    /// The frame that becomes empty.
    pub gpfn: u64,
}

/// `struct xen_mem_acquire_resource`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct AcquireResource {
    /// Whose resource.
    pub domid: DomainId,
    /// `RESOURCE_*`.
    pub kind: u16,
    /// Which of that kind: the ioreq server.
    pub id: u32,
    /// Frames to map.
    pub nr_frames: u32,
    /// Zero.
    pub pad: u32,
    /// First frame of the resource.
    pub frame: u64,
    /// Address of an array of u64: for a translated caller, the frames where they shall appear.
    pub frame_list: u64,
}

const _: () = {
    use core::mem::size_of;
    assert!(size_of::<AddToPhysmap>() == 24 && size_of::<AddToPhysmapBatch>() == 32);
    assert!(size_of::<RemoveFromPhysmap>() == 16 && size_of::<AcquireResource>() == 32);
};

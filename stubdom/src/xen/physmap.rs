// SPDX-License-Identifier: MIT OR Apache-2.0
//! What appears at the frames of the window.

use xenlend_xen_abi::hypercall::MEMORY_OP;
use xenlend_xen_abi::memory::{
    AcquireResource, AddToPhysmap, AddToPhysmapBatch, RemoveFromPhysmap, ACQUIRE_RESOURCE, ADD_TO_PHYSMAP,
    ADD_TO_PHYSMAP_BATCH, MAPSPACE_GMFN_FOREIGN, MAPSPACE_SHARED_INFO, REMOVE_FROM_PHYSMAP,
    RESOURCE_FRAME_IOREQ, RESOURCE_IOREQ_SERVER,
};
use xenlend_xen_abi::{errno, DomainId, DOMID_SELF};

use super::hypercall::operate;
use crate::window::WindowFrame;

/// Shows the shared info page.
///
/// # Errors
/// Xen's error number.
pub fn show_shared_info(at: WindowFrame) -> Result<(), u16> {
    let mut call =
        AddToPhysmap { domid: DOMID_SELF, space: MAPSPACE_SHARED_INFO, gpfn: at.gfn(), ..Default::default() };
    // SAFETY: only a frame of the window changes, and nothing in Rust lives there.
    unsafe { operate(MEMORY_OP, ADD_TO_PHYSMAP, &mut call) }.map(|_| ())
}

/// Shows the request page of an ioreq server.
///
/// # Errors
/// Xen's error number.
pub fn show_ioreq_page(borrower: DomainId, server: u16, at: WindowFrame) -> Result<(), u16> {
    let mut frames = [at.gfn()];
    let mut call = AcquireResource {
        domid: borrower,
        kind: RESOURCE_IOREQ_SERVER,
        id: u32::from(server),
        nr_frames: 1,
        pad: 0,
        frame: RESOURCE_FRAME_IOREQ,
        frame_list: frames.as_mut_ptr() as u64,
    };
    // SAFETY: the list has the one entry announced; only a frame of the window changes.
    unsafe { operate(MEMORY_OP, ACQUIRE_RESOURCE, &mut call) }.map(|_| ())
}

/// Shows a page of another domain's own memory.
///
/// # Errors
/// Xen's error number: the domain has no RAM there.
pub fn show_foreign(domain: DomainId, foreign_gfn: u64, at: WindowFrame) -> Result<(), u16> {
    let mut foreign = [foreign_gfn];
    let mut own = [at.gfn()];
    let mut errors = [0i32];
    let mut call = AddToPhysmapBatch {
        domid: DOMID_SELF,
        space: MAPSPACE_GMFN_FOREIGN,
        size: 1,
        foreign_domid: domain,
        idxs: foreign.as_mut_ptr() as u64,
        gpfns: own.as_mut_ptr() as u64,
        errs: errors.as_mut_ptr() as u64,
    };
    // SAFETY: each list has the one entry announced; only a frame of the window changes.
    unsafe { operate(MEMORY_OP, ADD_TO_PHYSMAP_BATCH, &mut call) }?;
    // SAFETY: Xen wrote it during the call, through an address that the compiler saw as a number only.
    let error = unsafe { (&raw const errors[0]).read_volatile() };
    errno::check(i64::from(error)).map(|_| ())
}

/// Empties a frame of the window, where there may be nothing.
///
/// # Errors
/// Xen's error number: something is still there.
pub fn empty(at: WindowFrame) -> Result<(), u16> {
    let mut call = RemoveFromPhysmap { domid: DOMID_SELF, gpfn: at.gfn(), ..Default::default() };
    // SAFETY: only a frame of the window changes; its owner no longer uses it.
    match unsafe { operate(MEMORY_OP, REMOVE_FROM_PHYSMAP, &mut call) } {
        Ok(_) | Err(errno::ENOENT) => Ok(()),
        Err(error) => Err(error),
    }
}

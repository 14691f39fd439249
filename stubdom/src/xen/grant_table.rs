// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mapping pages that another domain has granted.

use xenlend_xen_abi::grant_table::{MapGrantRef, UnmapGrantRef, HOST_MAP, MAP_GRANT_REF, UNMAP_GRANT_REF};
use xenlend_xen_abi::hypercall::GRANT_TABLE_OP;
use xenlend_xen_abi::{errno, DomainId};

use super::hypercall::call;
use crate::start_error::StartError;
use crate::window::WindowFrame;

/// A granted page that is shown at a frame of the window.
#[derive(Clone, Copy, Debug)]
pub struct Mapping {
    at: WindowFrame,
    handle: u32,
}

/// Xen does not do it.
#[derive(Clone, Copy, Debug)]
pub enum Refused {
    /// The call itself: Xen's error number.
    Call(u16),
    /// The grant: `GNTST_*`.
    Grant(i16),
}

impl Refused {
    /// Why the start ends, if it is a grant of the lender.
    pub fn at_start(self, reference: u32) -> StartError {
        match self {
            Self::Call(errno) => StartError::Call { purpose: "map a grant", errno },
            Self::Grant(status) => StartError::Grant { reference, status },
        }
    }
}

/// Shows a granted page at a frame of the window.
///
/// # Errors
/// If Xen refuses.
pub fn map(granter: DomainId, reference: u32, at: WindowFrame) -> Result<Mapping, Refused> {
    let mut operation = MapGrantRef {
        host_addr: at.address(),
        flags: HOST_MAP,
        grant_ref: reference,
        dom: granter,
        ..Default::default()
    };
    // SAFETY: one operation is announced and given; only a frame of the window changes.
    let result =
        unsafe { call(GRANT_TABLE_OP, [u64::from(MAP_GRANT_REF), (&raw mut operation) as u64, 1, 0, 0]) };
    errno::check(result).map_err(Refused::Call)?;
    if operation.status != 0 {
        return Err(Refused::Grant(operation.status));
    }
    Ok(Mapping { at, handle: operation.handle })
}

/// Takes it away again. Nothing may touch the frame any more.
///
/// # Errors
/// If Xen refuses.
pub fn unmap(mapping: Mapping) -> Result<(), Refused> {
    let mut operation =
        UnmapGrantRef { host_addr: mapping.at.address(), handle: mapping.handle, ..Default::default() };
    // SAFETY: one operation is announced and given; only a frame of the window changes, which the caller
    // does not touch any more.
    let result =
        unsafe { call(GRANT_TABLE_OP, [u64::from(UNMAP_GRANT_REF), (&raw mut operation) as u64, 1, 0, 0]) };
    errno::check(result).map_err(Refused::Call)?;
    match operation.status {
        0 => Ok(()),
        status => Err(Refused::Grant(status)),
    }
}

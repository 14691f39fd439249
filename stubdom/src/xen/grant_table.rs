// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mapping the pages that the lender has granted.

use xenlend_xen_abi::grant_table::{MapGrantRef, HOST_MAP, MAP_GRANT_REF};
use xenlend_xen_abi::hypercall::GRANT_TABLE_OP;
use xenlend_xen_abi::{errno, DomainId};

use super::hypercall::call;
use crate::memory::window::WindowFrame;
use crate::start_error::StartError;

/// Shows a granted page at a frame of the window, for as long as this domain lives.
///
/// # Errors
/// If Xen refuses.
pub fn map(granter: DomainId, reference: u32, at: WindowFrame) -> Result<(), StartError> {
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
    errno::check(result).map_err(|errno| StartError::Call { purpose: "map a grant", errno })?;
    if operation.status != 0 {
        return Err(StartError::Grant { reference, status: operation.status });
    }
    Ok(())
}

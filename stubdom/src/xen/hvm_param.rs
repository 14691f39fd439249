// SPDX-License-Identifier: MIT OR Apache-2.0
//! The domain's HVM parameters: where its rings are.

use xenlend_xen_abi::hvm::{HvmParam, GET_PARAM};
use xenlend_xen_abi::hypercall::HVM_OP;
use xenlend_xen_abi::DOMID_SELF;

use super::hypercall::operate;
use crate::start_error::StartError;

/// Reads a parameter; 0 means that the toolstack has not set it.
///
/// # Errors
/// If Xen refuses or it is not set.
pub fn get(index: u32, purpose: &'static str) -> Result<u64, StartError> {
    let mut call = HvmParam { domid: DOMID_SELF, index, ..Default::default() };
    // SAFETY: the call takes the structure only.
    unsafe { operate(HVM_OP, u64::from(GET_PARAM), &mut call) }
        .map_err(|errno| StartError::Call { purpose, errno })?;
    match call.value {
        0 => Err(StartError::Configuration(purpose)),
        value => Ok(value),
    }
}

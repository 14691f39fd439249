// SPDX-License-Identifier: MIT OR Apache-2.0
//! Doing an access of the borrower on the page, where it is now.
//!
//! The processor's own translation is the sequence rule: it hits the page's present home. What is not there
//! is faulted in and tried again, but nobody is waited for: that is for a thread of its own.

use heapless::Vec;
use xenlend_protocol::message::{AccessOperation, AccessOutcome, MAX_ACCESS_BYTES};

use crate::bars::Bars;
use crate::errno::{Errno, EFAULT};
use crate::kernel_api::address_space::AddressSpace;
use crate::kernel_api::lock::Mutex;
use crate::lookup::{fault_in, judge_access, LookupEnd, MAX_FAULTS_OF_ACCESS};

/// Does it, as long as it `is_wanted`.
///
/// # Errors
/// Why not: what may not be reached, or [`LookupEnd::Waits`] or [`LookupEnd::Protected`].
#[inline(never)]
pub fn access(
    space: &AddressSpace<'_>,
    page: u64,
    offset: u16,
    operation: &AccessOperation,
    (bars, is_wanted): (&Mutex<Bars>, &dyn Fn() -> bool),
) -> Result<AccessOutcome, LookupEnd> {
    let write = matches!(operation, AccessOperation::Write { .. });
    for _ in 0..MAX_FAULTS_OF_ACCESS {
        judge_access(space, page, write, bars)?;
        // The region may have ended while the page was faulted in, which takes as long as its
        // process likes.
        if !is_wanted() {
            return Err(LookupEnd::GiveUp);
        }
        if let Ok(outcome) = attempt(space, page.saturating_add(u64::from(offset)), operation) {
            return Ok(outcome);
        }
        fault_in(&space.lock_mapping(), page, write)?;
    }
    Err(LookupEnd::GiveUp)
}

/// The access alone; an error if a page is not there.
fn attempt(
    space: &AddressSpace<'_>,
    address: u64,
    operation: &AccessOperation,
) -> Result<AccessOutcome, Errno> {
    match operation {
        AccessOperation::Read { length } => {
            let mut bytes = Vec::<u8, MAX_ACCESS_BYTES>::new();
            bytes.resize_default(usize::from(*length)).map_err(|()| EFAULT)?;
            space.read(address, &mut bytes)?;
            Ok(AccessOutcome::Read { bytes })
        }
        AccessOperation::Write { bytes } => {
            space.write(address, bytes)?;
            Ok(AccessOutcome::Written)
        }
    }
}

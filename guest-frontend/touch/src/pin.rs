// SPDX-License-Identifier: MIT OR Apache-2.0
//! Threads that stay on one vCPU.

use std::mem;

use anyhow::{Context, Result};

/// Binds the calling thread to a vCPU.
///
/// # Errors
/// When the guest has no such vCPU.
pub fn pin_to_vcpu(vcpu: usize) -> Result<()> {
    // SAFETY: all zeros is a valid empty set.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: the macro only sets a bit of the set, and checks the index.
    unsafe { libc::CPU_SET(vcpu, &mut set) };
    // SAFETY: the set is valid for reads of the size given.
    let status = unsafe { libc::sched_setaffinity(0, mem::size_of::<libc::cpu_set_t>(), &raw const set) };
    if status != 0 {
        return Err(std::io::Error::last_os_error()).with_context(|| format!("cannot run on vCPU {vcpu}"));
    }
    Ok(())
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Threads that stay on one vCPU.

use std::mem;
use std::os::unix::process::CommandExt;
use std::process::Command;

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

/// Has a command's process run on one vCPU from its beginning on.
pub fn run_on_vcpu(command: &mut Command, vcpu: usize) {
    let pin =
        move || pin_to_vcpu(vcpu).map_err(|error| std::io::Error::other(error.root_cause().to_string()));
    // SAFETY: this program has one thread when it starts others, so the child may allocate.
    unsafe { command.pre_exec(pin) };
}

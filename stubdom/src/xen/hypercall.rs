// SPDX-License-Identifier: MIT OR Apache-2.0
//! The hypercall page and the call itself, untyped.
//!
//! Convention (`xen/include/public/arch-x86/xen-x86_64.h`): arguments in rdi, rsi, rdx, r10, r8, result in
//! rax. Xen may change all of these, and rcx and r11.

use core::arch::{asm, x86_64::__cpuid};

use xenlend_xen_abi::errno;
use xenlend_xen_abi::hypercall::{
    CPUID_FIRST, CPUID_LAST, CPUID_SIGNATURE, CPUID_STEP, HYPERCALL_PAGE_ENTRY_BYTES, XEN_VERSION,
};
use xenlend_xen_abi::version::{XenVersion, VERSION};

use crate::start_error::StartError;
use crate::work;

extern "C" {
    static hypercall_page: u8;
}

/// Has Xen fill in the hypercall page, and asks for its release.
///
/// # Errors
/// If there is no Xen.
pub fn install() -> Result<XenVersion, StartError> {
    let base = (CPUID_FIRST..=CPUID_LAST)
        .step_by(CPUID_STEP as usize)
        .find(|&leaf| {
            let found = __cpuid(leaf);
            [found.ebx, found.ecx, found.edx] == CPUID_SIGNATURE
        })
        .ok_or(StartError::NotXen)?;
    let register = __cpuid(base + 2).ebx;
    let page = &raw const hypercall_page as u64;
    // SAFETY: this is Xen's register for it, and the page is reserved for just that.
    unsafe {
        asm!(
            "wrmsr", in("ecx") register, in("eax") page as u32, in("edx") (page >> 32) as u32,
            options(nostack, preserves_flags)
        );
    }
    // SAFETY: the call takes no memory.
    let version = unsafe { call(XEN_VERSION, [u64::from(VERSION), 0, 0, 0, 0]) };
    errno::check(version)
        .map(XenVersion::decode)
        .map_err(|errno| StartError::Call { purpose: "XENVER_version", errno })
}

/// Performs a hypercall. Unused arguments are zero.
///
/// # Safety
/// The hypercall page is installed; addresses among the arguments point to what the call expects, and
/// whatever it does to memory is what the caller allows.
pub unsafe fn call(number: u32, arguments: [u64; 5]) -> i64 {
    work::call();
    let entry = &raw const hypercall_page as usize + number as usize * HYPERCALL_PAGE_ENTRY_BYTES;
    let [first, second, third, fourth, fifth] = arguments;
    let result: i64;
    // SAFETY: as the caller promises. Not `nostack`: the call pushes its return address.
    unsafe {
        asm!(
            "call {entry}",
            entry = in(reg) entry,
            lateout("rax") result,
            inlateout("rdi") first => _,
            inlateout("rsi") second => _,
            inlateout("rdx") third => _,
            inlateout("r10") fourth => _,
            inlateout("r8") fifth => _,
            lateout("rcx") _,
            lateout("r9") _,
            lateout("r11") _,
        );
    }
    result
}

/// Performs a hypercall that takes an operation and one structure, which it may change.
///
/// # Safety
/// As [`call`], with `argument` what the operation expects.
///
/// # Errors
/// Xen's error number.
pub unsafe fn operate<T>(number: u32, operation: u64, argument: &mut T) -> Result<u64, u16> {
    // SAFETY: as the caller promises.
    errno::check(unsafe { call(number, [operation, (&raw mut *argument) as u64, 0, 0, 0]) })
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The page that Xen shares with the domain.

use core::mem::offset_of;
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicU8, AtomicUsize, Ordering};

use xenlend_xen_abi::event_channel::Port;
use xenlend_xen_abi::shared_info::{vcpu_time_info, PENDING_OFFSET, PENDING_WORDS, VCPU0_TIME_OFFSET};

use super::physmap;
use crate::start_error::StartError;
use crate::window::Window;

/// Where it is; 0 before it is shown.
static PAGE: AtomicUsize = AtomicUsize::new(0);

/// Shows it in the window.
///
/// # Errors
/// If Xen refuses.
pub fn init(window: &mut Window) -> Result<(), StartError> {
    let frame = window.take()?;
    physmap::show_shared_info(frame)
        .map_err(|errno| StartError::Call { purpose: "map shared info", errno })?;
    PAGE.store(frame.address() as usize, Ordering::Relaxed);
    Ok(())
}

fn field(offset: usize) -> Option<usize> {
    match PAGE.load(Ordering::Relaxed) {
        0 => None,
        page => Some(page + offset),
    }
}

/// The word of the pending bitmap that holds this port's bit.
fn pending_word(port: Port) -> Option<&'static AtomicU64> {
    let index = port as usize / 64;
    assert!(index < PENDING_WORDS, "port {port} of the two-level interface");
    // SAFETY: the page is shown for good, the offset is inside it and a multiple of 8. Xen changes the
    // word at any time, which an atomic allows.
    field(PENDING_OFFSET + index * 8).map(|address| unsafe { AtomicU64::from_ptr(address as *mut u64) })
}

/// Clears a port's pending bit and says whether it was set. An event that comes after this call sets it
/// again: look at what it announces after clearing, never before.
pub fn take_pending(port: Port) -> bool {
    let bit = 1 << (port % 64);
    pending_word(port).is_some_and(|word| word.fetch_and(!bit, Ordering::AcqRel) & bit != 0)
}

/// One field after the other of the first vCPU's time record, as Xen has them now: version, time stamp,
/// system time, multiplier, shift.
pub struct TimeFields {
    /// Odd while Xen writes.
    pub version: &'static AtomicU32,
    /// Time stamp counter at the last update.
    pub tsc_timestamp: &'static AtomicU64,
    /// Nanoseconds then.
    pub system_time: &'static AtomicU64,
    /// Multiplier.
    pub tsc_to_system_mul: &'static AtomicU32,
    /// Shift, as a byte.
    pub tsc_shift: &'static AtomicU8,
}

/// The first vCPU's time record.
pub fn time_fields() -> Option<TimeFields> {
    let base = field(VCPU0_TIME_OFFSET)?;
    // SAFETY: as for `pending_word`; offsets of `vcpu_time_info`, each aligned to its field.
    unsafe {
        Some(TimeFields {
            version: AtomicU32::from_ptr(base as *mut u32),
            tsc_timestamp: AtomicU64::from_ptr(
                (base + offset_of!(vcpu_time_info, tsc_timestamp)) as *mut u64,
            ),
            system_time: AtomicU64::from_ptr((base + offset_of!(vcpu_time_info, system_time)) as *mut u64),
            tsc_to_system_mul: AtomicU32::from_ptr(
                (base + offset_of!(vcpu_time_info, tsc_to_system_mul)) as *mut u32,
            ),
            tsc_shift: AtomicU8::from_ptr((base + offset_of!(vcpu_time_info, tsc_shift)) as *mut u8),
        })
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! System time: nanoseconds since Xen started. For deadlines at start and for poll's time limit; nothing
//! that lending decides depends on it.

use core::arch::x86_64::_rdtsc;
use core::sync::atomic::Ordering;

use xenlend_xen_abi::shared_info::TimeRecord;

use super::shared_info;

/// The system time; `None` before the shared info page is shown.
pub fn now_ns() -> Option<u64> {
    let fields = shared_info::time_fields()?;
    loop {
        let version = fields.version.load(Ordering::Acquire);
        let record = TimeRecord {
            tsc_timestamp: fields.tsc_timestamp.load(Ordering::Acquire),
            system_time: fields.system_time.load(Ordering::Acquire),
            tsc_to_system_mul: fields.tsc_to_system_mul.load(Ordering::Acquire),
            tsc_shift: fields.tsc_shift.load(Ordering::Acquire) as i8,
        };
        // Xen writes this vCPU's record only while the vCPU is not running: a changed version means that
        // it was descheduled in between, which cannot go on for ever.
        if version % 2 == 0 && fields.version.load(Ordering::Acquire) == version {
            // SAFETY: the instruction has no effect on memory.
            return Some(record.system_time_ns(unsafe { _rdtsc() }));
        }
    }
}

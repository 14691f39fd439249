// SPDX-License-Identifier: MIT OR Apache-2.0
//! The shared info page (`public/xen.h`): pending event channels and time. Layout from `xen-sys`.

use core::mem::offset_of;

pub use xen_sys::{shared_info, vcpu_info, vcpu_time_info};

/// Offset of `evtchn_pending`: 64 words of 64 bits.
pub const PENDING_OFFSET: usize = offset_of!(shared_info, evtchn_pending);
/// Words of the pending bitmap.
pub const PENDING_WORDS: usize = 64;
/// Offset of the first vCPU's time record.
pub const VCPU0_TIME_OFFSET: usize = offset_of!(vcpu_info, time);
/// Offset of the first vCPU's `evtchn_upcall_pending`.
pub const VCPU0_UPCALL_PENDING_OFFSET: usize = offset_of!(vcpu_info, evtchn_upcall_pending);

/// The time record's fields, read while `version` was even and did not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeRecord {
    /// Time stamp counter at the last update.
    pub tsc_timestamp: u64,
    /// Nanoseconds since Xen started, then.
    pub system_time: u64,
    /// Multiplier, 32 fraction bits.
    pub tsc_to_system_mul: u32,
    /// Shift applied to the ticks first; negative shifts right.
    pub tsc_shift: i8,
}

impl TimeRecord {
    /// System time, in nanoseconds, at this value of the time stamp counter.
    pub fn system_time_ns(&self, tsc: u64) -> u64 {
        // A counter that seems to run backwards (another core's) must not make time jump ahead.
        let ticks = u128::from(tsc.saturating_sub(self.tsc_timestamp));
        let shifted = if self.tsc_shift < 0 {
            ticks.checked_shr(u32::from(self.tsc_shift.unsigned_abs())).unwrap_or(0)
        } else {
            ticks.checked_shl(u32::from(self.tsc_shift.unsigned_abs())).unwrap_or(0)
        };
        let nanoseconds = (shifted.saturating_mul(u128::from(self.tsc_to_system_mul))) >> 32;
        self.system_time.saturating_add(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_become_nanoseconds() {
        // 2 GHz: half a nanosecond a tick.
        let record =
            TimeRecord { tsc_timestamp: 1000, system_time: 5, tsc_to_system_mul: 1 << 31, tsc_shift: 0 };
        assert_eq!(record.system_time_ns(3000), 1005);
        let shifted = TimeRecord { tsc_shift: -1, ..record };
        assert_eq!(shifted.system_time_ns(3000), 505);
        let shifted = TimeRecord { tsc_shift: 1, ..record };
        assert_eq!(shifted.system_time_ns(3000), 2005);
        assert_eq!(record.system_time_ns(999), 5);
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! A deadline on progress: time counts only while nothing moves.
//!
//! A neighbour's load makes a healthy broker slow, not still: what is measured is the
//! time since its last movement, never the total.

/// Watches one wait for the broker.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    deadline_ms: u64,
    last_movement_ms: u64,
    last_seen: u64,
}

/// What a wait should do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Wait on, look again after so many milliseconds at the latest.
    Wait(u32),
    /// Nothing has moved for the whole deadline.
    Expired,
}

/// Looks so often in one deadline.
const LOOKS: u64 = 8;

impl Progress {
    /// Starts to watch at `now_ms`, when `movements` had been counted.
    pub fn start(deadline_ms: u32, now_ms: u64, movements: u64) -> Self {
        Self { deadline_ms: u64::from(deadline_ms.max(1)), last_movement_ms: now_ms, last_seen: movements }
    }

    /// Judges at `now_ms`; `movements` is any number that changes when the broker does something.
    pub fn observe(&mut self, now_ms: u64, movements: u64) -> Verdict {
        if movements != self.last_seen {
            self.last_seen = movements;
            self.last_movement_ms = now_ms;
        }
        let still_ms = now_ms.saturating_sub(self.last_movement_ms);
        if still_ms >= self.deadline_ms {
            return Verdict::Expired;
        }
        let look = (self.deadline_ms / LOOKS).max(1);
        Verdict::Wait(look.min(self.deadline_ms.saturating_sub(still_ms)) as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stillness_expires_at_the_deadline_and_not_before() {
        let mut progress = Progress::start(3000, 1000, 7);
        assert_eq!(progress.observe(3999, 7), Verdict::Wait(1));
        assert_eq!(progress.observe(4000, 7), Verdict::Expired);
    }

    #[test]
    fn any_movement_starts_the_time_anew() {
        let mut progress = Progress::start(3000, 0, 0);
        for step in 1..100u64 {
            assert_ne!(progress.observe(step * 2999, step), Verdict::Expired);
        }
        assert_eq!(progress.observe(99 * 2999 + 3000, 99), Verdict::Expired);
    }

    #[test]
    fn a_wait_never_outlasts_the_deadline() {
        let mut progress = Progress::start(80, 0, 0);
        assert_eq!(progress.observe(0, 0), Verdict::Wait(10));
        assert_eq!(progress.observe(75, 0), Verdict::Wait(5));
    }
}

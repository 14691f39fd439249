// SPDX-License-Identifier: MIT OR Apache-2.0
//! How often dom0 works because a guest, or a broker, wishes it to: a few times at once, then seldom.
//!
//! Times are those since any fixed moment; nothing here knows a clock.

use std::time::Duration;

/// So often at once. A driver that connects writes its state four times.
const BURST: u32 = 16;
/// After that, once in so long.
const EVERY: Duration = Duration::from_secs(2);

/// What somebody may still make dom0 do.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    credit: u32,
    /// When the newest credit was given.
    since: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { credit: BURST, since: Duration::ZERO }
    }
}

impl Pace {
    /// Somebody wants something at `now`. How long to let it wait; each that does not wait costs a credit.
    pub fn delay(&mut self, now: Duration) -> Duration {
        while self.credit < BURST && now.saturating_sub(self.since) >= EVERY {
            self.credit += 1;
            self.since += EVERY;
        }
        if self.credit == BURST {
            self.since = now;
        }
        match self.credit.checked_sub(1) {
            Some(left) => {
                self.credit = left;
                Duration::ZERO
            }
            None => EVERY.saturating_sub(now.saturating_sub(self.since)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_served_at_once_and_a_flood_seldom() {
        let mut pace = Pace::default();
        let mut served = 0;
        let mut due = Duration::ZERO;
        // Somebody who never stops, for an hour.
        let hour = Duration::from_secs(3600);
        let mut now = Duration::from_secs(1000);
        let end = now + hour;
        while now < end {
            if now >= due {
                let delay = pace.delay(now);
                served += u32::from(delay.is_zero());
                due = now + delay;
            }
            now += Duration::from_millis(50);
        }
        assert!((BURST + 1790..=BURST + 1800).contains(&served), "{served}");
        // And after a pause it is as before.
        let later = end + Duration::from_secs(60);
        assert!((0..BURST).all(|_| pace.delay(later).is_zero()));
        assert_eq!(pace.delay(later), EVERY);
    }
}

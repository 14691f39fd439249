// SPDX-License-Identifier: MIT OR Apache-2.0
//! What lies between an `Invalidate` and its acknowledgement, counted: turns, calls to Xen, messages.
//!
//! Nobody tells the broker when a message was put into its ring. But it was not there when the ring was last
//! found empty, so what was done since then is at least what the message waited for.

use core::fmt;

/// Work done since the broker's start. A measure, so it saturates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Turns of the event loop begun.
    pub turns: u64,
    /// Calls to Xen.
    pub calls: u64,
    /// Messages taken and said, on all links.
    pub messages: u64,
}

impl Work {
    fn since(self, earlier: Self) -> Self {
        self.each(earlier, u64::saturating_sub)
    }

    fn each(self, other: Self, both: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            turns: both(self.turns, other.turns),
            calls: both(self.calls, other.calls),
            messages: both(self.messages, other.messages),
        }
    }
}

impl fmt::Display for Work {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "turns={} calls={} messages={}", self.turns, self.calls, self.messages)
    }
}

/// The sum and the most of it, over all acknowledgements. Decides nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RevocationWork {
    found_empty: Work,
    acknowledged: u64,
    total: Work,
    most: Work,
}

impl RevocationWork {
    /// Nothing has been acknowledged.
    #[must_use]
    pub const fn new() -> Self {
        let none = Work { turns: 0, calls: 0, messages: 0 };
        Self { found_empty: none, acknowledged: 0, total: none, most: none }
    }

    /// The lender's ring has been found empty: what comes now comes later than all work so far.
    pub fn found_empty(&mut self, now: Work) {
        self.found_empty = now;
    }

    /// An `Invalidated` has been said.
    pub fn acknowledged(&mut self, now: Work) {
        let spent = now.since(self.found_empty);
        self.acknowledged = self.acknowledged.saturating_add(1);
        self.total = self.total.each(spent, u64::saturating_add);
        self.most = self.most.each(spent, u64::max);
    }
}

impl fmt::Display for RevocationWork {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} acknowledged; in all {}; at most {}", self.acknowledged, self.total, self.most)
    }
}

#[cfg(test)]
mod tests {
    use super::{RevocationWork, Work};

    fn work(turns: u64, calls: u64, messages: u64) -> Work {
        Work { turns, calls, messages }
    }

    #[test]
    fn what_was_done_since_the_ring_was_empty_counts() {
        let mut measured = RevocationWork::new();
        measured.found_empty(work(10, 100, 50));
        measured.acknowledged(work(11, 107, 53));
        // Two at once: the second waits for what the first took.
        measured.found_empty(work(12, 120, 60));
        measured.acknowledged(work(13, 122, 62));
        measured.acknowledged(work(13, 124, 64));
        assert_eq!(
            measured.to_string(),
            "3 acknowledged; in all turns=3 calls=13 messages=9; at most turns=1 calls=7 messages=4"
        );
    }

    #[test]
    fn what_came_before_an_empty_ring_is_nobodys_wait() {
        let mut measured = RevocationWork::new();
        for turn in 0..1000 {
            measured.found_empty(work(turn, 9 * turn, 7 * turn));
        }
        measured.acknowledged(work(1000, 9 * 999 + 2, 7 * 999 + 2));
        assert_eq!(
            measured.to_string(),
            "1 acknowledged; in all turns=1 calls=2 messages=2; at most turns=1 calls=2 messages=2"
        );
    }

    #[test]
    fn an_end_of_numbers_is_no_panic() {
        let mut measured = RevocationWork::new();
        measured.acknowledged(work(u64::MAX, u64::MAX, u64::MAX));
        measured.acknowledged(work(u64::MAX, 0, 1));
        measured.found_empty(work(5, 5, 5));
        measured.acknowledged(work(1, 1, 1));
        let end = u64::MAX;
        assert_eq!(
            measured.to_string(),
            format!(
                "3 acknowledged; in all turns={end} calls={end} messages={end}; \
                 at most turns={end} calls={end} messages={end}"
            )
        );
    }
}

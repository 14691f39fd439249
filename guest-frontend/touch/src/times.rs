// SPDX-License-Identifier: MIT OR Apache-2.0
//! Times of the same thing done often.

use std::time::Duration;

/// Durations, as many as there are.
#[derive(Debug, Default)]
pub struct Times(Vec<Duration>);

impl Times {
    /// Adds one.
    pub fn record(&mut self, time: Duration) {
        self.0.push(time);
    }

    /// `NAME_times=… NAME_ns_p50=… NAME_ns_p99=…`: how many, and what half and 99 % do not exceed.
    pub fn words(&mut self, name: &str) -> String {
        self.0.sort_unstable();
        let at = |per_cent: usize| {
            let index = (self.0.len() * per_cent).div_ceil(100).saturating_sub(1);
            self.0.get(index).map_or(0, Duration::as_nanos)
        };
        format!("{name}_times={} {name}_ns_p50={} {name}_ns_p99={}", self.0.len(), at(50), at(99))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Times;

    #[test]
    fn a_quantile_is_what_so_many_do_not_exceed() {
        let mut times = Times::default();
        assert_eq!(times.words("n"), "n_times=0 n_ns_p50=0 n_ns_p99=0");
        for nanoseconds in (1..=200).rev() {
            times.record(Duration::from_nanos(nanoseconds));
        }
        assert_eq!(times.words("n"), "n_times=200 n_ns_p50=100 n_ns_p99=198");
        let mut one = Times::default();
        one.record(Duration::from_nanos(7));
        assert_eq!(one.words("n"), "n_times=1 n_ns_p50=7 n_ns_p99=7");
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Durations in a log-linear histogram: 16 steps for each power of two.

use core::ops::DerefMut;

/// Buckets that a histogram of 64-bit values has.
pub const BUCKETS: usize = 976;

/// Counts values; a quantile is exact to 1/16 of itself.
#[derive(Debug)]
pub struct Histogram<S> {
    buckets: S,
    total: u64,
    max: u64,
}

impl<S: DerefMut<Target = [u32]>> Histogram<S> {
    /// An empty one over [`BUCKETS`] zeros.
    pub fn new(buckets: S) -> Self {
        Self { buckets, total: 0, max: 0 }
    }

    /// Counts a value.
    pub fn record(&mut self, value: u64) {
        if let Some(bucket) = self.buckets.get_mut(bucket_of(value)) {
            *bucket = bucket.saturating_add(1);
            self.total = self.total.saturating_add(1);
        }
        self.max = self.max.max(value);
    }

    /// Largest value.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// The value that so many per mille of all values do not exceed; 0 if there are none.
    pub fn quantile(&self, per_mille: u32) -> u64 {
        let wanted = self.total.saturating_mul(u64::from(per_mille)).div_ceil(1000).max(1);
        let mut seen = 0u64;
        for (index, count) in self.buckets.iter().enumerate() {
            seen = seen.saturating_add(u64::from(*count));
            if seen >= wanted {
                return upper_bound(index).min(self.max);
            }
        }
        0
    }
}

fn bucket_of(value: u64) -> usize {
    let Some(exponent) = value.checked_ilog2().filter(|exponent| *exponent >= 4) else {
        return value as usize;
    };
    let shift = exponent.saturating_sub(4);
    let step = (value.checked_shr(shift).unwrap_or(0) & 15) as usize;
    (exponent as usize).saturating_sub(3).saturating_mul(16).saturating_add(step)
}

fn upper_bound(bucket: usize) -> u64 {
    if bucket < 16 {
        return bucket as u64;
    }
    let shift = (bucket / 16).saturating_sub(1) as u32;
    let step = (bucket % 16) as u64;
    let next = step.saturating_add(17);
    let below = u128::from(next).checked_shl(shift).unwrap_or(0).saturating_sub(1);
    u64::try_from(below).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_value_has_a_bucket() {
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
        assert_eq!(bucket_of(0), 0);
        assert_eq!(bucket_of(16), 16);
    }

    #[test]
    fn quantiles_of_a_known_row() {
        let mut histogram = Histogram::new(vec![0; BUCKETS]);
        assert_eq!(histogram.quantile(500), 0);
        for value in 1..=1000u64 {
            histogram.record(value * 1000);
        }
        let median = histogram.quantile(500);
        assert!((500_000..=535_000).contains(&median), "{median}");
        let p99 = histogram.quantile(990);
        assert!((990_000..=1_000_000).contains(&p99), "{p99}");
        assert_eq!(histogram.max(), 1_000_000);
    }

    proptest! {
        #[test]
        fn a_bucket_is_true_to_seven_per_cent(value: u64) {
            let bound = upper_bound(bucket_of(value));
            prop_assert!(bound >= value);
            prop_assert!(u128::from(bound - value) * 100 <= u128::from(value) * 7);
            if bucket_of(value) > 0 {
                prop_assert!(upper_bound(bucket_of(value) - 1) < value);
            }
        }
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a test run showed: a line for each check, and how many there were of each kind.

use std::fmt;

use crate::scenario_run::Verdict;

/// How many checks passed, failed and were skipped.
#[derive(Debug, Default)]
pub struct Tally {
    passed: u32,
    failed: u32,
    skipped: u32,
}

impl Tally {
    /// Prints one line and counts it.
    pub fn count(&mut self, name: &str, seconds: f64, verdict: &Verdict) {
        match verdict {
            Verdict::Passed => {
                self.passed += 1;
                println!("ok    {seconds:7.1} s  {name}");
            }
            Verdict::Failed(why) => {
                self.failed += 1;
                println!("FAIL  {seconds:7.1} s  {name}: {why}");
            }
        }
    }

    /// Prints and counts something that could not be run.
    pub fn skip(&mut self, name: &str, why: &str) {
        self.skipped += 1;
        println!("skip             {name}: {why}");
    }

    /// The exit status: 0 if something passed and nothing failed.
    pub fn status(&self) -> i32 {
        i32::from(self.failed > 0 || self.passed == 0)
    }
}

/// The last line of a run.
impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::{Tally, Verdict};

    #[test]
    fn all_three_kinds_are_counted_and_only_failures_fail() {
        let mut tally = Tally::default();
        tally.skip("one", "no Xen");
        assert_eq!((tally.to_string().as_str(), tally.status()), ("0 passed, 0 failed, 1 skipped", 1));
        tally.count("two", 1.0, &Verdict::Passed);
        assert_eq!((tally.to_string().as_str(), tally.status()), ("1 passed, 0 failed, 1 skipped", 0));
        tally.count("three", 1.0, &Verdict::Failed("why".to_owned()));
        assert_eq!((tally.to_string().as_str(), tally.status()), ("1 passed, 1 failed, 1 skipped", 1));
    }
}

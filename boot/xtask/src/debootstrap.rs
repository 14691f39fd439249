// SPDX-License-Identifier: MIT OR Apache-2.0
//! What to do when debootstrap cannot get a package: another version of it, then without it if it is one that
//! only a part of the lab needs, else an error that names it.

use std::collections::BTreeSet;

use anyhow::Result;

use crate::apt;
use crate::trouble::trouble;

/// One way to call debootstrap.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attempt {
    /// Suites whose versions will do where the first one's is not in the pool.
    pub more_suites: bool,
    /// Packages that are left out.
    pub without: BTreeSet<&'static str>,
}

/// Calls debootstrap until it is done, each time in the way that what went wrong asks for. `optional` are the
/// packages that may be left out. Gives the way that worked.
///
/// # Errors
/// What it said at last; of packages that the mirror does not have, their names.
pub fn until_done(
    optional: &[&'static str],
    mut call: impl FnMut(&Attempt) -> Result<()>,
) -> Result<Attempt> {
    let mut attempt = Attempt::default();
    let mut may_widen = true;
    let mut failures = 0;
    loop {
        let Err(error) = call(&attempt) else { return Ok(attempt) };
        let said = format!("{error:#}");
        let missing = missing_packages(&said);
        failures += 1;
        if missing.is_empty() {
            if attempt.more_suites && lacks_a_suite(&said) {
                // Those suites are no help on this mirror.
                attempt.more_suites = false;
                attempt.without.extend(optional);
                may_widen = false;
            } else if failures >= apt::TRIES {
                return Err(error);
            }
        } else if may_widen {
            attempt.more_suites = true;
            may_widen = false;
        } else if attempt.without.is_empty() {
            // What is missing may be what an optional package depends on: all of them go.
            attempt.without.extend(optional);
        } else {
            return Err(trouble(
                &format!(
                    "The mirror does not have these packages (404 or not in its index): {}.",
                    names(&missing)
                ),
                "the build root is made of them: dom0's kernel, Xen and the compilers come from there.",
                "try again in some hours, or set apt to a mirror that is whole; nothing was left half done.",
            ));
        }
    }
}

fn names(packages: &BTreeSet<String>) -> String {
    packages.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// The packages that debootstrap says it could not get.
fn missing_packages(said: &str) -> BTreeSet<String> {
    let mut missing = BTreeSet::new();
    for line in said.lines() {
        for words in ["E: Couldn't find these debs: ", "E: Couldn't download packages: "] {
            let names = line.strip_prefix(words).unwrap_or_default();
            missing.extend(names.split_whitespace().map(str::to_owned));
        }
    }
    missing
}

/// Whether what it says is that a suite is not there.
fn lacks_a_suite(said: &str) -> bool {
    said.lines().any(|line| line.starts_with("E: Failed getting release file"))
}

#[cfg(test)]
mod tests {
    use super::{until_done, Attempt};

    /// Debootstrap's words for packages that its index names and the pool does not have.
    const HOLE: &str = "debootstrap failed (exit status: 1):\n\
        I: Retrieving bison 2:3.8.2\n\
        W: Couldn't download package bison (ver 2:3.8.2 arch amd64) at http://mirror/pool/bison.deb\n\
        E: Couldn't download packages: bison m4";

    /// All calls until the end, and what came of it; the answers are given one after the other.
    fn calls(answers: &[Option<&str>]) -> (Vec<Attempt>, Result<Attempt, String>) {
        let mut made = Vec::new();
        let mut answers = answers.iter();
        let end = until_done(&["bison", "flex"], |attempt| {
            made.push(attempt.clone());
            match answers.next().expect("no more calls than that") {
                None => Ok(()),
                Some(said) => Err(anyhow::anyhow!("{said}")),
            }
        });
        (made, end.map_err(|error| format!("{error:#}")))
    }

    #[test]
    fn a_missing_package_is_looked_for_in_other_suites_and_then_left_out() {
        let (made, end) = calls(&[Some(HOLE), None]);
        assert_eq!(end.unwrap(), Attempt { more_suites: true, ..Attempt::default() });
        assert_eq!(made[0], Attempt::default());
        let (_, end) = calls(&[Some(HOLE), Some(HOLE), None]);
        assert_eq!(end.unwrap().without.into_iter().collect::<Vec<_>>(), ["bison", "flex"]);
    }

    #[test]
    fn one_that_cannot_be_done_without_is_named() {
        let (made, end) = calls(&[Some(HOLE), Some(HOLE), Some("E: Couldn't find these debs: gcc make")]);
        let said = end.unwrap_err();
        assert!(said.contains("gcc, make") && said.contains("what to do"), "{said}");
        assert_eq!(made.len(), 3);
    }

    #[test]
    fn a_mirror_without_the_other_suites_is_asked_without_them() {
        let no_suite = "E: Failed getting release file http://mirror/dists/trixie-updates/Release";
        let (made, end) = calls(&[Some(HOLE), Some(no_suite), None]);
        assert!(end.is_ok());
        assert!(!made[2].more_suites && made[2].without.contains("bison"));
    }

    #[test]
    fn what_is_no_package_is_tried_a_few_times() {
        let (made, end) = calls(&[Some("E: no network"), Some("E: no network"), Some("E: no network")]);
        assert_eq!((made.len(), end.unwrap_err().as_str()), (3, "E: no network"));
        assert!(made.iter().all(|attempt| *attempt == Attempt::default()));
    }
}

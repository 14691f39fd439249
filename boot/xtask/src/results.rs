// SPDX-License-Identifier: MIT OR Apache-2.0
//! The file of results: for every boot and scenario the last recorded run, with the commit, the Xen and the
//! kernel that it ran with. Written by `cargo xtask test --full` and `--record`, never by hand.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::command::succeed;
use crate::digest::beside;
use crate::scenario_run::Verdict;
use crate::workspace::Workspace;

/// The file, below the checkout.
const FILE: &str = "boot/scenarios/results.tsv";

/// Its first line.
const HEADING: &str = "boot\tscenario\tdate\tcommit\tXen\tkernel\tverdict";

/// The columns besides boot and scenario.
const COLUMNS: usize = 5;

/// What all results of a run have in common.
#[derive(Debug, Clone)]
struct Run {
    date: String,
    commit: String,
    kernel: String,
}

/// The results of a run, to be added to the file.
#[derive(Debug)]
pub struct Results {
    file: PathBuf,
    run: Run,
    rows: BTreeMap<(String, String), String>,
}

impl Results {
    /// Begins a run's results.
    ///
    /// # Errors
    /// No git, or no checkout: a result that belongs to no commit says nothing.
    pub fn begin(workspace: &Workspace, kernel: &str) -> Result<Self> {
        let git = |words: &[&str]| succeed(Command::new("git").arg("-C").arg(&workspace.root).args(words));
        let commit = git(&["rev-parse", "--short=12", "HEAD"]).context("results belong to a commit")?;
        let changes = git(&["status", "--porcelain", "--untracked-files=no"])?;
        let changed = changes.lines().any(|line| !line.ends_with(FILE));
        let commit = format!("{}{}", commit.trim(), if changed { "+changes" } else { "" });
        let date = succeed(Command::new("date").args(["-u", "+%F"]))?.trim().to_owned();
        let run = Run { date, commit, kernel: kernel.to_owned() };
        Ok(Self { file: workspace.root.join(FILE), run, rows: BTreeMap::new() })
    }

    /// Notes what came of a scenario; its title is `boot: scenario`.
    pub fn note(&mut self, title: &str, xen: &str, verdict: &Verdict) {
        let Some((boot, scenario)) = title.split_once(": ") else { return };
        let verdict = if *verdict == Verdict::Passed { "passed" } else { "failed" };
        let Run { date, commit, kernel } = &self.run;
        let row = [date, commit, xen, kernel, verdict].join("\t");
        self.rows.insert((boot.to_owned(), scenario.to_owned()), row);
    }

    /// Adds them to the file, each in the place of an older one.
    ///
    /// # Errors
    /// The file cannot be read or written, or is not one of results.
    pub fn write(self) -> Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let name = || self.file.display().to_string();
        let old = match std::fs::read_to_string(&self.file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error).with_context(name),
        };
        let new = merged(&old, &self.rows).with_context(name)?;
        let partial = beside(&self.file, "partial");
        std::fs::write(&partial, new).with_context(name)?;
        std::fs::rename(&partial, &self.file).with_context(name)
    }
}

/// The file's text with these rows in it, in order.
fn merged(old: &str, rows: &BTreeMap<(String, String), String>) -> Result<String> {
    let mut all = BTreeMap::new();
    for line in old.lines().filter(|line| !line.starts_with('#') && *line != HEADING) {
        let mut words = line.splitn(3, '\t');
        let row =
            (|| Some(((words.next()?.to_owned(), words.next()?.to_owned()), words.next()?.to_owned())))();
        let (key, rest) = row
            .filter(|(_, rest)| rest.split('\t').count() == COLUMNS)
            .with_context(|| format!("no row of results: {line:?}"))?;
        all.insert(key, rest);
    }
    all.extend(rows.clone());
    let mut text = format!(
        "# SPDX-License-Identifier: MIT OR Apache-2.0\n# The last recorded run of each scenario. Written by \
         `cargo xtask test --full` and `--record`.\n{HEADING}\n"
    );
    for ((boot, scenario), rest) in all {
        text.extend([boot.as_str(), "\t", scenario.as_str(), "\t", rest.as_str(), "\n"]);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    use super::{merged, Results, Run, Verdict, FILE};

    fn results() -> Results {
        let run = Run { date: "2026-12-01".into(), commit: "abc".into(), kernel: "6.12".into() };
        Results { file: PathBuf::new(), run, rows: BTreeMap::new() }
    }

    #[test]
    fn a_newer_result_replaces_an_older_one_and_leaves_the_others() {
        let mut first = results();
        first.note("b: two", "4.20", &Verdict::Passed);
        first.note("a: one", "4.20", &Verdict::Passed);
        let text = merged("", &first.rows).unwrap();
        let mut second = results();
        second.note("a: one", "4.21", &Verdict::Failed("it broke\nin two lines".into()));
        let text = merged(&text, &second.rows).unwrap();
        let rows: Vec<&str> = text.lines().skip(3).collect();
        assert_eq!(
            rows,
            ["a\tone\t2026-12-01\tabc\t4.21\t6.12\tfailed", "b\ttwo\t2026-12-01\tabc\t4.20\t6.12\tpassed"]
        );
    }

    #[test]
    fn a_file_of_something_else_is_not_overwritten() {
        assert!(merged("not\ta row\n", &BTreeMap::new()).is_err());
    }

    #[test]
    fn the_file_in_the_tree_is_as_the_command_writes_it() {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").join(FILE);
        let text = std::fs::read_to_string(path).unwrap();
        assert_eq!(merged(&text, &BTreeMap::new()).unwrap(), text);
    }
}

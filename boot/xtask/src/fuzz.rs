// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask fuzz`: gives every decoder and both ring ends bytes that libFuzzer makes up, led by
//! what of the code they reach. `boot/decisions/0013` says how that works on a stable toolchain.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use anyhow::{bail, ensure, Context, Result};

use crate::command::succeed;
use crate::preflight;
use crate::progress::step;
use crate::scenario_run::Verdict;
use crate::workspace::Workspace;

/// The targets' crate, a workspace of its own.
pub const MANIFEST: &str = "protocol/fuzz/Cargo.toml";

/// Named, so that the flags below are the targets' alone and not also those of build scripts.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Counts what is reached, and shows libFuzzer what is compared: what `cargo fuzz` asks for.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

/// Seconds that each target gets as a part of `cargo xtask test`, and with `--full`.
const SHORT: (u32, u32) = (4, 20);

/// Seconds after which one input counts as a hang.
const HANG: u32 = 10;

/// Lines of a failed run that are shown.
const SHOWN_LINES: usize = 30;

/// The command's options.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Seconds for each target
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Run only this target
    #[arg(long, value_name = "T")]
    target: Option<String>,
}

/// Does it; the exit status is 0 when nothing was found.
///
/// # Errors
/// Targets that cannot be built, or no target of that name.
pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<i32> {
    let mut targets = targets(workspace)?;
    if let Some(wanted) = &arguments.target {
        ensure!(targets.contains(wanted), "no fuzz target {wanted}; there are: {}", targets.join(", "));
        targets.retain(|target| target == wanted);
    }
    preflight::install_missing(&[preflight::CXX])?;
    let found = run_all(workspace, targets, arguments.seconds)?;
    Ok(i32::from(found > 0))
}

/// A short run of every target.
///
/// # Errors
/// Targets that cannot be built.
pub fn check(workspace: &Workspace, full: bool) -> Result<Verdict> {
    let seconds = if full { SHORT.1 } else { SHORT.0 };
    Ok(match run_all(workspace, targets(workspace)?, seconds)? {
        0 => Verdict::Passed,
        found => Verdict::Failed(format!("{found} targets")),
    })
}

/// Cargo for the targets' crate.
pub fn cargo(workspace: &Workspace, verb: &str) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    command.current_dir(&workspace.root).env("RUSTFLAGS", FLAGS);
    command.args([verb, "--quiet", "--release", "--locked", "--manifest-path", MANIFEST, "--target", TARGET]);
    command.arg("--target-dir").arg(workspace.target.join("fuzz"));
    command
}

/// The targets' names, in order.
fn targets(workspace: &Workspace) -> Result<Vec<String>> {
    let folder = workspace.root.join("protocol/fuzz/targets");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        names.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}

/// Runs targets, as many at a time as this machine has processors for, and gives the number of those
/// that found something.
fn run_all(workspace: &Workspace, targets: Vec<String>, seconds: u32) -> Result<u32> {
    step("Building the fuzz targets", || succeed(&mut cargo(workspace, "build")))?;
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let queue = Mutex::new(VecDeque::from(targets));
    let found = Mutex::new(0);
    let next = || queue.lock().ok()?.pop_front();
    std::thread::scope(|scope| {
        for _ in 0..processors {
            scope.spawn(|| {
                while let Some(target) = next() {
                    match run_one(workspace, &target, seconds) {
                        Ok(summary) => println!("      {target}: {summary}"),
                        Err(error) => {
                            println!("      {target}: {error:#}");
                            if let Ok(mut found) = found.lock() {
                                *found += 1;
                            }
                        }
                    }
                }
            });
        }
    });
    Ok(found.into_inner().unwrap_or(u32::MAX))
}

/// Runs one target; says how much it tried.
fn run_one(workspace: &Workspace, target: &str, seconds: u32) -> Result<String> {
    let folder = workspace.target.join("fuzz/runs").join(target);
    let corpus = folder.join("corpus");
    std::fs::create_dir_all(&corpus).with_context(|| corpus.display().to_string())?;
    let log_path = folder.join("log");
    let log = File::create(&log_path).with_context(|| log_path.display().to_string())?;
    let program = workspace.target.join("fuzz").join(TARGET).join("release").join(target);
    let mut command = Command::new(&program);
    command.arg(format!("-max_total_time={seconds}")).arg(format!("-timeout={HANG}"));
    command.args(["-print_final_stats=1", "-rss_limit_mb=1024"]);
    command.arg(prefix(&folder)).arg(&corpus).arg(workspace.root.join("protocol/fuzz/seeds").join(target));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    let status = command.status().with_context(|| format!("{} does not start", program.display()))?;
    let said = std::fs::read(&log_path).with_context(|| log_path.display().to_string())?;
    let said = String::from_utf8_lossy(&said);
    if !status.success() {
        let lines: Vec<&str> = said.lines().collect();
        let end = lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n");
        bail!(
            "{status}; what it found is in {}, to be run again by {}\n{end}",
            folder.display(),
            program.display()
        );
    }
    summary(&said)
        .with_context(|| format!("{} does not show that its coverage was counted", log_path.display()))
}

/// Where libFuzzer puts what it finds.
fn prefix(folder: &Path) -> PathBuf {
    let mut argument = OsString::from("-artifact_prefix=");
    argument.push(folder);
    argument.push("/");
    PathBuf::from(argument)
}

/// What libFuzzer said, in one line; nothing unless it had counters and saw them count.
fn summary(said: &str) -> Option<String> {
    let after = |line: &str, word: &str| -> Option<u64> {
        line.split(word).nth(1)?.split_whitespace().next()?.trim_matches(['(', ')']).parse().ok()
    };
    let counters = said.lines().find(|line| line.contains("inline 8-bit counters"))?;
    let places = after(counters, "modules")?;
    let covered = said.lines().rev().find_map(|line| after(line, "cov: "))?;
    let inputs = said.lines().rev().find_map(|line| after(line, "number_of_executed_units:"))?;
    (covered > 0 && inputs > 0)
        .then(|| format!("{inputs} inputs, {covered} of {places} places reached, nothing found"))
}

#[cfg(test)]
mod tests {
    use super::summary;

    const SAID: &str = "INFO: Loaded 1 modules   (110 inline 8-bit counters): 110 [0x1, 0x2), \n\
        #2\tINITED cov: 7 ft: 7 corp: 1/1b exec/s: 0 rss: 27Mb\n\
        #119931\tDONE   cov: 11 ft: 11 corp: 5/17b lim: 1190 exec/s: 0 rss: 27Mb\n\
        stat::number_of_executed_units: 119931\n";

    #[test]
    fn a_run_is_summed_up() {
        let expected = "119931 inputs, 11 of 110 places reached, nothing found";
        assert_eq!(summary(SAID).as_deref(), Some(expected));
    }

    #[test]
    fn a_run_without_coverage_does_not_count() {
        assert_eq!(summary(&SAID.replace("inline 8-bit counters", "")), None);
        assert_eq!(summary(&SAID.replace("cov: 7", "cov: 0").replace("cov: 11", "cov: 0")), None);
        assert_eq!(summary(""), None);
    }
}

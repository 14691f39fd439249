// SPDX-License-Identifier: MIT OR Apache-2.0
//! The checks that need no Xen: formats, lints, licences, documentation, the tests of the host, a short run of the
//! fuzz targets, and the build of the patched hypervisor.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::Result;

use crate::build_root::BuildRoot;
use crate::command::run as run_command;
use crate::hypervisor::Flavour;
use crate::preflight::CXX;
use crate::progress::step;
use crate::scenario_run::Verdict;
use crate::tally::Tally;
use crate::unavailable::Unavailable;
use crate::workspace::Workspace;
use crate::{fuzz, licences, old_kernel, unikernel};

/// The lender's kernel module, a workspace of its own.
pub const MODULE: &str = "dom0-shim/module/Cargo.toml";

/// The borrower's kernel module, another one.
pub const DRIVER: &str = "guest-frontend/module/Cargo.toml";

/// What proptest reads: how many cases it makes up where a test does not say, and the number for `--full`.
const CASES: (&str, &str) = ("PROPTEST_CASES", "4096");

/// The tests that compare our structures with Xen's headers. They are linted without the headers,
/// too.
const HEADER_CHECK: &str = "xenlend-xen-abi/header-check";

/// Cargo in the workspace.
fn cargo(workspace: &Workspace, arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    command.current_dir(&workspace.root).args(arguments);
    command
}

/// Cargo in a workspace of its own, which must not leave a target folder in the sources.
fn cargo_apart(workspace: &Workspace, verb: &str, manifest: &str) -> Command {
    let mut command =
        cargo(workspace, &[verb, "--quiet", "--locked", "--manifest-path", manifest, "--target-dir"]);
    command.arg(workspace.target.join("module"));
    command
}

/// Runs one check of the host.
fn check(name: &str, command: &mut Command, tally: &mut Tally) -> Result<()> {
    let start = Instant::now();
    let output = step(&format!("Checking: {name}"), || run_command(command))?;
    let verdict = if output.status.success() {
        Verdict::Passed
    } else {
        print!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        Verdict::Failed(output.status.to_string())
    };
    tally.count(name, start.elapsed().as_secs_f64(), &verdict);
    Ok(())
}

/// Formats and lints.
///
/// # Errors
/// Cargo does not start.
pub fn sources(workspace: &Workspace, tally: &mut Tally) -> Result<()> {
    let format = |manifest| cargo(workspace, &["fmt", "--manifest-path", manifest, "--check"]);
    check("format", &mut cargo(workspace, &["fmt", "--all", "--check"]), tally)?;
    check("format of the module", &mut format(MODULE), tally)?;
    check("format of the driver", &mut format(DRIVER), tally)?;
    check("format of the fuzz targets", &mut format(fuzz::MANIFEST), tally)?;
    let mut lints = cargo(
        workspace,
        &["clippy", "--quiet", "--locked", "--all-targets", "--features", HEADER_CHECK, "--", "-Dwarnings"],
    );
    check("lints", &mut lints, tally)?;
    let mut lints = unikernel::cargo(workspace, "clippy");
    lints.args(["--quiet", "--release", "--all-features", "--", "-Dwarnings"]);
    check("lints of the broker", &mut lints, tally)?;
    for (name, manifest) in [("lints of the module", MODULE), ("lints of the driver", DRIVER)] {
        check(name, cargo_apart(workspace, "clippy", manifest).args(["--", "-Dwarnings"]), tally)?;
    }
    let mut lints = fuzz::cargo(workspace, "clippy");
    lints.args(["--all-targets", "--", "-Dwarnings"]);
    needs_cxx("lints of the fuzz targets", &mut lints, tally)
}

/// A check whose build compiles libFuzzer.
fn needs_cxx(name: &str, command: &mut Command, tally: &mut Tally) -> Result<()> {
    let (program, package) = CXX;
    if Path::new(program).exists() {
        return check(name, command, tally);
    }
    tally.skip(name, &format!("there is no {program}; install the package {package}"));
    Ok(())
}

/// The documentation of every workspace builds without a warning.
///
/// # Errors
/// Cargo does not start.
pub fn documentation(workspace: &Workspace, tally: &mut Tally) -> Result<()> {
    let strict = |mut command: Command| {
        command.args(["--no-deps", "--document-private-items"]).env("RUSTDOCFLAGS", "-Dwarnings");
        command
    };
    let main = cargo(workspace, &["doc", "--quiet", "--locked"]);
    check("documentation", &mut strict(main), tally)?;
    let mut broker = unikernel::cargo(workspace, "doc");
    broker.args(["--quiet", "--release", "--all-features"]);
    check("documentation of the broker", &mut strict(broker), tally)?;
    for (name, manifest) in [("documentation of the module", MODULE), ("documentation of the driver", DRIVER)]
    {
        check(name, &mut strict(cargo_apart(workspace, "doc", manifest)), tally)?;
    }
    needs_cxx("documentation of the fuzz targets", &mut strict(fuzz::cargo(workspace, "doc")), tally)
}

/// The licences of all that the lock files name.
pub fn licences(workspace: &Workspace, tally: &mut Tally) {
    let start = Instant::now();
    let verdict = match step("Checking: licences", || licences::check(workspace)) {
        Ok(refused) if refused.is_empty() => Verdict::Passed,
        Ok(refused) => Verdict::Failed(refused.join("; ")),
        Err(error) => Verdict::Failed(format!("{error:#}")),
    };
    tally.count("licences", start.elapsed().as_secs_f64(), &verdict);
}

/// The tests that need no Xen. With a build root they compare our structures with Xen's headers, too.
///
/// # Errors
/// Cargo does not start.
pub fn tests(workspace: &Workspace, root: Option<&BuildRoot>, full: bool, tally: &mut Tally) -> Result<()> {
    let mut tests = cargo(workspace, &["test", "--quiet", "--locked", "--no-fail-fast"]);
    if full {
        tests.env(CASES.0, CASES.1);
    }
    let headers = match root {
        Some(root) => root.needs(&["libxen-dev"], "the comparison of our structures with Xen's headers"),
        None => Err(Unavailable {
            reason: "there is no build root with Xen's headers yet; `cargo xtask test` makes it".to_owned(),
            details: String::new(),
        }
        .into()),
    };
    match (headers, root) {
        (Ok(()), Some(root)) => {
            tests.args(["--features", HEADER_CHECK]);
            tests.env("XENLEND_XEN_HEADERS", root.join("usr/include/xen"));
        }
        (Ok(()), None) => {}
        (Err(error), _) => {
            tally.skip("comparison with Xen's headers", &error.downcast::<Unavailable>()?.reason);
        }
    }
    check("host tests", &mut tests, tally)
}

/// A short run of the fuzz targets.
pub fn fuzz_targets(workspace: &Workspace, full: bool, tally: &mut Tally) {
    let start = Instant::now();
    let verdict = fuzz::check(workspace, full).unwrap_or_else(|error| Verdict::Failed(format!("{error:#}")));
    tally.count("fuzz targets", start.elapsed().as_secs_f64(), &verdict);
}

/// The guest's driver as an older kernel has it.
pub fn older_kernels(workspace: &Workspace, root: &BuildRoot, tally: &mut Tally) {
    let start = Instant::now();
    let verdict = match old_kernel::check(workspace, root) {
        Ok(()) => Verdict::Passed,
        Err(error) => Verdict::Failed(format!("{error:#}")),
    };
    tally.count("driver for older kernels", start.elapsed().as_secs_f64(), &verdict);
}

/// The build of the patched hypervisor; skipped without a source.
pub fn patched_xen(workspace: &Workspace, root: &BuildRoot, tally: &mut Tally) {
    let start = Instant::now();
    let name = "build of the patched Xen";
    let verdict = match Flavour::Lend.ensure(workspace, root) {
        Ok(_) => Verdict::Passed,
        Err(error) => match error.downcast::<Unavailable>() {
            Ok(none) => {
                eprintln!("{none}");
                tally.skip(name, &none.reason);
                return;
            }
            Err(error) => Verdict::Failed(format!("{error:#}")),
        },
    };
    tally.count(name, start.elapsed().as_secs_f64(), &verdict);
}

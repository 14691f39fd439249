// SPDX-License-Identifier: MIT OR Apache-2.0
//! The part of `cargo xtask test` that needs no Xen: formats, lints, the tests of the host, a short run of the fuzz
//! targets, and the build of the patched hypervisor.

use std::ffi::OsString;
use std::process::Command;
use std::time::Instant;

use anyhow::Result;

use crate::build_root::BuildRoot;
use crate::command::run as run_command;
use crate::hypervisor::Flavour;
use crate::progress::step;
use crate::scenario_run::Verdict;
use crate::tally::Tally;
use crate::unavailable::Unavailable;
use crate::workspace::Workspace;
use crate::{fuzz, unikernel};

/// Cargo in the workspace.
fn cargo(workspace: &Workspace, arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    command.current_dir(&workspace.root).args(arguments);
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
pub fn check_sources(workspace: &Workspace, tally: &mut Tally) -> Result<()> {
    let mut lint_unikernel = unikernel::cargo(workspace, "clippy");
    lint_unikernel.args(["--quiet", "--release", "--all-features", "--", "-Dwarnings"]);
    let (module, driver) = ("dom0-shim/module/Cargo.toml", "guest-frontend/module/Cargo.toml");
    // Workspaces of their own, which must not leave their own target folders in the sources.
    let lint_apart = |manifest: &str| {
        let mut command =
            cargo(workspace, &["clippy", "--quiet", "--locked", "--manifest-path", manifest, "--target-dir"]);
        command.arg(workspace.target.join("module")).args(["--", "-Dwarnings"]);
        command
    };
    let mut lint_fuzz = fuzz::cargo(workspace, "clippy");
    lint_fuzz.args(["--all-targets", "--", "-Dwarnings"]);
    let checks = [
        ("format", cargo(workspace, &["fmt", "--all", "--check"])),
        ("lints", cargo(workspace, &["clippy", "--quiet", "--all-targets", "--", "-Dwarnings"])),
        ("lints of the broker", lint_unikernel),
        ("format of the module", cargo(workspace, &["fmt", "--manifest-path", module, "--check"])),
        ("lints of the module", lint_apart(module)),
        ("format of the driver", cargo(workspace, &["fmt", "--manifest-path", driver, "--check"])),
        ("lints of the driver", lint_apart(driver)),
        (
            "format of the fuzz targets",
            cargo(workspace, &["fmt", "--manifest-path", fuzz::MANIFEST, "--check"]),
        ),
        ("lints of the fuzz targets", lint_fuzz),
    ];
    checks.into_iter().try_for_each(|(name, mut command)| check(name, &mut command, tally))
}

/// The tests that need no Xen, a short run of the fuzz targets, and the build of the patched hypervisor.
pub fn check_host(workspace: &Workspace, root: &BuildRoot, tally: &mut Tally) -> Result<()> {
    let mut tests = cargo(workspace, &["test", "--quiet", "--no-fail-fast"]);
    match root.needs(&["libxen-dev"], "the comparison of our structures with Xen's headers") {
        Ok(()) => {
            tests.args(["--features", "xenlend-xen-abi/header-check"]);
            tests.env("XENLEND_XEN_HEADERS", root.join("usr/include/xen"));
        }
        Err(error) => {
            tally.skip("comparison with Xen's headers", &error.downcast::<Unavailable>()?.reason);
        }
    }
    check("host tests", &mut tests, tally)?;
    let start = Instant::now();
    let verdict = fuzz::check(workspace).unwrap_or_else(|error| Verdict::Failed(format!("{error:#}")));
    tally.count("fuzz targets", start.elapsed().as_secs_f64(), &verdict);
    let start = Instant::now();
    let name = "build of the patched Xen";
    let verdict = match Flavour::Lend.ensure(workspace, root) {
        Ok(_) => Verdict::Passed,
        Err(error) => match error.downcast::<Unavailable>() {
            Ok(none) => {
                eprintln!("{none}");
                tally.skip(name, &none.reason);
                return Ok(());
            }
            Err(error) => Verdict::Failed(format!("{error:#}")),
        },
    };
    tally.count(name, start.elapsed().as_secs_f64(), &verdict);
    Ok(())
}

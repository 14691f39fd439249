// SPDX-License-Identifier: MIT OR Apache-2.0
//! Builds the Rust programs that run inside the lab: on the host, statically linked, so that the
//! images need no libraries of the host's.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{bail, Context, Result};

use crate::parts::{Part, Parts};
use crate::progress::step;
use crate::workspace::Workspace;

/// A built program.
#[derive(Debug, Clone)]
pub struct Program {
    /// Its name.
    pub name: String,
    /// Where it was built.
    pub path: PathBuf,
    /// Whether it belongs in dom0's image.
    pub in_dom0: bool,
    /// Whether it belongs in the guests' image.
    pub in_guest: bool,
}

/// A crate, the part of the lab it is, and where its programs belong: dom0, guest.
type Crate = (&'static str, Option<Part>, bool, bool);

/// All of them.
const CRATES: &[Crate] = &[
    ("xenlend-lab", None, true, true),
    ("xenlend-cli", Some(Part::Cli), true, false),
    ("xenlend-touch", Some(Part::Touch), false, true),
    ("xenlend-scenarios", Some(Part::Scenarios), true, true),
    ("xenlend-lend-probe", Some(Part::Scenarios), true, false),
];

/// Builds them.
///
/// # Errors
/// The compiler's.
pub fn build(workspace: &Workspace, parts: &Parts) -> Result<Vec<Program>> {
    let wanted: Vec<_> =
        CRATES.iter().filter(|(_, part, ..)| part.is_none_or(|part| parts.has(part))).collect();
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(&workspace.root).args(["build", "--release", "--bins", "--quiet"]);
    command.args(["--message-format=json-render-diagnostics", "--target=x86_64-unknown-linux-gnu"]);
    command.arg("--target-dir").arg(workspace.lab().join("cargo"));
    command.env("RUSTFLAGS", "-Ctarget-feature=+crt-static -Cstrip=debuginfo");
    for (package, ..) in &wanted {
        command.args(["--package", package]);
    }
    let output = step("Building the lab's programs", || {
        command.stdin(Stdio::null()).output().context("cargo does not start")
    })?;
    if !output.status.success() {
        bail!("the lab's programs do not build:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    named_in(&output.stdout, &wanted)
}

/// The programs that cargo's messages name, by their names: cargo tells of them as they are ready,
/// and images must be the same whenever their parts are.
fn named_in(messages: &[u8], wanted: &[&Crate]) -> Result<Vec<Program>> {
    let mut programs = Vec::new();
    for line in messages.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let message: serde_json::Value = serde_json::from_slice(line).context("cargo's messages")?;
        let Some(path) = message["executable"].as_str() else { continue };
        let name = message["target"]["name"].as_str().unwrap_or_default();
        let package = message["package_id"].as_str().unwrap_or_default();
        let built = wanted.iter().find(|(crate_name, ..)| package.contains(&format!("#{crate_name}@")));
        if let Some((_, _, in_dom0, in_guest)) = built {
            programs.push(Program {
                name: name.to_owned(),
                path: path.into(),
                in_dom0: *in_dom0,
                in_guest: *in_guest,
            });
        }
    }
    programs.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(programs)
}

#[cfg(test)]
mod tests {
    use super::{named_in, CRATES};

    #[test]
    fn programs_come_in_one_order_whatever_cargos_is() {
        let message = |package: &str, name: &str| {
            format!(
                "{{\"package_id\":\"path+file:///x#{package}@0.1.0\",\"target\":{{\"name\":\"{name}\"}},\"executable\":\"/{name}\"}}\n"
            )
        };
        let told = [message("xenlend-lend-probe", "lend-probe"), message("xenlend-cli", "xenlend")];
        let wanted: Vec<_> = CRATES.iter().collect();
        for messages in [told.concat(), [told[1].clone(), told[0].clone()].concat()] {
            let programs = named_in(messages.as_bytes(), &wanted).unwrap();
            let names: Vec<&str> = programs.iter().map(|program| program.name.as_str()).collect();
            assert_eq!(names, ["lend-probe", "xenlend"]);
        }
    }
}

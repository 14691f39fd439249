// SPDX-License-Identifier: MIT OR Apache-2.0
//! Builds the broker's image: the unikernel in stubdom/, with the host's own toolchain.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{bail, Context, Result};

use crate::command::succeed;
use crate::progress::step;
use crate::workspace::Workspace;

/// A built image.
pub struct Image {
    /// Where it was built.
    pub path: PathBuf,
    /// What its name in dom0 has after the broker's own.
    pub suffix: &'static str,
}

/// The images: the end of each one's name in dom0, and the crate's feature that makes it.
const IMAGES: &[(&str, Option<&str>)] = &[("", None), ("-faulty", Some("faults"))];

/// The crate.
const PACKAGE: &str = "xenlend-broker";

/// The only target that can be had without downloads; the crate's build script does the rest.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The flag that a build script cannot set: the image runs where it was linked.
const FLAGS: &str = "-Crelocation-model=static";

/// The most that an image may take, in bytes.
const LIMIT: u64 = 512 << 10;

/// Builds the broker, and its test build that can be told to break its contract.
///
/// # Errors
/// The compiler's, or an image that is too large.
pub fn build_all(workspace: &Workspace) -> Result<Vec<Image>> {
    let folder = workspace.target.join("unikernel");
    let mut images = Vec::new();
    for (suffix, feature) in IMAGES {
        let mut command = cargo(workspace, "build");
        command.args(["--release", "--quiet"]);
        if let Some(feature) = feature {
            command.args(["--features", feature]);
        }
        step(&format!("Building the broker{suffix}"), || succeed(&mut command))?;
        let path = folder.join(format!("xenlend-stubdom{suffix}"));
        strip(&folder.join(TARGET).join("release").join(PACKAGE), &path)?;
        images.push(Image { path, suffix });
    }
    Ok(images)
}

/// Cargo for the broker's crate, with all that makes it a unikernel.
pub fn cargo(workspace: &Workspace, verb: &str) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    command.current_dir(&workspace.root).env("RUSTFLAGS", FLAGS);
    command.args([verb, "--package", PACKAGE, "--target", TARGET, "--target-dir"]);
    command.arg(workspace.target.join("unikernel"));
    command
}

/// Makes the image that is installed, and looks at its size.
fn strip(built: &Path, path: &Path) -> Result<()> {
    succeed(Command::new("strip").arg("--strip-all").arg("-o").arg(path).arg(built))?;
    let bytes = std::fs::metadata(path).with_context(|| path.display().to_string())?.len();
    if bytes > LIMIT {
        bail!("the broker's image {} has {bytes} bytes, and at most {LIMIT} are allowed", path.display());
    }
    Ok(())
}

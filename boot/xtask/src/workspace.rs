// SPDX-License-Identifier: MIT OR Apache-2.0
//! The folders that the commands work in.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};

use crate::xen_source::Choice;

/// Where things are.
#[derive(Debug, Clone)]
pub struct Workspace {
    /// The checkout.
    pub root: PathBuf,
    /// What cargo and the lab build from this checkout.
    pub target: PathBuf,
    /// What was fetched and does not depend on the checkout; shared by all of them.
    pub cache: PathBuf,
    /// Where the source of Xen comes from.
    pub xen_source: Arc<Choice>,
}

impl Workspace {
    /// Finds them from the environment; a source of Xen may have been named by an option.
    ///
    /// # Errors
    /// The command was not started by cargo and not inside a checkout.
    pub fn locate(xen_source: Option<&Path>) -> Result<Self> {
        let manifest = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let start = match manifest {
            Some(folder) => folder,
            None => std::env::current_dir().context("no current folder")?,
        };
        let root = start
            .ancestors()
            .find(|folder| folder.join("boot/xtask/Cargo.toml").exists())
            .with_context(|| format!("{} is not inside a checkout of xenlend", start.display()))?
            .to_owned();
        let target = folder_from("CARGO_TARGET_DIR", root.join("target"), &root);
        let cache = folder_from("XENLEND_CACHE", PathBuf::from("/var/cache/xenlend"), &root);
        let xen_source = Arc::new(Choice::of(xen_source));
        Ok(Self { root, target, cache, xen_source })
    }

    /// What the lab builds from this checkout.
    pub fn lab(&self) -> PathBuf {
        self.target.join("lab")
    }
}

/// A folder from the environment; a relative one is meant from the checkout.
fn folder_from(variable: &str, default: PathBuf, root: &Path) -> PathBuf {
    match std::env::var_os(variable) {
        Some(value) if value != OsStr::new("") => root.join(value),
        _ => default,
    }
}

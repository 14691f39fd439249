// SPDX-License-Identifier: MIT OR Apache-2.0
//! Keeps two runs from building the same thing at once.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::fs::{flock, FlockOperation};

use crate::progress::step;
use crate::trouble::trouble;

/// A lock that is held until it is dropped.
#[derive(Debug)]
pub struct Lock(#[allow(dead_code, reason = "held open for its lock")] File);

impl Lock {
    /// Waits for the folder's lock.
    ///
    /// # Errors
    /// The folder cannot be made or written.
    pub fn hold(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(|error| {
            trouble(
                &format!("The folder {} cannot be made: {error}.", folder.display()),
                "what the lab fetches and builds is kept there.",
                "run as root, or set XENLEND_CACHE to a folder that you may write.",
            )
        })?;
        let path = folder.join("lock");
        let file = File::options().create(true).truncate(false).write(true).open(&path);
        let file = file.with_context(|| path.display().to_string())?;
        step("Waiting for another run of the lab to finish building", || {
            flock(&file, FlockOperation::LockExclusive).with_context(|| path.display().to_string())
        })?;
        Ok(Self(file))
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The labs that run on this machine now: each has a folder with its sockets.

use std::path::{Path, PathBuf};

use anyhow::{bail, Context, Result};

/// Where the folders are: short, since a socket's path must be.
const FOLDER: &str = "/tmp/xenlend-lab";

/// A running lab's folder; it goes away with this.
pub struct RunFolder(PathBuf);

impl RunFolder {
    /// Makes the folder of this process.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn create() -> Result<Self> {
        let path = Path::new(FOLDER).join(std::process::id().to_string());
        crate::digest::remove(&path)?;
        std::fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
        Ok(Self(path))
    }

    /// A path in the folder.
    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        // What is left of it is found dead by the next look.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The monitor's name in a folder.
pub const MONITOR: &str = "monitor";

/// The monitor of the lab that runs: of the one with this process id, or of the only one.
///
/// # Errors
/// There is none, or there are several.
pub fn monitor(wanted: Option<u32>) -> Result<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(FOLDER).into_iter().flatten().flatten() {
        let Ok(id) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let alive = Path::new("/proc").join(id.to_string()).exists();
        if alive && entry.path().join(MONITOR).exists() && wanted.is_none_or(|wanted| wanted == id) {
            found.push((id, entry.path().join(MONITOR)));
        }
    }
    match found.as_slice() {
        [(_, path)] => Ok(path.clone()),
        [] => bail!("no lab is running: start one with cargo xtask lab run, and ask while it runs"),
        several => {
            let ids: Vec<String> = several.iter().map(|(id, _)| id.to_string()).collect();
            bail!("several labs are running: name one with --run ({})", ids.join(", "))
        }
    }
}

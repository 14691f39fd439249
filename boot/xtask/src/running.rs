// SPDX-License-Identifier: MIT OR Apache-2.0
//! The labs that run on this machine now: each has a folder with its sockets.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{bail, Context, Result};

/// Where the folders are: short, since a socket's path must be.
const FOLDER: &str = "/tmp/xenlend-lab";

/// A running lab's folder; it goes away with this.
pub struct RunFolder(PathBuf);

impl RunFolder {
    /// Makes a folder of this process.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn create() -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        remove_the_dead();
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = Path::new(FOLDER).join(format!("{}.{number}", std::process::id()));
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

/// Removes the folders of runs that were killed: each holds an image of 90 MB.
fn remove_the_dead() {
    for entry in std::fs::read_dir(FOLDER).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some((process, _)) = name.split_once('.') else { continue };
        if process.parse::<u32>().is_ok() && !is_alive(process) {
            // Another run may be doing the same.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// Whether there is a process of this number.
fn is_alive(process: &str) -> bool {
    Path::new("/proc").join(process).exists()
}

/// The monitor's name in a folder.
pub const MONITOR: &str = "monitor";

/// The monitor of the lab that runs: of the one with this name, or of the only one.
///
/// # Errors
/// There is none, or there are several.
pub fn monitor(wanted: Option<&str>) -> Result<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(FOLDER).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some((process, _)) = name.split_once('.') else { continue };
        if is_alive(process)
            && entry.path().join(MONITOR).exists()
            && wanted.is_none_or(|wanted| wanted == name)
        {
            found.push((name, entry.path().join(MONITOR)));
        }
    }
    match found.as_slice() {
        [(_, path)] => Ok(path.clone()),
        [] => bail!("no lab is running: start one with cargo xtask lab run, and ask while it runs"),
        several => {
            let names: Vec<&str> = several.iter().map(|(name, _)| name.as_str()).collect();
            bail!("several labs are running: name one with --run ({})", names.join(", "))
        }
    }
}

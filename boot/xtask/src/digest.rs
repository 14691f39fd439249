// SPDX-License-Identifier: MIT OR Apache-2.0
//! Decides by content whether something has to be built again.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest as _, Sha256};

/// What something is built from.
#[derive(Clone)]
pub struct Inputs(Sha256);

impl Inputs {
    /// Starts with the name of what is built.
    pub fn of(name: &str) -> Self {
        Self(Sha256::new()).text(name)
    }

    /// Adds a word.
    #[must_use]
    pub fn text(self, text: &str) -> Self {
        self.bytes(text.as_bytes())
    }

    /// Adds bytes.
    #[must_use]
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
        self
    }

    /// Adds a file, or all files below a folder; what a build leaves in `target` does not count.
    ///
    /// # Errors
    /// One that cannot be read.
    pub fn path(mut self, path: &Path) -> Result<Self> {
        for file in files_below(path)? {
            let data = std::fs::read(&file).with_context(|| file.display().to_string())?;
            let name = file.strip_prefix(path).unwrap_or(&file);
            self = self.text(&name.to_string_lossy());
            self.0.update((data.len() as u64).to_le_bytes());
            self.0.update(&data);
        }
        Ok(self)
    }

    /// The key: different for different inputs.
    pub fn key(self) -> String {
        let mut key = String::new();
        for byte in self.0.finalize().iter().take(16) {
            let _ = write!(key, "{byte:02x}");
        }
        key
    }
}

/// Builds `output` unless it was built from the same inputs before. The work gets a path to build at;
/// the result is renamed when it is whole, so a cut build leaves nothing that is used.
///
/// # Errors
/// The work's own.
pub fn make(output: &Path, key: &str, work: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let stamp = beside(output, "key");
    if output.exists() && std::fs::read_to_string(&stamp).is_ok_and(|old| old == key) {
        return Ok(());
    }
    let partial = beside(output, "partial");
    if let Some(folder) = output.parent() {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    remove(&stamp)?;
    remove(&partial)?;
    work(&partial)?;
    remove(output)?;
    std::fs::rename(&partial, output).with_context(|| output.display().to_string())?;
    std::fs::write(&stamp, key).with_context(|| stamp.display().to_string())
}

/// Removes a file or a folder, if it is there.
///
/// # Errors
/// It is there and stays.
pub fn remove(path: &Path) -> Result<()> {
    let done = match std::fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(_) => Ok(()),
    };
    done.with_context(|| format!("{} cannot be removed", path.display()))
}

/// A path with something added to its name.
pub fn beside(path: &Path, extension: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    PathBuf::from(name)
}

/// All files below a folder in a fixed order, or the file itself.
///
/// # Errors
/// A folder that cannot be read.
pub fn files_below(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut entries: Vec<PathBuf> = std::fs::read_dir(path)
        .and_then(Iterator::collect::<std::io::Result<Vec<_>>>)
        .with_context(|| path.display().to_string())?
        .into_iter()
        .filter(|entry| entry.file_name() != "target")
        .map(|entry| entry.path())
        .collect();
    entries.sort();
    let mut files = Vec::new();
    for entry in entries {
        if entry.is_dir() {
            files.extend(files_below(&entry)?);
        } else {
            files.push(entry);
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::{make, Inputs};

    #[test]
    fn a_changed_input_builds_again_and_an_unchanged_one_does_not() {
        let folder = std::env::temp_dir().join(format!("xtask-digest-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let output = folder.join("made");
        let mut builds = 0;
        for key in ["one", "one", "two"] {
            make(&output, key, |path| {
                builds += 1;
                Ok(std::fs::write(path, key)?)
            })
            .unwrap();
        }
        assert_eq!(builds, 2);
        assert_eq!(std::fs::read_to_string(&output).unwrap(), "two");
        let failed = make(&output, "three", |_| anyhow::bail!("cut"));
        assert!(failed.is_err());
        make(&output, "two", |path| Ok(std::fs::write(path, "again")?)).unwrap();
        assert_eq!(
            std::fs::read_to_string(&output).unwrap(),
            "again",
            "a failed build leaves no valid stamp"
        );
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn words_do_not_run_together() {
        assert_ne!(Inputs::of("a").text("bc").key(), Inputs::of("ab").text("c").key());
    }
}

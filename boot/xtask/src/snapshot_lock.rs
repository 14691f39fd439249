// SPDX-License-Identifier: MIT OR Apache-2.0
//! A lock on one saved machine, held by any number of users or by one who makes or removes it. Its file goes away
//! with the machine.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result};
use rustix::fs::{flock, FlockOperation};
use rustix::io::Errno;

/// What the holder does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Uses it, beside others.
    Use,
    /// Makes or removes it, alone.
    Change,
}

/// A lock that is held until it is dropped.
#[derive(Debug)]
pub struct KeyLock {
    file: File,
    path: PathBuf,
}

impl KeyLock {
    /// Waits for the lock of this file.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn hold(path: &Path, kind: Kind) -> Result<Self> {
        let operation = match kind {
            Kind::Use => FlockOperation::LockShared,
            Kind::Change => FlockOperation::LockExclusive,
        };
        loop {
            if let Some(lock) = Self::take(path, operation)? {
                return Ok(lock);
            }
        }
    }

    /// The lock of whoever makes or removes, if nobody else holds any.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn try_change(path: &Path) -> Result<Option<Self>> {
        Self::take(path, FlockOperation::NonBlockingLockExclusive)
    }

    /// Says that the machine is in use now, which the time of the file keeps.
    ///
    /// # Errors
    /// The file system's.
    pub fn touch(&self) -> Result<()> {
        self.file.set_modified(SystemTime::now()).with_context(|| self.path.display().to_string())
    }

    /// Removes the file.
    ///
    /// # Errors
    /// The file system's.
    pub fn remove(self) -> Result<()> {
        std::fs::remove_file(&self.path).with_context(|| self.path.display().to_string())
    }

    /// One try; nothing if somebody else holds it or removed the file meanwhile.
    fn take(path: &Path, operation: FlockOperation) -> Result<Option<Self>> {
        let why = || path.display().to_string();
        let file = File::options().create(true).truncate(false).write(true).open(path).with_context(why)?;
        match flock(&file, operation) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK | Errno::INTR) => return Ok(None),
            Err(error) => return Err(error).with_context(why),
        }
        // A lock on a file that was removed while this waited keeps nobody away.
        let held = file.metadata().with_context(why)?;
        let current = std::fs::metadata(path).ok();
        let same = current.is_some_and(|now| (now.dev(), now.ino()) == (held.dev(), held.ino()));
        Ok(same.then(|| Self { file, path: path.to_owned() }))
    }
}

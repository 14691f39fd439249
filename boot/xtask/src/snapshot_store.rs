// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where saved machines are kept: a folder for each, named by the key of everything that the machine depends on.
//! It is there only when it is whole, and the ones that were not used for longest go when they take too much room.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result};

use crate::digest::{beside, files_below, remove};
use crate::snapshot_lock::{KeyLock, Kind};
use crate::trouble::trouble;

/// What all saved machines of this host may take on its disk, in bytes, where the disk is large enough.
const MOST: u64 = 12 << 30;

/// What one takes at most while it is made, in bytes.
const ONE: u64 = 3 << 30;

/// The saved machines of this host.
#[derive(Debug, Clone)]
pub struct Store {
    folder: PathBuf,
    most: u64,
}

/// A saved machine. While this lives it stays where it is.
#[derive(Debug)]
pub struct Snapshot {
    folder: PathBuf,
    _lock: KeyLock,
}

impl Snapshot {
    /// A file of it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// One that is kept, when others are to go.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Kept {
    key: String,
    whole: bool,
    bytes: u64,
    used: SystemTime,
}

impl Store {
    /// The store in this folder.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, most: MOST }
    }

    /// Whether there is one with this key.
    pub fn has(&self, key: &str) -> bool {
        self.folder.join(key).is_dir()
    }

    /// Removes one that turned out to be of no use, as soon as nobody uses it.
    ///
    /// # Errors
    /// A file that cannot be removed.
    pub fn discard(&self, key: &str, snapshot: Snapshot) -> Result<()> {
        drop(snapshot);
        self.remove(key)
    }

    /// Gives the one with this key. If there is none it is made, in a folder that the work gets; whoever wants the
    /// same meanwhile waits.
    ///
    /// # Errors
    /// The work's own.
    pub fn obtain(&self, key: &str, mut make: impl FnMut(&Path) -> Result<()>) -> Result<Snapshot> {
        std::fs::create_dir_all(&self.folder).with_context(|| self.folder.display().to_string())?;
        let folder = self.folder.join(key);
        loop {
            let lock = self.lock(key, Kind::Use)?;
            if folder.is_dir() {
                lock.touch()?;
                return Ok(Snapshot { folder, _lock: lock });
            }
            drop(lock);
            let lock = self.lock(key, Kind::Change)?;
            // Another may have made it while this waited.
            if !folder.is_dir() {
                self.make_room()?;
                let partial = beside(&folder, "partial");
                remove(&partial)?;
                std::fs::create_dir_all(&partial).with_context(|| partial.display().to_string())?;
                if let Err(error) = make(&partial) {
                    remove(&partial)?;
                    return Err(error);
                }
                std::fs::rename(&partial, &folder).with_context(|| folder.display().to_string())?;
            }
            drop(lock);
        }
    }

    /// Removes what was never finished, and of the others the ones that were not used for longest, until there is
    /// room for one more.
    ///
    /// # Errors
    /// A file that cannot be looked at or removed, or a full disk.
    fn make_room(&self) -> Result<()> {
        let (whole, cut): (Vec<Kept>, _) = self.kept()?.into_iter().partition(|one| one.whole);
        cut.iter().try_for_each(|one| self.remove(&one.key))?;
        let taken = whole.iter().map(|one| one.bytes).sum();
        let allowed = allowed(self.most, taken, self.free()?).saturating_sub(ONE);
        to_go(whole, allowed).iter().try_for_each(|key| self.remove(key))?;
        let free = self.free()?;
        if free < ONE {
            return Err(trouble(
                &format!("Only {} MiB are free where {} is.", free >> 20, self.folder.display()),
                &format!("a saved machine takes up to {} MiB there.", ONE >> 20),
                "free some space, set XENLEND_CACHE to a folder on a larger disk, or test with --no-snapshots.",
            ));
        }
        Ok(())
    }

    /// Removes one and what is left of a cut one, unless it is in use or being made.
    fn remove(&self, key: &str) -> Result<()> {
        if let Some(lock) = KeyLock::try_change(&self.lock_path(key))? {
            let folder = self.folder.join(key);
            remove(&folder)?;
            remove(&beside(&folder, "partial"))?;
            lock.remove()?;
        }
        Ok(())
    }

    /// Free room on the disk, in bytes.
    fn free(&self) -> Result<u64> {
        let disk = rustix::fs::statvfs(&self.folder).with_context(|| self.folder.display().to_string())?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    /// Whole ones, and what is left of ones that were never finished.
    fn kept(&self) -> Result<Vec<Kept>> {
        let mut kept = Vec::new();
        for entry in std::fs::read_dir(&self.folder).with_context(|| self.folder.display().to_string())? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if !entry.file_type()?.is_dir() {
                continue;
            }
            let key = name.trim_end_matches(".partial").to_owned();
            let whole = key == name;
            let used = std::fs::metadata(self.lock_path(&key)).and_then(|meta| meta.modified());
            let bytes = files_below(&entry.path())?.iter().map(|file| allocated(file)).sum();
            kept.push(Kept { key, whole, bytes, used: used.unwrap_or(SystemTime::UNIX_EPOCH) });
        }
        Ok(kept)
    }

    fn lock(&self, key: &str, kind: Kind) -> Result<KeyLock> {
        KeyLock::hold(&self.lock_path(key), kind)
    }

    fn lock_path(&self, key: &str) -> PathBuf {
        self.folder.join(format!("{key}.lock"))
    }
}

/// What may be taken: never more than half of the room that there would be without any.
fn allowed(most: u64, taken: u64, free: u64) -> u64 {
    most.min(u64::midpoint(taken, free))
}

/// Which are to go so that the others take no more than is allowed.
fn to_go(mut kept: Vec<Kept>, allowed: u64) -> Vec<String> {
    let mut taken: u64 = kept.iter().map(|one| one.bytes).sum();
    kept.sort_by_key(|one| one.used);
    let mut going = Vec::new();
    for one in kept {
        if taken <= allowed {
            break;
        }
        taken -= one.bytes;
        going.push(one.key);
    }
    going
}

/// What a file takes on the disk: one with holes takes less than it is long.
fn allocated(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).map_or(0, |meta| meta.blocks() * 512)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::{Duration, SystemTime};

    use super::{allowed, to_go, Kept, Store};
    use crate::digest::remove;

    /// A store in a folder of the test's own.
    fn store(name: &str) -> (Store, PathBuf) {
        let folder = std::env::temp_dir().join(format!("xenlend-{name}-{}", std::process::id()));
        remove(&folder).unwrap();
        (Store::new(folder.clone()), folder)
    }

    #[test]
    fn one_is_made_once_and_another_key_makes_another() {
        let (store, folder) = store("store-once");
        let mut made = Vec::new();
        for key in ["one", "one", "two"] {
            let snapshot = store.obtain(key, |partial| {
                made.push(key);
                Ok(std::fs::write(partial.join("state"), key)?)
            });
            assert_eq!(std::fs::read_to_string(snapshot.unwrap().join("state")).unwrap(), key);
        }
        assert_eq!(made, ["one", "two"]);
        remove(&folder).unwrap();
    }

    #[test]
    fn what_was_never_finished_is_never_used() {
        let (store, folder) = store("store-cut");
        let failed = store.obtain("key", |partial| {
            std::fs::write(partial.join("state"), "half")?;
            anyhow::bail!("cut")
        });
        assert!(failed.is_err() && !store.has("key"));
        // As after a power cut: nobody has cleared it away.
        std::fs::create_dir_all(folder.join("key.partial")).unwrap();
        std::fs::write(folder.join("key.partial/rest"), "half").unwrap();
        assert!(!store.has("key"));
        let made =
            store.obtain("key", |partial| Ok(std::fs::write(partial.join("state"), "whole")?)).unwrap();
        assert_eq!(std::fs::read_to_string(made.join("state")).unwrap(), "whole");
        assert!(!made.join("rest").exists(), "nothing of the cut one is left");
        remove(&folder).unwrap();
    }

    #[test]
    fn of_two_that_want_the_same_one_makes_it_and_the_other_waits() {
        let (store, folder) = store("store-two");
        let (begun, begin) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let first = scope.spawn(|| {
                store.obtain("key", |partial| {
                    begun.send(()).unwrap();
                    // Whoever comes now has to wait: nothing has been made.
                    assert!(!store.has("key"));
                    Ok(std::fs::write(partial.join("state"), "first")?)
                })
            });
            begin.recv().unwrap();
            let second = store.obtain("key", |_| anyhow::bail!("made twice")).unwrap();
            assert_eq!(std::fs::read_to_string(second.join("state")).unwrap(), "first");
            first.join().unwrap().unwrap();
        });
        remove(&folder).unwrap();
    }

    #[test]
    fn the_ones_not_used_for_longest_go_until_the_rest_fits() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let one = |key: &str, bytes, used| Kept { key: key.to_owned(), whole: true, bytes, used: at(used) };
        let kept = || vec![one("new", 3, 30), one("old", 4, 10), one("older", 2, 5), one("newest", 5, 40)];
        assert!(to_go(kept(), 14).is_empty());
        assert_eq!(to_go(kept(), 13), ["older"]);
        assert_eq!(to_go(kept(), 8), ["older", "old"]);
        assert_eq!(to_go(kept(), 0), ["older", "old", "new", "newest"]);
    }

    #[test]
    fn never_more_than_half_of_a_small_disk_is_taken() {
        assert_eq!(allowed(24, 10, 100), 24);
        assert_eq!(allowed(24, 10, 6), 8);
    }

    #[test]
    fn one_in_use_stays_when_room_is_made() {
        let (mut store, folder) = store("store-room");
        store.most = 0;
        let make = |partial: &std::path::Path| Ok(std::fs::write(partial.join("state"), "x")?);
        let held = store.obtain("held", make).unwrap();
        drop(store.obtain("idle", make).unwrap());
        std::fs::create_dir_all(folder.join("cut.partial")).unwrap();
        store.obtain("new", make).unwrap();
        assert!(!folder.join("cut.partial").exists(), "what is left of a cut one");
        assert!(held.join("state").exists() && store.has("held"));
        assert!(!store.has("idle") && !folder.join("idle.lock").exists());
        remove(&folder).unwrap();
    }
}

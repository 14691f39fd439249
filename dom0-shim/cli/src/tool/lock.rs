// SPDX-License-Identifier: MIT OR Apache-2.0
//! One program at a time works on a guest's link: a lock file beside the record.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{flock, FlockOperation};
use rustix::io::Errno;

/// Held until dropped; the file goes with it.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    /// Takes the lock, waiting for it if need be; `busy` is called once before waiting.
    pub fn take(path: &Path, busy: &mut dyn FnMut()) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        loop {
            let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Err(Errno::WOULDBLOCK) => {
                    busy();
                    retry(|| flock(&file, FlockOperation::LockExclusive))?;
                }
                result => result?,
            }
            // Whoever held it has removed the file: what is locked may be nobody's lock any more.
            let same = |there: fs::Metadata, here: fs::Metadata| {
                (there.dev(), there.ino()) == (here.dev(), here.ino())
            };
            if fs::metadata(path).is_ok_and(|there| file.metadata().is_ok_and(|here| same(there, here))) {
                return Ok(Self { path: path.to_owned(), _file: file });
            }
        }
    }
}

fn retry(mut call: impl FnMut() -> Result<(), Errno>) -> Result<(), Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Removed while it is still held, so that nobody can take over what is about to go.
        let _gone = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::Arc;

    use super::*;

    #[test]
    fn only_one_holds_it_and_nothing_stays() {
        let folder = std::env::temp_dir().join(format!("xenlend-lock-{}", std::process::id()));
        let path = folder.join("g1.lock");
        let (inside, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let (path, inside, most) = (path.clone(), inside.clone(), most.clone());
                std::thread::spawn(move || {
                    for _ in 0..50 {
                        let lock = Lock::take(&path, &mut || ()).unwrap();
                        most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        std::thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                        drop(lock);
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(most.load(Ordering::SeqCst), 1);
        assert!(!path.exists());
        fs::remove_dir(&folder).unwrap();
    }
}

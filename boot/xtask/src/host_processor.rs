// SPDX-License-Identifier: MIT OR Apache-2.0
//! The processor of this machine that an emulated machine runs on, with all its threads. The emulator loses interrupts
//! and delivers others twice where one of its threads comes in between two steps of another. One processor runs one
//! of them at a time. See boot/decisions/0010-lab-emulation.md.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::fs::{flock, FlockOperation};
use rustix::thread::{sched_getaffinity, CpuSet};

/// A processor, taken until this is dropped if it was free.
#[derive(Debug)]
pub struct HostProcessor {
    number: usize,
    _lock: File,
}

impl HostProcessor {
    /// Takes one that no other lab has, among those that this process may use; any of them if there is none.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn take(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        let allowed = sched_getaffinity(None).context("which processors may be used")?;
        let mut last = None;
        for number in (0..CpuSet::MAX_CPU).filter(|&number| allowed.is_set(number)) {
            let path = folder.join(format!("processor.{number}"));
            let open = File::options().create(true).truncate(false).write(true).open(&path);
            let lock = open.with_context(|| path.display().to_string())?;
            let free = flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok();
            last = Some(Self { number, _lock: lock });
            if free {
                break;
            }
        }
        last.context("this process may use no processor")
    }

    /// Its number, as taskset takes it.
    pub fn number(&self) -> usize {
        self.number
    }
}

#[cfg(test)]
mod tests {
    use super::HostProcessor;

    #[test]
    fn a_processor_is_taken_once_while_others_are_free() {
        let folder = std::env::temp_dir().join(format!("xenlend-processors-{}", std::process::id()));
        let all = std::thread::available_parallelism().unwrap().get();
        let mut taken: Vec<_> = (0..all).map(|_| HostProcessor::take(&folder).unwrap()).collect();
        let mut numbers: Vec<usize> = taken.iter().map(HostProcessor::number).collect();
        numbers.dedup();
        assert_eq!(numbers.len(), all);
        let given_back = taken.remove(0).number();
        assert_eq!(HostProcessor::take(&folder).unwrap().number(), given_back);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}

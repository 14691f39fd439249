// SPDX-License-Identifier: MIT OR Apache-2.0
//! The files that the host sends to dom0: an archive that comes in pieces.

use std::fs::File;
use std::io::Write;
use std::process::Command;

use anyhow::{Context, Result};

use crate::child::Children;

/// Where the archive grows.
const ARCHIVE: &str = "/run/lab/files.cpio";

/// The archive, as far as it has come.
#[derive(Default)]
pub struct Files(Option<File>);

impl Files {
    /// Takes its next piece.
    ///
    /// # Errors
    /// dom0 has no room for it.
    pub fn add(&mut self, data: &[u8]) -> Result<()> {
        if self.0.is_none() {
            self.0 = Some(File::create(ARCHIVE).context(ARCHIVE)?);
        }
        self.0.as_mut().map_or(Ok(()), |file| file.write_all(data)).context(ARCHIVE)
    }

    /// Puts the files where they belong.
    ///
    /// # Errors
    /// It is no whole archive, or dom0 has no room.
    pub fn unpack(self, children: &Children) -> Result<()> {
        if self.0.is_none() {
            return Ok(());
        }
        // Every piece is written: an unbuffered file needs no more than to be closed.
        drop(self);
        let unpack = ["-i", "-d", "-u", "-F", ARCHIVE];
        children.succeed(Command::new("cpio").args(unpack).current_dir("/"))?;
        std::fs::remove_file(ARCHIVE).context(ARCHIVE)
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writes initramfs archives (cpio "newc"). They are left unpacked: unpacking in the emulator costs
//! more than reading.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};

/// File type bits of a mode.
const FOLDER: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;

/// An archive that grows in memory.
#[derive(Default)]
pub struct Cpio {
    bytes: Vec<u8>,
    folders: BTreeSet<String>,
    entries: u32,
}

impl Cpio {
    /// Adds a file; the folders above it come with it.
    pub fn file(&mut self, path: &str, mode: u32, data: &[u8]) {
        let path = self.folders_above(path);
        self.entry(&path, FILE | (mode & 0o7777), data);
    }

    /// Adds a symbolic link.
    pub fn symlink(&mut self, path: &str, target: &str) {
        let path = self.folders_above(path);
        self.entry(&path, SYMLINK | 0o777, target.as_bytes());
    }

    /// Adds a folder.
    pub fn folder(&mut self, path: &str) {
        self.folders_above(&format!("{}/x", path.trim_end_matches('/')));
    }

    /// Adds a file of the host, or a folder with all that is in it, under another name.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn host_path(&mut self, source: &Path, path: &str) -> Result<()> {
        let why = || source.display().to_string();
        let meta = std::fs::metadata(source).with_context(why)?;
        if meta.is_dir() {
            self.folder(path);
            let entries = std::fs::read_dir(source).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
            let mut entries = entries.with_context(why)?;
            // A file system's own order is nothing that an archive should depend on.
            entries.sort_by_key(std::fs::DirEntry::file_name);
            for entry in entries {
                let below = format!("{}/{}", path.trim_end_matches('/'), entry.file_name().to_string_lossy());
                self.host_path(&entry.path(), &below)?;
            }
            return Ok(());
        }
        let data = std::fs::read(source).with_context(why)?;
        self.file(path, meta.permissions().mode(), &data);
        Ok(())
    }

    /// The whole archive, with its trailer.
    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        // The kernel wants every archive of a row at a multiple of 4; the customary block is 512.
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self.bytes
    }

    /// Adds the folders that a path needs, and gives the path as it stands in the archive.
    fn folders_above(&mut self, path: &str) -> String {
        let path = path.trim_start_matches('/');
        for (end, _) in path.match_indices('/') {
            let folder = &path[..end];
            if !folder.is_empty() && self.folders.insert(folder.to_owned()) {
                self.entry(folder, FOLDER | 0o755, &[]);
            }
        }
        path.to_owned()
    }

    /// Adds one entry: header, name, data, each padded to 4 bytes.
    fn entry(&mut self, name: &str, mode: u32, data: &[u8]) {
        self.entries += 1;
        let links = if mode & FOLDER != 0 && mode & FILE != FILE { 2 } else { 1 };
        let fields: [u32; 13] =
            [self.entries, mode, 0, 0, links, 0, data.len() as u32, 0, 0, 0, 0, name.len() as u32 + 1, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(data);
        self.pad();
    }

    /// Pads to 4 bytes.
    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::Cpio;

    #[test]
    fn an_archive_has_its_folders_before_its_files_and_a_trailer() {
        let mut cpio = Cpio::default();
        cpio.file("/a/b/file", 0o755, b"hello");
        cpio.symlink("/a/link", "b/file");
        let bytes = cpio.finish();
        let text = String::from_utf8_lossy(&bytes);
        let places: Vec<usize> = ["a\0", "a/b\0", "a/b/file\0", "a/link\0", "TRAILER!!!\0"]
            .iter()
            .map(|name| text.find(name).unwrap_or_else(|| panic!("{name:?} is missing")))
            .collect();
        assert!(places.is_sorted(), "{places:?}");
        assert_eq!(bytes.len() % 512, 0);
        assert_eq!(text.matches("070701").count(), 5);
    }
}

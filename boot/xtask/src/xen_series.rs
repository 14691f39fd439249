// SPDX-License-Identifier: MIT OR Apache-2.0
//! The patch series in boot/xen: which patches there are, and in which order they apply.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{bail, Context, Result};

/// The file that names the patches in their order.
const LIST: &str = "series";

/// What a patch's name ends with.
const EXTENSION: &str = ".patch";

/// One patch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patch {
    /// The number that its name begins with.
    pub number: u32,
    /// Its file's name.
    pub name: String,
    /// Its file.
    pub path: PathBuf,
}

/// The patches in their order.
#[derive(Debug, Clone)]
pub struct Series {
    /// Their folder.
    pub folder: PathBuf,
    patches: Vec<Patch>,
}

impl Series {
    /// Reads a folder's series. Its numbers rise, and every patch in the folder belongs to it: one that was
    /// forgotten in the list would otherwise be missing silently.
    ///
    /// # Errors
    /// A folder of which that is not true.
    pub fn read(folder: &Path) -> Result<Self> {
        let list = folder.join(LIST);
        let text = std::fs::read_to_string(&list).with_context(|| list.display().to_string())?;
        let mut patches: Vec<Patch> = Vec::new();
        for name in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let number = number_of(name).with_context(|| format!("{name:?} in {}", list.display()))?;
            if let Some(last) = patches.last().filter(|last| last.number >= number) {
                bail!("{name} does not come after {} in {}", last.name, list.display());
            }
            patches.push(Patch { number, name: name.to_owned(), path: folder.join(name) });
        }
        let listed: BTreeSet<String> = patches.iter().map(|patch| patch.name.clone()).collect();
        let mut there = BTreeSet::new();
        for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.ends_with(EXTENSION) {
                there.insert(name);
            }
        }
        if let Some(name) = listed.symmetric_difference(&there).next() {
            bail!("{name} is only in one of {} and its folder", list.display());
        }
        Ok(Self { folder: folder.to_owned(), patches })
    }

    /// The patches up to this number; all of them without one.
    ///
    /// # Errors
    /// A number that no patch has. Zero stands for none of them.
    pub fn upto(&self, number: Option<u32>) -> Result<&[Patch]> {
        let Some(number) = number else { return Ok(&self.patches) };
        match self.patches.iter().position(|patch| patch.number == number) {
            Some(last) => Ok(&self.patches[..=last]),
            None if number == 0 => Ok(&[]),
            None => bail!("there is no patch {number:04} in {}", self.folder.display()),
        }
    }
}

/// The number in a patch's name: NNNN-what-it-does.patch, with nothing that a shell would look at.
fn number_of(name: &str) -> Result<u32> {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    let digits = name.get(..4).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    match digits {
        Some(digits) if plain && name.ends_with(EXTENSION) && name.as_bytes().get(4) == Some(&b'-') => {
            Ok(digits.parse()?)
        }
        _ => bail!("not NNNN-what-it-does.patch"),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::Series;

    fn folder(name: &str, list: &str, files: &[&str]) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("xtask-series-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("series"), list).unwrap();
        for file in files {
            std::fs::write(folder.join(file), "").unwrap();
        }
        folder
    }

    #[test]
    fn a_series_is_cut_after_the_patch_of_that_number() {
        let folder = folder(
            "cut",
            "# first the mends\n0001-one.patch\n0002-two.patch\n\n0010-ten.patch\n",
            &["0001-one.patch", "0002-two.patch", "0010-ten.patch", "README.md"],
        );
        let series = Series::read(&folder).unwrap();
        let upto = |number| series.upto(number).map(<[_]>::len).ok();
        assert_eq!(
            [upto(None), upto(Some(0)), upto(Some(2)), upto(Some(10))],
            [Some(3), Some(0), Some(2), Some(3)]
        );
        assert_eq!(upto(Some(3)), None, "a number that no patch has is a slip of the pen");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn lists_that_do_not_tell_the_truth_are_refused() {
        let cases: [(&str, &str, &[&str]); 5] = [
            ("missing", "0001-one.patch\n", &[]),
            ("forgotten", "0001-one.patch\n", &["0001-one.patch", "0002-two.patch"]),
            ("disorder", "0002-two.patch\n0001-one.patch\n", &["0001-one.patch", "0002-two.patch"]),
            ("unnumbered", "one.patch\n", &["one.patch"]),
            ("outside", "0001-../../one.patch\n", &[]),
        ];
        for (name, list, files) in cases {
            let folder = folder(name, list, files);
            assert!(Series::read(&folder).is_err(), "{name}");
            std::fs::remove_dir_all(folder).unwrap();
        }
    }
}

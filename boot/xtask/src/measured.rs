// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reads the `name=value` words that the scenarios' programs print.

use std::collections::HashMap;
use std::path::Path;
use std::str::FromStr;

use anyhow::{Context, Result};

/// Words of one file, by name.
#[derive(Debug)]
pub struct Measured {
    file: String,
    values: HashMap<String, String>,
}

impl Measured {
    /// Reads a file; words without `=` are passed over, and of two of a name the last one counts.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        Ok(Self::parse(&path.display().to_string(), &text))
    }

    fn parse(file: &str, text: &str) -> Self {
        let pair = |word: &str| word.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self { file: file.to_owned(), values: text.split_whitespace().filter_map(pair).collect() }
    }

    /// A value as it is.
    ///
    /// # Errors
    /// There is none.
    pub fn text(&self, name: &str) -> Result<String> {
        self.values.get(name).cloned().with_context(|| format!("{} does not say {name}", self.file))
    }

    fn parsed<T: FromStr>(&self, name: &str) -> Result<T> {
        let text = self.text(name)?;
        text.parse().ok().with_context(|| format!("{}: {name}={text} is no number", self.file))
    }

    /// A whole number.
    ///
    /// # Errors
    /// There is none.
    pub fn number(&self, name: &str) -> Result<u64> {
        self.parsed(name)
    }

    /// A number with a fraction.
    ///
    /// # Errors
    /// There is none.
    pub fn real(&self, name: &str) -> Result<f64> {
        self.parsed(name)
    }
}

#[cfg(test)]
mod tests {
    use super::Measured;

    #[test]
    fn words_are_found_and_missing_ones_are_named() {
        let measured =
            Measured::parse("file", "seconds=25.5 flips=7\ntrouble nothing\nflips=8 xen=4.20.3-pre\n");
        assert_eq!(measured.number("flips").unwrap(), 8);
        assert!((measured.real("seconds").unwrap() - 25.5).abs() < 1e-9);
        assert_eq!(measured.text("xen").unwrap(), "4.20.3-pre");
        assert!(measured.number("xen").is_err());
        assert_eq!(measured.number("none").unwrap_err().to_string(), "file does not say none");
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Looks at the licences of everything that the lock files name: each has to be on the list here.

use std::collections::BTreeMap;
use std::ffi::OsString;

use anyhow::{Context, Result};
use cargo_metadata::{CargoOpt, MetadataCommand};
use spdx::{Expression, LicenseReq, ParseMode};

use crate::fuzz;
use crate::host_checks::{DRIVER, MODULE};
use crate::workspace::Workspace;

/// What is allowed, and why. The modules' and the broker's images are given to others as binaries; GPL-3 and the
/// like must not get into them, for the kernel's own licence is GPL-2.0 only.
const ALLOWED: &[(&str, &str)] = &[
    ("MIT", "permissive"),
    ("Apache-2.0", "permissive, with a grant of patents"),
    ("BSD-2-Clause", "permissive"),
    ("BSD-3-Clause", "permissive"),
    ("ISC", "permissive"),
    ("Zlib", "permissive"),
    ("0BSD", "asks for nothing"),
    ("Unlicense", "asks for nothing"),
    ("NCSA", "permissive: libFuzzer, in the fuzz targets alone"),
    ("Unicode-3.0", "permissive: Unicode's tables"),
];

/// The manifests that have a lock file of their own, besides the workspace's.
const APART: [&str; 3] = [MODULE, DRIVER, fuzz::MANIFEST];

/// Looks at all of them; gives a line for each package that is not allowed.
///
/// # Errors
/// A lock file that is missing or out of date, or packages that cargo cannot fetch.
pub fn check(workspace: &Workspace) -> Result<Vec<String>> {
    let mut refused = BTreeMap::new();
    for manifest in ["Cargo.toml"].into_iter().chain(APART) {
        let mut command = MetadataCommand::new();
        command.cargo_path(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
        command.manifest_path(workspace.root.join(manifest)).other_options(["--locked".to_owned()]);
        let metadata = command.features(CargoOpt::AllFeatures).exec().with_context(|| manifest.to_owned())?;
        for package in metadata.packages {
            if let Err(why) = judge(package.license.as_deref()) {
                refused.insert(format!("{} {}", package.name, package.version), why);
            }
        }
    }
    Ok(refused.into_iter().map(|(package, why)| format!("{package}: {why}")).collect())
}

/// Whether an expression can be satisfied by what is allowed; else what it is.
fn judge(expression: Option<&str>) -> std::result::Result<(), String> {
    let text = expression.ok_or_else(|| "it names no licence".to_owned())?;
    let parsed = Expression::parse_mode(text, ParseMode::LAX)
        .map_err(|error| format!("{text:?} is no expression of licences ({})", error.reason))?;
    if parsed.evaluate(is_allowed) {
        return Ok(());
    }
    Err(format!("{text} is not allowed by the list in boot/xtask/src/licences.rs"))
}

/// Whether one licence is on the list. An exception only adds permissions.
fn is_allowed(asked: &LicenseReq) -> bool {
    let id = asked.license.id();
    id.is_some_and(|id| ALLOWED.iter().any(|(name, _)| *name == id.name))
}

#[cfg(test)]
mod tests {
    use super::{judge, ALLOWED};

    #[test]
    fn one_allowed_choice_is_enough_and_every_part_is_needed() {
        for text in ["MIT", "Apache-2.0 / MIT", "GPL-3.0-only OR MIT", "(MIT OR LGPL-2.1-or-later) AND NCSA"]
        {
            assert_eq!(judge(Some(text)), Ok(()), "{text}");
        }
        for text in
            ["GPL-3.0-only", "MIT AND GPL-3.0-or-later", "AGPL-3.0", "GPL-2.0 WITH Linux-syscall-note"]
        {
            assert!(judge(Some(text)).unwrap_err().contains("not allowed"), "{text}");
        }
        assert!(judge(None).is_err() && judge(Some("my own")).is_err());
    }

    #[test]
    fn the_list_has_names_of_licences_each_once() {
        for (index, (name, why)) in ALLOWED.iter().enumerate() {
            assert!(spdx::license_id(name).is_some_and(|id| id.name == *name) && !why.is_empty(), "{name}");
            assert!(ALLOWED[..index].iter().all(|(other, _)| other != name), "{name}");
        }
    }
}

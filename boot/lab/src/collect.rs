// SPDX-License-Identifier: MIT OR Apache-2.0
//! At the end of a run: sends what dom0 knows, and what the script left.

use std::path::Path;

use anyhow::{Context, Result};

use crate::child::printed;
use crate::port::Port;

/// The folder that a script's $OUT names.
pub const OUTPUT: &str = "/out";

/// Sends Xen's and dom0's own logs.
pub fn send_logs(port: &Port) {
    port.log("xl-dmesg.log", &printed("xl", &["dmesg"]));
    port.log("dom0-dmesg.log", &printed("dmesg", &[]));
    port.log("xl-list.log", &printed("xl", &["list", "-v"]));
    port.log("xenstore.log", &printed("xenstore-ls", &["-fp"]));
    if let Ok(folder) = std::fs::read_dir("/var/log/xen") {
        for entry in folder.flatten().filter(|entry| entry.path().is_file()) {
            let data = std::fs::read(entry.path()).unwrap_or_default();
            port.log(&entry.file_name().to_string_lossy(), &data);
        }
    }
}

/// Sends every file below the output folder.
///
/// # Errors
/// One that cannot be read.
pub fn send_output(port: &Port) -> Result<()> {
    send_folder(port, Path::new(OUTPUT), "")
}

/// Sends a folder's files, with their paths relative to the output folder.
fn send_folder(port: &Port, folder: &Path, prefix: &str) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            send_folder(port, &entry.path(), &format!("{name}/"))?;
        } else if kind.is_file() {
            port.output(&entry.path(), &name).with_context(|| name.clone())?;
        }
    }
    Ok(())
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sends the logs that xenconsoled writes to the host as they grow, so that they survive whatever
//! becomes of dom0.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::inotify;
use xenlend_lab::frame;
use xenlend_lab::host::ToHost;

use crate::port::Port;

/// Follows every file of a folder for ever, in a thread of its own.
///
/// # Errors
/// The folder cannot be watched.
pub fn follow(folder: &Path, port: Port) -> Result<()> {
    let events = inotify::init(inotify::CreateFlags::CLOEXEC).context("no inotify")?;
    inotify::add_watch(&events, folder, inotify::WatchFlags::CREATE | inotify::WatchFlags::MODIFY)
        .with_context(|| folder.display().to_string())?;
    let folder = folder.to_owned();
    std::thread::spawn(move || {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&events, &mut buffer);
        let mut files = HashMap::new();
        loop {
            let Ok(event) = reader.next() else { continue };
            let name = event.file_name().map(|name| name.to_string_lossy().into_owned());
            // More events of the same file tell nothing that this reading will not see.
            if let Some(name) = name {
                send_growth(&folder, &name, &mut files, &port);
            }
        }
    });
    Ok(())
}

/// Sends what was added to one file since the last time.
fn send_growth(folder: &Path, name: &str, files: &mut HashMap<PathBuf, File>, port: &Port) {
    let path = folder.join(name);
    let first = !files.contains_key(&path);
    if first {
        match File::open(&path) {
            Ok(file) => files.insert(path.clone(), file),
            Err(_) => return,
        };
    }
    let Some(file) = files.get_mut(&path) else { return };
    loop {
        let mut data = vec![0; frame::CHUNK];
        let length = file.read(&mut data).unwrap_or(0);
        if length == 0 {
            return;
        }
        data.truncate(length);
        let name = format!("console-{}", name.strip_prefix("guest-").unwrap_or(name));
        port.send(&ToHost::Log { name, data, first: false });
    }
}

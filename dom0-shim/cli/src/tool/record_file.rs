// SPDX-License-Identifier: MIT OR Apache-2.0
//! Records in files. A reader sees the old one or the new one, never half of one.

use std::fs;
use std::io;
use std::path::Path;

use super::host::Outcome;
use super::host_error::HostError;
use super::identity::Uuid;
use super::record::{Record, VERSION};

/// Reads a record; `None` if there is no file.
pub fn load(path: &Path) -> Outcome<Option<Record>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(HostError::File { operation: "read", path: path.to_owned(), error }),
    };
    let unreadable = |reason: String| HostError::Record { path: path.to_owned(), reason };
    let record: Record = serde_json::from_str(&text).map_err(|error| unreadable(error.to_string()))?;
    match record.version {
        VERSION => Ok(Some(record)),
        other => Err(unreadable(format!("version {other}"))),
    }
}

/// Writes a record in the place of the old one.
pub fn save(path: &Path, record: &Record) -> Outcome<()> {
    let text = serde_json::to_string_pretty(record).map_err(io::Error::from);
    text.and_then(|text| replace(path, &text)).map_err(|error| HostError::File {
        operation: "write",
        path: path.to_owned(),
        error,
    })
}

/// Writes a file in the place of the old one.
pub fn replace(path: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let temporary = path.with_extension("new");
    let written = fs::write(&temporary, text).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        let _gone = fs::remove_file(&temporary);
    }
    written
}

/// Removes a file, if there is one.
pub fn remove(path: &Path) -> Outcome<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(HostError::File { operation: "remove", path: path.to_owned(), error })
        }
        _ => Ok(()),
    }
}

/// The guests that have a record in this folder.
pub fn guests(folder: &Path) -> Outcome<Vec<Uuid>> {
    let failed = |error| HostError::File { operation: "read", path: folder.to_owned(), error };
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut guests = Vec::new();
    for entry in entries {
        let name = entry.map_err(failed)?.file_name();
        guests.extend(name.to_str().and_then(|name| name.strip_suffix(".json")?.parse::<Uuid>().ok()));
    }
    guests.sort();
    Ok(guests)
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::up;
    use super::*;

    #[test]
    fn records_come_and_go() {
        let folder = std::env::temp_dir().join(format!("xenlend-records-{}", std::process::id()));
        let path = folder.join(format!("{}.json", up().guest_uuid));
        assert_eq!(guests(&folder).unwrap(), []);
        assert_eq!(load(&path).unwrap(), None);
        save(&path, &up()).unwrap();
        assert_eq!(load(&path).unwrap(), Some(up()));
        assert_eq!(guests(&folder).unwrap(), [up().guest_uuid]);
        fs::write(&path, "{\"version\": 2").unwrap();
        assert!(matches!(load(&path), Err(HostError::Record { .. })));
        save(&path, &Record { version: 1, ..up() }).unwrap();
        assert!(load(&path).unwrap_err().to_string().contains("version 1"));
        remove(&path).unwrap();
        remove(&path).unwrap();
        fs::remove_dir(&folder).expect("nothing else is left");
    }
}

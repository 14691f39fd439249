// SPDX-License-Identifier: MIT OR Apache-2.0
//! The supervisor as a process: started, known again later.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use super::host::Outcome;
use super::host_error::HostError;
use super::paths;
use super::record::{Record, Supervisor};

/// What the supervisor prints when it watches.
pub const READY: &str = "ready";

/// Starts the supervisor of a guest and waits until it watches.
pub fn start_supervisor(record: &Record) -> Outcome<Supervisor> {
    let guest = record.guest.as_str();
    let log = paths::supervisor_log(guest);
    let file_error = |error| HostError::File { operation: "open", path: log.clone(), error };
    if let Some(folder) = log.parent() {
        fs::create_dir_all(folder).map_err(file_error)?;
    }
    let stderr = OpenOptions::new().create(true).append(true).open(&log).map_err(file_error)?;
    let failed = |reason: String| HostError::Supervisor { guest: guest.to_owned(), reason };
    let mut child = Command::new("/proc/self/exe")
        .args(["supervise", "--detached", &record.guest_uuid.to_string()])
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(stderr)
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout).read_line(&mut line).map_err(|error| failed(error.to_string()))?;
    }
    if line.trim() != READY {
        let status = child.wait().map_err(|error| failed(error.to_string()))?;
        let text = fs::read_to_string(&log).unwrap_or_default();
        let last = text.lines().last().unwrap_or("it wrote nothing");
        return Err(failed(format!("{status}; {last}")));
    }
    let pid = i32::try_from(child.id()).map_err(|error| failed(error.to_string()))?;
    let start_ticks = start_ticks(pid).ok_or_else(|| failed("it left at once".to_owned()))?;
    Ok(Supervisor { pid, start_ticks })
}

/// Whether this very process still runs.
pub fn is_running(supervisor: Supervisor) -> bool {
    start_ticks(supervisor.pid) == Some(supervisor.start_ticks)
}

/// When a process was started; `None` if there is none, or only its remains.
fn start_ticks(pid: i32) -> Option<u64> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// State is the first field after the name, start time the twentieth (proc_pid_stat(5): 3 and 22).
fn parse_stat(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_time_is_found_behind_any_name() {
        let rest = "S 1 2 3 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1000 10";
        assert_eq!(parse_stat(&format!("42 (a) b) {rest}")), Some(987_654));
        assert_eq!(parse_stat(&format!("42 (x) {}", rest.replacen('S', "Z", 1))), None);
        assert_eq!(parse_stat(""), None);
        assert_eq!(parse_stat("42 (x) S 1"), None);
    }

    #[test]
    fn this_process_runs_and_an_earlier_one_with_its_id_does_not() {
        let pid = std::process::id() as i32;
        let start = start_ticks(pid).unwrap();
        assert!(is_running(Supervisor { pid, start_ticks: start }));
        assert!(!is_running(Supervisor { pid, start_ticks: start - 1 }));
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! After the end of a guest that is to be brought up again: waits for the domain that follows it.
//!
//! Nothing says whether one will: a guest that reboots gets another domain at once, one that was shut down
//! never does. So the wait has an end.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::connection::{wait_for, DOMAIN_ENDS};
use super::guest::Guest;
use super::host::{Host, Outcome};
use super::host_error::HostError;
use super::log_line;
use super::real_host::RealHost;
use super::record::Record;
use super::xenstore::Xenstore;

/// The watch that fires when a domain has been made.
const DOMAIN_COMES: &str = "@introduceDomain";
/// How long a domain may take to follow. xl makes it at once; its machine may be busy.
const PATIENCE: Duration = Duration::from_secs(300);
/// How often to look meanwhile: xl lists a domain only when it has written its configuration to a file, which is
/// after its introduction, and nothing tells of that.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Does what was asked for the guest's next domain, if there is one: that of `record` has ended.
pub fn bring_up(record: &Record, arguments: &[String]) -> Outcome<()> {
    let mut host = RealHost::new(&record.guest);
    let failed = |error| HostError::Xenstore { operation: "watch", path: DOMAIN_COMES.to_owned(), error };
    let mut store = Xenstore::open().map_err(failed)?;
    // The one that ends may keep the name for a while.
    for path in [DOMAIN_COMES, DOMAIN_ENDS] {
        store.watch(path).map_err(failed)?;
    }
    let deadline = Instant::now() + PATIENCE;
    log_line::write(&format!("waiting for another domain of guest {}", record.guest));
    while !follows(record, host.find_guest(&record.guest)?.as_ref()) {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            log_line::write("none came: leaving");
            return Ok(());
        }
        wait_for(&[&store], Some(left.min(LOOK_AGAIN))).map_err(failed)?;
        store.fired().map_err(failed)?;
    }
    // Another process: this one has watched a guest that is no more. What it says goes to the log.
    let status = Command::new("/proc/self/exe").args(arguments).stdin(Stdio::null()).status();
    log_line::write(&match status {
        Ok(status) => format!("guest {} again: {status}", record.guest),
        Err(error) => format!("guest {} again: {error}", record.guest),
    });
    Ok(())
}

/// Whether this is another domain than the one that has ended.
fn follows(record: &Record, found: Option<&Guest>) -> bool {
    found.is_some_and(|guest| guest.domid != record.guest_domid)
}

#[cfg(test)]
mod tests {
    use super::super::guest::tests::pvh;
    use super::super::record::tests::up;
    use super::*;

    #[test]
    fn only_another_domain_follows() {
        assert!(!follows(&up(), None));
        assert!(!follows(&up(), Some(&pvh())), "the one that ends has the name for a while");
        assert!(follows(&up(), Some(&Guest { domid: 9, ..pvh() })));
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where this program keeps its files and finds those of others.

use std::path::PathBuf;

use super::broker_config::broker_name;
use super::identity::Uuid;

const RUN: &str = "/var/run/xenlend";
const LOG: &str = "/var/log/xenlend";
const CONSOLE_LOG: &str = "/var/log/xen/console";

/// Where the broker's image is installed.
pub const BROKER_IMAGE: &str = "/usr/libexec/xen/boot/xenlend-stubdom";

/// The folder of records.
pub fn records() -> PathBuf {
    PathBuf::from(RUN)
}

/// The record of a guest.
pub fn record(guest: Uuid) -> PathBuf {
    records().join(format!("{guest}.json"))
}

/// The lock of a guest.
pub fn lock(guest: Uuid) -> PathBuf {
    records().join(format!("{guest}.lock"))
}

/// The xl file of a guest's broker.
pub fn broker_config(guest: Uuid) -> PathBuf {
    records().join(format!("{guest}.cfg"))
}

/// The supervisor's log.
pub fn supervisor_log(guest: &str) -> PathBuf {
    PathBuf::from(LOG).join(format!("{guest}.log"))
}

/// What xenconsoled keeps of the broker's console; named after the guest's name when the broker was made.
pub fn broker_console(guest: &str) -> PathBuf {
    PathBuf::from(CONSOLE_LOG).join(format!("guest-{}.log", broker_name(guest)))
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The tool `xenlend`: decisions in pure functions, effects behind [`host::Host`].

pub mod again;
mod aperture;
pub mod args;
pub mod broker_config;
pub mod commands;
pub mod connection;
pub mod diagnosis;
pub mod domain;
pub mod down;
pub mod failure;
pub mod frontend;
pub mod frontend_nodes;
pub mod guest;
pub mod host;
pub mod host_error;
pub mod identity;
pub mod link_report;
pub mod lock;
pub mod log_line;
pub mod memmap;
pub mod nodes;
pub mod pace;
pub mod paths;
pub mod preflight;
pub mod process;
pub mod real_host;
pub mod record;
pub mod record_file;
pub mod status;
pub mod supervise;
pub mod take_away;
pub mod up;
pub mod watch;
pub mod whom;
pub mod xenstore;
pub mod xl;

#[cfg(test)]
mod down_tests;
#[cfg(test)]
mod fake_host;
#[cfg(test)]
mod frontend_tests;
#[cfg(test)]
mod identity_tests;
#[cfg(test)]
mod shared_tests;
#[cfg(test)]
mod up_tests;
#[cfg(test)]
mod watch_tests;
#[cfg(test)]
mod xenstore_tests;

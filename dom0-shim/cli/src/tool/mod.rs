// SPDX-License-Identifier: MIT OR Apache-2.0
//! The tool `xenlend`: decisions in pure functions, effects behind [`host::Host`].

pub mod aperture;
pub mod broker_config;
pub mod diagnosis;
pub mod domain;
pub mod down;
pub mod failure;
pub mod guest;
pub mod host;
pub mod host_error;
pub mod memmap;
pub mod nodes;
pub mod preflight;
pub mod record;
pub mod take_away;
pub mod up;
pub mod watch;

#[cfg(test)]
mod down_tests;
#[cfg(test)]
mod fake_host;
#[cfg(test)]
mod up_tests;
#[cfg(test)]
mod watch_tests;

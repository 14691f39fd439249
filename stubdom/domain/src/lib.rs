// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the broker's domain decides around lending: from what Xen passes at entry to the turns of the event loop
//! and the last word in xenstore. No unsafe, no clock, no statics, no allocation; what touches the machine is
//! behind traits that the domain implements (`stubdom/src`), and the tests over fakes.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

pub mod config;
pub mod departure;
pub mod event_loop;
pub mod more_borrowers;
pub mod page_tables;
pub mod start_error;
pub mod start_info;
pub mod turn;
pub mod window;

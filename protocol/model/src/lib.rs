// SPDX-License-Identifier: MIT OR Apache-2.0
//! The lending protocol as one state machine whose every order of steps is explored.
//!
//! Read `protocol/model/DESIGN.md`: which step is which function of the code, the bounds, and what
//! is left out.
#![forbid(unsafe_code)]

mod broker;
mod force;
mod model;
mod properties;
pub mod scenario;
pub mod seed;
mod shim;
mod state;
mod worker;
mod xen;

pub use model::{By, Protocol};
pub use properties::{names, situations};

// SPDX-License-Identifier: MIT OR Apache-2.0
//! A deterministic simulation: the real lending logic, rings and shim core over a fake Xen and a fake lender's
//! kernel, in one thread, with one seed deciding who takes the next step. Read `DESIGN.md`.
#![forbid(unsafe_code)]

pub mod broker_domain;
pub mod config;
pub mod coverage;
pub mod fault;
pub mod guest;
mod hands;
pub mod history;
mod incident;
mod invariants;
pub mod lender;
pub mod lending;
pub mod liar;
pub mod memory;
mod operation;
pub mod random;
pub mod run;
pub mod schedule;
pub mod shrink;
pub mod task;
pub mod temper;
pub mod vcpu;
pub mod wire;
pub mod world;
pub mod xen;

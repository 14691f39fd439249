// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the tests of the lending logic share. No test uses all of it.
#![allow(dead_code)]

pub mod aperture_pages;
pub mod bench;
pub mod byte_model;
pub mod fake_borrower;
pub mod fake_hypervisor;
pub mod fake_link;
pub mod fault_injector;
pub mod traffic;

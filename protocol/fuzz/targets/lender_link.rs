// SPDX-License-Identifier: MIT OR Apache-2.0
//! Fuzz target: see `xenlend_fuzz::lender_link::lender_link`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| xenlend_fuzz::lender_link::lender_link(bytes));

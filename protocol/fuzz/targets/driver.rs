// SPDX-License-Identifier: MIT OR Apache-2.0
//! Fuzz target: see `xenlend_fuzz::driver::driver`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| xenlend_fuzz::driver::driver(bytes));

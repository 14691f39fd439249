// SPDX-License-Identifier: MIT OR Apache-2.0
//! The tool `xenlend`.
#![forbid(unsafe_code)]

mod tool;

fn main() {}

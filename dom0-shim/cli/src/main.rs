// SPDX-License-Identifier: MIT OR Apache-2.0
//! The tool `xenlend`: gives guests their brokers, ends links, tells how they are.
#![forbid(unsafe_code)]

mod tool;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let arguments = tool::args::Arguments::parse();
    ExitCode::from(tool::commands::run(arguments.command))
}

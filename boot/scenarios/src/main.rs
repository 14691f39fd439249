// SPDX-License-Identifier: MIT OR Apache-2.0
//! The lender's program of the scenarios. `lender start NAME` leaves a process behind that owns
//! memory and lends it; `lender tell NAME COMMAND…` has it do one thing and returns when that is done,
//! so a script can order events without ever sleeping.

mod area;
mod commands;
mod disturbance;
mod drive;
mod drm;
mod echo;
mod held_file;
mod judge_run;
mod lender;
mod mapping;
mod own_frames;
mod play;
mod protection;
mod seek;
mod session;
mod unanswered;

use std::process::ExitCode;

use anyhow::{bail, Result};

const USAGE: &str = "usage: lender start NAME | lender tell NAME COMMAND… | lender tell NAME help | lender echo DOMAIN ROUNDS | lender held-file PATH BYTES";

fn run(arguments: &[String]) -> Result<ExitCode> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["start", name] => session::start(name).map(|()| ExitCode::SUCCESS),
        ["serve"] => session::serve(),
        ["held-file", path, bytes] => {
            held_file::serve(path, xenlend_touch::aperture::parse_number(bytes)?).map(|()| ExitCode::SUCCESS)
        }
        ["echo", domain, rounds] => echo::run(domain, rounds).map(|()| ExitCode::SUCCESS),
        ["tell", name, _, ..] => session::tell(name, &arguments[2..]),
        _ => bail!(USAGE),
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("lender: {error:#}");
            ExitCode::FAILURE
        }
    }
}

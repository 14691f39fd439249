// SPDX-License-Identifier: MIT OR Apache-2.0
//! The lab's program inside the emulated machine; which of its jobs it does depends on the name it
//! was called by, or on its first argument.

mod child;
mod collect;
mod dom0_agent;
mod domains;
mod files;
mod guest_agent;
mod guest_exec;
mod log_stream;
mod pipe;
mod port;
mod screenshot;
mod wait_for;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments: Vec<OsString> = std::env::args_os().collect();
    let called = arguments
        .first()
        .and_then(|path| Path::new(path).file_name())
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    arguments.drain(..1);
    let job = if called == "lab-agent" && !arguments.is_empty() {
        arguments.remove(0).to_string_lossy().into_owned()
    } else {
        called
    };
    let result = match job.as_str() {
        "dom0" => dom0_agent::serve(),
        "guest" => guest_agent::serve(&arguments),
        "guest-exec" => guest_exec::run(&arguments),
        "lab-screenshot" => screenshot::ask(&arguments),
        "wait-for" => wait_for::run(&arguments),
        other => {
            Err(anyhow::anyhow!("unknown job {other:?}: dom0, guest, guest-exec, lab-screenshot or wait-for"))
        }
    };
    match result {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("{job}: {error:#}");
            ExitCode::from(u8::try_from(xenlend_lab::guest::STATUS_NO_GUEST).unwrap_or(u8::MAX))
        }
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! `lab-agent dom0`: carries out one run in dom0 and tells the host about it.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use xenlend_lab::host::{Job, ToDom0, ToHost, JOB_PATH, SCRIPT_PATH, STATUS_LAB_FAILED, STATUS_TIMEOUT};

use crate::child::Children;
use crate::port::{Port, Receiver};
use crate::screenshot::Screenshots;
use crate::{collect, domains, log_stream};

/// Does the whole run.
///
/// # Errors
/// The host cannot be told.
pub fn serve() -> Result<u8> {
    let (port, receiver) = Port::open()?;
    port.stage("dom0 userspace");
    let children = Children::default();
    let (status, trouble) = match run(&port, receiver, &children) {
        _ if children.aborted() => (STATUS_TIMEOUT, Some("the time is over".to_owned())),
        Ok(status) => (status, None),
        Err(error) => (STATUS_LAB_FAILED, Some(format!("{error:#}"))),
    };
    collect::send_logs(&port);
    let (status, trouble) = match collect::send_output(&port) {
        Err(error) if trouble.is_none() => {
            (STATUS_LAB_FAILED, Some(format!("the output cannot be sent: {error:#}")))
        }
        _ => (status, trouble),
    };
    port.send(&ToHost::Exit { status, trouble });
    Ok(0)
}

/// Brings everything up and runs the script.
fn run(port: &Port, receiver: Receiver, children: &Children) -> Result<i32> {
    for folder in ["/run/lab", "/run/lab/vif", collect::OUTPUT] {
        std::fs::create_dir_all(folder).with_context(|| folder.to_owned())?;
    }
    let screenshots = Screenshots::serve(port.clone())?;
    listen(receiver, children.clone(), screenshots);
    log_stream::follow(domains::console_logs(), port.clone())?;
    let job = std::fs::read(JOB_PATH).context(JOB_PATH)?;
    let job: Job = postcard::from_bytes(&job).context("the job is not readable")?;
    domains::start_daemons(children, port)?;
    domains::start_guests(&job, children, port)?;
    port.stage("script");
    let mut script = Command::new("sh");
    script.arg(SCRIPT_PATH).current_dir(Path::new("/root")).env("OUT", collect::OUTPUT);
    let status = children.stream(&mut script, |data| port.send(&ToHost::Script { data }))?;
    port.stage("script over");
    Ok(status)
}

/// Obeys the host, in a thread of its own.
fn listen(mut receiver: Receiver, children: Children, screenshots: Screenshots) {
    std::thread::spawn(move || loop {
        match receiver.receive() {
            Ok(ToDom0::ScreenshotDone { id, trouble }) => screenshots.done(id, trouble.as_ref()),
            Ok(ToDom0::Abort) => children.abort(),
            Err(error) => {
                eprintln!("lab-agent: no more words from the host: {error:#}");
                return;
            }
        }
    });
}

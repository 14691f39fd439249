// SPDX-License-Identifier: MIT OR Apache-2.0
//! `lab-agent dom0`: carries out one run in dom0 and tells the host about it.

use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{bail, Context, Result};
use rustix::time::{clock_settime, ClockId, Timespec};
use xenlend_lab::host::{ToDom0, ToHost, SCRIPT_PATH, STATUS_LAB_FAILED, STATUS_TIMEOUT};

use crate::child::Children;
use crate::files::Files;
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

/// Brings up what the host asks for and runs the script.
fn run(port: &Port, receiver: Receiver, children: &Children) -> Result<i32> {
    for folder in ["/run/lab", "/run/lab/vif", collect::OUTPUT] {
        std::fs::create_dir_all(folder).with_context(|| folder.to_owned())?;
    }
    let screenshots = Screenshots::serve(port.clone())?;
    let orders = listen(receiver, children.clone(), screenshots);
    log_stream::follow(domains::console_logs(), port.clone())?;
    domains::start_daemons(children, port)?;
    let mut files = Files::default();
    let mut order = port.ready(&orders)?;
    loop {
        order = match order {
            ToDom0::Guests(job) => {
                domains::start_guests(&job, children, port)?;
                port.ready(&orders)?
            }
            ToDom0::Files { data } => {
                files.add(&data)?;
                orders.recv().context("no more words from the host")?
            }
            ToDom0::Script { now } => {
                set_time(now)?;
                break;
            }
            ToDom0::Abort | ToDom0::ScreenshotDone { .. } => bail!("the time is over"),
        };
    }
    files.unpack(children)?;
    port.stage("script");
    let mut script = Command::new("sh");
    script.arg(SCRIPT_PATH).current_dir(Path::new("/root")).env("OUT", collect::OUTPUT);
    let status = children.stream(&mut script, |data| port.send(&ToHost::Script { data }))?;
    port.stage("script over");
    Ok(status)
}

/// Hears the host, in a thread of its own: obeys what is to be done at once, and hands over the rest.
fn listen(mut receiver: Receiver, children: Children, screenshots: Screenshots) -> mpsc::Receiver<ToDom0> {
    let (send, orders) = mpsc::channel();
    std::thread::spawn(move || loop {
        match receiver.receive() {
            Ok(ToDom0::ScreenshotDone { id, trouble }) => screenshots.done(id, trouble.as_ref()),
            Ok(order) => {
                if matches!(order, ToDom0::Abort) {
                    children.abort();
                }
                // While the script runs nobody takes orders.
                let _ = send.send(order);
            }
            Err(error) => {
                eprintln!("lab-agent: no more words from the host: {error:#}");
                return;
            }
        }
    });
    orders
}

/// Sets dom0's clock, which in a restored machine still has the time of the saving. Guests that run keep theirs.
fn set_time(now: Duration) -> Result<()> {
    let time = Timespec { tv_sec: now.as_secs() as i64, tv_nsec: i64::from(now.subsec_nanos()) };
    clock_settime(ClockId::Realtime, time).context("the clock cannot be set")
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! `lab-agent guest NAME`: runs commands in a guest for `guest-exec` in dom0.

use std::ffi::{OsStr, OsString};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{bail, Context, Result};
use rustix::process::{kill_process_group, Pid, Signal};
use xenlend_lab::frame;
use xenlend_lab::guest::{dom0_address, guest_number, Ready, ToCaller, ToGuest, COMMAND_PORT, READY_PORT};

use crate::pipe::pump;

/// Takes commands for ever.
///
/// # Errors
/// A wrong name, or no network.
pub fn serve(arguments: &[OsString]) -> Result<u8> {
    let [name] = arguments else { bail!("the guest's name is wanted") };
    let name = name.to_string_lossy().into_owned();
    let Some(number) = guest_number(&name) else { bail!("{name:?} is not a lab guest's name") };
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, COMMAND_PORT)).context("no command port")?;
    // Beside the serving: a guest that a script creates may find nobody who listens.
    std::thread::spawn(move || announce(&name, SocketAddr::from((dom0_address(number), READY_PORT))));
    for stream in listener.incoming() {
        let stream = stream.context("the command port is gone")?;
        std::thread::spawn(move || {
            if let Err(error) = converse(stream) {
                eprintln!("lab-agent: {error:#}");
            }
        });
    }
    Ok(0)
}

/// Tells dom0's agent that commands are taken, unless it does not want to know any more. The vif may still be on its way up on either side, and
/// a packet lost there is repeated here sooner than TCP would.
fn announce(name: &str, dom0: SocketAddr) {
    let ready = Ready { name: name.to_owned() };
    loop {
        let sent = TcpStream::connect_timeout(&dom0, Duration::from_millis(300))
            .and_then(|mut stream| frame::send(&mut stream, &ready));
        match sent {
            Ok(()) => return,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => return,
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// One connection: one command.
fn converse(mut stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let ToGuest::Run { command } = frame::receive(&mut stream)? else {
        bail!("the first message did not name a command")
    };
    let mut words = command.iter().map(|word| OsStr::from_bytes(word));
    let Some(program) = words.next() else { bail!("an empty command") };
    let started = Command::new(program)
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn();
    let mut child = match started {
        Ok(child) => child,
        Err(error) => {
            let text = format!("{}: {error}\n", program.to_string_lossy());
            frame::send(&mut stream, &ToCaller::Error { data: text.into_bytes() })?;
            let status = if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 };
            return finish(&stream, status, || {
                // What it sends until it has read the status is void.
                let _ = std::io::copy(&mut &stream, &mut std::io::sink());
            });
        }
    };
    let group = Pid::from_child(&child);
    let alive = Arc::new(Mutex::new(true));
    let (Some(input), Some(output), Some(errors)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        bail!("the command has no pipes")
    };
    let (peer, watched) = (stream.try_clone()?, Arc::clone(&alive));
    let feeder = std::thread::spawn(move || feed(peer, input, group, &watched));
    let status = pump(&child, &[output.as_fd(), errors.as_fd()], |index, data| {
        let message = if index == 0 { ToCaller::Output { data } } else { ToCaller::Error { data } };
        Ok(frame::send(&mut stream, &message)?)
    });
    if status.is_err() {
        kill(group, &alive);
    }
    // Reaped under the lock: nobody signals a process group whose number may be somebody else's.
    let mut alive = alive.lock().unwrap_or_else(PoisonError::into_inner);
    let ended = child.wait()?;
    *alive = false;
    drop(alive);
    status?;
    let status = ended.code().unwrap_or_else(|| 128 + ended.signal().unwrap_or(0));
    finish(&stream, status, || {
        let _ = feeder.join();
    })
}

/// Tells the status, then reads on until the caller has closed: a connection that is closed with
/// something unread in it is reset, and what the caller has not read yet is lost with it.
fn finish(mut stream: &TcpStream, status: i32, read_on: impl FnOnce()) -> Result<()> {
    frame::send(&mut stream, &ToCaller::Exit { status })?;
    stream.shutdown(Shutdown::Write)?;
    read_on();
    Ok(())
}

/// Gives the caller's input to the command, and ends the command when the caller has gone.
fn feed(mut peer: TcpStream, input: ChildStdin, group: Pid, alive: &Mutex<bool>) {
    let mut input = Some(input);
    while let Ok(message) = frame::receive(&mut peer) {
        match message {
            ToGuest::Input { data } if data.is_empty() => input = None,
            ToGuest::Input { data } => {
                let refused =
                    input.as_mut().is_some_and(|pipe| std::io::Write::write_all(pipe, &data).is_err());
                if refused {
                    input = None;
                }
            }
            ToGuest::Run { .. } => break,
        }
    }
    kill(group, alive);
}

/// Ends the command if it still runs.
fn kill(group: Pid, alive: &Mutex<bool>) {
    if *alive.lock().unwrap_or_else(PoisonError::into_inner) {
        // It may have ended by itself, which is as good.
        let _ = kill_process_group(group, Signal::KILL);
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! `guest-exec [-i] NAME CMD…`: runs a command in a guest, from a script in dom0. Its output and its
//! exit status are the command's; with -i, so is the input.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{anyhow, bail, Context, Result};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use xenlend_lab::frame;
use xenlend_lab::guest::{guest_address, guest_number, ToCaller, ToGuest, COMMAND_PORT};

/// How often a silent guest's vif is looked at: a destroyed guest sends no word that it has gone.
const LIFE_SIGN: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// Does the job and gives the command's exit status.
///
/// # Errors
/// A guest that is not there or vanishes meanwhile.
pub fn run(arguments: &[OsString]) -> Result<u8> {
    let (with_input, arguments) = match arguments.split_first() {
        Some((first, rest)) if first == "-i" => (true, rest),
        _ => (false, arguments),
    };
    let Some((name, command)) = arguments.split_first().filter(|(_, command)| !command.is_empty()) else {
        bail!("usage: guest-exec [-i] NAME CMD…")
    };
    let name = name.to_string_lossy();
    let number =
        guest_number(&name).ok_or_else(|| anyhow!("{name:?} is not a lab guest's name (g1, g2, …)"))?;
    let vif = PathBuf::from(format!("/run/lab/vif/{name}"));
    let address = SocketAddr::from((guest_address(number), COMMAND_PORT));
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(30))
        .with_context(|| format!("the guest {name} does not answer"))?;
    stream.set_nodelay(true)?;
    let words = command.iter().map(|word| word.clone().into_vec()).collect();
    frame::send(&mut stream, &ToGuest::Run { command: words })?;
    let mut sender = stream.try_clone()?;
    if with_input {
        // Ends with the process: nobody waits for a reader of a terminal.
        std::thread::spawn(move || pass_input(&mut sender));
    } else {
        frame::send(&mut sender, &ToGuest::Input { data: Vec::new() })?;
    }
    loop {
        await_word(&stream, &name, &vif)?;
        let message = frame::receive(&mut stream)
            .with_context(|| format!("the guest {name} went away during the command"))?;
        match message {
            ToCaller::Output { data } => print(&mut std::io::stdout().lock(), &data)?,
            ToCaller::Error { data } => print(&mut std::io::stderr().lock(), &data)?,
            ToCaller::Exit { status } => return Ok(u8::try_from(status & 0xff).unwrap_or(u8::MAX)),
        }
    }
}

/// Passes this program's standard input on.
fn pass_input(sender: &mut TcpStream) {
    let mut stdin = std::io::stdin().lock();
    loop {
        let mut data = vec![0; frame::CHUNK];
        let length = stdin.read(&mut data).unwrap_or(0);
        data.truncate(length);
        if frame::send(sender, &ToGuest::Input { data }).is_err() || length == 0 {
            return;
        }
    }
}

/// Writes and flushes, so that what a hanging command said before is seen.
fn print(stream: &mut impl Write, data: &[u8]) -> Result<()> {
    stream.write_all(data)?;
    stream.flush()?;
    Ok(())
}

/// Waits until the guest says something; fails when its vif has gone.
fn await_word(stream: &TcpStream, name: &str, vif: &PathBuf) -> Result<()> {
    loop {
        let mut waits = [PollFd::new(stream, PollFlags::IN)];
        match poll(&mut waits, Some(&LIFE_SIGN)) {
            Ok(0) => {
                let device =
                    std::fs::read_to_string(vif).with_context(|| format!("no vif of {name} is known"))?;
                if !PathBuf::from("/sys/class/net").join(device.trim()).exists() {
                    bail!("the guest {name} went away during the command");
                }
            }
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("poll"),
        }
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The conversation between `lender tell` and the process that `lender start` left behind: a Unix
//! socket for each name, one connection for each command.
//!
//! A command is its words, each ended by a zero byte. The answer is text, then a zero byte, then
//! nothing if it went well or why it did not.

use std::env;
use std::fs;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{bail, Context, Result};

use crate::commands;
use crate::lender::Lender;

fn socket(name: &str) -> Result<PathBuf> {
    if name.is_empty() || name.contains(['/', '.']) {
        bail!("{name:?} is no name for a lender");
    }
    Ok(PathBuf::from(format!("/run/xenlend-scenarios/{name}")))
}

/// Leaves a lender behind that takes commands under this name as soon as this returns.
pub fn start(name: &str) -> Result<()> {
    let path = socket(name)?;
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).context("no folder for the socket")?;
    }
    // One of the same name that has ended leaves its socket.
    if path.exists() {
        if UnixStream::connect(&path).is_ok() {
            bail!("there is a lender {name} already");
        }
        fs::remove_file(&path)?;
    }
    let listener = UnixListener::bind(&path).with_context(|| path.display().to_string())?;
    let log = fs::File::create(path.with_extension("log"))?;
    let child = Command::new(env::current_exe()?)
        .arg("serve")
        .stdin(Stdio::from(OwnedFd::from(listener)))
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .spawn()
        .context("cannot start the lender")?;
    println!("{}", child.id());
    Ok(())
}

/// Takes commands from the listening socket that is this process's standard input.
pub fn serve() -> Result<ExitCode> {
    let listener = UnixListener::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut lender = Lender::default();
    loop {
        let (mut stream, _) = listener.accept().context("no more commands")?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes)?;
        let words: Vec<String> = bytes
            .split(|byte| *byte == 0)
            .filter(|word| !word.is_empty())
            .map(|word| String::from_utf8_lossy(word).into_owned())
            .collect();
        let result = commands::carry_out(&mut lender, &words, &mut stream);
        let trouble = result.as_ref().err().map(|error| format!("{error:#}")).unwrap_or_default();
        // Who asked may have gone: that is no reason to stop.
        let _ = stream.write_all(b"\0").and_then(|()| stream.write_all(trouble.as_bytes()));
        let _ = stream.shutdown(Shutdown::Both);
        if let Ok(commands::Next::End) = result {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

/// Has the lender of this name carry out one command; its output is this program's.
pub fn tell(name: &str, words: &[String]) -> Result<ExitCode> {
    let mut stream =
        UnixStream::connect(socket(name)?).with_context(|| format!("there is no lender {name}"))?;
    for word in words {
        stream.write_all(word.as_bytes())?;
        stream.write_all(b"\0")?;
    }
    stream.shutdown(Shutdown::Write)?;
    let (mut buffer, mut trouble) = ([0; 4096], None::<Vec<u8>>);
    loop {
        let length = stream.read(&mut buffer).context("the lender has gone")?;
        if length == 0 {
            break;
        }
        let mut text = &buffer[..length];
        if trouble.is_none() {
            let end = text.iter().position(|byte| *byte == 0);
            let mut out = io::stdout().lock();
            out.write_all(&text[..end.unwrap_or(length)])?;
            out.flush()?;
            let Some(end) = end else { continue };
            text = &text[end + 1..];
        }
        trouble.get_or_insert_default().extend_from_slice(text);
    }
    match trouble {
        None => bail!("the lender ended during the command"),
        Some(trouble) if trouble.is_empty() => Ok(ExitCode::SUCCESS),
        Some(trouble) => bail!("{}", String::from_utf8_lossy(&trouble)),
    }
}

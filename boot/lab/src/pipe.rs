// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reads what a program prints until the program has ended.

use std::os::fd::BorrowedFd;
use std::process::Child;

use anyhow::{Context, Result};
use rustix::event::{poll, PollFd, PollFlags};
use rustix::io::Errno;
use rustix::process::{pidfd_open, Pid, PidfdFlags};
use xenlend_lab::frame::CHUNK;

/// Hands over what comes out of the pipes (by index) until the child has ended. Children that it
/// left behind may keep the pipes open: they are not waited for.
///
/// # Errors
/// Those of the sink, and failing system calls.
pub fn pump(
    child: &Child,
    pipes: &[BorrowedFd<'_>],
    mut sink: impl FnMut(usize, Vec<u8>) -> Result<()>,
) -> Result<()> {
    let ended = pidfd_open(Pid::from_child(child), PidfdFlags::empty()).context("no pidfd")?;
    for pipe in pipes {
        rustix::io::ioctl_fionbio(pipe, true)?;
    }
    let mut open = vec![true; pipes.len()];
    loop {
        let mut waits = vec![PollFd::new(&ended, PollFlags::IN)];
        waits.extend(
            pipes.iter().zip(&open).filter(|(_, open)| **open).map(|(p, _)| PollFd::new(p, PollFlags::IN)),
        );
        match poll(&mut waits, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error).context("poll"),
        }
        let over = !waits[0].revents().is_empty();
        for (index, pipe) in pipes.iter().enumerate() {
            // One piece of each in turn, and at the end all that is left.
            while open[index] {
                let mut data = vec![0; CHUNK];
                match rustix::io::read(pipe, &mut data) {
                    Ok(0) => open[index] = false,
                    Ok(length) => {
                        data.truncate(length);
                        sink(index, data)?;
                        if !over {
                            break;
                        }
                    }
                    Err(Errno::INTR) => {}
                    Err(Errno::AGAIN) => break,
                    Err(error) => return Err(error).context("reading a pipe"),
                }
            }
        }
        if over {
            return Ok(());
        }
    }
}

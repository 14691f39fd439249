// SPDX-License-Identifier: MIT OR Apache-2.0
//! The aperture of the guest, and what its program sees and does there.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, Output};
use std::thread::{self, JoinHandle};

use anyhow::{ensure, Context, Result};

/// A running guest and where its aperture is.
#[derive(Clone, Debug)]
pub struct Window {
    guest: String,
    base: u64,
}

/// How a program in the guest ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// What it printed.
    Said(String),
    /// It was killed for an access.
    Killed,
    /// Something else.
    Other(String),
}

fn end(output: &Output) -> End {
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    match output.status.code() {
        Some(0) => End::Said(said),
        // As a shell says it: 128 and SIGSEGV.
        Some(139) => End::Killed,
        code => End::Other(format!("{code:?} {said} {}", String::from_utf8_lossy(&output.stderr))),
    }
}

impl Window {
    /// Asks the guest.
    pub fn of(guest: &str) -> Result<Self> {
        let this = Self { guest: guest.to_owned(), base: 0 };
        let End::Said(text) = this.run(&["where"])? else { anyhow::bail!("the guest does not say where") };
        let base = text.split_whitespace().next().and_then(|word| word.strip_prefix("0x"));
        let base = u64::from_str_radix(base.context("no base")?, 16)?;
        ensure!(base % (2 << 20) == 0, "the aperture starts at {base:#x}");
        Ok(Self { base, ..this })
    }

    /// The frame of a page in it.
    pub const fn gfn(&self, page: u64) -> u64 {
        (self.base >> 12) + page
    }

    /// First and last byte of it that faults are wanted for.
    pub const fn span(&self) -> (u64, u64) {
        (self.base, self.base + (16 << 20) - 1)
    }

    fn run(&self, arguments: &[&str]) -> Result<End> {
        let mut command = Command::new("guest-exec");
        command.arg(&self.guest).arg("xenlend-touch").args(arguments);
        Ok(end(&command.output().context("guest-exec")?))
    }

    /// Eight bytes, as the guest reads them.
    pub fn peek(&self, page: u64, offset: u64) -> Result<End> {
        self.run(&["peek", &format!("{:#x}", page * 4096 + offset), "8"])
    }

    /// Has the guest write eight bytes.
    pub fn poke(&self, page: u64, offset: u64, value: u64) -> Result<End> {
        self.run(&["poke", &format!("{:#x}", page * 4096 + offset), &hex(value)])
    }

    fn lines(&self, what: &str, page: u64, pages: usize, generation: u32) -> Result<End> {
        let (offset, bytes) = (format!("{:#x}", page * 4096), format!("{:#x}", pages * 4096));
        self.run(&[what, &offset, &bytes, &generation.to_string()])
    }

    /// Has the guest write lines of a generation.
    pub fn fill(&self, page: u64, pages: usize, generation: u32) -> Result<End> {
        self.lines("fill", page, pages, generation)
    }

    /// Has the guest judge them.
    pub fn check(&self, page: u64, pages: usize, generation: u32) -> Result<End> {
        self.lines("check", page, pages, generation)
    }

    /// Eight bytes, as the guest reads them, while this side goes on.
    pub fn start_peek(&self, page: u64) -> Result<Program> {
        let window = self.clone();
        Program::start(move || window.peek(page, 8))
    }

    /// The same for writing them.
    pub fn start_poke(&self, page: u64, value: u64) -> Result<Program> {
        let window = self.clone();
        Program::start(move || window.poke(page, 8, value))
    }

    /// The same for so many string stores across the end of a page.
    pub fn start_stores_across(&self, page: u64, stores: u32) -> Result<Program> {
        let window = self.clone();
        Program::start(move || {
            let offset = format!("{:#x}", page * 4096);
            window.run(&["stos", &offset, "--shape", "across", "--times", &stores.to_string()])
        })
    }

    /// The same for a counting program.
    pub fn start_count(&self, page: u64, increments: u64) -> Result<Program> {
        let window = self.clone();
        Program::start(move || {
            let offset = format!("{:#x}", page * 4096);
            window.run(&["count", &offset, "--threads", "1", "--increments", &increments.to_string()])
        })
    }
}

/// A program in the guest, while this side goes on.
#[derive(Debug)]
pub struct Program {
    thread: JoinHandle<Result<End>>,
    ended: UnixStream,
}

impl Program {
    fn start(run: impl FnOnce() -> Result<End> + Send + 'static) -> Result<Self> {
        let (ended, open) = UnixStream::pair()?;
        let thread = thread::spawn(move || {
            let _open = open;
            run()
        });
        Ok(Self { thread, ended })
    }

    /// Readable as soon as it has ended.
    pub fn ended(&self) -> BorrowedFd<'_> {
        self.ended.as_fd()
    }

    /// Whether it has.
    pub fn is_over(&self) -> bool {
        self.thread.is_finished()
    }

    /// How it ends.
    pub fn end(self) -> Result<End> {
        self.thread.join().ok().context("a thread panicked")?
    }
}

/// Bytes of a number in memory, as the guest's program writes and reads them.
pub fn hex(value: u64) -> String {
    format!("{:016x}", value.swap_bytes())
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest as the lender: its frames are numbered by itself, and it releases them by itself; dom0 is control domain
//! and broker. The guest's test driver `ownpages` has the pages.

use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{ensure, Context, Result};

use crate::faults::{fault, LOST, READ, RETRY};
use crate::frames::Frames;
use crate::lend::{Borrower, Entry, ABSENT, NOBODY, SELF};
use crate::privcmd::Privcmd;
use crate::refusals::expect;
use crate::server::Server;
use crate::window::{hex, End, Window};

const PAGES: u64 = 512;
/// Where the interrupt controller is: no RAM.
const NO_RAM: u64 = 0xFEE00;
/// No guest of the lab has anything there.
const NOTHING: u64 = 0xFF_FFFF;
/// The flags of a release.
const FOR_WRITING: u32 = 0;
const WITHDRAW: u32 = 1;
const READ_ONLY: u32 = 2;

/// The lender's guest.
#[derive(Debug)]
pub struct Lender {
    name: String,
    domain: u16,
}

impl Lender {
    /// A guest that is up and has the driver.
    pub const fn new(name: String, domain: u16) -> Self {
        Self { name, domain }
    }

    fn shell(&self, verb: &str, parameter: &str) -> Result<String> {
        let line = format!("{verb} /sys/module/ownpages/parameters/{parameter}");
        let output = Command::new("guest-exec").args([&self.name, "sh", "-c", &line]).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{}: {line}: {said}", self.name);
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    fn number(&self, parameter: &str) -> Result<u64> {
        self.shell("cat", parameter)?.parse().with_context(|| format!("ownpages' {parameter}"))
    }

    /// An operation that the guest makes: its error and how far it got.
    fn operate(&self, operation: &str, numbers: &str) -> Result<(i32, u64)> {
        self.shell(&format!("echo {numbers} >"), operation)?;
        let outcome = self.shell("cat", "outcome")?;
        let (error, done) = outcome.split_once(' ').context("no outcome")?;
        Ok((error.parse()?, done.parse()?))
    }

    fn release(&self, flags: u32, frame: u64, pages: u64) -> Result<(i32, u64)> {
        self.operate("release", &format!("{flags} {frame} {pages}"))
    }

    fn poke(&self, page: u64, value: u64) -> Result<()> {
        self.shell(&format!("echo {page} {value} >"), "poke").map(drop)
    }

    fn peek(&self, page: u64) -> Result<u64> {
        self.shell(&format!("echo {page} >"), "peek")?;
        self.number("peek")
    }

    /// Frames of this guest where there is nothing.
    const fn lend(&self, gfn: u64, nr: u64, frame: u64) -> Entry {
        Entry { old_lender: self.domain, new_lender: self.domain, ..Entry::lend(gfn, nr, frame) }
    }

    /// Whatever this guest has lent there goes.
    const fn revoke(&self, gfn: u64, nr: u64) -> Entry {
        Entry { old_lender: self.domain, new_lender: self.domain, ..Entry::revoke(gfn, nr) }
    }

    fn destroy(&self) -> Result<()> {
        let status = Command::new("xl").args(["destroy", &self.name]).status()?;
        ensure!(status.success(), "xl destroy");
        // Xen says (null) for a domain that only references keep.
        loop {
            let output = Command::new("xl").arg("list").output()?;
            let list = String::from_utf8(output.stdout)?;
            if !list.contains(&self.name) && !list.contains("null") {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(100));
        }
    }
}

/// All of it. The lender is destroyed in the end.
pub fn all(b: &Borrower, window: &Window, lender: &Lender) -> Result<()> {
    let first = lender.number("first")?;
    refusals(b, window, lender, first)?;
    expect("the lender releases its pages", lender.release(FOR_WRITING, first, PAGES)?, (0, PAGES))?;
    expect("released", b.query().1.released, PAGES)?;
    sharing(b, window, lender, first)?;
    given_back(b, window, lender, first)?;
    destroyed(b, window, lender, first)
}

/// Who is no lender, and what is not the lender's.
fn refusals(b: &Borrower, window: &Window, lender: &Lender, first: u64) -> Result<()> {
    let here = window.gfn(0);
    expect("a guest that was not named", lender.release(FOR_WRITING, first, 1)?, (libc::EPERM, 0))?;
    expect("dom0 is the broker", b.parties(SELF, NOBODY, 0), 0)?;
    expect("still it was not named", lender.release(FOR_WRITING, first, 1)?, (libc::EPERM, 0))?;
    expect("nor looked at", b.change(&[lender.lend(here, 1, first)]), (libc::EPERM, 0))?;
    expect("the guest is the lender", b.parties(SELF, lender.domain, 0), 0)?;
    expect("nothing released yet", b.change(&[lender.lend(here, 1, first)]), (libc::EPERM, 0))?;
    for (what, frame) in [
        ("where nothing is", NOTHING),
        ("where no RAM is", NO_RAM),
        ("a page given back", lender.number("ballooned_frame")?),
        ("a grant mapped", lender.number("mapped_frame")?),
    ] {
        expect(what, lender.release(FOR_WRITING, frame, 1)?, (libc::EPERM, 0))?;
        expect("nor read-only", lender.release(READ_ONLY, frame, 1)?, (libc::EPERM, 0))?;
    }
    expect("no such frame", lender.release(FOR_WRITING, 1 << 50, 1)?.0, libc::EINVAL)?;
    // The lender is itself a borrower: what dom0 lends to it is not its own.
    let page = Frames::create(1)?;
    let second = Borrower { domain: lender.domain, privcmd: Privcmd::open()? };
    let its = Window::of(&lender.name)?.gfn(3);
    expect("dom0 lends to the lender", second.parties(SELF, SELF, 0), 0)?;
    expect("release", second.release(0, &[(page.mfn, 1)]), (0, 1))?;
    expect("lend", second.change(&[Entry::lend(its, 1, page.mfn)]), (0, 1))?;
    expect("what is lent to it", lender.release(FOR_WRITING, its, 1)?, (libc::EPERM, 0))?;
    expect("revoke", second.change(&[Entry::revoke(its, 1)]), (0, 1))?;
    expect("dom0 lends no more", second.parties(NOBODY, SELF, 1), 0)?;
    // A frame of dom0's is nothing to the borrower: dom0 is its broker, and no lender.
    expect("a broker is no lender", b.release(0, &[(page.mfn, 1)]), (libc::EPERM, 0))?;
    expect("nor are its pages lent", b.change(&[Entry::lend(here, 1, page.mfn)]), (libc::EPERM, 0))
}

/// Both see the same memory, and either end takes it away.
fn sharing(b: &Borrower, window: &Window, lender: &Lender, first: u64) -> Result<()> {
    let here = window.gfn(0);
    lender.poke(2, 4711)?;
    expect("lend", b.change(&[lender.lend(here, 4, first)]), (0, 4))?;
    expect("the borrower reads", window.peek(2, 8)?, End::Said(hex(4711)))?;
    expect("and writes", window.poke(2, 8, 4712)?, End::Said(String::new()))?;
    expect("the lender reads", lender.peek(2)?, 4712)?;
    expect("the broker revokes", b.change(&[Entry { old: first, ..lender.revoke(here, 1) }]), (0, 1))?;
    expect("that page is gone", window.peek(0, 8)?, End::Said(hex(u64::MAX)))?;
    expect("another is not", window.peek(2, 8)?, End::Said(hex(4712)))?;
    expect(
        "the lender cannot lend",
        lender.operate("lend", &format!("{here} 1 {first}"))?,
        (libc::EPERM, 0),
    )?;
    expect("the lender revokes", lender.operate("revoke", &format!("{here} 4"))?, (0, 4))?;
    expect("nothing is lent", b.query().1.present, 0)?;
    expect("it is gone", window.peek(2, 8)?, End::Said(hex(u64::MAX)))?;
    expect("the lender withdraws", lender.release(WITHDRAW, first + 1, 1)?, (0, 1))?;
    expect("its page stays its own", b.change(&[lender.lend(here, 2, first)]), (libc::EPERM, 1))?;
    expect("it releases for reading", lender.release(READ_ONLY, first + 1, 1)?, (0, 1))?;
    expect("so not for writing", b.change(&[lender.lend(here + 1, 1, first + 1)]), (libc::EPERM, 0))?;
    let entry = Entry { flags: 1, ..lender.lend(here + 1, 1, first + 1) };
    expect("for reading", b.change(&[entry]), (0, 1))?;
    lender.poke(1, 4713)?;
    expect("it is read", window.peek(1, 8)?, End::Said(hex(4713)))?;
    expect("and not written", window.poke(1, 8, 1)?, End::Killed)?;
    expect("revoke", b.change(&[lender.revoke(here, 2)]), (0, 2))?;
    expect("release all", lender.release(FOR_WRITING, first, PAGES)?, (0, PAGES))?;

    lender.poke(300, 4714)?;
    expect("lend 2 MiB", b.change(&[lender.lend(window.gfn(512), PAGES, first)]), (0, PAGES))?;
    expect("read in there", window.peek(512 + 300, 8)?, End::Said(hex(4714)))?;
    expect("revoke a page of it", b.change(&[lender.revoke(window.gfn(512 + 300), 1)]), (0, 1))?;
    expect("it is gone", window.peek(512 + 300, 8)?, End::Said(hex(u64::MAX)))?;
    expect("revoke the rest", b.change(&[lender.revoke(window.gfn(512), PAGES)]), (0, PAGES))?;
    expect("nothing is lent", b.query().1.present, 0)
}

/// The lender gives a page back to Xen while it is lent: it is nobody else's until it is revoked.
fn given_back(b: &Borrower, window: &Window, lender: &Lender, first: u64) -> Result<()> {
    let (here, page) = (window.gfn(0), 7);
    lender.poke(page, 4715)?;
    let before = lender.number("owned")?;
    expect("lend", b.change(&[lender.lend(here, 1, first + page)]), (0, 1))?;
    lender.shell(&format!("echo {page} >"), "give_back")?;
    expect("what is lent is not free when it is given back", lender.number("owned")?, before)?;
    expect("the borrower reads it", window.peek(0, 8)?, End::Said(hex(4715)))?;
    let elsewhere = lender.lend(here + 1, 1, first + page);
    expect("it is not lent again", b.change(&[elsewhere]), (libc::EPERM, 0))?;
    // The frame has no page any more by which it could be compared.
    let by_name = Entry { old: first + page, new: ABSENT, ..lender.revoke(here, 1) };
    expect("it has no name to be revoked by", b.change(&[by_name]), (libc::EBUSY, 0))?;
    expect("revoke", b.change(&[lender.revoke(here, 1)]), (0, 1))?;
    expect("now it is free", lender.number("owned")?, before - 1)?;
    expect("and gone", window.peek(0, 8)?, End::Said(hex(u64::MAX)))
}

/// The lender is destroyed while its pages are lent and a vCPU waits for one more.
fn destroyed(b: &Borrower, window: &Window, lender: &Lender, first: u64) -> Result<()> {
    let (from, to) = window.span();
    let server = Server::create(b, from, to)?;
    lender.poke(5, 4716)?;
    let program = window.start_peek(5)?;
    expect("a read faults", server.next(&program)?, fault(window, 5, READ))?;
    expect("lend", b.change(&[lender.lend(window.gfn(5), 1, first + 5)]), (0, 1))?;
    server.answer(RETRY)?;
    expect("the borrower has read", program.end()?, End::Said(hex(4716)))?;

    // One page has been given back, so this is a hole in what the lender has released.
    expect("lend", b.change(&[lender.lend(window.gfn(512), 7, first)]), (0, 7))?;
    expect("read", window.peek(512 + 5, 8)?, End::Said(hex(4716)))?;
    expect("what is lent", b.query().1.present, 8)?;
    let program = window.start_peek(6)?;
    expect("another read faults", server.next(&program)?, fault(window, 6, READ))?;
    lender.destroy()?;
    println!("ok   the lender is gone, and is no zombie");
    let found = b.query().1;
    expect("nothing is lent or released", (found.present, found.released), (0, 0))?;
    expect("nor can be", b.change(&[lender.lend(window.gfn(6), 1, first + 6)]), (libc::ESRCH, 0))?;
    server.answer(LOST)?;
    // Rust's own handler of the signal looks at the address and has the instruction run once more.
    expect("and once more", server.next(&program)?, fault(window, 6, READ))?;
    server.answer(LOST)?;
    expect("which kills the program that waited", program.end()?, End::Killed)?;

    let program = window.start_peek(5)?;
    expect("what was lent faults", server.next(&program)?, fault(window, 5, READ))?;
    server.answer(LOST)?;
    expect("and once more", server.next(&program)?, fault(window, 5, READ))?;
    server.answer(LOST)?;
    expect("which kills the program", program.end()?, End::Killed)?;
    expect("the broker goes", b.parties(NOBODY, NOBODY, 0), 0)
}

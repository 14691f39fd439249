// SPDX-License-Identifier: MIT OR Apache-2.0
//! What lend-aware Xen's Flask denies, with dom0 as control domain, lender and broker: to a guest of a type that
//! nothing may be lent to, and to one whose permissions go one by one while something is lent to it.

use std::io;
use std::process::Command;

use anyhow::{ensure, Context, Result};

use crate::frames::Frames;
use crate::lend::{Borrower, Entry, NOBODY, SELF};
use crate::refusals::{expect, lent_range};
use crate::server::Server;
use crate::window::{hex, End, Window};

const DONE: i32 = 0;
const DENIED: i32 = libc::EACCES;
const WITHDRAW: u32 = 1;
const REMOVE: u32 = 1;
/// What is in the page that is lent.
const TEXT: u64 = 4711;

/// Nothing is permitted, whatever is tried.
pub fn all(b: &Borrower, window: &Window, page: &Frames) -> Result<()> {
    expect("query", b.query().0, DENIED)?;
    expect("name both", b.parties(SELF, SELF, 0), DENIED)?;
    expect("name a broker", b.parties(SELF, NOBODY, 0), DENIED)?;
    expect("name a lender", b.parties(NOBODY, SELF, 0), DENIED)?;
    expect("remove a lender", b.parties(NOBODY, SELF, REMOVE), DENIED)?;
    expect("change", b.change(&[Entry::lend(window.gfn(0), 1, page.mfn)]), (DENIED, 0))?;
    expect("release, as nobody's lender", b.release(0, &[(page.mfn, 1)]), (libc::EPERM, 0))?;
    expect("a LENT range, as nobody's broker", lent_range(b)?, libc::EPERM)?;
    page.write(8, TEXT);
    expect("the guest sees nothing", window.peek(0, 8)?, End::Said(hex(u64::MAX)))
}

/// A permission of the policy, which a command switches.
struct Switch<'a> {
    command: &'a [String],
    name: &'static str,
}

impl Switch<'_> {
    fn set(&self, on: bool) -> Result<()> {
        let (program, arguments) = self.command.split_first().context("which command switches?")?;
        let value = if on { "1" } else { "0" };
        let status = Command::new(program).args(arguments).args([self.name, value]).status();
        ensure!(status.context("the command that switches")?.success(), "{} is not switched", self.name);
        println!("     {}={value}", self.name);
        Ok(())
    }

    /// Does something without the permission.
    fn without(&self, act: impl FnOnce() -> Result<()>) -> Result<()> {
        self.set(false)?;
        act()?;
        self.set(true)
    }
}

/// Each permission goes while a page is lent, and comes back.
pub fn one_by_one(b: &Borrower, window: &Window, command: &[String]) -> Result<()> {
    let (page, run) = (Frames::create(1)?, Frames::create(512)?);
    let switch = |name| Switch { command, name };
    let (control, broker, lender) = (switch("lab_control"), switch("lab_broker"), switch("lab_lender"));
    let there = Entry::lend(window.gfn(1), 1, run.mfn);
    let still_lent = || expect("the guest reads what was lent", window.peek(0, 8)?, End::Said(hex(TEXT)));

    broker.without(|| expect("name a broker", b.parties(SELF, NOBODY, 0), DENIED))?;
    lender.without(|| expect("name a lender", b.parties(NOBODY, SELF, 0), DENIED))?;
    control.without(|| expect("name both", b.parties(SELF, SELF, 0), DENIED))?;
    expect("release, nobody having been named", b.release(0, &[(page.mfn, 1)]), (libc::EPERM, 0))?;

    expect("name both", b.parties(SELF, SELF, 0), DONE)?;
    expect("release", b.release(0, &[(page.mfn, 1), (run.mfn, 1)]), (DONE, 2))?;
    page.write(8, TEXT);
    expect("lend", b.change(&[Entry::lend(window.gfn(0), 1, page.mfn)]), (DONE, 1))?;
    let (first, last) = window.span();
    let server = Server::create(b, first, last)?;
    still_lent()?;

    control.without(|| {
        expect("name both again", b.parties(SELF, SELF, 0), DENIED)?;
        expect("remove the lender", b.parties(SELF, SELF, REMOVE), DENIED)?;
        expect("lend another", b.change(&[there]), (DONE, 1))?;
        expect("revoke it", b.change(&[Entry::revoke(there.gfn, 1)]), (DONE, 1))?;
        still_lent()
    })?;
    broker.without(|| {
        expect("name the broker again", b.parties(SELF, NOBODY, 0), DENIED)?;
        broker_is_denied(b, &server, window, there)?;
        still_lent()
    })?;
    expect("nothing has changed", (b.query().1.present, b.query().1.released), (1, 2))?;
    lender.without(|| {
        expect("name the lender again", b.parties(SELF, SELF, 0), DENIED)?;
        expect("release more", b.release(0, &[(run.mfn + 1, 1)]), (DENIED, 0))?;
        expect("withdraw", b.release(WITHDRAW, &[(run.mfn, 1)]), (DONE, 1))?;
        expect("lend what was withdrawn", b.change(&[there]), (libc::EPERM, 0))?;
        still_lent()
    })?;
    expect("nothing else has changed", (b.query().1.present, b.query().1.released), (1, 1))?;

    expect("the broker goes", b.parties(NOBODY, NOBODY, 0), DONE)?;
    // Not even the control domain's: only what a lender has of itself.
    control.without(|| {
        lender.without(|| {
            expect("a lender lends", b.change(&[Entry::lend(there.gfn, 1, page.mfn)]), (libc::EPERM, 0))?;
            expect("a lender has its own back", b.change(&[Entry::revoke(window.gfn(0), 1)]), (DONE, 1))?;
            expect("and withdraws it", b.release(WITHDRAW, &[(page.mfn, 1)]), (DONE, 1))
        })
    })?;
    expect("the lender goes", b.parties(NOBODY, SELF, REMOVE), DONE)?;
    expect("nothing is left", (b.query().1.present, b.query().1.released), (0, 0))
}

/// All that a broker can do, while it has no permission.
fn broker_is_denied(b: &Borrower, server: &Server, window: &Window, there: Entry) -> Result<()> {
    let id = server.id;
    let (first, last) = window.span();
    let range = [id, 3, first as u32, (first >> 32) as u32, last as u32, (last >> 32) as u32];
    expect("query", b.query().0, DENIED)?;
    expect("lend", b.change(&[there]), (DENIED, 0))?;
    expect("revoke", b.change(&[Entry::revoke(window.gfn(0), 1)]), (DENIED, 0))?;
    for (what, number, words) in [
        ("create a server", 1, &[0][..]),
        ("ask about the server", 2, &[id]),
        ("map a LENT range", 3, &range),
        ("unmap it", 4, &range),
        ("disable the server", 5, &[id]),
        ("destroy it", 6, &[id]),
        ("ask for the number of vCPUs", 20, &[0]),
    ] {
        expect(what, b.server(number, words).0, DENIED)?;
    }
    let mapped = b.privcmd.map_ioreq_page(b.domain, id as u16);
    let error = mapped.err().context("the server's page was mapped")?;
    let number = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
    expect("map its page", number, Some(DENIED))
}

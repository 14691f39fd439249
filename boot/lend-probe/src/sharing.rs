// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the guest sees of lent pages, without a broker that is asked for absent ones.

use anyhow::Result;

use crate::frames::Frames;
use crate::lend::{Borrower, Entry, NOBODY, SELF};
use crate::refusals::expect;
use crate::window::{hex, End, Window};

fn said(value: u64) -> End {
    End::Said(hex(value))
}

/// Both sides see each other's writes; nothing is seen after a revocation.
pub fn write_and_read(b: &Borrower, window: &Window, page: &Frames, run: &Frames) -> Result<()> {
    expect("release", b.release(0, &[(page.mfn, 1)]), (0, 1))?;
    expect("the guest sees nothing", window.peek(0, 8)?, said(u64::MAX))?;
    page.write(8, 0x1122_3344_5566_7788);
    expect("lend", b.change(&[Entry::lend(window.gfn(0), 1, page.mfn)]), (0, 1))?;
    expect("the guest reads", window.peek(0, 8)?, said(0x1122_3344_5566_7788))?;
    expect("the guest writes", window.poke(0, 16, 0xAB_CDEF)?, End::Said(String::new()))?;
    expect("dom0 sees it", page.read(16), 0xAB_CDEF)?;
    run.write(8, 0x0101);
    let replace = Entry { old: page.mfn, ..Entry::lend(window.gfn(0), 1, run.mfn) };
    expect("replace", b.change(&[replace]), (0, 1))?;
    expect("the guest reads the other page", window.peek(0, 8)?, said(0x0101))?;
    expect("revoke", b.change(&[Entry::revoke(window.gfn(0), 1)]), (0, 1))?;
    expect("the guest sees nothing", window.peek(0, 8)?, said(u64::MAX))
}

/// Reads are direct, writes are an exception.
pub fn read_only(b: &Borrower, window: &Window, page: &Frames) -> Result<()> {
    expect("release read-only", b.release(2, &[(page.mfn, 1)]), (0, 1))?;
    let entry = Entry { flags: 1, ..Entry::lend(window.gfn(3), 1, page.mfn) };
    expect("lend read-only", b.change(&[entry]), (0, 1))?;
    page.write(8, 77);
    expect("the guest reads", window.peek(3, 8)?, said(77))?;
    expect("a write kills the program", window.poke(3, 8, 78)?, End::Killed)?;
    expect("nothing was written", page.read(8), 77)?;
    expect("the guest still reads", window.peek(3, 8)?, said(77))?;
    expect("revoke", b.change(&[Entry::revoke(window.gfn(3), 1)]), (0, 1))
}

/// One entry of 2 MiB, of which a part goes.
pub fn two_mib(b: &Borrower, window: &Window, run: &Frames) -> Result<()> {
    run.write(100 * 4096 + 8, 100);
    run.write(101 * 4096 + 8, 101);
    expect("lend 2 MiB", b.change(&[Entry::lend(window.gfn(512), 512, run.mfn)]), (0, 512))?;
    expect("the guest reads in it", window.peek(612, 8)?, said(100))?;
    expect(
        "revoke a page",
        b.change(&[Entry { old: run.mfn + 100, ..Entry::revoke(window.gfn(612), 1) }]),
        (0, 1),
    )?;
    expect("the others are present", b.query().1.present, 511)?;
    expect("the guest does not see that one", window.peek(612, 8)?, said(u64::MAX))?;
    expect("but the next", window.peek(613, 8)?, said(101))?;
    expect("the lender goes", b.parties(SELF, SELF, 1), 0)?;
    let found = b.query().1;
    expect("nothing is left", (found.present, found.released), (0, 0))?;
    expect("the guest sees nothing", window.peek(613, 8)?, said(u64::MAX))?;
    expect("the broker goes", b.parties(NOBODY, NOBODY, 0), 0)?;
    expect("both come back", b.parties(SELF, SELF, 0), 0)?;
    expect("release", b.release(0, &[(run.mfn, 512)]), (0, 512))
}

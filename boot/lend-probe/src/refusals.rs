// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every answer of the operations that a caller can bring about, each provoked.

use anyhow::{ensure, Result};

use crate::frames::Frames;
use crate::lend::{Borrower, Entry, ABSENT, ANY, NOBODY, SELF};
use crate::window::Window;

const DONE: i32 = 0;
/// A domain that is not there.
const STRANGER: u16 = 0x7000;
/// The interrupt controller's page: memory-mapped, and not dom0's.
const FOREIGN_FRAME: u64 = 0xFEE00;
/// A page of the borrower's own RAM.
const ITS_RAM: u64 = 0x4000;

/// Fails unless what came is what was wanted.
#[allow(clippy::needless_pass_by_value)] // Most are numbers.
pub fn expect<T: PartialEq + std::fmt::Debug>(what: &str, found: T, wanted: T) -> Result<()> {
    println!("{} {what}: {found:?}", if found == wanted { "ok  " } else { "FAIL" });
    ensure!(found == wanted, "{what}: {found:?} instead of {wanted:?}");
    Ok(())
}

/// Before anybody is named: everything but asking is refused.
pub fn unnamed(b: &Borrower, window: &Window) -> Result<()> {
    let (error, found) = b.query();
    expect("query", (error, found.features, found.present, found.released), (DONE, 15, 0, 0))?;
    expect("change before parties", b.change(&[Entry::revoke(window.gfn(0), 1)]), (libc::EPERM, 0))?;
    expect("release before parties", b.release(0, &[(1, 1)]).0, libc::EPERM)?;
    expect("a broker that is not there", b.parties(STRANGER, NOBODY, 0), libc::ESRCH)?;
    expect("a lender that is not there", b.parties(NOBODY, STRANGER, 0), libc::ESRCH)?;
    expect("the borrower as its broker", b.parties(b.domain, NOBODY, 0), libc::EINVAL)?;
    expect("the borrower as its lender", b.parties(NOBODY, b.domain, 0), libc::EINVAL)?;
    expect("unknown flags of parties", b.parties(SELF, SELF, 2), libc::EINVAL)?;
    expect("removal of nobody", b.parties(SELF, NOBODY, 1), libc::EINVAL)?;
    expect("removal of no lender", b.parties(NOBODY, SELF, 1), libc::ENOENT)?;
    expect("a LENT range without being the broker", lent_range(b)?, libc::EPERM)?;
    expect("parties", b.parties(SELF, SELF, 0), DONE)?;
    expect("parties again", b.parties(SELF, SELF, 0), DONE)
}

/// What a server gets for a range for lent memory.
pub fn lent_range(b: &Borrower) -> Result<i32> {
    let (error, created) = b.server(1, &[0]);
    ensure!(error == DONE, "create a server: {error}");
    let id = (created >> 32) as u32 & 0xFFFF;
    let answer = b.server(3, &[id, 3, 0, 16, 0xFFF, 16]).0;
    ensure!(b.server(6, &[id]).0 == DONE, "destroy the server");
    Ok(answer)
}

/// What releasing says.
pub fn release(b: &Borrower, page: &Frames, run: &Frames) -> Result<()> {
    expect("release: unknown flags", b.release(4, &[(page.mfn, 1)]).0, libc::EINVAL)?;
    expect("release: too many", b.release_as(4097, 0, &[(page.mfn, 1)]).0, libc::E2BIG)?;
    expect("release: list too short", b.release_as(2, 0, &[(page.mfn, 1)]).0, libc::EINVAL)?;
    expect("release: no pages", b.release(0, &[(page.mfn, 0)]).0, libc::EINVAL)?;
    expect("release: number overflows", b.release(0, &[(2, u64::MAX)]).0, libc::EINVAL)?;
    expect("release: no such frame", b.release(0, &[(1 << 50, 1)]), (libc::EINVAL, 0))?;
    expect("release: not its own", b.release(0, &[(page.mfn, 1), (FOREIGN_FRAME, 1)]), (libc::EPERM, 1))?;
    expect("release", b.release(0, &[(page.mfn, 1), (run.mfn, 512)]), (DONE, 513))?;
    expect("release again", b.release(0, &[(page.mfn, 1)]), (DONE, 1))?;
    expect("released", b.query().1.released, 513)?;
    expect("withdraw what is not released", b.release(1, &[(FOREIGN_FRAME, 9)]), (DONE, 9))
}

/// What changing says.
pub fn change(b: &Borrower, window: &Window, page: &Frames, run: &Frames) -> Result<()> {
    let (here, there) = (window.gfn(0), window.gfn(512));
    let lend = Entry::lend(here, 1, page.mfn);
    let frame = |old, new| Entry { old, new, ..lend };
    expect("change: flags", b.change_as(1, 1, 0, &[lend]).0, libc::EINVAL)?;
    expect("change: too many", b.change_as(4097, 0, 0, &[lend]).0, libc::E2BIG)?;
    expect("change: list too short", b.change_as(2, 0, 0, &[lend]).0, libc::EINVAL)?;
    expect("change: done is too much", b.change_as(1, 0, 2, &[lend]).0, libc::EINVAL)?;
    for (what, entry) in [
        ("no pages", Entry { nr: 0, ..lend }),
        ("unknown flags", Entry { flags: 2, ..lend }),
        ("no such gfn", Entry { gfn: 1 << 50, ..lend }),
        ("beyond the last gfn", Entry { nr: 1 << 50, ..lend }),
        ("no such old frame", frame(1 << 50, page.mfn)),
        ("no such new frame", frame(ABSENT, 1 << 50)),
        ("any, and something new", frame(ANY, page.mfn)),
    ] {
        expect(what, b.change(&[entry]), (libc::EINVAL, 0))?;
    }
    expect("new lender unknown", b.change(&[Entry { new_lender: STRANGER, ..lend }]).0, libc::ESRCH)?;
    expect(
        "old lender unknown",
        b.change(&[Entry { old_lender: STRANGER, ..frame(1, ABSENT) }]).0,
        libc::ESRCH,
    )?;
    expect(
        "not released",
        b.change(&[Entry::lend(there, 1, run.mfn), frame(ABSENT, page.mfn + 1)]).0,
        libc::EPERM,
    )?;
    expect("the first was done", b.query().1.present, 1)?;
    expect("revoke it", b.change(&[Entry::revoke(there, 1)]), (DONE, 1))?;
    expect("not dom0's", b.change(&[frame(ABSENT, FOREIGN_FRAME)]), (libc::EPERM, 0))?;
    expect("its own RAM", b.change(&[Entry::lend(ITS_RAM, 1, page.mfn)]), (libc::ENOTEMPTY, 0))?;
    expect("any on its own RAM", b.change(&[Entry::revoke(ITS_RAM, 1)]), (DONE, 1))?;
    expect("replace nothing", b.change(&[frame(run.mfn, page.mfn)]), (libc::ENOENT, 0))?;
    expect("compare with nothing", b.change(&[frame(ABSENT, ABSENT)]), (DONE, 1))?;
    expect("lend", b.change(&[lend]), (DONE, 1))?;
    expect("lend again", b.change(&[lend]), (libc::EEXIST, 0))?;
    let before = Entry { gfn: here - 1, nr: 2, ..frame(ABSENT, ABSENT) };
    expect("compare with what is there", b.change(&[before]), (libc::EEXIST, 1))?;
    expect("another frame", b.change(&[frame(run.mfn, ABSENT)]), (libc::EBUSY, 0))?;
    expect(
        "another lender",
        b.change(&[Entry { old_lender: b.domain, ..Entry::revoke(here, 1) }]),
        (DONE, 1),
    )?;
    expect("left alone", b.query().1.present, 1)?;
    expect("replace", b.change(&[frame(page.mfn, run.mfn)]), (DONE, 1))?;
    expect("revoke", b.change(&[frame(run.mfn, ABSENT)]), (DONE, 1))?;
    expect("revoke again", b.change(&[frame(run.mfn, ABSENT)]), (DONE, 1))?;
    expect("withdraw", b.release(1, &[(page.mfn, 1)]), (DONE, 1))?;
    expect("lend what was withdrawn", b.change(&[lend]), (libc::EPERM, 0))?;
    expect("release read-only", b.release(2, &[(page.mfn, 1)]), (DONE, 1))?;
    expect("lend it for writing", b.change(&[lend]), (libc::EPERM, 0))?;
    expect("nothing is left", b.query().1.present, 0)
}

/// The borrower's memory for page tables runs out: adding fails, revoking never does.
pub fn memory(b: &Borrower, window: &Window, page: &Frames, run: &Frames) -> Result<()> {
    let big = Entry::lend(window.gfn(512), 512, run.mfn);
    let far = |gib: u64| Entry { flags: 1, ..Entry::lend(gib << 18, 1, page.mfn) };
    expect("parties", b.parties(SELF, SELF, 0), DONE)?;
    expect("release", b.release(0, &[(page.mfn, 1), (run.mfn, 512)]), (DONE, 513))?;
    expect("lend 2 MiB", b.change(&[big]), (DONE, 512))?;
    let mut added = 0;
    let mut error = DONE;
    while error == DONE && added < 700 {
        error = b.change(&[far(128 + added)]).0;
        added += u64::from(error == DONE);
    }
    println!("     {added} pages, each in tables of its own");
    expect("no memory for tables", error, libc::ENOMEM)?;
    expect("revoke a page of 2 MiB", b.change(&[Entry::revoke(big.gfn + 7, 1)]), (DONE, 1))?;
    expect("all of it has gone", b.query().1.present, added)?;
    expect(
        "revoke the rest",
        b.change(&[Entry { old: run.mfn, ..Entry::revoke(big.gfn, 512) }]),
        (DONE, 512),
    )?;
    for gib in 0..added {
        ensure!(b.change(&[Entry::revoke((128 + gib) << 18, 1)]) == (DONE, 1), "revoke page {gib}");
    }
    expect("nothing is left", b.query().1.present, 0)
}

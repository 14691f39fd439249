// SPDX-License-Identifier: MIT OR Apache-2.0
//! A lender's kernel gives pages back to Xen while they are lent: they stay its own, and so nobody else's, until
//! they are revoked. The test driver `giveback` has the pages.

use std::fs;
use std::process::Command;

use anyhow::{ensure, Context, Result};

use crate::lend::{Borrower, Entry, ABSENT, NOBODY, SELF};
use crate::refusals::expect;
use crate::window::{End, Window};

const PARAMETERS: &str = "/sys/module/giveback/parameters";
/// Pages that are lent when they are given back; as many are given back that are not.
const PAGES: usize = 64;

fn read(name: &str) -> Result<String> {
    fs::read_to_string(format!("{PARAMETERS}/{name}")).with_context(|| format!("giveback's {name}"))
}

fn owned() -> Result<u64> {
    Ok(read("owned")?.trim().parse()?)
}

fn give_back(pages: usize) -> Result<()> {
    fs::write(format!("{PARAMETERS}/give_back"), pages.to_string()).context("giveback's give_back")
}

/// `fill_memory` is run when the pages have been given back: it has Xen give away all the memory that it can.
pub fn all(b: &Borrower, window: &Window, fill_memory: &[String]) -> Result<()> {
    let frames = read("frames")?
        .trim()
        .split(',')
        .map(|frame| frame.parse::<u64>().context("a frame's number"))
        .collect::<Result<Vec<_>>>()?;
    ensure!(frames.len() == 2 * PAGES, "giveback has {} pages", frames.len());
    let lent = &frames[..PAGES];
    let entries = |old: &dyn Fn(u64) -> u64, new: &dyn Fn(u64) -> u64| -> Vec<Entry> {
        lent.iter()
            .zip(0..)
            .map(|(frame, page)| Entry { old: old(*frame), ..Entry::lend(window.gfn(page), 1, new(*frame)) })
            .collect()
    };
    let lend = entries(&|_| ABSENT, &|frame| frame);
    let revoke = entries(&|frame| frame, &|_| ABSENT);
    let written = || End::Said(format!("filled={}", PAGES * 4096));
    let good = || End::Said(format!("bytes_checked={} integrity_errors=0 stale_reads=0", PAGES * 4096));
    let all = PAGES as u64;

    expect("dom0 is broker and lender", b.parties(SELF, SELF, 0), 0)?;
    let extents: Vec<_> = lent.iter().map(|frame| (*frame, 1)).collect();
    expect("release", b.release(0, &extents), (0, all))?;
    expect("lend", b.change(&lend), (0, all))?;
    expect("the guest writes", window.fill(0, PAGES, 1)?, written())?;
    let before = owned()?;
    give_back(PAGES)?;
    expect("what is lent is not free when it is given back", owned()?, before)?;
    let (program, arguments) = fill_memory.split_first().context("no command that fills memory")?;
    let status = Command::new(program).args(arguments).status().context("filling memory")?;
    ensure!(status.success(), "memory was not filled");
    expect("the guest reads what it wrote", window.check(0, PAGES, 1)?, good())?;
    expect("and writes", window.fill(0, PAGES, 2)?, written())?;
    expect("and reads", window.check(0, PAGES, 2)?, good())?;
    expect("still nothing is free", owned()?, before)?;
    expect("revoke", b.change(&revoke), (0, all))?;
    expect("now all of it is", owned()?, before - all)?;
    expect("none of it is the lender's", b.change(&lend[..1]), (libc::EPERM, 0))?;
    // So the count shows at once what is free.
    give_back(PAGES)?;
    expect("what is not lent is free when it is given back", owned()?, before - 2 * all)?;
    expect("the lender goes", b.parties(SELF, SELF, 1), 0)?;
    expect("the broker goes", b.parties(NOBODY, NOBODY, 0), 0)?;
    let found = b.query().1;
    expect("nothing is left", (found.present, found.released), (0, 0))
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a device sees of pages that are lent to its domain: nothing, as where the domain has no memory at all.

use std::process::Command;

use anyhow::{ensure, Context, Result};

use crate::bare_domain::{BareDomain, Iommu};
use crate::edu::Edu;
use crate::frames::Frames;
use crate::hypercall::Page;
use crate::lend::{Borrower, Entry, SELF};
use crate::privcmd::Privcmd;
use crate::refusals::expect;

/// Frames of the domain's own memory.
const SOURCE: u64 = 0x100;
const SINK: u64 = 0x101;
/// Where a page is lent, later one of its own.
const LENT: u64 = 0x180;
/// Where 2 MiB are lent.
const LENT_RUN: u64 = 0x400;
/// Where registers are lent.
const LENT_MMIO: u64 = 0x190;
/// Where nothing ever is.
const HOLE: u64 = 0x182;
const WORDS: usize = 512;

/// What the pages are filled with, each word of each page its own.
const OWN: u64 = 0x0A0A_0000_0000_0000;
const FOREIGN: u64 = 0x0F0F_0000_0000_0000;
const UNTOUCHED: u64 = 0x0101_0000_0000_0000;

fn pattern(kind: u64) -> Vec<u64> {
    (0..WORDS as u64).map(|word| kind | word).collect()
}

fn fill(frames: &Frames, page: usize, kind: u64) {
    for (word, value) in pattern(kind).into_iter().enumerate() {
        frames.write(page * 4096 + word * 8, value);
    }
}

fn is_whole(frames: &Frames, page: usize, kind: u64) -> bool {
    pattern(kind).iter().enumerate().all(|(word, value)| frames.read(page * 4096 + word * 8) == *value)
}

/// The domain, its device, and its two pages.
struct Bench {
    domain: BareDomain,
    edu: Edu,
    source: Page,
    sink: Page,
}

impl Bench {
    /// What the device's buffer holds, by way of the domain's own memory.
    fn buffer(&self) -> Vec<u64> {
        self.sink.fill(|word| UNTOUCHED | word as u64);
        self.edu.store(SINK);
        self.sink.read()
    }

    /// Fills the device's buffer.
    fn load(&self) -> Result<()> {
        self.source.fill(|word| OWN | word as u64);
        self.edu.fetch(SOURCE);
        expect("the device reads and writes its domain's memory", self.buffer() == pattern(OWN), true)
    }

    /// What the device's buffer holds when the device has read a frame.
    fn read_by_dma(&self, frame: u64) -> Result<Vec<u64>> {
        self.load()?;
        self.edu.fetch(frame);
        Ok(self.buffer())
    }

    /// A lent page is out of the device's reach in both directions.
    fn out_of_reach(&self, what: &str, frame: u64, frames: &Frames, page: usize) -> Result<()> {
        fill(frames, page, FOREIGN);
        self.load()?;
        self.edu.store(frame);
        expect(&format!("{what} is not written by the device"), is_whole(frames, page, FOREIGN), true)?;
        let read = self.read_by_dma(frame)?;
        let seen = read.iter().any(|word| pattern(FOREIGN).contains(word));
        expect(&format!("{what} is not read by the device"), seen, false)?;
        expect("what is read is what is read of a hole", read == self.read_by_dma(HOLE)?, true)
    }

    /// The frames that the IOMMU has for the domain, as Xen prints them.
    fn translated(&self) -> Result<Vec<u64>> {
        let run = |arguments: &[&str]| -> Result<String> {
            let output = Command::new("xl").args(arguments).output()?;
            ensure!(output.status.success(), "xl {arguments:?}: {}", output.status);
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        };
        run(&["debug-keys", "o"])?;
        let log = run(&["dmesg"])?;
        let title = format!("AMD IOMMU d{} table", self.domain.domain);
        let (_, table) = log.rsplit_once(&title).context("Xen prints no table")?;
        // Until the next domain's.
        table
            .lines()
            .skip(1)
            .take_while(|line| !line.contains(" table has "))
            .filter_map(|line| line.split_once("dfn: ")?.1.split_whitespace().next())
            .map(|frame| u64::from_str_radix(frame, 16).context("a frame's number"))
            .collect()
    }
}

/// What shows that the rest proves something: a page that is mapped as stock Xen does it is within reach.
pub fn reach() -> Result<()> {
    let frames = Frames::create(1)?;
    let edu = Edu::open()?;
    let mut domain = BareDomain::create(Iommu::With)?;
    domain.assign(edu.address)?;
    let (source, sink) = (domain.page(SOURCE)?, domain.page(SINK)?);
    domain.map(LENT, frames.mfn, true)?;
    let mut bench = Bench { domain, edu, source, sink };
    fill(&frames, 0, FOREIGN);
    bench.load()?;
    bench.edu.store(LENT);
    expect("a page that is mapped is written by the device", is_whole(&frames, 0, OWN), true)?;
    fill(&frames, 0, FOREIGN);
    expect("and read", bench.read_by_dma(LENT)? == pattern(FOREIGN), true)?;
    expect("the IOMMU has it", bench.translated()?, vec![SOURCE, SINK, LENT])?;
    bench.domain.map(LENT, frames.mfn, false)?;
    bench.out_of_reach("what was taken away", LENT, &frames, 0)
}

/// All of it, with a domain of its own.
pub fn all() -> Result<()> {
    let (frames, run) = (Frames::create(1)?, Frames::create(512)?);
    let edu = Edu::open()?;
    let mut domain = BareDomain::create(Iommu::With)?;
    let (source, sink) = (domain.page(SOURCE)?, domain.page(SINK)?);
    let b = Borrower { domain: domain.domain, privcmd: Privcmd::open()? };
    expect("parties", b.parties(SELF, SELF, 0), 0)?;
    expect("release", b.release(0, &[(frames.mfn, 1), (run.mfn, 512)]), (0, 513))?;
    expect("release registers", b.release(0, &[(edu.frame, 1)]), (0, 1))?;

    // One page is lent before the domain has a device.
    expect("lend", b.change(&[Entry::lend(LENT, 1, frames.mfn)]), (0, 1))?;
    domain.assign(edu.address)?;
    let edu_frame = edu.frame;
    let mut bench = Bench { domain, edu, source, sink };
    bench.out_of_reach("a page lent before the device came", LENT, &frames, 0)?;
    expect("lend 2 MiB", b.change(&[Entry::lend(LENT_RUN, 512, run.mfn)]), (0, 512))?;
    bench.out_of_reach("a page of 2 MiB", LENT_RUN + 7, &run, 7)?;
    expect("revoke a page of it", b.change(&[Entry::revoke(LENT_RUN + 9, 1)]), (0, 1))?;
    bench.out_of_reach("a page of what is left", LENT_RUN + 7, &run, 7)?;
    bench.out_of_reach("the page revoked", LENT_RUN + 9, &run, 9)?;
    expect("lend registers", b.change(&[Entry::lend(LENT_MMIO, 1, edu_frame)]), (0, 1))?;
    expect("what is lent", b.query().1.present, 513)?;
    expect("the IOMMU has its own pages alone", bench.translated()?, vec![SOURCE, SINK])?;

    expect("revoke", b.change(&[Entry::revoke(LENT, 1), Entry::revoke(LENT_MMIO, 1)]), (0, 2))?;
    bench.out_of_reach("what was revoked", LENT, &frames, 0)?;
    let read_only = Entry { flags: 1, ..Entry::lend(LENT, 1, frames.mfn) };
    expect("lend read-only", b.change(&[read_only]), (0, 1))?;
    bench.out_of_reach("a page lent read-only", LENT, &frames, 0)?;
    expect("revoke all", b.change(&[Entry::revoke(LENT, 1), Entry::revoke(LENT_RUN, 512)]), (0, 513))?;
    expect("nothing is lent", b.query().1.present, 0)?;

    // The same frame with memory of the domain's own.
    let own = bench.domain.page(LENT)?;
    own.fill(|word| UNTOUCHED | word as u64);
    bench.load()?;
    bench.edu.store(LENT);
    expect("the domain's own page there is written", own.read() == pattern(OWN), true)?;
    own.fill(|word| FOREIGN | word as u64);
    expect("and read", bench.read_by_dma(LENT)? == pattern(FOREIGN), true)?;
    expect("the IOMMU has it", bench.translated()?, vec![SOURCE, SINK, LENT])?;
    expect("nothing is lent over it", b.change(&[Entry::lend(LENT, 1, frames.mfn)]), (libc::ENOTEMPTY, 0))?;

    // The domain ends, and Xen keeps its device from everybody.
    expect("lend once more", b.change(&[Entry::lend(LENT_RUN, 1, frames.mfn)]), (0, 1))?;
    fill(&frames, 0, FOREIGN);
    bench.load()?;
    let Bench { domain, edu, .. } = bench;
    drop(domain);
    // Its pages are mapped here, so it is there still.
    let (error, found) = b.query();
    expect("nothing is lent to it any more", (error, found.present, found.released), (0, 0, 0))?;
    edu.store(LENT_RUN);
    expect("what was lent to it is not written", is_whole(&frames, 0, FOREIGN), true)
}

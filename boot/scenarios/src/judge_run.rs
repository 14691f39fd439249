// SPDX-License-Identifier: MIT OR Apache-2.0
//! Takes pages away under a working guest, and judges how that went: counters of the link, counts of
//! the guest, frames that were taken away.

use std::fs;
use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{bail, Result};
use clap::Args;
use xenlend_touch::control::Count;
use xenlend_touch::memory::PAGE_BYTES;

use crate::lender::Lender;
use crate::own_frames::POISON;

/// How pages are taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Way {
    /// The frames go, the contents stay
    Revoke,
    /// The frames are freed
    Punch,
}

/// `XENLEND_STATE_CONNECTED`.
const CONNECTED: u16 = 2;

const COUNTS: [Count; 5] = [Count::Started, Count::Poison, Count::LostWrites, Count::Wrong, Count::Accesses];

/// Takes pages away one after the other while the guest works on them
#[derive(Debug, Args)]
pub struct Cycle {
    /// The area
    area: String,
    /// How
    way: Way,
    /// Until so many invalidations of present pages have been counted
    invalidations: u64,
    /// Pages taken away at once
    #[arg(long, default_value_t = 1)]
    pages: usize,
    /// Or until so many rounds
    #[arg(long, default_value_t = u64::MAX)]
    rounds: u64,
    /// Or until the lender has had to revoke by itself
    #[arg(long)]
    until_forced: bool,
    /// Or until nothing has come back for so many seconds: the guest hangs
    #[arg(long)]
    patience: Option<u64>,
    /// Take pages away that nobody has asked for again, too
    #[arg(long)]
    no_wait: bool,
}

impl Cycle {
    /// Does it, and says how far it came.
    pub fn run(&self, lender: &Lender, out: &mut impl Write) -> Result<()> {
        let area = lender.area(&self.area)?;
        let places = area.window().bytes() / PAGE_BYTES / self.pages;
        // A page that is not there has nothing to take away. The driver that owns its frames can wait
        // until somebody has asked for it; but where the guest may be dead nobody will.
        let frames = if self.until_forced || self.no_wait { None } else { area.frames().ok() };
        let before = lender.counters()?;
        let (mut round, mut seen, mut last) = (0, 0, before);
        let mut moved = Instant::now();
        let (now, done) = loop {
            let place = round as usize % places * self.pages;
            if let Some(frames) = frames {
                frames.wait(place as u32)?;
            }
            match self.way {
                Way::Revoke => area.revoke(place * PAGE_BYTES, self.pages * PAGE_BYTES)?,
                Way::Punch => area.punch(place * PAGE_BYTES, self.pages * PAGE_BYTES)?,
            }
            round += 1;
            // The link may end with the guest: then what was counted so far is all.
            let Ok(status) = lender.status() else { break (last, seen) };
            let now = status.counters;
            let done = now.invalidations - before.invalidations;
            last = now;
            // Nothing comes back over a link that is down.
            if done != seen {
                moved = Instant::now();
            }
            let patient = self.patience.is_none_or(|patience| moved.elapsed().as_secs() < patience);
            let over = status.state != CONNECTED
                || !patient
                || (self.until_forced && now.forced_revocations > before.forced_revocations);
            if done >= self.invalidations || round >= self.rounds || over {
                break (now, done);
            }
            if frames.is_none() && done == seen {
                // Nothing was there: give the guest time to ask, and the page-in to run.
                thread::sleep(Duration::from_micros(200));
            }
            seen = done;
        };
        writeln!(
            out,
            "rounds={round} invalidations={done} revoked_pages={} page_ins={} adds_4kib={} adds_2mib={} retries={}",
            now.revoked_pages - before.revoked_pages,
            now.page_ins - before.page_ins,
            now.adds_4kib - before.adds_4kib,
            now.adds_2mib - before.adds_2mib,
            now.retries - before.retries,
        )?;
        Ok(())
    }
}

/// Fails if somebody wrote into a frame that had been taken away.
pub fn verify(lender: &Lender, name: &str, out: &mut impl Write) -> Result<()> {
    let found = lender.area(name)?.frames()?.verify()?;
    writeln!(
        out,
        "taken={} dirty={} faults={} mfn={:#x} poison={POISON:#x}",
        found.taken, found.dirty, found.faults, found.mfn
    )?;
    if found.dirty != 0 {
        bail!("{} frames were written after they had been taken away", found.dirty);
    }
    Ok(())
}

/// Sets the guest's counts to 0 and lets its programs run.
pub fn clear_counts(lender: &Lender, name: &str) -> Result<()> {
    let control = lender.control(name)?;
    for thread in 0..8 {
        for count in COUNTS {
            control.set_count(thread, count, 0);
        }
    }
    control.set_stopped(false);
    Ok(())
}

/// Fails unless the guest saw nothing wrong, or with `dirty` unless it did.
pub fn counts(lender: &Lender, name: &str, dirty: bool, out: &mut impl Write) -> Result<()> {
    let control = lender.control(name)?;
    let sums = COUNTS.map(|count| (0..8).map(|thread| control.count(thread, count)).sum::<u64>());
    let [started, poison, lost, wrong, accesses] = sums;
    writeln!(out, "threads={started} accesses={accesses} poison={poison} lost_writes={lost} wrong={wrong}")?;
    if started == 0 || accesses == 0 {
        bail!("nobody hunted");
    }
    if dirty == (poison + lost + wrong == 0) {
        bail!("{}", if dirty { "stale access was expected, and not seen" } else { "stale access" });
    }
    Ok(())
}

/// Prints state and counters of the link.
pub fn status(lender: &Lender, out: &mut impl Write) -> Result<()> {
    let status = lender.status()?;
    writeln!(out, "state={} reason={} regions={} ", status.state, status.reason, status.regions)?;
    // One counter a line, as `Debug` has them: name: value.
    for line in format!("{:#?}", status.counters).lines() {
        if let Some((name, value)) = line.trim().trim_end_matches(',').split_once(": ") {
            writeln!(out, "{name}={value}")?;
        }
    }
    Ok(())
}

/// Waits for an event that contains one of the texts, which `|` parts.
pub fn await_event(lender: &Lender, text: &str, seconds: u32, out: &mut impl Write) -> Result<()> {
    let descriptor = lender.descriptor()?;
    while descriptor.wait(Some(seconds * 1000))? {
        for event in descriptor.events()? {
            let event = format!("{event:?}");
            writeln!(out, "{event}")?;
            if text.split('|').any(|text| event.contains(text)) {
                return Ok(());
            }
        }
        if descriptor.is_over()? && descriptor.events()?.is_empty() {
            bail!("no event {text:?}: the link is over");
        }
    }
    let state = fs::read_to_string("/proc/uptime").unwrap_or_default();
    bail!("no event {text:?} within {seconds} s (uptime {})", state.trim())
}

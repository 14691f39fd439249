// SPDX-License-Identifier: MIT OR Apache-2.0
//! String stores across the end of a lent page, on one processor, while dom0 on another takes the page away and
//! lends it again in one batch.
//!
//! The page behind it is neither lent nor memory, so Xen emulates the whole store:
//!
//! 1. guest's processor: Xen sees, without the lock, that the page is absent;
//! 2. dom0's processor: Xen ends the batch, with the page lent, and drops the lock;
//! 3. guest's processor: Xen takes the lock, finds the page lent and does the store.
//!
//! An element of 8 bytes that begins 4 bytes before the end must then not be stored whole: its second half would
//! be in the frame that follows in the machine, whoever has it.

use anyhow::{ensure, Result};

use crate::faults::RETRY;
use crate::frames::Frames;
use crate::lend::{Borrower, Entry, NOBODY, SELF};
use crate::refusals::expect;
use crate::server::Server;
use crate::window::{End, Window};

/// The page of the aperture that is lent, and others that make the batch a long one.
const HERE: u64 = 16;
const OTHERS: u64 = 64;
const OTHER_PAGES: u64 = 250;
/// What no store of the guest's leaves behind.
const CANARY: u64 = 0xA5A5_A5A5_A5A5_A5A5;
/// The guest stores ones; half an element is in the lent page.
const STORED: u64 = 0x0101_0101;

/// `stores` of them.
pub fn all(b: &Borrower, window: &Window, run: &Frames, stores: u32) -> Result<()> {
    expect("parties", b.parties(SELF, SELF, 0), 0)?;
    expect("release", b.release(0, &[(run.mfn, 1), (run.mfn + 2, OTHER_PAGES)]), (0, 1 + OTHER_PAGES))?;
    let here = window.gfn(HERE);
    let server = Server::create(b, here << 12, (here << 12) + 4095)?;
    run.write(4096, CANARY);
    let others = window.gfn(OTHERS);
    let batch = [
        Entry::revoke(here, 1),
        Entry::revoke(others, OTHER_PAGES),
        Entry::lend(others, OTHER_PAGES, run.mfn + 2),
        Entry::lend(here, 1, run.mfn),
    ];
    let (mut batches, mut waited) = (0_u64, 0_u64);
    let program = window.start_stores_across(HERE, stores)?;
    while !program.is_over() {
        let done = b.change(&batch);
        ensure!(done == (0, 2 + 2 * OTHER_PAGES), "the batch: {done:?}");
        batches += 1;
        let behind = run.read(4096);
        ensure!(behind == CANARY, "batch {batches}: a store of the guest is in the next frame: {behind:#x}");
        if server.waiting().is_some() {
            server.answer(RETRY)?;
            waited += 1;
        }
    }
    expect("the guest has stored", program.end()?, End::Said("stored".into()))?;
    println!("     {batches} batches meanwhile; in {waited} stores the guest waited for the page");
    ensure!(waited > 0, "no store met the page absent");
    expect("the lent page has its half", run.read(4088) >> 32, STORED)?;
    expect("nobody goes past its end", run.read(4096), CANARY)?;
    expect("the broker goes", b.parties(NOBODY, NOBODY, 0), 0)?;
    expect("the lender goes", b.parties(NOBODY, SELF, 1), 0)
}

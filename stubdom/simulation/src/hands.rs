// SPDX-License-Identifier: MIT OR Apache-2.0
//! The broker's hypercalls on a lend-aware Xen: `stubdom/src/xen/lend_aware_hypervisor.rs`, and what every answer
//! to a fault has to keep.

use xenlend_lending::borrower_link::BorrowerState;
use xenlend_lending::broker::Broker;
use xenlend_lending::fault::{Reply, KIND_FAULT};
use xenlend_lending::hypervisor::{Errno, Partial};
use xenlend_lending::lending_table::FrameRun;
use xenlend_protocol::message::{Rights, ToBroker, WantedOutcome};
use xenlend_xen_abi::lend;

use crate::lending::{Caller, LENDER};
use crate::world::{Sim, World, Wrong};
use crate::xen::{Entry, APERTURE, ESRCH, PAGES};

/// After twice as many the broker has an instruction run again whatever is missing; not all of them need be its
/// own, and new.
const QUESTIONS: u32 = 8;

/// Changes entries, as often as it takes.
fn change(sim: &Sim, entries: &[lend::Entry]) -> Result<(), Partial> {
    let mut done = 0;
    loop {
        let partial = |done: u64, errno| Partial { done: done as u32, errno: Errno(errno) };
        if !sim.interleave() {
            return Err(partial(done, ESRCH));
        }
        let failure = sim.hypercall_failure();
        let result = sim.xen.borrow_mut().lend_change(Caller::Broker, entries, &mut done, failure);
        sim.note(|| format!("broker changes {entries:x?}: {result:?}, {done} done"));
        match result {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(errno) => return Err(partial(done, errno)),
        }
    }
}

/// Lends runs.
pub fn add(sim: &Sim, runs: &[FrameRun], rights: Rights) -> Result<(), Partial> {
    let entry = |run: &FrameRun| {
        let (gfn, nr) = (APERTURE / 4096 + u64::from(run.pages.first), run.pages.page_count().into());
        lend::Entry::lend(gfn, nr, run.mfn.0, LENDER, rights == Rights::ReadOnly)
    };
    change(sim, &runs.iter().map(entry).collect::<Vec<_>>())
}

/// Revokes what is at runs.
pub fn remove(sim: &Sim, runs: &[FrameRun]) -> Result<(), Partial> {
    let mut entries: Vec<lend::Entry> = Vec::new();
    for FrameRun { pages, .. } in runs {
        let (gfn, nr) = (APERTURE / 4096 + u64::from(pages.first), u64::from(pages.page_count()));
        match entries.last_mut() {
            Some(last) if last.gfn + last.nr == gfn => last.nr += nr,
            _ => entries.push(lend::Entry::revoke(gfn, nr, LENDER)),
        }
    }
    change(sim, &entries)
}

/// An instruction is told to run again only when its page is there; or when the lender cannot bring it now, has
/// taken it itself, or has brought it so often that the broker has given up; or while the borrower's driver has
/// yet to take something out of programs, which is judged when the broker's turn ends.
pub fn check_reply(world: &World, vcpu: usize, data: u64) {
    let xen = world.xen.borrow();
    let Some(claim) = xen.requests[vcpu].filter(|claim| claim.kind == KIND_FAULT) else { return };
    let asked = world.questions.get() - world.asked_before.borrow()[vcpu];
    if data != Reply::Retry as u64 || world.lender.removes.get() || asked >= QUESTIONS {
        return;
    }
    let page = ((claim.address - APERTURE) / 4096) as u32;
    let unavailable = matches!(
        *world.broker_end.received.borrow(),
        Some(ToBroker::Wanted { outcome: WantedOutcome::Unavailable, .. })
    );
    if !unavailable && !matches!(xen.entry(page), Entry::Lent { .. }) && !world.forced_falsely.get() {
        world.sent_back.borrow_mut().push((vcpu, page));
    }
}

/// Judges what `check_reply` could not.
pub fn check_sent_back(world: &World, broker: &Broker<'_>) {
    let has_driver = broker.borrower_state() == BorrowerState::Connected;
    let owes_zap = has_driver && broker.owes_zap();
    let ending: Vec<bool> =
        (0..PAGES).map(|page| owes_zap || has_driver && broker.is_quarantined(page)).collect();
    // It may have ended later in this turn.
    let (before, heard_zap) = (world.ending.replace(ending.clone()), world.heard_zap.take());
    let lost_driver = world.had_driver.replace(has_driver) && !has_driver;
    for (vcpu, page) in world.sent_back.take() {
        let is_ending = |pages: &Vec<bool>| pages.get(page as usize) == Some(&true);
        if !is_ending(&ending) && !is_ending(&before) && !heard_zap && !lost_driver {
            let text = format!("vCPU {vcpu} is sent back to page {page}, where nothing is");
            return world.fail(Wrong::EarlyRetry, text);
        }
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Makes frames present: every check before the first effect, and back again if Xen refuses.
//!
//! Xen kills the borrower on an add over another special entry, and when a page appears
//! under an outstanding repeated write. So neither is ever tried.

use heapless::Vec;
use xenlend_protocol::extent::{ClaimedExtent, Extent, Granule, GranuleSize};
use xenlend_protocol::frame::{AperturePage, Mfn, FRAMES_PER_2MIB};
use xenlend_protocol::message::{PresentOutcome, Rights, MAX_EXTENTS};
use xenlend_protocol::refusal::{AddFailure, Refusal, RemoveFailure};

use crate::aperture::Aperture;
use crate::counters::{count, Counters};
use crate::hypervisor::{Hypervisor, Partial, MAX_RUNS};
use crate::invalidation_history::InvalidationHistory;
use crate::ioreq::{Request, KIND_COPY};
use crate::lease::Lease;
use crate::lending_table::{EntrySize, FrameRun, LendingTable, PageRange, PageState};
use crate::revocation::remove_fresh_pages;

/// What a request to make frames present needs to know of its surroundings.
pub(crate) struct Surroundings<'h> {
    pub(crate) history: &'h InvalidationHistory,
    pub(crate) aperture: Aperture,
    pub(crate) vcpu_count: u16,
}

type Extents = Vec<Extent, MAX_EXTENTS>;
type Runs = Vec<FrameRun, MAX_RUNS>;

/// Handles a `Present` of a lease that is active.
///
/// # Errors
/// Xen refused an add and then the removal of what had been added before: the request
/// cannot be answered truthfully. The table says what is still mapped.
pub(crate) fn present(
    table: &mut LendingTable<'_>,
    hypervisor: &mut impl Hypervisor,
    counters: &mut Counters,
    surroundings: &Surroundings<'_>,
    lease: &Lease,
    sequence: u64,
    claims: &[ClaimedExtent],
) -> Result<PresentOutcome, RemoveFailure> {
    let extents = match check_extents(lease, claims) {
        Ok(extents) => extents,
        Err(refusal) => return Ok(PresentOutcome::Refused(refusal)),
    };
    if extents.iter().any(|extent| surroundings.history.overtakes(sequence, pages_of(extent))) {
        return Ok(PresentOutcome::Stale);
    }
    for granule in extents.iter().flat_map(Extent::granules) {
        if let Err(refusal) = check_granule(table, &granule) {
            return Ok(PresentOutcome::Refused(refusal));
        }
    }
    if would_kill(table, hypervisor, surroundings, &extents) {
        return Ok(PresentOutcome::Later);
    }
    let outcome = add_all(table, hypervisor, lease.terms().rights, &extents);
    let undone = match outcome {
        Ok(_) => Ok(()),
        Err(_) => remove_all_fresh(table, hypervisor, counters, &extents),
    };
    for extent in &extents {
        table.settle(pages_of(extent));
    }
    undone?;
    match outcome {
        Ok(added) => {
            count(&mut counters.entries_2mib, u64::from(added.entries_2mib));
            count(&mut counters.entries_4kib, u64::from(added.entries_4kib));
            Ok(PresentOutcome::Added { entries_2mib: added.entries_2mib, entries_4kib: added.entries_4kib })
        }
        Err(failure) => Ok(PresentOutcome::Failed(failure)),
    }
}

/// Each claim on its own, and that no page is named twice.
fn check_extents(lease: &Lease, claims: &[ClaimedExtent]) -> Result<Extents, Refusal> {
    let pages = lease.pages();
    let mut extents = Extents::new();
    for claim in claims {
        let extent = Extent::check(claim, AperturePage(pages.first), pages.page_count())?;
        if extents.iter().any(|other| pages_of(other).overlaps(&pages_of(&extent))) {
            return Err(Refusal::BadExtent);
        }
        extents.push(extent).map_err(|_| Refusal::BadExtent)?;
    }
    Ok(extents)
}

/// Each page must be absent, or present already just so: same frame, same size of entry.
/// An entry of 2 MiB must be wholly one or the other, since the lender's mirror will
/// take it for one entry.
fn check_granule(table: &LendingTable<'_>, granule: &Granule) -> Result<(), Refusal> {
    let size = entry_size(granule);
    let mut anything_absent = false;
    let mut first_present = None;
    for (page, frame) in granule_pages(granule).zip(granule.mfn.0..) {
        if size == EntrySize::TwoMib && page % FRAMES_PER_2MIB == 0 {
            (anything_absent, first_present) = (false, None);
        }
        let already = Refusal::AlreadyPresent { page: AperturePage(page) };
        match table.page(page) {
            PageState::Absent => anything_absent = true,
            PageState::Lost => return Err(Refusal::BadExtent),
            found if found == (PageState::Present { mfn: Mfn(frame), size }) => {
                first_present.get_or_insert(page);
            }
            PageState::Present { .. } => return Err(already),
        }
        if let (EntrySize::TwoMib, true, Some(page)) = (size, anything_absent, first_present) {
            return Err(Refusal::AlreadyPresent { page: AperturePage(page) });
        }
    }
    Ok(())
}

/// Whether a vCPU has a repeated write outstanding on a page that would appear. Completed
/// requests that Xen has not taken up count too: it has yet to re-emulate them.
fn would_kill(
    table: &LendingTable<'_>,
    hypervisor: &mut impl Hypervisor,
    surroundings: &Surroundings<'_>,
    extents: &Extents,
) -> bool {
    (0..surroundings.vcpu_count).any(|vcpu| {
        let Some(claim) = hypervisor.request(vcpu).filter(|claim| claim.kind == KIND_COPY) else {
            return false;
        };
        let Request::Access(access) = Request::check(&claim) else {
            // Xen does not send such a thing; where it would write is anybody's guess.
            return true;
        };
        access.kills_if_added()
            && access.pieces().filter_map(|piece| surroundings.aperture.locate(piece.address)).any(
                |(page, _)| {
                    let appears = extents.iter().any(|extent| pages_of(extent).contains(page.0));
                    appears && !table.is_present(page.0)
                },
            )
    })
}

#[derive(Default)]
struct Added {
    entries_2mib: u16,
    entries_4kib: u32,
}

/// Adds what is absent, in calls of up to [`MAX_RUNS`] runs.
fn add_all(
    table: &mut LendingTable<'_>,
    hypervisor: &mut impl Hypervisor,
    rights: Rights,
    extents: &Extents,
) -> Result<Added, AddFailure> {
    let mut added = Added::default();
    let mut runs = Runs::new();
    for granule in extents.iter().flat_map(Extent::granules) {
        let all = PageRange::new(granule.page, granule.frame_count());
        let mut left = all;
        while let Some(pages) = next_absent(table, left) {
            left.first = pages.end;
            let mfn = Mfn(granule.mfn.0.saturating_add(u64::from(pages.first.saturating_sub(all.first))));
            if runs.is_full() {
                add_runs(table, hypervisor, rights, &mut runs, &mut added)?;
            }
            // Always room: it is not full.
            let _ = runs.push(FrameRun { pages, mfn });
        }
    }
    add_runs(table, hypervisor, rights, &mut runs, &mut added)?;
    Ok(added)
}

fn next_absent(table: &LendingTable<'_>, range: PageRange) -> Option<PageRange> {
    let first = (range.first..range.end).find(|page| !table.is_present(*page))?;
    let end = (first..range.end).find(|page| table.is_present(*page)).unwrap_or(range.end);
    Some(PageRange { first, end })
}

/// Adds runs in one call, and records and counts what became of them.
fn add_runs(
    table: &mut LendingTable<'_>,
    hypervisor: &mut impl Hypervisor,
    rights: Rights,
    runs: &mut Runs,
    added: &mut Added,
) -> Result<(), AddFailure> {
    if runs.is_empty() {
        return Ok(());
    }
    let outcome = hypervisor.add(runs, rights);
    let mut left = match outcome {
        Ok(()) => u32::MAX,
        Err(Partial { done, .. }) => done,
    };
    for run in runs.iter() {
        let done = left.min(run.pages.page_count());
        record_run(table, run, done);
        let last = run.pages.end.saturating_sub(1);
        match outcome {
            Err(Partial { errno, .. }) if done < run.pages.page_count() => {
                let page = run.pages.first.saturating_add(done);
                return Err(AddFailure { page: AperturePage(page), errno: errno.0 });
            }
            // Xen named no page that failed: it counts as the last one.
            Err(Partial { errno, .. }) if runs.last() == Some(run) => {
                return Err(AddFailure { page: AperturePage(last), errno: errno.0 });
            }
            _ => {}
        }
        match size_of(run) {
            EntrySize::FourKib => added.entries_4kib = added.entries_4kib.saturating_add(done),
            EntrySize::TwoMib => {
                let entries = u16::try_from(done / FRAMES_PER_2MIB).unwrap_or(u16::MAX);
                added.entries_2mib = added.entries_2mib.saturating_add(entries);
            }
        }
        left = left.saturating_sub(done);
    }
    runs.clear();
    Ok(())
}

/// Records that the first `done` pages of a run are present.
fn record_run(table: &mut LendingTable<'_>, run: &FrameRun, done: u32) {
    let size = size_of(run);
    let first = run.pages.first;
    let end = first.saturating_add(done);
    // A borrower that put RAM there makes Xen go page by page where 2 MiB were
    // meant: what is no whole 2 MiB can only be entries of 4 KiB.
    let whole = match size {
        EntrySize::FourKib => 0,
        EntrySize::TwoMib => done.saturating_sub(done % FRAMES_PER_2MIB),
    };
    let split = first.saturating_add(whole);
    table.set_present(PageRange { first, end: split }, run.mfn, size);
    let rest_mfn = Mfn(run.mfn.0.saturating_add(u64::from(whole)));
    table.set_present(PageRange { first: split, end }, rest_mfn, EntrySize::FourKib);
}

/// The size of a run's entries. A granule of 2 MiB is absent in whole entries only, and a part of one of
/// 4 KiB never holds an aligned 2 MiB, so Xen cannot make one of it.
fn size_of(run: &FrameRun) -> EntrySize {
    let aligned = AperturePage(run.pages.first).in_2mib() == 0 && run.mfn.in_2mib() == 0;
    if aligned && run.pages.page_count() >= FRAMES_PER_2MIB {
        EntrySize::TwoMib
    } else {
        EntrySize::FourKib
    }
}

fn remove_all_fresh(
    table: &mut LendingTable<'_>,
    hypervisor: &mut impl Hypervisor,
    counters: &mut Counters,
    extents: &Extents,
) -> Result<(), RemoveFailure> {
    for extent in extents {
        remove_fresh_pages(table, hypervisor, counters, pages_of(extent))?;
    }
    Ok(())
}

fn pages_of(extent: &Extent) -> PageRange {
    PageRange::new(extent.page(), extent.count())
}

fn granule_pages(granule: &Granule) -> core::ops::Range<u32> {
    let pages = PageRange::new(granule.page, granule.frame_count());
    pages.first..pages.end
}

fn entry_size(granule: &Granule) -> EntrySize {
    match granule.size {
        GranuleSize::FourKib(_) => EntrySize::FourKib,
        GranuleSize::TwoMib(_) => EntrySize::TwoMib,
    }
}

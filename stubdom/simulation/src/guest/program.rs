// SPDX-License-Identifier: MIT OR Apache-2.0
//! Programs of the borrower: they map leases, touch them, ask for pages before, and are killed.

use std::rc::Rc;

use xenlend_front_core::events;
use xenlend_front_core::lease::Lease;
use xenlend_front_core::link::{Standing, Touch};
use xenlend_front_core::page_set::Pages;
use xenlend_front_core::prefault::PRESENT;
use xenlend_front_core::uapi::map::{Demand, MapRequest};

use super::fault::{handle, Allowed, Outcome};
use super::{locked, Core, Entry, Mapping, PROGRAMS};
use crate::config::Mode;
use crate::fault::Fault;
use crate::task::FIRST_PROGRAM;
use crate::vcpu;
use crate::world::{Sim, World, Wrong};
use crate::xen::Entry as SecondStage;

/// Somebody of the borrower does something.
pub fn begin(sim: &Sim) {
    let what = sim.draw(32);
    let program = sim.draw(PROGRAMS as u32) as usize;
    if what == 30 {
        return sim.guest.wanted_link.set(Some(sim.draw(4) != 3));
    }
    if sim.guest.granted.borrow().is_none() {
        return sim.guest.wanted_link.set(Some(true));
    }
    let place = FIRST_PROGRAM + program as u8;
    if sim.tasks.exists(place) {
        if what == 31 {
            sim.note(|| format!("program {program} is killed"));
            sim.guest.programs.borrow_mut()[program].killed = true;
            // The signal wakes whoever sleeps.
            sim.guest.changed.set(true);
        }
        return;
    }
    let mapping = sim.guest.programs.borrow()[program].mapping;
    let choice = sim.draw(8) as usize;
    sim.guest.programs.borrow_mut()[program].killed = false;
    match mapping {
        None => map(sim, program, choice),
        // A mapping outlives its lease now and then, and is touched then.
        Some(_) if matches!(what, 27 | 28) => map(sim, program, choice),
        Some(mapping) if what >= 24 => {
            sim.tasks.start([place], "prefault", prefault(Rc::clone(sim), program, mapping, choice));
        }
        Some(mapping) => {
            let page = page_of(mapping.pages, choice);
            sim.tasks.start([place], "program", touch(Rc::clone(sim), program, mapping, page));
        }
    }
}

fn page_of(pages: Pages, choice: usize) -> u32 {
    let count = pages.count();
    pages.first + [0, 1, 2, 3, count - 1, count / 2, 5, 7][choice] % count
}

/// Maps another lease, or a part of it; without one it maps nothing any more.
fn map(sim: &Sim, program: usize, choice: usize) {
    let core = sim.guest.core.borrow();
    let leases: Vec<Lease> = core.link().map(|link| link.leases().copied().collect()).unwrap_or_default();
    let mapped = leases.get(choice % leases.len().max(1)).and_then(|lease| {
        let pages = match choice {
            7 => Pages { first: lease.pages.first, end: lease.pages.first + lease.pages.count().div_ceil(2) },
            _ => lease.pages,
        };
        let mapped = core.map(MapRequest { pages, demand: Demand::AsItIs }, true, false).ok()?;
        Some(Mapping { lease: lease.id, serial: mapped.name.serial, pages })
    });
    let of = &mut sim.guest.programs.borrow_mut()[program];
    of.mapping = mapped;
    of.entries.fill(None);
    sim.guest.changed.set(true);
    sim.note(|| format!("program {program} maps {mapped:?}"));
}

/// An instruction on a page, and all the faults that it takes.
async fn touch(sim: Sim, program: usize, mapping: Mapping, page: u32) {
    let mut allowed = [Allowed::Wait, Allowed::Retry, Allowed::Nothing][match sim.draw(8) {
        6 => 1,
        7 => 2,
        _ => 0,
    }];
    let mut huge = sim.draw(2) == 1;
    loop {
        let entry = {
            let of = &sim.guest.programs.borrow()[program];
            if of.killed || of.mapping != Some(mapping) {
                return;
            }
            of.entries[page as usize]
        };
        if let Some(entry) = entry {
            if entry.serial != mapping.serial {
                let text = format!("program {program} reads page {page} of another lease");
                return sim.fail(Wrong::OtherLease, text);
            }
            // Another processor may be needed for everything else: the instruction has one.
            let Some((vcpu, finished)) = vcpu::start_for(&sim, page, entry.lease) else {
                sim.step().await;
                continue;
            };
            sim.until(move |world| world.vcpus.borrow()[vcpu].finished() != finished).await;
            if sim.vcpus.borrow()[vcpu].has_faulted() {
                continue;
            }
            return;
        }
        let mut entry = Entry { lease: mapping.lease, serial: mapping.serial, forced: false };
        if sim.config.has(Fault::IgnoreSerial) {
            let core = sim.guest.core.borrow();
            let now = core.link().and_then(|link| link.leases().find(|lease| lease.pages.contains(page)));
            if let Some(lease) = now {
                (entry.lease, entry.serial) = (lease.id, lease.serial);
            }
        }
        let touch = Touch { serial: entry.serial, page, mapping: mapping.pages };
        let outcome = handle(&sim, program, touch, entry, (huge, allowed)).await;
        match outcome {
            Outcome::Mapped => sim.step().await,
            Outcome::Retry => {
                allowed = Allowed::Wait;
                sim.step().await;
            }
            Outcome::Fallback => huge = false,
            Outcome::Bus => {
                sim.note(|| format!("program {program} gets SIGBUS at page {page}"));
                return;
            }
        }
    }
}

/// Asks for pages and waits for the completion.
async fn prefault(sim: Sim, program: usize, mapping: Mapping, choice: usize) {
    let pages = match choice {
        0..=3 => mapping.pages,
        _ => Pages { first: page_of(mapping.pages, choice), end: mapping.pages.end },
    };
    let owner = program as u64;
    let called = locked(&sim, |core| {
        core.prefault(owner, 1, pages).ok()?;
        let seem_there = |page| core.link().map(|link| link.standing(page)) == Some(Standing::Present);
        let believes = sim.config.has(Fault::BelievePresent) && (pages.first..pages.end).all(seem_there);
        Some((absent(&sim, pages), believes))
    });
    let Some((absent, believes)) = called.await else { return };
    let completed = move |core: &Core| {
        let event = core.next_event(owner, core.cursor());
        event.filter(|(event, _)| event.kind == events::PREFAULTED)
    };
    sim.until(move |world| {
        let killed = world.guest.programs.borrow()[program].killed;
        killed || believes || completed(&world.guest.core.borrow()).is_some()
    })
    .await;
    locked(&sim, |core| {
        let completed = completed(core);
        if let Some((event, receipt)) = completed {
            sim.note(|| format!("program {program}: prefault ends with {}", event.status));
            core.acknowledge(receipt);
        }
        core.release(owner);
        if believes || completed.is_some_and(|(event, _)| event.status == PRESENT) {
            judge(&sim, &absent);
        }
    })
    .await;
}

/// Pages that are not lent, and since when that is known.
struct Absent {
    pages: Vec<u32>,
    version: u64,
}

fn absent(sim: &World, pages: Pages) -> Absent {
    let xen = sim.xen.borrow();
    let is_absent = |page: &u32| xen.entry(*page) == SecondStage::Absent;
    Absent { pages: (pages.first..pages.end).filter(is_absent).collect(), version: xen.version }
}

/// Pages that a program was told are there have been there since it asked. A lender that removes by force
/// does so behind the broker's back, which only then learns of it.
fn judge(sim: &World, absent: &Absent) {
    let xen = sim.xen.borrow();
    let never_came = |page: &&u32| xen.lent_at[**page as usize] <= absent.version;
    if let Some(page) = absent.pages.iter().find(never_came).filter(|_| sim.config.mode == Mode::Calm) {
        let text = format!("a program that asked for page {page} is told that it is there: it never came");
        drop(xen);
        sim.fail(Wrong::Told, text);
    }
}

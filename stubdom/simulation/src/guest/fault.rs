// SPDX-License-Identifier: MIT OR Apache-2.0
//! A program touches a page that its page table does not have: `guest-frontend/module/src/fault.rs`.

use xenlend_front_core::link::{Answer, Touch};
use xenlend_front_core::page_set::Pages;

use super::coverage::PageEvent;
use super::{check, locked, locked_now, Core, Entry};
use crate::fault::Fault;
use crate::world::{Sim, World};
use crate::xen::BLOCK;

/// What the processor does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It goes on.
    Mapped,
    /// It touches again.
    Retry,
    /// Nothing as large: a touch of the single page follows.
    Fallback,
    /// SIGBUS.
    Bus,
}

/// What the kernel lets this fault do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// To sleep, with its locks let go of.
    Wait,
    /// To be told to retry, and not to sleep.
    Retry,
    /// Neither.
    Nothing,
}

enum Next {
    Done(Outcome),
    Insert(Pages),
    Wait { seen: u64, for_room: bool },
}

/// Handles it.
pub async fn handle(
    sim: &Sim,
    program: usize,
    touch: Touch,
    entry: Entry,
    (huge, allowed): (bool, Allowed),
) -> Outcome {
    let late = sim.config.has(Fault::InsertLate);
    let next = locked(sim, |core| {
        if !huge {
            check::note_event(sim, core, touch.page, PageEvent::Touched);
        }
        let answer = core.touch(&touch, huge);
        match answer {
            Answer::Insert(pages) if late => Next::Insert(pages),
            Answer::Insert(pages) => insert(sim, program, around(sim, &touch, pages), entry),
            Answer::InsertHuge(first) => insert(sim, program, Pages { first, end: first + BLOCK }, entry),
            Answer::Smaller => Next::Done(Outcome::Fallback),
            Answer::Bus => Next::Done(Outcome::Bus),
            Answer::Wait | Answer::WaitForRoom => match allowed {
                Allowed::Wait => {
                    Next::Wait { seen: sim.guest.wakes.get(), for_room: answer == Answer::WaitForRoom }
                }
                Allowed::Retry => Next::Done(Outcome::Retry),
                Allowed::Nothing => {
                    let page = Pages { first: touch.page, end: touch.page + 1 };
                    insert(sim, program, page, Entry { forced: true, ..entry })
                }
            },
        }
    })
    .await;
    match next {
        Next::Done(outcome) => outcome,
        Next::Insert(pages) => {
            sim.step().await;
            insert(sim, program, pages, entry);
            Outcome::Mapped
        }
        Next::Wait { seen, for_room } => {
            sleep(sim, program, &touch, seen, for_room).await;
            Outcome::Retry
        }
    }
}

/// A program's entries are made under the mutex, in the step of the decision.
fn insert(sim: &World, program: usize, pages: Pages, entry: Entry) -> Next {
    let entries = &mut sim.guest.programs.borrow_mut()[program].entries;
    for place in &mut entries[pages.first as usize..pages.end as usize] {
        place.get_or_insert(entry);
    }
    sim.note(|| format!("pages {} to {} are mapped", pages.first, pages.end));
    sim.guest.changed.set(true);
    Next::Done(Outcome::Mapped)
}

fn around(sim: &World, touch: &Touch, pages: Pages) -> Pages {
    if sim.config.has(Fault::MapAround) {
        Pages::block(touch.page, 64).common(touch.mapping)
    } else {
        pages
    }
}

async fn sleep(sim: &Sim, program: usize, touch: &Touch, mut seen: u64, for_room: bool) {
    loop {
        sim.until(move |world| {
            world.guest.wakes.get() != seen || world.guest.programs.borrow()[program].killed
        })
        .await;
        if for_room || sim.guest.programs.borrow()[program].killed {
            return;
        }
        let awaited = |core: &mut Core| core.is_awaited(touch.serial, touch.page);
        if !locked_now(sim, awaited) {
            return;
        }
        seen = sim.guest.wakes.get();
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! What must hold after every step, whoever has taken it, and what must hold in the end.

use xenlend_lending::broker::{Broker, LinkState};
use xenlend_lending::lending_table::PageState;
use xenlend_protocol::frame::AperturePage;
use xenlend_protocol::refusal::{Blame, BreachKind};
use xenlend_shim_core::link::{Reason, State};
use xenlend_shim_core::regions::Phase;
use xenlend_shim_core::uapi::REGION_LOSS_FAULT;

use crate::config::Mode;
use crate::fault::Fault;
use crate::lender::visits::PLACES;
use crate::lender::RegionObject;
use crate::lending::Released;
use crate::memory::{Byte, Home};
use crate::task::{TASKS, WORK};
use crate::vcpu::Excuses;
use crate::world::{World, Wrong};
use crate::xen::{bar_frame, ram_frame, zero_frame, Entry, BLOCK, PAGES, RAM_FRAMES, SPANS, ZERO_FRAMES};

/// After a step.
pub fn check(world: &World) {
    if world.is_over() {
        return;
    }
    note_excuses(world);
    check_borrower(world);
    let versions = (world.xen.borrow().version, world.memory.borrow().version);
    let changed = world.checked.replace(versions) != versions;
    if changed && world.xen.borrow().splits > 0 {
        world.fail(Wrong::SplitEntry, "only whole ones are sure to go".to_owned());
    }
    if changed && world.config.is_lend_aware() {
        check_changes(world);
    }
    if world.config.mode == Mode::LyingLender {
        if changed {
            crate::liar::check(world);
        }
        return;
    }
    check_contract(world);
    crate::guest::check::check(world);
    if changed {
        check_entries(world);
        check_messages(world);
    }
}

/// Invariants 1 and 6: an entry names the frame that its page is lent in, and the mirror knows of it.
fn check_entries(world: &World) {
    let xen = world.xen.borrow();
    let memory = world.memory.borrow();
    let regions = world.lender.regions.borrow();
    let state = world.lender.state.borrow();
    let mut zeros = 0;
    for page in 0..PAGES {
        let Entry::Lent { mfn, .. } = xen.entry(page) else { continue };
        zeros += usize::from(memory.is_zeros(mfn));
        let lendable = memory.lendable(mfn);
        let of_region = |lendable: u32| {
            let is_it = |region: &RegionObject| region.user_page(page) == Some(lendable);
            regions.iter().any(|region| region.armed.get() && is_it(region))
        };
        if !lendable.is_some_and(of_region) && !memory.is_zeros(mfn) {
            // A destroyed or crashed borrower touches nothing.
            if !xen.borrower.dying && xen.borrower.crashed.is_none() {
                let text = format!("page {page} shows frame {mfn:#x}, which is {lendable:?} of the process");
                drop(xen);
                return world.fail(Wrong::StaleEntry, text);
            }
        }
        let mirrored = regions.iter().any(|region| {
            let of = state.core.region(region.lease);
            of.is_some_and(|of| of.mirror.frame_at(AperturePage(page)).is_some_and(|frame| frame.0 == mfn))
        });
        if !mirrored {
            return world.fail(Wrong::MirrorMisses, format!("frame {mfn:#x} at page {page}"));
        }
        // Who ends a region withdraws its frames, also where another region has them too.
        // So does who looks whether a broker has lied, and then takes what it finds.
        let is_shared = lendable.is_some_and(crate::lender::leases::is_shared);
        if !is_shared
            && broker_says_what_it_does(world)
            && !world.lender.removes.get()
            && !xen.is_released_or_stock(mfn)
        {
            return world.fail(Wrong::NotReleased, format!("frame {mfn:#x} at page {page}"));
        }
    }
    // One may be on its way, which the list does not have yet.
    if zeros > PLACES + 1 {
        world.fail(Wrong::TooManyZeros, format!("{zeros} pages of zeros are lent"));
    }
}

/// Nobody asks Xen to put one frame in place of another: every page is revoked before it is lent anew.
fn check_changes(world: &World) {
    let entries = world.xen.borrow().entries.clone();
    let seen = world.seen.replace(entries.clone());
    for (page, (old, new)) in seen.iter().zip(&entries).enumerate() {
        if let (Entry::Lent { mfn: old, .. }, Entry::Lent { mfn: new, .. }) = (old, new) {
            if old != new {
                return world.fail(Wrong::LentOver, format!("page {page}: {new:#x} over {old:#x}"));
            }
        }
    }
}

/// No message in flight can make an entry that may not be.
fn check_messages(world: &World) {
    let state = world.lender.state.borrow().core.state();
    let xen = world.xen.borrow();
    // Force ends with a condemned broker if it has not answered, and holds it until then.
    let is_held = matches!(state, State::Forcing(_)) && xen.broker.pauses > 0 && world.lender.removes.get();
    let never_goes_on = is_held || matches!(state, State::Condemned(_) | State::Detached);
    if never_goes_on || xen.broker.dying || xen.borrower.dying {
        return;
    }
    let memory = world.memory.borrow();
    for present in world.lender.presents.borrow().iter() {
        for extent in &present.extents {
            for step in 0..extent.count {
                let mfn = extent.mfn.0 + u64::from(step);
                // What is withdrawn no message can lend.
                let harmless = memory.is_zeros(mfn) || world.config.is_lend_aware() && !xen.can_be_lent(mfn);
                if memory.lendable(mfn).is_none() && !harmless {
                    let text =
                        format!("Present {} names frame {mfn:#x}, which was given back", present.ticket);
                    return world.fail(Wrong::StaleMessage, text);
                }
            }
        }
    }
}

/// Two ends that keep the contract never find it broken.
fn check_contract(world: &World) {
    let honest = world.config.mode.is_honest() && !world.no_data.get();
    let Ok(state) = world.lender.state.try_borrow() else { return };
    if let State::Failing(Reason::Breach) | State::Forcing(Reason::Breach) = state.core.state() {
        if honest {
            drop(state);
            world.fail(Wrong::Link, "the lender finds a breach, and nobody broke anything".to_owned());
        }
    }
}

fn check_borrower(world: &World) {
    let xen = world.xen.borrow();
    if let Some(why) = xen.borrower.crashed.as_ref().filter(|_| !world.suicidal.get()) {
        let why = why.clone();
        drop(xen);
        world.fail(Wrong::BorrowerDied, why);
    }
}

/// An access to a page that nobody lends at some time meanwhile may end by the loss policy, or with ones.
fn note_excuses(world: &World) {
    for vcpu in world.vcpus.borrow_mut().iter_mut().enumerate() {
        let (id, vcpu) = vcpu;
        let aware = world.config.is_lend_aware();
        if !vcpu.is_idle() && !(vcpu.excused.data && (vcpu.excused.exception || !aware)) {
            let memory = world.memory.borrow();
            let now = excuse(world, id, &memory.accesses[id], &memory);
            vcpu.excused.data |= now.data;
            vcpu.excused.exception |= now.exception;
        }
    }
}

/// What may become of an access, as things are now, beside its being done on the page.
pub fn excuses(world: &World, vcpu: usize, bytes: &[Byte]) -> Excuses {
    excuse(world, vcpu, bytes, &world.memory.borrow())
}

fn excuse(world: &World, vcpu: usize, bytes: &[Byte], memory: &crate::memory::Memory) -> Excuses {
    if world.config.mode == Mode::LyingLender || world.no_data.get() {
        return Excuses { data: true, exception: true };
    }
    // A step of a flow may be under way: what it changes is seen at its end.
    let Ok(state) = world.lender.state.try_borrow() else { return Excuses::default() };
    let link_is_over = match state.core.state() {
        State::Connected | State::Forced => false,
        State::Failing(reason) | State::Forcing(reason) => reason != Reason::Deadline,
        State::Connecting | State::Condemned(_) | State::Detached => true,
    };
    let regions = world.lender.regions.borrow();
    let unlent = |byte: &Byte| {
        let region = regions.iter().find(|region| region.user_page(byte.page).is_some());
        let active = region.and_then(|region| state.core.region(region.lease));
        let active = active.is_some_and(|region| region.phase == Phase::Active && !region.is_lost);
        let user =
            byte.user.filter(|user| region.and_then(|region| region.user_page(byte.page)) == Some(*user));
        let gone = user.is_none_or(|user| *memory.home(user) == Home::Unmapped);
        !active || gone
    };
    let xen = world.xen.borrow();
    let without_ram = xen.ram[vcpu].is_none();
    let own = |byte: &Byte| matches!(xen.entry(byte.page), Entry::BorrowerRam | Entry::Foreign);
    // The loss policy decides whether what is not there is zeros or an exception.
    let raises = |byte: &Byte| {
        let region = regions.iter().find(|region| region.user_page(byte.page).is_some());
        let Some(region) = region.and_then(|region| state.core.region(region.lease)) else { return true };
        let zeros = region.flags & REGION_LOSS_FAULT == 0 && region.phase == Phase::Active;
        byte.written.is_some() && region.is_read_only() || unlent(byte) && !zeros
    };
    let gone = link_is_over || xen.broker.dying;
    Excuses {
        data: link_is_over || without_ram || bytes.iter().any(|byte| unlent(byte) || own(byte)),
        exception: gone || bytes.iter().any(raises),
    }
}

/// What holds when the broker is between two turns.
pub fn check_broker(world: &World, broker: &Broker<'_>) {
    if world.is_over() {
        return;
    }
    let (xen, table) = (world.xen.borrow(), broker.table());
    // Between its hypercalls and `Forced` the table has what the lender has removed.
    let lender_removes = world.lender.removes.get();
    let known = !lender_removes && !world.forced_falsely.get();
    if !xen.borrower.dying && known && broker_says_what_it_does(world) {
        for page in 0..PAGES {
            let in_table = match table.page(page) {
                PageState::Present { mfn, .. } => Some(mfn.0),
                _ => None,
            };
            let in_xen = match xen.entry(page) {
                Entry::Lent { mfn, .. } => Some(mfn),
                _ => None,
            };
            if table.page(page) == PageState::Lost && broker.leases().at_page(page).is_none() {
                return world.fail(Wrong::TableDiffers, format!("page {page} is lost outside every lease"));
            }
            if in_table.is_some() && broker.leases().at_page(page).is_none() {
                return world
                    .fail(Wrong::TableDiffers, format!("page {page} is present outside every lease"));
            }
            if in_table != in_xen {
                let text = format!("page {page}: table {in_table:x?}, Xen {in_xen:x?}");
                return world.fail(Wrong::TableDiffers, text);
            }
        }
    }
    if let (LinkState::Closed(breach), true) = (broker.link_state(), world.config.mode.is_honest()) {
        let own = breach.blame == Blame::Broker && breach.kind == BreachKind::StillMapped;
        if !own || !world.disturbed.get() {
            world.fail(Wrong::Link, format!("{breach:?}"));
        }
    }
}

fn broker_says_what_it_does(world: &World) -> bool {
    !matches!(
        world.config.fault,
        Some(
            Fault::SkipUnmap
                | Fault::AcknowledgeFirst
                | Fault::TakePartialForDone
                | Fault::AcceptStalePresent
                | Fault::AddAgain
        )
    )
}

/// When nothing goes on any more.
pub fn check_rest(world: &World) {
    let xen = world.xen.borrow();
    // Only a broker that is condemned stays paused, and nobody answers it any more.
    let held = world.lender.condemned.get() || world.liar.borrow().spoiled;
    // On a lend-aware Xen the end of a broker wakes who waits for it.
    let aware = world.config.is_lend_aware() && !world.liar.borrow().spoiled;
    let broker_is_there = aware || !xen.broker.dying && !held;
    let blocked = world.vcpus.borrow().iter().position(|vcpu| !vcpu.is_idle());
    // A vCPU whose broker is gone hangs, and with it whoever waits for all processors.
    let borrower_hangs = !xen.borrower.runs() || blocked.is_some() && !broker_is_there;
    let waiting = world.tasks.names(0..if borrower_hangs { WORK } else { TASKS });
    if !waiting.is_empty() {
        return world.fail(Wrong::Stuck, format!("{waiting:?} wait for ever"));
    }
    if let (Some(vcpu), true, true) = (blocked, broker_is_there, xen.borrower.runs()) {
        return world.fail(Wrong::Stuck, format!("vCPU {vcpu} waits for ever"));
    }
    if xen.borrower.pauses > 0 && !xen.borrower.dying && world.config.mode != Mode::LyingLender {
        return world.fail(Wrong::Stuck, "the borrower stays paused".to_owned());
    }
    if world.config.mode == Mode::LyingLender {
        return;
    }
    let state = world.lender.state.borrow();
    if !world.lender.presents.borrow().is_empty() && state.core.state() == State::Connected {
        return world.fail(Wrong::Answers, "a Present was not answered".to_owned());
    }
    if world.config.mode.is_calm() {
        let forced = state.core.status().counters.forced_revocations;
        if state.core.state() != State::Connected || forced > 0 {
            return world.fail(Wrong::Link, format!("{:?}, forced {forced} times", state.core.state()));
        }
        if let Some(lending) = &xen.lending {
            let lent: Vec<_> = xen.entries.iter().filter_map(Entry::frame).collect();
            let left = (0..RAM_FRAMES).map(ram_frame).chain((0..ZERO_FRAMES).map(zero_frame));
            let left = left
                .chain((0..SPANS).flat_map(|span| (0..u64::from(BLOCK)).map(move |at| bar_frame(span) + at)));
            let mut left = left.filter(|mfn| lending.released(*mfn) != Released::No && !lent.contains(mfn));
            if let Some(mfn) = left.next() {
                world.fail(Wrong::Permissions, format!("frame {mfn:#x} is released and not lent"));
            }
            return;
        }
        let lent = |page: &u32| matches!(xen.entry(*page), Entry::Lent { mfn, .. } if mfn < 0x10_0000);
        let mut frames: Vec<_> = (0..PAGES).filter(lent).map(|page| xen.entry(page)).collect();
        frames.sort_by_key(|entry| match entry {
            Entry::Lent { mfn, .. } => *mfn,
            _ => 0,
        });
        frames.dedup();
        if xen.permitted_ram() != frames.len() {
            let (permitted, lent) = (xen.permitted_ram(), frames.len());
            world.fail(Wrong::Permissions, format!("{permitted} frames of RAM permitted, {lent} lent"));
        }
    }
}

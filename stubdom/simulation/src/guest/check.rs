// SPDX-License-Identifier: MIT OR Apache-2.0
//! What must hold of the page tables of the borrower's programs, and of what their driver was told.

use xenlend_front_core::frontend::Turn;
use xenlend_front_core::link::{Link, Phase, Standing, BY_BREACH};
use xenlend_lending::broker::{Broker, LinkState};
use xenlend_lending::lease::Lease;
use xenlend_protocol::frontend::ToBorrower;

use super::coverage::PageEvent;
use super::Core;
use crate::vcpu::Vcpu;
use crate::world::{World, Wrong};
use crate::xen::PAGES;

/// After a step: whoever has a page mapped may have it mapped now, or it is being zapped.
pub fn check(world: &World) {
    if !world.config.driver || !world.guest.changed.replace(false) {
        return;
    }
    let core = world.guest.core.borrow();
    let link = core.link();
    // The end of a link is followed by a zap of everything.
    let is_over = link.is_some_and(Link::is_over) && !world.guest.ended.get();
    let is_over = is_over || world.guest.parting.get();
    if link.is_some_and(|link| link.phase() == Phase::Closed(BY_BREACH)) && world.config.mode.is_honest() {
        let text = "the borrower's driver finds a breach, and nobody broke anything".to_owned();
        return world.fail(Wrong::Link, text);
    }
    let labels = world.lender.labels.borrow();
    let leases = link.into_iter().flat_map(Link::leases);
    for lease in leases.filter(|_| world.config.mode.is_honest()) {
        if labels.get(&lease.id) != Some(&lease.label) {
            let text = format!("{lease:?}, which the lender called {:?}", labels.get(&lease.id));
            return world.fail(Wrong::OtherLabel, text);
        }
    }
    for (number, program) in world.guest.programs.borrow().iter().enumerate() {
        for (page, entry) in (0..PAGES).zip(&program.entries) {
            let Some(entry) = entry else { continue };
            let is_zapped = world.guest.zapping.get().is_some_and(|pages| pages.contains(page));
            if is_over || is_zapped {
                continue;
            }
            let lives = link.and_then(|link| link.by_serial(entry.serial));
            let lives = lives.is_some_and(|lease| lease.pages.contains(page));
            let told = link.is_some_and(|link| link.standing(page) == Standing::Present);
            if !lives || !told && !entry.forced {
                let text = format!(
                    "program {number} has page {page} mapped, and its lease {}, the page is {:?}",
                    if lives { "lives" } else { "does not live" },
                    link.map(|link| link.standing(page))
                );
                return world.fail(Wrong::BadEntry, text);
            }
        }
    }
}

/// Between the broker's turns: no page that a program can reach is another's lease.
pub fn check_broker(world: &World, broker: &Broker<'_>) {
    if !world.config.driver || world.is_over() || broker.leases().living().next().is_none() {
        return;
    }
    let other = |page: u32, lease| {
        let now = broker.leases().at_page(page).map(Lease::id);
        now.filter(|now| *now != lease)
    };
    for (number, program) in world.guest.programs.borrow().iter().enumerate() {
        for (page, entry) in (0..PAGES).zip(&program.entries) {
            let Some(entry) = entry else { continue };
            if let Some(now) = other(page, entry.lease) {
                let text =
                    format!("program {number} has page {page} of {:?} mapped, now of {now:?}", entry.lease);
                return world.fail(Wrong::OtherLease, text);
            }
        }
    }
    for via in world.vcpus.borrow().iter().filter_map(Vcpu::via) {
        if let Some(now) = other(via.page, via.lease) {
            let text = format!("an instruction is on page {} of {:?}, now of {now:?}", via.page, via.lease);
            return world.fail(Wrong::OtherLease, text);
        }
    }
}

/// When nothing goes on any more: what the borrower was told last is so.
pub fn check_rest(world: &World, broker: &Broker<'_>) {
    let xen = world.xen.borrow();
    let serves = broker.link_state() == LinkState::Connected && world.borrower_end.is_mapped();
    let is_there = xen.broker.runs() && xen.borrower.runs();
    let runs_by_word = world.config.mode.is_honest() && !world.lender.removes.get();
    if world.has_failed() || !world.config.driver || !serves || !is_there || !runs_by_word {
        return;
    }
    let told = world.guest.told_present.borrow();
    for page in (0..PAGES).filter(|page| told[*page as usize]) {
        if !broker.table().is_present(page) {
            let text = format!("page {page} was said to be present and is not");
            return world.fail(Wrong::Told, text);
        }
    }
}

/// The message that the core takes next, and how things stand with its first page.
pub fn before_message(world: &World, core: &Core) -> Option<(PageEvent, u32, Standing)> {
    let (event, page) = match world.guest.said.borrow().front()? {
        ToBorrower::Present { first, .. } => (PageEvent::Present, first.0),
        ToBorrower::Unavailable { first, .. } => (PageEvent::Unavailable, first.0),
        ToBorrower::Lost { first, .. } => (PageEvent::Lost, first.0),
        ToBorrower::Revoked { first, ended: false, .. } => (PageEvent::Revoked, first.0),
        ToBorrower::Revoked { first, ended: true, .. } => (PageEvent::Ended, first.0),
        _ => return None,
    };
    Some((event, page, core.link()?.standing(page)))
}

/// The core has taken a message, or has found none.
pub fn after_message(world: &World, turn: &Turn, met: Option<(PageEvent, u32, Standing)>) {
    if *turn == Turn::Idle {
        return;
    }
    world.guest.said.borrow_mut().pop_front();
    if let Some((event, _, standing)) = met {
        world.guest.coverage.borrow_mut().record(standing, event);
    }
}

/// Something else happens to a page.
pub fn note_event(world: &World, core: &Core, page: u32, event: PageEvent) {
    if let Some(link) = core.link() {
        world.guest.coverage.borrow_mut().record(link.standing(page), event);
    }
}

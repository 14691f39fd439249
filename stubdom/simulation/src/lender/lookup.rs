// SPDX-License-Identifier: MIT OR Apache-2.0
//! Faulting in and looking up frames: `dom0-shim/module/src/lookup.rs` over a process in tables.

use std::rc::Rc;

use xenlend_protocol::frame::{AperturePage, Mfn};
use xenlend_shim_core::lendable::FrameKind;
use xenlend_shim_core::link::{Completion, PageIn};
use xenlend_shim_core::request_queue::Request;
use xenlend_shim_core::window::{Window, WINDOW_PAGES};

use super::visits::Visits;
use super::{user_page, RegionObject};
use crate::fault::Fault;
use crate::memory::{Home, BUFFER};
use crate::world::Sim;
use crate::xen::is_in_bar;

/// Memory of a worker.
pub struct Scratch {
    /// What is being served.
    pub request: Option<Request>,
    /// The answer to its access, until it is sent.
    pub completion: Option<Completion>,
    /// What was found.
    pub window: Window<Vec<u64>>,
    /// Pages of zeros that are lent for a moment.
    pub visits: Visits,
}

impl Default for Scratch {
    fn default() -> Self {
        Self {
            request: None,
            completion: None,
            window: Window::new(vec![0; WINDOW_PAGES]),
            visits: Visits::default(),
        }
    }
}

/// Why a lookup gave nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookupEnd {
    /// The ground moved: look again.
    Again,
    /// There is no page.
    Refused,
    /// Not now.
    GiveUp,
}

/// Fills the window with the faulting page and those of its neighbours that come cheaply.
pub async fn look_up(
    sim: &Sim,
    page_in: &PageIn,
    object: &Rc<RegionObject>,
    scratch: &mut Scratch,
) -> Result<(), LookupEnd> {
    scratch.window.reset(page_in.first, page_in.count, page_in.page);
    if !sim.config.has(Fault::LookUpTooEarly) {
        let object = Rc::clone(object);
        // What `mmu_interval_read_begin` waits for.
        sim.until(move |_| object.invalidating.get() == 0).await;
    }
    sim.until(|world| !world.memory.borrow().unmapping).await;
    let first = user_page(page_in.user_address);
    let fault = first + (page_in.page.0 - page_in.first.0);
    fault_in(sim, fault).await?;
    // One step for the whole window: what it finds may be taken away at once anyway. The entries are
    // read in two, so that they are not of one moment.
    let middle = first + page_in.count / 2;
    for half in [first..middle, middle..first + page_in.count] {
        sim.step().await;
        let memory = sim.memory.borrow();
        for user in half {
            let page = AperturePage(page_in.first.0 + (user - first));
            if let Home::Frame(mfn) = *memory.home(user) {
                let kind = if is_in_bar(mfn) { FrameKind::Bar } else { FrameKind::Ram };
                scratch.window.put(page, Mfn(mfn), kind);
            }
        }
    }
    if scratch.window.get(page_in.page).is_none() {
        return Err(LookupEnd::Again);
    }
    Ok(())
}

/// What a page fault of the worker does; it waits for whoever moves the page.
pub async fn fault_in(sim: &Sim, user: u32) -> Result<(), LookupEnd> {
    loop {
        // What is mapped does not fault, also while it is being moved.
        if matches!(sim.memory.borrow().home(user), Home::Frame(_)) {
            return Ok(());
        }
        sim.until(move |world| {
            let memory = world.memory.borrow();
            let stuck = world.faults_stuck.get() && user < BUFFER;
            world.lender.interrupted.get() || !memory.is_busy(user, 1) && !stuck
        })
        .await;
        if sim.lender.interrupted.get() {
            return Err(LookupEnd::GiveUp);
        }
        let choice = sim.draw(64);
        let mut memory = sim.memory.borrow_mut();
        if *memory.home(user) == Home::Unmapped {
            return Err(LookupEnd::Refused);
        }
        if !memory.bring_in(user, choice) {
            return Err(LookupEnd::GiveUp);
        }
    }
}

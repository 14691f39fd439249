// SPDX-License-Identifier: MIT OR Apache-2.0
//! The broker's domain: the real lending logic, its event loop, and its hypercalls to the fake Xen, between
//! any two of which it can be held, killed or overtaken.

use std::rc::Rc;

use xenlend_lending::broker::{Broker, LinkState, Turn};
use xenlend_lending::capabilities::Capabilities;
use xenlend_lending::fault::{Reply, KIND_FAULT};
use xenlend_lending::hypervisor::{one_by_one, Errno, Hypervisor, IoreqClaim, Partial};
use xenlend_lending::ioreq::{KIND_COPY, STATE_INPROCESS, STATE_READY, STATE_RESPONSE_READY};
use xenlend_lending::lease::{LeaseEvent, LeaseState};
use xenlend_lending::lending_table::{FrameRun, PageRange, PageSlot};
use xenlend_lending::vcpu_slot::VcpuSlot;
use xenlend_protocol::frame::Mfn;
use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::message::{Rights, ToBroker};
use xenlend_shim_core::link::State;

use crate::coverage::Coverage;
use crate::fault::Fault;
use crate::guest::link_end;
use crate::hands;
use crate::wire::Link;
use crate::world::{Sim, Wrong};
use crate::xen::{Failure, APERTURE, EPERM, ESRCH};

/// Indices that leases have here.
pub const INDICES: u16 = 4;

/// Steps of the borrower's link in a turn.
const BORROWER_STEPS: u32 = 32;

/// The broker and what it knows of itself.
pub struct BrokerDomain<'b> {
    sim: Sim,
    /// The real thing.
    pub broker: Broker<'b>,
    hands: Hands,
    link: Link,
    borrower: link_end::Link,
    /// What events its leases have met.
    pub coverage: Coverage,
}

/// Hypercalls.
struct Hands {
    sim: Sim,
    /// Removals put off by [`Fault::AcknowledgeFirst`].
    delayed: Vec<(u32, u64, u32)>,
    /// What [`Fault::AddAgain`] adds again.
    again: Vec<FrameRun>,
}

impl<'b> BrokerDomain<'b> {
    /// A broker that has not heard of a lender.
    ///
    /// # Panics
    /// If the number of vCPUs is none.
    pub fn new(sim: &Sim, pages: &'b mut [PageSlot], vcpus: &'b mut [VcpuSlot]) -> Self {
        let aware = sim.config.is_lend_aware();
        let capabilities = if aware { Capabilities::LEND_AWARE } else { Capabilities::STOCK };
        let broker = Broker::new(APERTURE, pages, vcpus, capabilities).expect("a sound configuration");
        let hands = Hands { sim: Rc::clone(sim), delayed: Vec::new(), again: Vec::new() };
        let (link, borrower) = (Link(Rc::clone(sim)), link_end::Link(Rc::clone(sim)));
        Self { sim: Rc::clone(sim), broker, hands, link, borrower, coverage: Coverage::default() }
    }

    /// One turn of the event loop.
    pub fn turn(&mut self) {
        let sim = Rc::clone(&self.sim);
        sim.inside_broker.set(true);
        sim.broker_pending.set(false);
        for (first, mfn, count) in std::mem::take(&mut self.hands.delayed) {
            if sim.config.is_lend_aware() {
                let pages = PageRange { first, end: first + count };
                let _ = hands::remove(&sim, &[FrameRun { pages, mfn: Mfn(mfn) }]);
            } else {
                let _ = self.hands.call(first, mfn, count, Xen::Remove);
            }
        }
        for run in std::mem::take(&mut self.hands.again) {
            let _ = hands::add(&sim, &[run], Rights::ReadWrite);
        }
        let before = self.broker.link_state();
        // The same work as one call with the whole limit, message by message.
        let mut lender = Turn::More;
        for _ in 0..sim.config.messages_per_turn {
            let states = self.states();
            *sim.broker_end.received.borrow_mut() = None;
            lender = self.broker.serve_lender(&mut self.hands, &mut self.link, 1);
            self.watch(&states);
            if let LinkState::Closed(_) = self.broker.link_state() {
                sim.no_data.set(true);
            }
            if lender != Turn::More {
                break;
            }
        }
        let requests = self.broker.serve_requests(&mut self.hands, &mut self.link);
        let borrower =
            self.broker.serve_borrower(&mut self.hands, &mut self.link, &mut self.borrower, BORROWER_STEPS);
        sim.borrower_end.finish_turn(&sim);
        sim.broker_end.finish_turn(&sim);
        if !sim.lender.connected.get() && self.broker.link_state() != LinkState::LenderGone {
            self.broker.lender_gone(&mut self.hands);
        }
        let changed = self.broker.link_state() != before;
        if changed || [lender, requests, borrower].contains(&Turn::More) {
            sim.broker_pending.set(true);
        }
        if changed {
            sim.note(|| format!("broker's link: {:?}", self.broker.link_state()));
        }
        sim.inside_broker.set(false);
    }

    fn states(&self) -> Vec<(LeaseId, LeaseState)> {
        self.broker.leases().living().map(|lease| (lease.id(), lease.state())).collect()
    }

    /// Notes which event has met which state, and whether the state after it is right.
    fn watch(&mut self, before: &[(LeaseId, LeaseState)]) {
        let Some(message) = self.sim.broker_end.received.borrow_mut().take() else { return };
        if self.sim.is_over() || !matches!(self.broker.link_state(), LinkState::Connected) {
            return;
        }
        let after = self.states();
        let by_id = |states: &[(LeaseId, LeaseState)], id: LeaseId| {
            states.iter().find(|(other, _)| *other == id).map_or(LeaseState::Vacant, |(_, state)| *state)
        };
        let by_index = |states: &[(LeaseId, LeaseState)], index: u16| {
            states.iter().find(|(id, _)| id.index == index).map_or(LeaseState::Vacant, |(_, state)| *state)
        };
        let mut met = Vec::new();
        match message {
            ToBroker::SetRegion { lease, .. } => {
                met.push((by_index(before, lease.index), LeaseEvent::Granted, by_index(&after, lease.index)));
            }
            ToBroker::Present { lease, .. } => {
                met.push((by_id(before, lease), LeaseEvent::Presented, by_id(&after, lease)));
            }
            ToBroker::Invalidate { lease, .. } => {
                met.push((by_id(before, lease), LeaseEvent::Invalidated, by_id(&after, lease)));
            }
            ToBroker::Lost { lease, .. } => {
                met.push((by_id(before, lease), LeaseEvent::PagesLost, by_id(&after, lease)));
            }
            ToBroker::DropRegion { lease } => {
                let (from, to) = (by_id(before, lease), by_id(&after, lease));
                let revoking = from.after(LeaseEvent::Dropped).unwrap_or(from);
                met.push((from, LeaseEvent::Dropped, revoking));
                if from != LeaseState::Vacant && to == LeaseState::Vacant {
                    met.push((revoking, LeaseEvent::Emptied, to));
                } else if to != revoking {
                    met.push((from, LeaseEvent::Dropped, to));
                }
            }
            ToBroker::Forced { .. } => {
                // On a lend-aware Xen the lender may be at it again meanwhile.
                let again = |state: State| matches!(state, State::Forcing(_));
                let again = self.sim.lender.state.try_borrow().map_or(true, |of| again(of.core.state()));
                self.sim.lender.removes.set(self.sim.config.is_lend_aware() && again);
                for index in 0..INDICES {
                    met.push((by_index(before, index), LeaseEvent::Forced, by_index(&after, index)));
                }
            }
            _ => {}
        }
        for (from, event, to) in met {
            self.coverage.record(from, event);
            let expected = from.after(event).unwrap_or(from);
            // A grant can be refused for other reasons.
            let refused = event == LeaseEvent::Granted && to == from;
            if to != expected && !refused {
                self.sim.fail(Wrong::LeaseTransition, format!("{from:?} met {event:?} and became {to:?}"));
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Xen {
    Add,
    Remove,
}

impl Hands {
    /// Repeats a call until it has handled all frames, as `stubdom/src/xen/stock_hypervisor.rs` does.
    fn call(&mut self, first: u32, mfn: u64, count: u32, which: Xen) -> Result<(), Partial> {
        let mut done = 0;
        while done < count {
            if !self.sim.interleave() {
                return Err(Partial { done, errno: Errno(ESRCH) });
            }
            let failure = self.sim.hypercall_failure();
            let (page, frame, left) = (first + done, mfn + u64::from(done), count - done);
            let mut xen = self.sim.xen.borrow_mut();
            let result = match which {
                Xen::Add => xen.add(page, frame, left, failure),
                Xen::Remove if !xen.broker_may_remove(frame, left) => Err(EPERM),
                Xen::Remove => xen.remove(page, frame, left, failure),
            };
            drop(xen);
            self.sim.note(|| {
                let name = if which == Xen::Add { "adds" } else { "removes" };
                format!("broker {name} {left} pages from {page} in {frame:#x}: {result:?}")
            });
            match result {
                Ok(_) if which == Xen::Remove && self.sim.config.has(Fault::TakePartialForDone) => {
                    return Ok(())
                }
                Ok(pages) => done += pages,
                Err(errno) => return Err(Partial { done, errno: Errno(errno) }),
            }
        }
        Ok(())
    }
}

impl Hands {
    fn touch_borrower(&self) {
        if self.sim.config.is_lend_aware() {
            self.sim.fail(Wrong::ForeignAccess, "the broker looks at the borrower's RAM".to_owned());
        }
    }
}

impl Hypervisor for Hands {
    fn add(&mut self, runs: &[FrameRun], rights: Rights) -> Result<(), Partial> {
        if self.sim.config.is_lend_aware() {
            return hands::add(&self.sim, runs, rights);
        }
        one_by_one(runs, |FrameRun { pages, mfn }| {
            if self.sim.config.has(Fault::SkipUnmap) {
                // Adding over what was left behind would kill the borrower: that is another bug.
                for (page, mfn) in (pages.first..pages.end).zip(mfn.0..) {
                    let _ = self.sim.xen.borrow_mut().remove(page, mfn, 1, None);
                }
            }
            self.call(pages.first, mfn.0, pages.page_count(), Xen::Add)
        })
    }

    fn remove(&mut self, runs: &[FrameRun]) -> Result<(), Partial> {
        // What a Present has half done is undone in any case: there an add can fail for the lender's reasons.
        let honest = self.sim.broker_end.handles_present.get()
            || !matches!(self.sim.config.fault, Some(Fault::SkipUnmap | Fault::AcknowledgeFirst));
        if honest && self.sim.config.is_lend_aware() {
            if self.sim.config.has(Fault::AddAgain) && !self.sim.broker_end.handles_present.get() {
                self.again.extend_from_slice(runs);
                self.sim.broker_pending.set(true);
            }
            return hands::remove(&self.sim, runs);
        }
        one_by_one(runs, |FrameRun { pages, mfn }| match self.sim.config.fault {
            Some(Fault::SkipUnmap) => Ok(()),
            Some(Fault::AcknowledgeFirst) => {
                self.delayed.push((pages.first, mfn.0, pages.page_count()));
                self.sim.broker_pending.set(true);
                Ok(())
            }
            _ => self.call(pages.first, mfn.0, pages.page_count(), Xen::Remove),
        })
    }

    fn request(&mut self, vcpu: u16) -> Option<IoreqClaim> {
        let claim = self.sim.xen.borrow().requests.get(usize::from(vcpu)).copied().flatten()?;
        let ignored = self.sim.config.has(Fault::IgnoreRepStos)
            && self.sim.broker_end.handles_present.get()
            && claim.kind == KIND_COPY;
        (!ignored).then_some(claim)
    }

    fn accept(&mut self, vcpu: u16) {
        if self.sim.is_over() {
            return;
        }
        let has_server = self.sim.xen.borrow().has_server();
        match &mut self.sim.xen.borrow_mut().requests[usize::from(vcpu)] {
            Some(claim) if claim.state == STATE_READY => {
                claim.state = STATE_INPROCESS;
                self.sim.asked_before.borrow_mut()[usize::from(vcpu)] = self.sim.questions.get();
            }
            // The end of the server has answered it.
            Some(claim) if claim.state == STATE_RESPONSE_READY && !has_server => {}
            // It went with its borrower.
            None => {}
            other => self.sim.fail(Wrong::Answers, format!("accepted {other:?}")),
        }
        if self.sim.config.has(Fault::RetryEarly) {
            self.complete(vcpu, Reply::Retry as u64);
        }
    }

    fn complete(&mut self, vcpu: u16, data: u64) {
        hands::check_reply(&self.sim, usize::from(vcpu), data);
        if !self.sim.interleave() {
            return;
        }
        let has_server = self.sim.xen.borrow().has_server();
        let zeros = self.sim.config.has(Fault::AnswerZeros);
        match &mut self.sim.xen.borrow_mut().requests[usize::from(vcpu)] {
            Some(claim) if claim.state == STATE_INPROCESS => {
                let is_fault = claim.kind == KIND_FAULT;
                claim.data = if zeros && claim.is_read && !is_fault { 0 } else { data };
                if zeros && is_fault {
                    claim.data = Reply::Lost as u64;
                }
                if self.sim.config.has(Fault::ForgetCompletion) && (claim.data_is_pointer || is_fault) {
                    return;
                }
                claim.state = STATE_RESPONSE_READY;
                self.sim.note(|| format!("broker completes vCPU {vcpu} with {data:#x}"));
            }
            None => {}
            // It has been, too early.
            Some(_) if self.sim.config.has(Fault::RetryEarly) => {}
            // The end of the server has answered the one that is meant, and the vCPU may be elsewhere by now.
            Some(_) if !has_server => {}
            other => self.sim.fail(Wrong::Answers, format!("completed {other:?}")),
        }
    }

    fn read_borrower(&mut self, address: u64, bytes: &mut [u8]) -> Result<(), Errno> {
        self.touch_borrower();
        bytes.copy_from_slice(self.sim.xen.borrow_mut().ram_at(address, bytes.len()).map_err(Errno)?);
        Ok(())
    }

    fn write_borrower(&mut self, address: u64, bytes: &[u8]) -> Result<(), Errno> {
        self.touch_borrower();
        self.sim.xen.borrow_mut().ram_at(address, bytes.len()).map_err(Errno)?.copy_from_slice(bytes);
        Ok(())
    }

    fn forget_borrower_memory(&mut self) {}
}

impl crate::world::World {
    /// Whether and how the next hypercall fails.
    pub fn hypercall_failure(&self) -> Option<Failure> {
        if !self.once_in(self.config.failing_hypercalls) {
            return None;
        }
        self.disturbed.set(true);
        let after = self.draw(4);
        let errno = [crate::xen::ENOMEM, EPERM][self.draw(2) as usize];
        Some(Failure { after, errno })
    }
}

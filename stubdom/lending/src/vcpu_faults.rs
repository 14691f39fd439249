// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the broker does with the faults of vCPUs: asks the lender, and answers Xen.

use xenlend_protocol::frame::AperturePage;
use xenlend_protocol::message::WantedOutcome;
use xenlend_protocol::refusal::BreachKind;

use crate::borrower_link::BorrowerState;
use crate::broker::{Broker, LinkState};
use crate::counters::count;
use crate::fault::{Fault, Next, Reply, View, KIND_FAULT};
use crate::hypervisor::{Hypervisor, LenderLink, SendError};
use crate::ioreq::{ALL_ONES, KIND_INVALIDATE, STATE_READY, STATE_RESPONSE_READY};
use crate::lending_table::PageRange;
use crate::vcpu_slot::Stop;
use crate::wanted::Asker;

impl Broker<'_> {
    /// Goes on with a vCPU's fault as far as it can be done now.
    pub(crate) fn serve_fault(
        &mut self,
        vcpu: u16,
        hypervisor: &mut impl Hypervisor,
        link: &mut impl LenderLink,
    ) -> Stop {
        let connected = self.state == LinkState::Connected;
        let owes_zap = connected && self.owes_zap();
        let Some(slot) = self.vcpus.get_mut(usize::from(vcpu)).map(|slot| &mut slot.fault) else {
            return Stop::Waits;
        };
        if slot.is_idle() {
            let Some(claim) = hypervisor.request(vcpu).filter(|claim| claim.state != STATE_RESPONSE_READY)
            else {
                return Stop::Waits;
            };
            if claim.state == STATE_READY {
                hypervisor.accept(vcpu);
            }
            match claim.kind {
                KIND_FAULT => slot.start(Fault::check(&claim, self.aperture)),
                // Nothing of the borrower's RAM is ever looked at.
                KIND_INVALIDATE => return Stop::Finished(claim.data),
                _ => {
                    count(&mut self.counters.unknown_requests, 1);
                    return Stop::Finished(ALL_ONES);
                }
            }
        }
        let has_driver = connected && self.borrower.state == BorrowerState::Connected;
        let quarantine = has_driver.then_some(&self.borrower.quarantine);
        let view = View { table: &self.table, leases: &self.leases, connected, quarantine, owes_zap };
        let (lease, page) = match slot.next(&view) {
            Next::Wait => return Stop::Waits,
            Next::Answer(reply) => {
                self.count_reply(reply);
                return Stop::Finished(reply as u64);
            }
            Next::Ask { lease, page } => (lease, page),
        };
        let wanted = &mut self.borrower.wanted;
        if let Some(ticket) = wanted.open_for_vcpus(lease, page) {
            slot.asked(ticket, lease, page);
            return Stop::Waits;
        }
        if wanted.is_full() {
            return Stop::NoPlace;
        }
        let pages = PageRange::new(AperturePage(page), 1);
        let question = wanted.question(Asker::Vcpus, lease, pages);
        match link.send(&question) {
            Ok(()) => {
                count(&mut self.counters.wants, 1);
                slot.asked(wanted.asked(Asker::Vcpus, lease, pages), lease, page);
                Stop::Waits
            }
            Err(SendError::Full) => Stop::Full,
            Err(SendError::Breach(kind)) => Stop::Breach(kind),
        }
    }

    /// Takes the lender's answer to a `Want`.
    ///
    /// # Errors
    /// If nothing of that name was asked.
    pub(crate) fn wanted(
        &mut self,
        ticket: u32,
        outcome: WantedOutcome,
        hypervisor: &mut impl Hypervisor,
    ) -> Result<(), BreachKind> {
        if self.borrower.wanted.answer(ticket, outcome)? == Asker::Task {
            return Ok(());
        }
        let owes_zap = self.owes_zap();
        for vcpu in 0..self.vcpu_count {
            let slot = self.vcpus.get_mut(usize::from(vcpu));
            if let Some(reply) = slot.and_then(|slot| slot.fault.answered(ticket, outcome, owes_zap)) {
                hypervisor.complete(vcpu, reply as u64);
                count(&mut self.counters.requests, 1);
                self.count_reply(reply);
            }
        }
        Ok(())
    }

    fn count_reply(&mut self, reply: Reply) {
        let counter = match reply {
            Reply::Retry => &mut self.counters.faults_retried,
            Reply::Lost => &mut self.counters.faults_lost,
            Reply::Refused => &mut self.counters.faults_refused,
        };
        count(counter, 1);
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! What each message of the lender does. Every answer goes through the outbox.

use xenlend_protocol::extent::ClaimedExtent;
use xenlend_protocol::frame::AperturePage;
use xenlend_protocol::label::Unprintable;
use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::message::{
    FromBroker, PresentOutcome, ToBroker, WantedOutcome, FEATURE_LEND_AWARE, VERSION,
};
use xenlend_protocol::refusal::{Blame, Breach, BreachKind, Refusal, RemoveFailure};

use crate::borrower_link::AttachRequest;
use crate::broker::{Broker, LinkState};
use crate::counters::count;
use crate::hypervisor::Hypervisor;
use crate::invalidation_history::Backwards;
use crate::lease::{LeaseEvent, Terms};
use crate::lease_registry::{Named, LEASE_CAPACITY};
use crate::lending_table::PageRange;
use crate::present::{present, Surroundings};
use crate::revocation::remove_pages;
use crate::vcpu_slot::vcpu_of;

impl Broker<'_> {
    /// Handles one message. What it answers is owed, not sent.
    ///
    /// # Errors
    /// A contract was broken: the link is over.
    pub(crate) fn handle(
        &mut self,
        message: ToBroker,
        hypervisor: &mut impl Hypervisor,
    ) -> Result<(), Breach> {
        match (self.state, message) {
            (LinkState::AwaitingHello, ToBroker::Hello { oldest, newest, features }) => {
                self.greet(oldest, newest, features);
                Ok(())
            }
            (LinkState::AwaitingHello, _) | (_, ToBroker::Hello { .. }) => {
                Err(by_lender(BreachKind::OutOfTurn))
            }
            (_, ToBroker::SetRegion { lease, first, count, rights, loss, cache, label }) => {
                let result = label.check().map_err(|Unprintable| Refusal::BadLabel).and_then(|label| {
                    let terms = Terms { rights, loss, cache, label };
                    self.set_region(lease, PageRange::new(first, count), count, terms)
                });
                self.outbox.owe(FromBroker::RegionSet { lease, result });
                Ok(())
            }
            (_, ToBroker::DropRegion { lease }) => {
                let result = self.drop_region(lease, hypervisor);
                self.outbox.owe(FromBroker::RegionDropped { lease, result });
                Ok(())
            }
            (_, ToBroker::Present { ticket, lease, sequence, extents }) => {
                let outcome = self.present(lease, sequence, &extents, hypervisor)?;
                self.outbox.owe(FromBroker::Presented { ticket, outcome });
                Ok(())
            }
            (_, ToBroker::Invalidate { sequence, lease, first, count }) => {
                let result = self.invalidate(sequence, lease, PageRange::new(first, count), hypervisor)?;
                self.outbox.owe(FromBroker::Invalidated { sequence, result });
                Ok(())
            }
            (_, ToBroker::Forced { sequence }) => self.forced(sequence),
            (_, ToBroker::Completed { id, outcome }) => self
                .vcpus
                .get_mut(usize::from(vcpu_of(id)))
                .ok_or(BreachKind::UnexpectedAnswer)
                .and_then(|slot| slot.answer(id, &outcome, hypervisor, &mut self.counters))
                .map_err(by_lender),
            (_, ToBroker::Lost { lease, first, count }) => {
                self.lose(lease, PageRange::new(first, count), hypervisor);
                Ok(())
            }
            (_, ToBroker::AttachBorrower { attachment, ring_refs, event_channel }) => self
                .borrower
                .request(AttachRequest::Attach { attachment, ring_refs, event_channel })
                .map_err(by_lender),
            (_, ToBroker::DetachBorrower { attachment }) => {
                self.borrower.request(AttachRequest::Detach { attachment }).map_err(by_lender)
            }
            (_, ToBroker::Wanted { outcome: WantedOutcome::Failed, .. })
                if !self.capabilities.faults_retry =>
            {
                Err(by_lender(BreachKind::UnexpectedAnswer))
            }
            (_, ToBroker::Wanted { ticket, outcome }) => {
                self.wanted(ticket, outcome, hypervisor).map_err(by_lender)
            }
            (_, ToBroker::AskAgain { lease, first, count }) => {
                let pages = PageRange::new(first, count);
                self.borrower.ask_again(lease, pages);
                self.vcpus.iter_mut().for_each(|slot| slot.fault.ask_again(lease, pages));
                Ok(())
            }
        }
    }

    fn greet(&mut self, oldest: u16, newest: u16, offered: u32) {
        let features = self.capabilities.features();
        if !(oldest..=newest).contains(&VERSION) {
            self.state = LinkState::Incompatible;
            self.outbox.owe(FromBroker::Incompatible { oldest: VERSION, newest: VERSION });
        } else if offered & FEATURE_LEND_AWARE != features {
            self.state = LinkState::OtherKind;
            self.outbox.owe(FromBroker::OtherKind { features });
        } else {
            self.state = LinkState::Connected;
            self.outbox.owe(FromBroker::Welcome {
                version: VERSION,
                features,
                aperture_pages: self.aperture.page_count(),
                lease_capacity: LEASE_CAPACITY,
            });
        }
    }

    fn set_region(&mut self, id: LeaseId, pages: PageRange, count: u32, terms: Terms) -> Result<(), Refusal> {
        self.capabilities.check(terms.rights, terms.cache)?;
        if let Some(index) = self.borrower.quarantine.obstacle(pages, self.leases.living().count()) {
            return Err(Refusal::Quarantined { index });
        }
        self.leases.grant(id, AperturePage(pages.first), count, self.aperture.page_count(), terms)?;
        self.borrower.news.granted(id.index);
        Ok(())
    }

    /// Removes what is present and ends the lease. Of a lease that is gone nothing is.
    fn drop_region(&mut self, id: LeaseId, hypervisor: &mut impl Hypervisor) -> Result<u32, RemoveFailure> {
        let Named::Living(lease) = self.leases.find(id) else { return Ok(0) };
        // Dropping means something in every state that lives.
        let _ = lease.apply(LeaseEvent::Dropped);
        let pages = lease.pages();
        let removed = remove_pages(&mut self.table, hypervisor, &mut self.counters, pages);
        for slot in self.vcpus.iter_mut() {
            slot.give_up(Some(id), hypervisor, &mut self.counters);
        }
        if removed.is_ok() {
            self.table.clear_lost(pages);
            let _ = lease.apply(LeaseEvent::Emptied);
            self.borrower.lease_ended(id);
        } else {
            self.borrower.news.revoked(id, pages);
        }
        removed
    }

    fn present(
        &mut self,
        id: LeaseId,
        sequence: u64,
        claims: &[ClaimedExtent],
        hypervisor: &mut impl Hypervisor,
    ) -> Result<PresentOutcome, Breach> {
        let surroundings =
            Surroundings { aperture: self.aperture, vcpu_count: self.vcpu_count, history: &self.history };
        let outcome = match self.leases.find(id) {
            Named::Living(lease) if lease.is_active() => present(
                &mut self.table,
                hypervisor,
                &mut self.counters,
                &surroundings,
                lease,
                sequence,
                claims,
            )
            // Nothing true can be answered: the lender takes an unanswered `Present` for
            // added, and removes it itself.
            .map_err(|_| Breach { blame: Blame::Broker, kind: BreachKind::StillMapped })?,
            Named::Living(_) | Named::Gone => PresentOutcome::Stale,
            Named::Unknown => PresentOutcome::Refused(Refusal::NoSuchLease),
        };
        let counter = match outcome {
            PresentOutcome::Added { .. } => &mut self.counters.presents_added,
            PresentOutcome::Later => &mut self.counters.presents_later,
            PresentOutcome::Stale => &mut self.counters.presents_stale,
            PresentOutcome::Refused(_) => &mut self.counters.presents_refused,
            PresentOutcome::Failed(_) => &mut self.counters.presents_failed,
        };
        count(counter, 1);
        Ok(outcome)
    }

    /// Removes first; the acknowledgement is what this returns. Revocation is never
    /// refused: pages outside the lease are not its, and of a lease that is gone none is
    /// present.
    fn invalidate(
        &mut self,
        sequence: u64,
        id: LeaseId,
        range: PageRange,
        hypervisor: &mut impl Hypervisor,
    ) -> Result<Result<u32, RemoveFailure>, Breach> {
        self.history.begin(sequence).map_err(|Backwards| by_lender(BreachKind::SequenceBackwards))?;
        count(&mut self.counters.invalidations, 1);
        let Named::Living(lease) = self.leases.find(id) else { return Ok(Ok(0)) };
        // Invalidation means something in every state that lives.
        let _ = lease.apply(LeaseEvent::Invalidated);
        let pages = lease.pages().intersect(&range);
        self.history.record(pages);
        let widened = self.table.widen(pages);
        let removed = remove_pages(&mut self.table, hypervisor, &mut self.counters, pages);
        if removed != Ok(0) {
            self.borrower.news.revoked(id, widened);
        }
        Ok(removed)
    }

    /// The lender has removed every entry while the broker stood still.
    fn forced(&mut self, sequence: u64) -> Result<(), Breach> {
        self.history.force(sequence).map_err(|Backwards| by_lender(BreachKind::SequenceBackwards))?;
        count(&mut self.counters.forced, 1);
        self.table.clear_present();
        self.borrower.news.all_revoked();
        for lease in self.leases.living_mut() {
            let was_active = lease.is_active();
            let _ = lease.apply(LeaseEvent::Forced);
            if !was_active {
                self.table.clear_lost(lease.pages());
                self.borrower.lease_ended(lease.id());
            }
        }
        Ok(())
    }

    /// Present pages are removed first, though the lender should have invalidated them.
    fn lose(&mut self, id: LeaseId, range: PageRange, hypervisor: &mut impl Hypervisor) {
        let Named::Living(lease) = self.leases.find(id) else { return };
        if lease.apply(LeaseEvent::PagesLost).is_err() {
            return;
        }
        let pages = lease.pages().intersect(&range);
        // What cannot be removed stays present, in the table too, for an `Invalidate`
        // to report.
        let widened = self.table.widen(pages);
        let removed = remove_pages(&mut self.table, hypervisor, &mut self.counters, pages);
        if removed != Ok(0) {
            self.borrower.news.revoked(id, widened);
        }
        self.table.set_lost(pages);
        self.borrower.news.lost(id, pages);
    }
}

fn by_lender(kind: BreachKind) -> Breach {
    Breach { blame: Blame::Lender, kind }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Lend-aware Xen as the lending logic sees it: one call for a list of entries, one flush for it, and faults
//! instead of accesses. The borrower's RAM is never looked at.

use heapless::Vec;
use xenlend_lending::hypervisor::{Errno, Hypervisor, IoreqClaim, Partial, MAX_RUNS};
use xenlend_lending::lending_table::{FrameRun, PageRange};
use xenlend_protocol::message::Rights;
use xenlend_xen_abi::errno::EOPNOTSUPP;
use xenlend_xen_abi::lend::Entry;
use xenlend_xen_abi::DomainId;

use super::dm_op;
use super::ioreq_server::IoreqServer;
use crate::trace::{record, record_outcome, Event};

/// Lending by `XEN_DMOP_lend_change` and one ioreq server for faults.
pub struct LendAwareHypervisor {
    /// The borrower.
    pub borrower: DomainId,
    /// The domain whose frames they are.
    pub lender: DomainId,
    /// The aperture's first frame.
    pub aperture_gfn: u64,
    /// Faults of the borrower's vCPUs.
    pub requests: IoreqServer,
}

type Entries = Vec<Entry, MAX_RUNS>;

impl LendAwareHypervisor {
    fn gfn(&self, pages: PageRange) -> (u64, u64) {
        (self.aperture_gfn + u64::from(pages.first), u64::from(pages.page_count()))
    }

    fn change(&self, entries: &mut Entries) -> Result<(), Partial> {
        dm_op::lend_change(self.borrower, entries).map_err(|(done, errno)| {
            // Pages of one call are counted in 32 bits by the table.
            Partial { done: u32::try_from(done).unwrap_or(u32::MAX), errno: Errno(errno) }
        })
    }
}

impl Hypervisor for LendAwareHypervisor {
    fn add(&mut self, runs: &[FrameRun], rights: Rights) -> Result<(), Partial> {
        let mut entries = Entries::new();
        for FrameRun { pages, mfn } in runs {
            let (gfn, nr) = self.gfn(*pages);
            let entry = Entry::lend(gfn, nr, mfn.0, self.lender, rights == Rights::ReadOnly);
            entries.push(entry).map_err(|_| TOO_MANY)?;
        }
        let result = self.change(&mut entries);
        record_outcome(spanned(runs), result, Event::Added, Event::AddFailed);
        result
    }

    /// No frame is named: what the lender has removed itself meanwhile is no failure, and pages that follow
    /// each other are one entry whatever their frames.
    fn remove(&mut self, runs: &[FrameRun]) -> Result<(), Partial> {
        let mut entries = Entries::new();
        for FrameRun { pages, .. } in runs {
            let (gfn, nr) = self.gfn(*pages);
            match entries.last_mut() {
                Some(last) if last.gfn + last.nr == gfn => last.nr += nr,
                _ => entries.push(Entry::revoke(gfn, nr, self.lender)).map_err(|_| TOO_MANY)?,
            }
        }
        let result = self.change(&mut entries);
        record_outcome(spanned(runs), result, Event::Removed, Event::RemoveFailed);
        result
    }

    fn request(&mut self, vcpu: u16) -> Option<IoreqClaim> {
        self.requests.request(vcpu)
    }

    fn accept(&mut self, vcpu: u16) {
        self.requests.accept(vcpu);
    }

    fn complete(&mut self, vcpu: u16, data: u64) {
        self.requests.complete(vcpu, data);
        record(Event::Completed, u64::from(vcpu), data);
    }

    fn read_borrower(&mut self, _address: u64, _bytes: &mut [u8]) -> Result<(), Errno> {
        Err(Errno(EOPNOTSUPP))
    }

    fn write_borrower(&mut self, _address: u64, _bytes: &[u8]) -> Result<(), Errno> {
        Err(Errno(EOPNOTSUPP))
    }

    fn forget_borrower_memory(&mut self) {}
}

/// More runs than the lending logic passes in one call: nothing is done.
const TOO_MANY: Partial = Partial { done: 0, errno: Errno(xenlend_xen_abi::errno::E2BIG) };

/// The first page of the runs and how many they are, for the trace.
fn spanned(runs: &[FrameRun]) -> PageRange {
    let first = runs.first().map_or(0, |run| run.pages.first);
    let count = runs.iter().fold(0_u32, |sum, run| sum.saturating_add(run.pages.page_count()));
    PageRange { first, end: first.saturating_add(count) }
}

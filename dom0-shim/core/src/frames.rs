// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the lender asks Xen to do with frames: one trait for both kinds of Xen, and how it goes on a
//! lend-aware one.
//!
//! All but [`Frames::release`] runs in notifiers: nothing here may allocate, or wait for anybody but Xen.

use core::slice;

use xenlend_protocol::extent::ClaimedExtent;
use xenlend_protocol::frame::AperturePage;

use crate::bars::FrameRun;
use crate::dm_op::{run, Change, DmOp, Release, MAX_RUNS};
use crate::mirror::Run;
use crate::removal::Found;

const ESRCH: u16 = 3;
const EEXIST: u16 = 17;
const EBUSY: u16 = 16;

/// What removing without the broker cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls to Xen that remove, or look whether they have to.
    pub calls: u64,
    /// Withdrawals to which Xen said no.
    pub failures: u64,
}

/// Frames on their way in and out of the borrower. Errors are Xen's numbers, positive.
pub trait Frames {
    /// Lets the broker lend these frames: all of them or none. `is_ram` says of a page whether its frame is
    /// RAM and not of a device.
    ///
    /// # Errors
    /// Xen's.
    fn release(
        &mut self,
        extents: &[ClaimedExtent],
        read_only: bool,
        is_ram: &dyn Fn(AperturePage) -> bool,
    ) -> Result<(), u16>;

    /// Takes back what [`Self::release`] was given, of which nothing was lent. Gives how often Xen said no.
    fn take_back(&mut self, extents: &[ClaimedExtent], is_ram: &dyn Fn(AperturePage) -> bool) -> u64;

    /// Takes frames back that were lent, or are about to be removed. Gives of how many runs Xen said no.
    fn withdraw(&mut self, runs: &[Run]) -> u64;

    /// Removes the entries of a run without the broker. Nothing of the broker that is on its way can add one of
    /// them afterwards: it is held, or its frames are withdrawn before.
    fn remove(&mut self, run: &Run) -> Found<u16>;

    /// Removes what is left of a run that the broker says it has removed, and gives how much that was.
    fn verify(&mut self, run: &Run) -> Found<u16>;

    /// What the two above came to since it was asked last.
    fn take_counts(&mut self) -> Counts;
}

/// Makes the calls of a lend-aware Xen.
pub trait DmOps {
    /// Makes one; its answers are in the buffers.
    ///
    /// # Errors
    /// Xen's number, positive.
    fn dm_op(&mut self, call: &mut DmOp) -> Result<(), u16>;
}

/// Frames on a lend-aware Xen: a frame can be lent from its release to its withdrawal, whoever asks.
#[derive(Debug)]
pub struct LendAware<C> {
    calls: C,
    borrower: u16,
    lender: u16,
    first_gfn: u64,
    counts: Counts,
}

impl<C: DmOps> LendAware<C> {
    /// For a borrower whose aperture begins at a gfn.
    pub fn new(calls: C, borrower: u16, lender: u16, first_gfn: u64) -> Self {
        Self { calls, borrower, lender, first_gfn, counts: Counts::default() }
    }

    /// Names the broker that may lend, and this lender.
    ///
    /// # Errors
    /// Xen's.
    pub fn name_parties(&mut self, broker: u16) -> Result<(), u16> {
        self.calls.dm_op(&mut DmOp::name_parties(self.borrower, broker, self.lender))
    }

    /// Takes both names back: vCPUs that wait for the broker go on with a fault.
    ///
    /// # Errors
    /// Xen's.
    pub fn dismiss_parties(&mut self) -> Result<(), u16> {
        self.calls.dm_op(&mut DmOp::dismiss_parties(self.borrower, self.lender))
    }

    /// Withdraws at most [`MAX_RUNS`] runs. Xen stops at the first to which it says no, so the others are then
    /// asked for one by one: frames that go back to their driver must not stay released for another's sake.
    fn withdraw_part(&mut self, runs: impl Iterator<Item = FrameRun> + Clone) -> u64 {
        if self.withdraw_together(runs.clone()) {
            return 0;
        }
        runs.fold(0, |failures: u64, run| failures.saturating_add(u64::from(!self.withdraw_together([run]))))
    }

    fn withdraw_together(&mut self, runs: impl IntoIterator<Item = FrameRun>) -> bool {
        let mut call = DmOp::release(self.borrower, runs, Release::Withdraw);
        // ESRCH: there is no borrower left that could have something lent.
        matches!(self.calls.dm_op(&mut call), Ok(()) | Err(ESRCH))
    }

    fn change(&mut self, page: AperturePage, count: u32, what: Change) -> (Result<(), u16>, u32) {
        let gfn = self.first_gfn.saturating_add(u64::from(page.0));
        let mut call = DmOp::change(self.borrower, self.lender, gfn, u64::from(count), what);
        let result = self.calls.dm_op(&mut call);
        self.counts.calls = self.counts.calls.saturating_add(1);
        (result, u32::try_from(call.done()).unwrap_or(count).min(count))
    }
}

impl<C: DmOps> Frames for LendAware<C> {
    fn release(
        &mut self,
        extents: &[ClaimedExtent],
        read_only: bool,
        is_ram: &dyn Fn(AperturePage) -> bool,
    ) -> Result<(), u16> {
        let what = if read_only { Release::ReadOnly } else { Release::ReadWrite };
        for part in extents.chunks(MAX_RUNS) {
            let runs = part.iter().map(|extent| run(extent.mfn, extent.count));
            if let Err(error) = self.calls.dm_op(&mut DmOp::release(self.borrower, runs, what)) {
                self.take_back(extents, is_ram);
                return Err(error);
            }
        }
        Ok(())
    }

    fn take_back(&mut self, extents: &[ClaimedExtent], _: &dyn Fn(AperturePage) -> bool) -> u64 {
        extents.chunks(MAX_RUNS).fold(0, |failures: u64, part| {
            let runs = part.iter().map(|extent| run(extent.mfn, extent.count));
            failures.saturating_add(self.withdraw_part(runs))
        })
    }

    fn withdraw(&mut self, runs: &[Run]) -> u64 {
        runs.chunks(MAX_RUNS).fold(0, |failures: u64, part| {
            failures.saturating_add(self.withdraw_part(part.iter().map(Run::frames)))
        })
    }

    fn remove(&mut self, run: &Run) -> Found<u16> {
        let failures = self.withdraw(slice::from_ref(run));
        self.counts.failures = self.counts.failures.saturating_add(failures);
        match self.change(run.page, run.count, Change::Revoke).0 {
            Ok(()) => Found::Mapped(run.count),
            Err(ESRCH) => Found::DomainGone,
            Err(error) => Found::Stuck(error),
        }
    }

    fn verify(&mut self, run: &Run) -> Found<u16> {
        // First, or the broker could add behind the comparison.
        let failures = self.withdraw(slice::from_ref(run));
        self.counts.failures = self.counts.failures.saturating_add(failures);
        let (mut at, mut mapped) = (0u32, 0u32);
        while at < run.count {
            let page = AperturePage(run.page.0.saturating_add(at));
            let (compared, done) = self.change(page, run.count.saturating_sub(at), Change::Compare);
            match compared {
                Ok(()) => break,
                Err(ESRCH) => return Found::DomainGone,
                Err(EEXIST | EBUSY) => {}
                Err(error) => return Found::Stuck(error),
            }
            at = at.saturating_add(done);
            let page = AperturePage(run.page.0.saturating_add(at));
            match self.change(page, 1, Change::Revoke).0 {
                Ok(()) => {}
                Err(ESRCH) => return Found::DomainGone,
                Err(error) => return Found::Stuck(error),
            }
            mapped = mapped.saturating_add(1);
            at = at.saturating_add(1);
        }
        Found::Mapped(mapped)
    }

    fn take_counts(&mut self) -> Counts {
        core::mem::take(&mut self.counts)
    }
}

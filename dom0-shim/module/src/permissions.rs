// SPDX-License-Identifier: MIT OR Apache-2.0
//! Frame permissions of borrower and broker, given and taken with hypercalls.
//!
//! Always under the link's mutex of that name. Nothing here allocates: reclaim can be
//! waiting, in a notifier, for this mutex.

use xenlend_protocol::extent::ClaimedExtent;
use xenlend_protocol::frame::Mfn;
use xenlend_shim_core::bars::{FrameRun, MAX_RUNS};
use xenlend_shim_core::permits::{places_for, Permit, Permits};

use crate::errno::{Errno, ENOMEM, ENOSPC};
use crate::hypervisor::Hypervisor;
use crate::kernel_api::memory::KernelSlice;
use crate::log_warning;

/// A page-in acquires before it knows which pages fall out: one window more than the pages that are lent.
const SPARE_FRAMES: u32 = 1024;

/// The permissions of one link. The dummy frame's go with it.
pub struct Permissions {
    hypervisor: Hypervisor,
    borrower: u16,
    broker: u16,
    ram: Permits<KernelSlice<Permit>>,
    /// Frames of BARs, permitted while those are named.
    bars: heapless::Vec<FrameRun, MAX_RUNS>,
    dummy: Option<FrameRun>,
}

impl Permissions {
    /// For a link at which nothing is lent yet.
    pub fn new(hypervisor: Hypervisor, borrower: u16, broker: u16) -> Result<Self, Errno> {
        let places = KernelSlice::new(places_for(SPARE_FRAMES), Permit::default).ok_or(ENOMEM)?;
        Ok(Self {
            hypervisor,
            borrower,
            broker,
            ram: Permits::new(places),
            bars: heapless::Vec::new(),
            dummy: None,
        })
    }

    /// Places that the table must have before so many pages may be lent; `None` if it has them.
    pub fn places_missing(&self, pages: u32) -> Option<usize> {
        let places = places_for(pages.saturating_add(SPARE_FRAMES));
        (places > self.ram.places()).then_some(places)
    }

    /// Moves what is permitted to a larger table. Gives back the old one: it is freed outside the mutex.
    pub fn grow(&mut self, places: KernelSlice<Permit>) -> KernelSlice<Permit> {
        self.ram.move_to(places)
    }

    /// Gives both domains one frame for good, so that their sets are never empty: Xen flushes
    /// every cache of the machine when a set becomes empty or ceases to be.
    pub fn give_dummy(&mut self, physical_address_bits: u32) -> Result<(), Errno> {
        let end = 1u64 << (physical_address_bits.clamp(36, 52) - 12);
        // The last frame there can be; on AMD the last 12 GiB belong to HyperTransport and are denied.
        let below_hypertransport = end - (12u64 << 18);
        let mut error = ENOMEM;
        for last in [end - 1, below_hypertransport - 1] {
            let run = FrameRun { first: Mfn(last), count: 1 };
            match self.give(run) {
                Ok(()) => {
                    self.dummy = Some(run);
                    return Ok(());
                }
                Err(refused) => error = refused,
            }
        }
        Err(error)
    }

    /// Permits runs of a BAR for both domains until they are taken back: all of them or none.
    pub fn give_bar(&mut self, runs: &[FrameRun]) -> Result<(), Errno> {
        let before = self.bars.len();
        for run in runs {
            let given = self.give(*run);
            if given.is_ok() && self.bars.push(*run).is_ok() {
                continue;
            }
            if given.is_ok() {
                self.take(*run);
            }
            self.take_bars_from(before);
            return Err(given.err().unwrap_or(ENOSPC));
        }
        Ok(())
    }

    /// Withdraws runs of a BAR that are still permitted. Gives how many withdrawals failed.
    pub fn take_bar(&mut self, runs: &[FrameRun]) -> u64 {
        let mut failures = 0;
        for run in runs {
            let Some(at) = self.bars.iter().position(|given| given == run) else { continue };
            self.bars.swap_remove(at);
            failures += self.take(*run);
        }
        failures
    }

    /// Withdraws those of all BARs, at the link's end.
    pub fn take_bars(&mut self) -> u64 {
        self.take_bars_from(0)
    }

    fn take_bars_from(&mut self, first: usize) -> u64 {
        let mut failures = 0;
        while self.bars.len() > first {
            let Some(run) = self.bars.pop() else { break };
            failures += self.take(run);
        }
        failures
    }

    /// Permits a run for both domains.
    fn give(&self, run: FrameRun) -> Result<(), Errno> {
        self.hypervisor.permit(self.borrower, run.first, run.count, true)?;
        let result = self.hypervisor.permit(self.broker, run.first, run.count, true);
        if result.is_err() {
            let _ = self.hypervisor.permit(self.borrower, run.first, run.count, false);
        }
        result
    }

    /// Withdraws a run from both domains, the broker first: it must not be able to add what the borrower
    /// may not have. Gives how many withdrawals failed; no safety rests on them.
    fn take(&self, run: FrameRun) -> u64 {
        let broker = self.hypervisor.permit(self.broker, run.first, run.count, false);
        let borrower = self.hypervisor.permit(self.borrower, run.first, run.count, false);
        u64::from(broker.is_err()) + u64::from(borrower.is_err())
    }

    /// Permits the borrower once more what a removal needs.
    pub fn give_borrower(&self, run: FrameRun) -> Result<(), Errno> {
        self.hypervisor.permit(self.borrower, run.first, run.count, true)
    }

    /// Withdraws what [`Self::give_borrower`] gave and nobody else will withdraw: another revocation of the
    /// same frames may have been there before. Gives how many withdrawals failed.
    pub fn take_spare(&self, mut run: FrameRun) -> u64 {
        let mut failures = 0;
        let end = run.first.0.saturating_add(run.count);
        while let Some(spare) = self.ram.next_spare(run, &self.bars) {
            failures +=
                u64::from(self.hypervisor.permit(self.borrower, spare.first, spare.count, false).is_err());
            run.first = Mfn(spare.first.0.saturating_add(spare.count));
            run.count = end.saturating_sub(run.first.0);
        }
        failures
    }

    /// Takes back the dummy frame, at the link's end.
    pub fn take_dummy(&mut self) -> u64 {
        self.dummy.take().map_or(0, |run| self.take(run))
    }

    /// Permits the RAM frames of an extent, one page more each.
    pub fn acquire(&mut self, extent: &ClaimedExtent) -> Result<(), Errno> {
        let mut done = 0;
        while done < extent.count {
            let first = Mfn(extent.mfn.0 + u64::from(done));
            let Ok(step) = self.ram.acquire(first, extent.count - done) else {
                log_warning!("dom{}: no place for the permission of frame {:#x}", self.borrower, first.0);
                self.withdraw(extent.mfn, done);
                return Err(ENOMEM);
            };
            done += step.frames;
            if !step.changed {
                continue;
            }
            if let Err(error) = self.give(FrameRun { first, count: u64::from(step.frames) }) {
                log_warning!(
                    "dom{}: Xen refuses the permission of {} frames from {:#x}: error {}",
                    self.borrower,
                    step.frames,
                    first.0,
                    error.0
                );
                self.withdraw(extent.mfn, done);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Withdraws the RAM frames of a run, one page less each. Frames that were never acquired, those in
    /// BARs, stay as they are. Gives how many withdrawals failed.
    pub fn withdraw(&mut self, first: Mfn, count: u32) -> u64 {
        let (mut done, mut failures) = (0, 0);
        while done < count {
            let at = Mfn(first.0 + u64::from(done));
            let step = self.ram.withdraw(at, count - done);
            done += step.frames;
            if step.changed {
                failures += self.take(FrameRun { first: at, count: u64::from(step.frames) });
            }
        }
        failures
    }
}

impl Drop for Permissions {
    fn drop(&mut self) {
        self.take_dummy();
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Stock Xen as the lending logic sees it.

use xenlend_lending::hypervisor::{one_by_one, Errno, Hypervisor, IoreqClaim, Partial};
use xenlend_lending::lending_table::{FrameRun, PageRange};
use xenlend_protocol::frame::Mfn;
use xenlend_protocol::message::Rights;

use super::domctl::BorrowerControl;
use super::foreign_memory::ForeignMemory;
use super::ioreq_server::IoreqServer;
use crate::trace::{record, record_outcome, Event};

/// Lending by `XEN_DOMCTL_memory_mapping` and one ioreq server.
pub struct StockHypervisor {
    /// Rights over the borrower.
    pub control: BorrowerControl,
    /// The aperture's first frame.
    pub aperture_gfn: u64,
    /// Requests of the borrower's vCPUs.
    pub requests: IoreqServer,
    /// Views of the borrower's RAM.
    pub memory: ForeignMemory,
}

impl StockHypervisor {
    /// Repeats a call until it has handled all frames: Xen does at most 64 entries at a time and says how
    /// far it came. It always advances, so this ends.
    fn repeat(
        &self,
        pages: PageRange,
        mfn: Mfn,
        call: fn(BorrowerControl, u64, u64, u64) -> Result<u64, u16>,
    ) -> Result<(), Partial> {
        let (gfn, count) = (self.aperture_gfn + u64::from(pages.first), pages.page_count());
        let mut done = 0;
        while done < count {
            let (at, left) = (u64::from(done), u64::from(count - done));
            match call(self.control, gfn + at, mfn.0 + at, left) {
                Ok(frames) => done += frames as u32,
                Err(errno) => return Err(Partial { done, errno: Errno(errno) }),
            }
        }
        Ok(())
    }
}

impl Hypervisor for StockHypervisor {
    fn add(&mut self, runs: &[FrameRun], _rights: Rights) -> Result<(), Partial> {
        one_by_one(runs, |FrameRun { pages, mfn }| {
            let result = self.repeat(pages, mfn, BorrowerControl::add);
            record_outcome(pages, result, Event::Added, Event::AddFailed);
            result
        })
    }

    fn remove(&mut self, runs: &[FrameRun]) -> Result<(), Partial> {
        one_by_one(runs, |FrameRun { pages, mfn }| {
            let result = self.repeat(pages, mfn, BorrowerControl::remove);
            record_outcome(pages, result, Event::Removed, Event::RemoveFailed);
            result
        })
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

    fn read_borrower(&mut self, address: u64, bytes: &mut [u8]) -> Result<(), Errno> {
        self.memory.read(address, bytes).map_err(Errno)
    }

    fn write_borrower(&mut self, address: u64, bytes: &[u8]) -> Result<(), Errno> {
        self.memory.write(address, bytes).map_err(Errno)
    }

    fn forget_borrower_memory(&mut self) {
        self.memory.forget();
    }
}

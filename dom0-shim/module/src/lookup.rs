// SPDX-License-Identifier: MIT OR Apache-2.0
//! Faulting in and looking up the frames around a page, with the checks before a frame is lent.
//!
//! Frames found here may be taken away at once: they count only if no invalidation has
//! come between, which is asked under the link's lock when the Present is posted.

use xenlend_protocol::frame::{AperturePage, PAGE_SIZE};
use xenlend_shim_core::lendable::{judge, FrameRefusal};
use xenlend_shim_core::link::{Completion, PageIn};
use xenlend_shim_core::permission::{Access, Entry, Protection};
use xenlend_shim_core::request_queue::Request;
use xenlend_shim_core::window::{Window, WINDOW_PAGES};

use crate::bars::Bars;
use crate::errno::{Errno, EACCES, EAGAIN, EBUSY, EINTR, ENOMEM};
use crate::kernel_api::address_space::{
    frame_facts, hmm_pfn, mark_written, AddressSpace, Faulted, Mapping, Tried, Vma, HMM_ERROR, HMM_VALID,
    HMM_WRITE,
};
use crate::kernel_api::lock::Mutex;
use crate::kernel_api::memory::KernelSlice;
use crate::kernel_api::region::RegionObject;

/// Faults before an access is given up: only a driver that takes the page away every time, at
/// once, needs more.
pub const MAX_FAULTS_OF_ACCESS: u32 = 1000;

/// Faults that make an entry of driver memory writable: one for the entry, one for the write.
const FAULTS_OF_A_FRAME: u32 = 2;

/// An entry that may be lent: there, and writable.
const HMM_USABLE: u64 = HMM_VALID | HMM_WRITE;

/// Memory of a worker.
pub struct Scratch {
    /// What is being served.
    pub request: Option<Request>,
    /// The answer to its access, until it is sent.
    pub completion: Option<Completion>,
    /// What was found.
    pub window: Window<KernelSlice<u64>>,
    /// Words for `hmm_range_fault`.
    pages: KernelSlice<u64>,
}

impl Scratch {
    /// `None` if memory is short.
    pub fn new() -> Option<Self> {
        let window = Window::new(KernelSlice::new(WINDOW_PAGES, || 0)?);
        let pages = KernelSlice::new(WINDOW_PAGES, || 0)?;
        Some(Self { request: None, completion: None, window, pages })
    }
}

/// Judges what a process has mapped at an address before an access is done there for the borrower:
/// it reaches nothing by an access that could not be lent, but by one that the process moves there
/// at that moment.
///
/// # Errors
/// Why not.
pub fn judge_access(
    space: &AddressSpace<'_>,
    address: u64,
    write: bool,
    bars: &Mutex<Bars>,
) -> Result<(), LookupEnd> {
    for _ in 0..MAX_FAULTS_OF_ACCESS {
        let mapping = space.lock_mapping();
        let vma = mapping.vma_at(address);
        match vma.map_or(Protection::default(), |vma| vma.protection).access(write) {
            Access::Granted => {}
            Access::Waits => return Err(LookupEnd::Protected),
            Access::Refused(refusal) => return Err(LookupEnd::Refused(refusal)),
        }
        let found = if vma.is_some_and(|vma| vma.pfn_mapped) {
            mapping.pfn_at(address)
        } else {
            mapping.page_at(address).map_err(refusal_of)?
        };
        // What may only be read may be a page in place of the one that is written: that of zeros.
        if let Some((pfn, _)) = found.filter(|(_, writable)| *writable || !write) {
            return judge(&frame_facts(pfn), &bars.lock(), !write).map(drop).map_err(LookupEnd::Refused);
        }
        fault_in(&mapping, address, write)?;
    }
    Err(LookupEnd::GiveUp)
}

/// Faults the page of an access in.
///
/// # Errors
/// Why not.
pub fn fault_in(mapping: &Mapping<'_>, address: u64, write: bool) -> Result<(), LookupEnd> {
    let vma = mapping.vma_at(address).ok_or(LookupEnd::Refused(FrameRefusal::Unmapped))?;
    if vma.pfn_mapped {
        // Drivers bring their memory themselves.
        return mapping.fault(address, write).map(drop).map_err(refusal_of);
    }
    match mapping.try_fault(address, write).map_err(refusal_of)? {
        Tried::Done => Ok(()),
        Tried::WouldWait => Err(LookupEnd::Waits),
    }
}

/// Why a lookup gave nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookupEnd {
    /// The ground moved: look again.
    Again,
    /// The page may not be lent, or there is none.
    Refused(FrameRefusal),
    /// Not now: memory is short, or the worker was interrupted.
    GiveUp,
    /// Somebody has to be waited for, which the worker does not do.
    Waits,
    /// What is to be done there is not permitted, and may be later.
    Protected,
    /// No entry can be made of what is permitted there. Accesses are done one by one.
    Unlendable,
    /// Something is mapped there that cannot be brought: the file has ended, an error, a broken
    /// page.
    Lost,
}

/// One lookup.
pub struct Lookup<'a> {
    /// What for.
    pub page_in: &'a PageIn,
    /// The process.
    pub space: &'a AddressSpace<'a>,
    /// The region is lent for reading only: nothing is faulted in for writing, and nothing needs to
    /// be writable.
    pub read_only: bool,
    /// Accesses without an entry are done one by one.
    pub completes_accesses: bool,
    /// The region's notifier.
    pub object: &'a RegionObject,
    /// BARs that may be lent from; locked for each frame, never over a fault.
    pub bars: &'a Mutex<Bars>,
}

impl Lookup<'_> {
    /// Fills the window with the faulting page and those of its neighbours that come cheaply.
    pub fn run(&self, scratch: &mut Scratch) -> Result<(), LookupEnd> {
        scratch.window.reset(self.page_in.first, self.page_in.count, self.page_in.page);
        let sequence = self.object.read_begin();
        let mapping = self.space.lock_mapping();
        let fault = self.address_of(self.page_in.page);
        let vma = mapping.vma_at(fault).ok_or(LookupEnd::Refused(FrameRefusal::Unmapped))?;
        match vma.protection.entry(self.read_only, self.completes_accesses) {
            Entry::ReadWrite | Entry::ReadOnly => {}
            Entry::Waits => return Err(LookupEnd::Protected),
            Entry::None => return Err(LookupEnd::Unlendable),
            Entry::Refused(refusal) => return Err(LookupEnd::Refused(refusal)),
        }
        if vma.pfn_mapped {
            self.look_up_frames(&mapping, vma, scratch)
        } else {
            self.look_up_pages(&mapping, vma, sequence, scratch)
        }
    }

    /// Memory of drivers: page-table entries name frames. A driver faults in several pages at
    /// a time, so each fault is followed by looking at the entries behind it.
    fn look_up_frames(
        &self,
        mapping: &Mapping<'_>,
        vma: Vma,
        scratch: &mut Scratch,
    ) -> Result<(), LookupEnd> {
        // The faulting page first: its errors are the answer.
        self.frame_at(mapping, vma, self.page_in.page, scratch)?;
        for step in 0..self.page_in.count {
            let page = AperturePage(self.page_in.first.0.saturating_add(step));
            let address = self.address_of(page);
            if page == self.page_in.page || address < vma.start || address >= vma.end {
                continue;
            }
            match self.frame_at(mapping, vma, page, scratch) {
                // A neighbour that cannot be lent is left out; it is judged when it is touched.
                Ok(())
                | Err(
                    LookupEnd::Refused(_) | LookupEnd::Lost | LookupEnd::Protected | LookupEnd::Unlendable,
                ) => {}
                Err(end) => return Err(end),
            }
        }
        Ok(())
    }

    fn frame_at(
        &self,
        mapping: &Mapping<'_>,
        vma: Vma,
        page: AperturePage,
        scratch: &mut Scratch,
    ) -> Result<(), LookupEnd> {
        let address = self.address_of(page);
        let is_enough = |found: Option<(u64, bool)>| found.is_some_and(|(_, may)| may || self.read_only);
        let mut found = mapping.pfn_at(address);
        // A driver that wants to know of the first write makes the entry read-only, and writable at
        // a second fault.
        for _ in 0..FAULTS_OF_A_FRAME {
            if is_enough(found) {
                break;
            }
            let faulted = mapping.fault(address, !self.read_only).map_err(refusal_of)?;
            if faulted == Faulted::LetGo && mapping.vma_at(address) != Some(vma) {
                return Err(LookupEnd::Again);
            }
            found = mapping.pfn_at(address);
        }
        match found {
            Some((pfn, writable)) if writable || self.read_only => self.take(page, pfn, scratch),
            // Not even two faults make it writable. If it may be lent at all it is to be read, not
            // refused.
            Some((pfn, _)) => {
                judge(&frame_facts(pfn), &self.bars.lock(), false).map_err(LookupEnd::Refused)?;
                Err(if self.completes_accesses { LookupEnd::Unlendable } else { LookupEnd::Protected })
            }
            // Taken away again between the two calls.
            None => Err(LookupEnd::Again),
        }
    }

    /// Ordinary memory: only the page itself is faulted in, so that a window over a sparse file
    /// does not fill it; neighbours that are there and writable come along.
    fn look_up_pages(
        &self,
        mapping: &Mapping<'_>,
        vma: Vma,
        sequence: core::ffi::c_ulong,
        scratch: &mut Scratch,
    ) -> Result<(), LookupEnd> {
        let window_start = self.page_in.user_address;
        let window_end = window_start + u64::from(self.page_in.count) * PAGE_SIZE;
        let start = window_start.max(vma.start);
        let count = (window_end.min(vma.end).saturating_sub(start) / PAGE_SIZE) as usize;
        let first_step = ((start - window_start) / PAGE_SIZE) as u32;
        let fault_step = (self.page_in.page.0 - self.page_in.first.0).saturating_sub(first_step);
        let Some(pages) = scratch.pages.get_mut(..count) else { return Err(LookupEnd::GiveUp) };
        // The look itself asks for no faults: those would wait, for whoever it takes.
        pages.fill(0);
        mapping.look_at_range(sequence, start, pages).map_err(refusal_of)?;
        let needed = if self.read_only { HMM_VALID } else { HMM_USABLE };
        let found = pages.get(fault_step as usize).copied().unwrap_or(0);
        if found & HMM_ERROR != 0 {
            return Err(LookupEnd::Refused(FrameRefusal::Special));
        }
        if found & needed != needed {
            let fault = self.address_of(self.page_in.page);
            return Err(match mapping.try_fault(fault, !self.read_only).map_err(refusal_of)? {
                Tried::Done => LookupEnd::Again,
                Tried::WouldWait => LookupEnd::Waits,
            });
        }
        for step in 0..count {
            let word = scratch.pages.get(step).copied().unwrap_or(0);
            if word & HMM_ERROR != 0 || word & needed != needed {
                continue;
            }
            let page = AperturePage(self.page_in.first.0 + first_step + step as u32);
            let judged = self.take(page, hmm_pfn(word), scratch);
            if judged.is_ok() && !self.read_only {
                mark_written(mapping, hmm_pfn(word));
            }
            if page == self.page_in.page {
                judged?;
            }
        }
        Ok(())
    }

    fn take(&self, page: AperturePage, pfn: u64, scratch: &mut Scratch) -> Result<(), LookupEnd> {
        let facts = frame_facts(pfn);
        let (mfn, kind) = judge(&facts, &self.bars.lock(), self.read_only).map_err(LookupEnd::Refused)?;
        scratch.window.put(page, mfn, kind);
        Ok(())
    }

    fn address_of(&self, page: AperturePage) -> u64 {
        let step = u64::from(page.0.saturating_sub(self.page_in.first.0));
        self.page_in.user_address.saturating_add(step.saturating_mul(PAGE_SIZE))
    }
}

/// What an error of a fault means.
pub fn refusal_of(error: Errno) -> LookupEnd {
    match error {
        EBUSY | EAGAIN => LookupEnd::Again,
        ENOMEM | EINTR => LookupEnd::GiveUp,
        EACCES => LookupEnd::Refused(FrameRefusal::Special),
        _ => LookupEnd::Lost,
    }
}

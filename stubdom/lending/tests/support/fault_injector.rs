// SPDX-License-Identifier: MIT OR Apache-2.0
//! A hypervisor in which chosen calls fail, before or after some of their pages.

use std::collections::BTreeMap;

use xenlend_lending::hypervisor::{one_by_one, Errno, Hypervisor, IoreqClaim, Partial};
use xenlend_lending::lending_table::{FrameRun, PageRange};
use xenlend_protocol::message::Rights;

/// How one call fails.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// Pages done before it fails; less than the call asks for, or all but one are.
    pub done: u32,
    pub errno: u16,
}

/// The wrapper. Runs of each kind are counted from 0.
#[derive(Debug)]
pub struct FaultInjector<H> {
    pub inner: H,
    pub adds_to_fail: BTreeMap<u32, Fault>,
    pub removes_to_fail: BTreeMap<u32, Fault>,
    pub adds: u32,
    pub removes: u32,
    /// Calls, each with its number of runs and, if it adds, the rights asked for.
    pub calls: Vec<(usize, Option<Rights>)>,
    /// Removes that fail claim to have done all that was asked for, and more.
    pub removes_exaggerate: bool,
}

impl<H> FaultInjector<H> {
    pub fn new(inner: H) -> Self {
        Self {
            inner,
            adds_to_fail: BTreeMap::new(),
            removes_to_fail: BTreeMap::new(),
            adds: 0,
            removes: 0,
            calls: Vec::new(),
            removes_exaggerate: false,
        }
    }

    /// The next remove fails.
    pub fn fail_next_remove(&mut self, done: u32, errno: u16) {
        self.removes_to_fail.insert(self.removes, Fault { done, errno });
    }

    /// The next add fails.
    pub fn fail_next_add(&mut self, done: u32, errno: u16) {
        self.adds_to_fail.insert(self.adds, Fault { done, errno });
    }
}

/// A 2 MiB entry is removed wholly or not at all. (An add can stop inside 2 MiB, where the
/// borrower has made Xen go page by page.)
fn removed_before(fault: Fault, run: &FrameRun) -> u32 {
    let PageRange { first, end } = run.pages;
    let done = fault.done.min(end - first - 1);
    let congruent = u64::from(first % 512) == run.mfn.0 % 512;
    let block_start = (first + done) / 512 * 512;
    let whole_block = block_start >= first && block_start + 512 <= end;
    if congruent && whole_block {
        block_start - first
    } else {
        done
    }
}

fn first_pages(run: FrameRun, count: u32) -> FrameRun {
    let PageRange { first, .. } = run.pages;
    FrameRun { pages: PageRange { first, end: first + count }, mfn: run.mfn }
}

impl<H: Hypervisor> Hypervisor for FaultInjector<H> {
    fn add(&mut self, runs: &[FrameRun], rights: Rights) -> Result<(), Partial> {
        self.calls.push((runs.len(), Some(rights)));
        one_by_one(runs, |run| {
            let fault = self.adds_to_fail.remove(&self.adds);
            self.adds += 1;
            let Some(fault) = fault else { return self.inner.add(&[run], rights) };
            let done = fault.done.min(run.pages.page_count() - 1);
            if done > 0 {
                self.inner.add(&[first_pages(run, done)], rights)?;
            }
            Err(Partial { done, errno: Errno(fault.errno) })
        })
    }

    fn remove(&mut self, runs: &[FrameRun]) -> Result<(), Partial> {
        self.calls.push((runs.len(), None));
        let is_last = runs.len() == 1;
        one_by_one(runs, |run| {
            let fault = self.removes_to_fail.remove(&self.removes);
            self.removes += 1;
            let Some(fault) = fault else { return self.inner.remove(&[run]) };
            let done = removed_before(fault, &run);
            if done > 0 {
                self.inner.remove(&[first_pages(run, done)])?;
            }
            let done = if self.removes_exaggerate && is_last { u32::MAX } else { done };
            Err(Partial { done, errno: Errno(fault.errno) })
        })
    }

    fn request(&mut self, vcpu: u16) -> Option<IoreqClaim> {
        self.inner.request(vcpu)
    }

    fn accept(&mut self, vcpu: u16) {
        self.inner.accept(vcpu);
    }

    fn complete(&mut self, vcpu: u16, data: u64) {
        self.inner.complete(vcpu, data);
    }

    fn read_borrower(&mut self, address: u64, bytes: &mut [u8]) -> Result<(), Errno> {
        self.inner.read_borrower(address, bytes)
    }

    fn write_borrower(&mut self, address: u64, bytes: &[u8]) -> Result<(), Errno> {
        self.inner.write_borrower(address, bytes)
    }

    fn forget_borrower_memory(&mut self) {
        self.inner.forget_borrower_memory();
    }
}

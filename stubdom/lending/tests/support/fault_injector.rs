// SPDX-License-Identifier: MIT OR Apache-2.0
//! A hypervisor in which chosen calls fail, before or after some of their pages.

use std::collections::BTreeMap;

use xenlend_lending::hypervisor::{Errno, Hypervisor, IoreqClaim, Partial};
use xenlend_protocol::frame::{AperturePage, Mfn};

/// How one call fails.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// Pages done before it fails; less than the call asks for, or all but one are.
    pub done: u32,
    pub errno: u16,
}

/// The wrapper. Calls of each kind are counted from 0.
#[derive(Debug)]
pub struct FaultInjector<H> {
    pub inner: H,
    pub adds_to_fail: BTreeMap<u32, Fault>,
    pub removes_to_fail: BTreeMap<u32, Fault>,
    pub adds: u32,
    pub removes: u32,
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
fn removed_before(fault: Fault, first: AperturePage, mfn: Mfn, count: u32) -> u32 {
    let done = fault.done.min(count - 1);
    let congruent = u64::from(first.0 % 512) == mfn.0 % 512;
    let block_start = (first.0 + done) / 512 * 512;
    let whole_block = block_start >= first.0 && block_start + 512 <= first.0 + count;
    if congruent && whole_block {
        block_start - first.0
    } else {
        done
    }
}

impl<H: Hypervisor> Hypervisor for FaultInjector<H> {
    fn add(&mut self, first: AperturePage, mfn: Mfn, count: u32) -> Result<(), Partial> {
        let fault = self.adds_to_fail.remove(&self.adds);
        self.adds += 1;
        let Some(fault) = fault else { return self.inner.add(first, mfn, count) };
        let done = fault.done.min(count - 1);
        if done > 0 {
            self.inner.add(first, mfn, done)?;
        }
        Err(Partial { done, errno: Errno(fault.errno) })
    }

    fn remove(&mut self, first: AperturePage, mfn: Mfn, count: u32) -> Result<(), Partial> {
        let fault = self.removes_to_fail.remove(&self.removes);
        self.removes += 1;
        let Some(fault) = fault else { return self.inner.remove(first, mfn, count) };
        let done = removed_before(fault, first, mfn, count);
        if done > 0 {
            self.inner.remove(first, mfn, done)?;
        }
        let done = if self.removes_exaggerate { u32::MAX } else { done };
        Err(Partial { done, errno: Errno(fault.errno) })
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

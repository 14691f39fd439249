// SPDX-License-Identifier: MIT OR Apache-2.0
//! Broken contracts on demand, for scenarios that must notice them. Only with the Cargo feature `faults`.

use xenlend_lending::hypervisor::{Errno, Hypervisor, IoreqClaim, LenderLink, Partial, SendError};
use xenlend_protocol::frame::{AperturePage, Mfn};
use xenlend_protocol::message::{FromBroker, ToBroker};
use xenlend_protocol::refusal::BreachKind;

use crate::attack::Attack;
use crate::start_error::StartError;
use crate::xen::lender_link::Link;

/// Removals that [`Fault::AckFirst`] can put off at a time; what does not fit is done at once.
const DELAYED: usize = 64;

/// What to do wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Acknowledge, but never remove.
    SkipUnmap,
    /// Acknowledge first, remove in the next turn.
    AckFirst,
    /// Spin for ever at the first `Invalidate`.
    Loop,
    /// Panic at the first `Invalidate`.
    Panic,
    /// Attack the lender from the first `Invalidate` on.
    Attack(Attack),
}

impl Fault {
    /// The fault of that name.
    ///
    /// # Errors
    /// If there is none.
    pub fn parse(name: &str) -> Result<Self, StartError> {
        match name {
            "skip-unmap" => Ok(Self::SkipUnmap),
            "ack-first" => Ok(Self::AckFirst),
            "loop" => Ok(Self::Loop),
            "panic" => Ok(Self::Panic),
            "flood" => Ok(Self::Attack(Attack::Flood)),
            "backwards" => Ok(Self::Attack(Attack::Backwards)),
            "garbage" => Ok(Self::Attack(Attack::Garbage)),
            "changing" => Ok(Self::Attack(Attack::Changing)),
            _ => Err(StartError::CommandLine("fault= names no fault")),
        }
    }
}

/// A hypervisor that does not always do what it says.
pub struct FaultyHypervisor<H> {
    /// The sound one.
    pub inner: H,
    fault: Option<Fault>,
    delayed: heapless::Vec<(AperturePage, Mfn, u32), DELAYED>,
}

impl<H: Hypervisor> FaultyHypervisor<H> {
    /// Wraps a sound one.
    pub fn new(inner: H, fault: Option<Fault>) -> Self {
        Self { inner, fault, delayed: heapless::Vec::new() }
    }

    /// Does what was put off. Xen refuses where the lender has withdrawn the frames meanwhile, as it may
    /// once they are acknowledged: those entries stay until their pages are added again.
    pub fn start_turn(&mut self) {
        for (first, mfn, count) in &self.delayed {
            let _ = self.inner.remove(*first, *mfn, *count);
        }
        self.delayed.clear();
    }
}

impl<H: Hypervisor> Hypervisor for FaultyHypervisor<H> {
    fn add(&mut self, first: AperturePage, mfn: Mfn, count: u32) -> Result<(), Partial> {
        // Adding over an entry would kill the borrower: that is not the fault wanted. What was left behind
        // goes first, one page at a time, since Xen stops at the first page that has none. It does not
        // look at the frame, and these may be named again.
        self.start_turn();
        if matches!(self.fault, Some(Fault::SkipUnmap | Fault::AckFirst)) {
            for offset in 0..count {
                if let (Some(page), Some(mfn)) = (first.checked_add(offset), mfn.checked_add(offset.into())) {
                    let _ = self.inner.remove(page, mfn, 1);
                }
            }
        }
        self.inner.add(first, mfn, count)
    }

    fn remove(&mut self, first: AperturePage, mfn: Mfn, count: u32) -> Result<(), Partial> {
        match self.fault {
            Some(Fault::SkipUnmap) => Ok(()),
            Some(Fault::AckFirst) => match self.delayed.push((first, mfn, count)) {
                Ok(()) => Ok(()),
                Err(_) => self.inner.remove(first, mfn, count),
            },
            _ => self.inner.remove(first, mfn, count),
        }
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

/// A link that may stop at an `Invalidate`, or attack.
pub struct FaultyLink {
    /// The sound one.
    pub inner: Link,
    fault: Option<Fault>,
    /// The one `Invalidate` before the attack has been taken.
    taken: bool,
}

impl FaultyLink {
    /// Wraps a sound one.
    pub fn new(inner: Link, fault: Option<Fault>) -> Self {
        Self { inner, fault, taken: false }
    }
}

impl LenderLink for FaultyLink {
    fn send(&mut self, message: &FromBroker) -> Result<(), SendError> {
        self.inner.send(message)
    }

    fn receive(&mut self) -> Result<Option<ToBroker>, BreachKind> {
        // Its pages are removed and the acknowledgement lies in the ring: what changes under the lender's
        // eyes is sound at first, and no lie about what is mapped.
        if let (true, Some(Fault::Attack(Attack::Changing))) = (self.taken, self.fault) {
            self.inner.pages.attack(Attack::Changing);
        }
        let received = self.inner.receive();
        if matches!(received, Ok(Some(ToBroker::Invalidate { .. }))) {
            match self.fault {
                Some(Fault::Loop) => loop {
                    core::hint::spin_loop();
                },
                Some(Fault::Panic) => panic!("as the command line asked for"),
                Some(Fault::Attack(Attack::Changing)) => self.taken = true,
                Some(Fault::Attack(attack)) => self.inner.pages.attack(attack),
                _ => {}
            }
        }
        received
    }
}

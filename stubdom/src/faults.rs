// SPDX-License-Identifier: MIT OR Apache-2.0
//! Broken contracts on demand, for scenarios that must notice them. Only with the Cargo feature `faults`.

use xenlend_lending::hypervisor::{
    one_by_one, Errno, Hypervisor, IoreqClaim, LenderLink, Partial, SendError,
};
use xenlend_lending::ioreq::{Request, STATE_READY};
use xenlend_lending::lending_table::{FrameRun, PageRange};
use xenlend_protocol::frame::Mfn;
use xenlend_protocol::message::{FromBroker, Rights, ToBroker};
use xenlend_protocol::refusal::BreachKind;

use crate::attack::{wait_for_pace, Attack};
use crate::departure::Server;
use crate::start_error::StartError;
use crate::turn::LenderEnd;
use crate::xen::lender_link::Link;

/// Removals that [`Fault::AckFirst`] can put off at a time; what does not fit is done at once.
const DELAYED: usize = 64;

/// vCPUs whose requests [`Fault::LateStos`] can keep in mind; others are served at once.
const OVERLOOKED: usize = 8;

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
    /// Overlook a `rep stos` until some page was added: so its page may be added while it is outstanding.
    LateStos,
    /// Never acknowledge the first `Invalidate`, but acknowledge nothing just before each deadline.
    Babble,
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
            "late-stos" => Ok(Self::LateStos),
            "babble" => Ok(Self::Babble),
            "creep" => Ok(Self::Attack(Attack::Creep)),
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
    delayed: heapless::Vec<FrameRun, DELAYED>,
    overlooked: heapless::Vec<u16, OVERLOOKED>,
    /// Seen after all, and not completed yet.
    seen: heapless::Vec<u16, OVERLOOKED>,
}

impl<H: Hypervisor> FaultyHypervisor<H> {
    /// Wraps a sound one.
    pub fn new(inner: H, fault: Option<Fault>) -> Self {
        let (overlooked, seen) = (heapless::Vec::new(), heapless::Vec::new());
        Self { inner, fault, delayed: heapless::Vec::new(), overlooked, seen }
    }

    /// Whether this new request is to be overlooked.
    fn overlooks(&mut self, vcpu: u16, claim: &IoreqClaim) -> bool {
        let Request::Access(access) = Request::check(claim) else { return false };
        if self.fault != Some(Fault::LateStos)
            || claim.state != STATE_READY
            || !access.kills_if_added()
            || self.seen.contains(&vcpu)
        {
            return false;
        }
        self.overlooked.contains(&vcpu) || self.overlooked.push(vcpu).is_ok()
    }

    /// Does what was put off. Xen refuses where the lender has withdrawn the frames meanwhile, as it may
    /// once they are acknowledged: those entries stay until their pages are added again.
    pub fn start_turn(&mut self) {
        for run in &self.delayed {
            let _ = self.inner.remove(&[*run]);
        }
        self.delayed.clear();
    }
}

impl<H: Hypervisor> Hypervisor for FaultyHypervisor<H> {
    fn add(&mut self, runs: &[FrameRun], rights: Rights) -> Result<(), Partial> {
        // Adding over an entry would kill the borrower: that is not the fault wanted. What was left behind
        // goes first, one page at a time, since Xen stops at the first page that has none. It does not
        // look at the frame, and these may be named again.
        self.start_turn();
        if matches!(self.fault, Some(Fault::SkipUnmap | Fault::AckFirst)) {
            for run in runs {
                for (page, mfn) in (run.pages.first..run.pages.end).zip(run.mfn.0..) {
                    let pages = PageRange { first: page, end: page + 1 };
                    let _ = self.inner.remove(&[FrameRun { pages, mfn: Mfn(mfn) }]);
                }
            }
        }
        self.inner.add(runs, rights)?;
        for vcpu in core::mem::take(&mut self.overlooked) {
            // As many fit in as were overlooked; one that does not is only served later.
            let _ = self.seen.push(vcpu);
        }
        Ok(())
    }

    fn remove(&mut self, runs: &[FrameRun]) -> Result<(), Partial> {
        match self.fault {
            Some(Fault::SkipUnmap) => Ok(()),
            Some(Fault::AckFirst) => one_by_one(runs, |run| match self.delayed.push(run) {
                Ok(()) => Ok(()),
                Err(run) => self.inner.remove(&[run]),
            }),
            _ => self.inner.remove(runs),
        }
    }

    fn request(&mut self, vcpu: u16) -> Option<IoreqClaim> {
        let claim = self.inner.request(vcpu)?;
        (!self.overlooks(vcpu, &claim)).then_some(claim)
    }

    fn accept(&mut self, vcpu: u16) {
        self.inner.accept(vcpu);
    }

    fn complete(&mut self, vcpu: u16, data: u64) {
        self.seen.retain(|seen| *seen != vcpu);
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

impl<H: Server> Server for FaultyHypervisor<H> {
    fn disable(&self) -> Result<(), u16> {
        self.inner.disable()
    }

    fn destroy(&self) -> Result<(), u16> {
        self.inner.destroy()
    }

    fn can_dismiss(&self) -> bool {
        self.inner.can_dismiss()
    }

    fn is_dismissed(&self, errno: u16) -> bool {
        self.inner.is_dismissed(errno)
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

    /// Says every so often that an invalidation which nobody has asked for is done, and nothing else.
    fn babble(&mut self) -> ! {
        loop {
            wait_for_pace(self.inner.port());
            // A ring that is full stays so.
            let _ = self.inner.send(&FromBroker::Invalidated { sequence: 0, result: Ok(0) });
            self.inner.finish_turn();
        }
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
        if self.fault == Some(Fault::Attack(Attack::Creep)) && self.inner.pages.is_invalidate_next() {
            self.inner.pages.attack(Attack::Creep);
        }
        let received = self.inner.receive();
        if matches!(received, Ok(Some(ToBroker::Invalidate { .. }))) {
            match self.fault {
                Some(Fault::Loop) => loop {
                    core::hint::spin_loop();
                },
                Some(Fault::Panic) => panic!("as the command line asked for"),
                Some(Fault::Babble) => self.babble(),
                Some(Fault::Attack(Attack::Changing)) => self.taken = true,
                Some(Fault::Attack(attack)) => self.inner.pages.attack(attack),
                _ => {}
            }
        }
        received
    }
}

impl LenderEnd for FaultyLink {
    fn finish_turn(&mut self) {
        self.inner.finish_turn();
    }

    fn is_connected(&self) -> bool {
        self.inner.is_connected()
    }
}

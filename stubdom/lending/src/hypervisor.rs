// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the lending logic needs from Xen, and nothing else.
//!
//! Implemented by the broker over real hypercalls, by the tests over a fake.

use xenlend_protocol::frame::{AperturePage, Mfn};

/// Xen's error number, positive (`xen/include/public/errno.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub u16);

/// A call that stopped half-way: `done` pages were handled, the next one failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partial {
    /// Pages handled before the failure.
    pub done: u32,
    /// Why the next one was not.
    pub errno: Errno,
}

/// A request in the ioreq page, as read from it once: a claim.
///
/// Fields as in Xen's `public/hvm/ioreq.h`; `state` is not NONE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoreqClaim {
    /// Guest-physical address of the first element.
    pub address: u64,
    /// Value to write, or with `data_is_pointer` a guest-physical address.
    pub data: u64,
    /// Number of elements.
    pub count: u32,
    /// Bytes of an element.
    pub size: u32,
    /// STATE_IOREQ_* (1 READY, 2 INPROCESS, 3 IORESP_READY).
    pub state: u8,
    /// `data` names borrower memory instead of being the value.
    pub data_is_pointer: bool,
    /// 1 (true) reads from the aperture, 0 writes to it.
    pub is_read: bool,
    /// Direction flag: elements run downwards.
    pub downwards: bool,
    /// IOREQ_TYPE_* (1 COPY, 8 INVALIDATE, ...).
    pub kind: u8,
}

/// The effects that lending has on Xen and on the borrower.
pub trait Hypervisor {
    /// Adds second-stage entries for `count` frames; the pages must be absent.
    ///
    /// # Errors
    /// The pages before `done` are present then, the others are not.
    fn add(&mut self, first: AperturePage, mfn: Mfn, count: u32) -> Result<(), Partial>;

    /// Removes the entries of `count` pages that this broker added from `mfn` on.
    ///
    /// # Errors
    /// The pages before `done` are absent then, the others still mapped.
    fn remove(&mut self, first: AperturePage, mfn: Mfn, count: u32) -> Result<(), Partial>;

    /// The request that a vCPU of the borrower has outstanding, if its state is not NONE.
    fn request(&mut self, vcpu: u16) -> Option<IoreqClaim>;

    /// Moves a READY request to INPROCESS.
    fn accept(&mut self, vcpu: u16);

    /// Completes a request with this datum and wakes the vCPU.
    fn complete(&mut self, vcpu: u16, data: u64);

    /// Copies from the borrower's own RAM. The bytes do not cross a page.
    ///
    /// # Errors
    /// If the borrower has no RAM there.
    fn read_borrower(&mut self, address: u64, bytes: &mut [u8]) -> Result<(), Errno>;

    /// Copies to the borrower's own RAM. The bytes do not cross a page.
    ///
    /// # Errors
    /// If the borrower has no RAM there.
    fn write_borrower(&mut self, address: u64, bytes: &[u8]) -> Result<(), Errno>;

    /// Forgets cached views of the borrower's RAM (its physmap changed).
    fn forget_borrower_memory(&mut self);
}

/// Messages to the lender.
pub trait LenderLink {
    /// Queues a message. Acknowledgements of invalidations use reserved space and
    /// always find room while the lender keeps to `MAX_INVALIDATIONS`.
    ///
    /// # Errors
    /// If there is no room now; the caller keeps what it wanted to say and retries
    /// in a later turn.
    fn send(&mut self, message: &xenlend_protocol::message::FromBroker) -> Result<(), Full>;
}

/// No room in the ring now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

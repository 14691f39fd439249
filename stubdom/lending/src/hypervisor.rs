// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the lending logic needs from Xen, and nothing else.
//!
//! Implemented by the broker over real hypercalls, by the tests over a fake.

use xenlend_protocol::frontend::{FromBorrower, ToBorrower};
use xenlend_protocol::message::{FromBroker, Rights, ToBroker};
use xenlend_protocol::refusal::{AttachFailure, BreachKind};

use crate::lending_table::FrameRun;

/// Runs that one call of [`Hypervisor`] is given at most.
pub const MAX_RUNS: usize = 64;

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
    /// Adds second-stage entries for the frames of up to [`MAX_RUNS`] runs, in order; the pages must be
    /// absent. Stock Xen gives all rights, whatever is asked for.
    ///
    /// # Errors
    /// The pages before `done` are present then, the others are not.
    fn add(&mut self, runs: &[FrameRun], rights: Rights) -> Result<(), Partial>;

    /// Removes the entries of up to [`MAX_RUNS`] runs that this broker added, in order.
    ///
    /// # Errors
    /// The pages before `done` are absent then, the others still mapped.
    fn remove(&mut self, runs: &[FrameRun]) -> Result<(), Partial>;

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

/// Handles runs with a call that takes one.
///
/// # Errors
/// That of the first run that failed, counted over all of them.
pub fn one_by_one(
    runs: &[FrameRun],
    mut call: impl FnMut(FrameRun) -> Result<(), Partial>,
) -> Result<(), Partial> {
    let mut before: u32 = 0;
    for run in runs {
        call(*run).map_err(|Partial { done, errno }| Partial { done: before.saturating_add(done), errno })?;
        before = before.saturating_add(run.pages.page_count());
    }
    Ok(())
}

/// The two rings of the link with the lender.
///
/// Whoever implements it notifies the lender's event channel once for all that was
/// sent in a turn, and after draining if the lender waits for room.
pub trait LenderLink {
    /// Queues a message. [`FromBroker::Invalidated`] uses reserved space and always
    /// finds room while the lender keeps to `MAX_INVALIDATIONS`; all others leave
    /// that space free.
    ///
    /// # Errors
    /// If there is no room now, or the lender broke the ring's contract. The caller
    /// keeps what it wanted to say.
    fn send(&mut self, message: &FromBroker) -> Result<(), SendError>;

    /// Takes the lender's next message, if there is one.
    ///
    /// # Errors
    /// If the lender broke the ring's contract.
    fn receive(&mut self) -> Result<Option<ToBroker>, BreachKind>;
}

/// The borrower's link, attached or not. Nothing in its rings is reserved.
///
/// Whoever implements it notifies the borrower's event channel as [`LenderLink`] says. While
/// nothing is attached nothing is sent or received.
pub trait BorrowerLink {
    /// Maps the borrower's grants (control, data towards it, data from it) and binds its port.
    ///
    /// # Errors
    /// Why not; nothing is mapped or bound then.
    fn attach(&mut self, ring_refs: [u32; 3], event_channel: u32) -> Result<(), AttachFailure>;

    /// Lets go of all of it.
    fn detach(&mut self);

    /// Queues a message.
    ///
    /// # Errors
    /// If there is no room now, or the borrower broke the ring's contract.
    fn send(&mut self, message: &ToBorrower) -> Result<(), SendError>;

    /// Takes the borrower's next message, if there is one.
    ///
    /// # Errors
    /// If the borrower broke the ring's contract.
    fn receive(&mut self) -> Result<Option<FromBorrower>, BreachKind>;
}

/// Why a message was not sent. Nothing of it is in the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// No room now; the other side will notify when there is.
    Full,
    /// The other side broke the ring's contract.
    Breach(BreachKind),
}

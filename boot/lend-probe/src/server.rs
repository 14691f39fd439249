// SPDX-License-Identifier: MIT OR Apache-2.0
//! An ioreq server of dom0's for lent memory, for a borrower with one vCPU.

use std::sync::atomic::{AtomicU32, AtomicU64, AtomicU8, Ordering};

use anyhow::{ensure, Context, Result};

use crate::lend::Borrower;
use crate::privcmd::Channel;
use crate::window::Program;

const READY: u8 = 1;
const RESPONSE: u8 = 3;

/// What a vCPU waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// `IOREQ_TYPE_*`
    pub kind: u8,
    /// Guest-physical.
    pub address: u64,
    /// `IOREQ_LEND_*`
    pub bits: u64,
    /// As any ioreq says it.
    pub is_read: bool,
}

/// The server.
#[derive(Debug)]
pub struct Server {
    /// Its number.
    pub id: u32,
    slot: *mut u8,
    channel: Channel,
}

impl Server {
    /// Creates and enables one for a span of guest-physical addresses.
    pub fn create(borrower: &Borrower, first: u64, last: u64) -> Result<Self> {
        // The number comes back behind the question about buffered requests and its padding.
        let (error, created) = borrower.server(1, &[0]);
        ensure!(error == 0, "create: {error}");
        let id = (created >> 32) as u32 & 0xFFFF;
        let slot = borrower.privcmd.map_ioreq_page(borrower.domain, id as u16)?;
        let range = |kind| [id, kind, first as u32, (first >> 32) as u32, last as u32, (last >> 32) as u32];
        let (error, _) = borrower.server(3, &range(3));
        ensure!(error == 0, "map the range: {error}");
        let (error, _) = borrower.server(5, &[id | 1 << 16]);
        ensure!(error == 0, "enable: {error}");
        // SAFETY: the page is mapped for good; Xen wrote the port when it enabled the server.
        let port = unsafe { AtomicU32::from_ptr(slot.add(24).cast()) }.load(Ordering::Acquire);
        Ok(Self { id, slot, channel: Channel::bind(borrower.domain, port)? })
    }

    /// Waits for the program to want something.
    pub fn next(&self, program: &Program) -> Result<Fault> {
        self.next_unless_over(program)?.context("the program ended without this fault")
    }

    /// The same, or nothing if it ends first.
    pub fn next_unless_over(&self, program: &Program) -> Result<Option<Fault>> {
        loop {
            if let Some(fault) = self.waiting() {
                return Ok(Some(fault));
            }
            if !self.channel.wait_unless(program.ended())? {
                return Ok(None);
            }
        }
    }

    /// What the vCPU waits for, if it does now.
    pub fn waiting(&self) -> Option<Fault> {
        // SAFETY: the slot is mapped for good, and its fields are aligned.
        let (state, kind, address, bits) = unsafe {
            (
                AtomicU8::from_ptr(self.slot.add(30)),
                AtomicU8::from_ptr(self.slot.add(31)),
                AtomicU64::from_ptr(self.slot.cast()),
                AtomicU64::from_ptr(self.slot.add(8).cast()),
            )
        };
        let packed = state.load(Ordering::Acquire);
        (packed & 15 == READY).then(|| Fault {
            kind: kind.load(Ordering::Relaxed),
            address: address.load(Ordering::Relaxed),
            bits: bits.load(Ordering::Relaxed),
            is_read: packed & 1 << 5 != 0,
        })
    }

    /// Answers it.
    pub fn answer(&self, reply: u64) -> Result<()> {
        // SAFETY: as in waiting().
        let (state, data) =
            unsafe { (AtomicU8::from_ptr(self.slot.add(30)), AtomicU64::from_ptr(self.slot.add(8).cast())) };
        data.store(reply, Ordering::Relaxed);
        let flags = state.load(Ordering::Relaxed) & 0xF0;
        state.store(flags | 2, Ordering::Release);
        state.store(flags | RESPONSE, Ordering::Release);
        self.channel.notify()
    }
}

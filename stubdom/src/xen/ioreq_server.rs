// SPDX-License-Identifier: MIT OR Apache-2.0
//! The broker's ioreq server: accesses to absent pages of the aperture, one slot for each vCPU.
//!
//! Order of one request (`xen/common/ioreq.c:wait_for_io`): READY, INPROCESS, datum, barrier,
//! IORESP_READY, event. Any other order makes Xen crash the borrower.

use core::sync::atomic::{AtomicU32, AtomicU64, AtomicU8, Ordering};

use heapless::Vec;
use xenlend_lending::broker::MAX_VCPUS;
use xenlend_lending::hypervisor::IoreqClaim;
use xenlend_xen_abi::dm_op::IoreqServerId;
use xenlend_xen_abi::event_channel::Port;
use xenlend_xen_abi::ioreq::{
    StateByte, ADDR_OFFSET, COUNT_OFFSET, DATA_OFFSET, PORT_OFFSET, SIZE_OFFSET, SLOT_BYTES,
    STATE_IN_PROCESS, STATE_NONE, STATE_OFFSET, STATE_RESPONSE_READY, TYPE_OFFSET,
};
use xenlend_xen_abi::{DomainId, PAGE_SIZE};

use super::{dm_op, event_channel, physmap};
use crate::start_error::StartError;
use crate::window::WindowFrame;

fn failed(purpose: &'static str) -> impl Fn(u16) -> StartError {
    move |errno| StartError::Call { purpose, errno }
}

/// The server, enabled.
pub struct IoreqServer {
    borrower: DomainId,
    id: IoreqServerId,
    page: WindowFrame,
    ports: Vec<Port, MAX_VCPUS>,
}

impl IoreqServer {
    /// Creates a server for one span of the borrower's address space, of a kind `IO_RANGE_*`, and enables it.
    ///
    /// # Errors
    /// If Xen refuses a step.
    pub fn create(
        borrower: DomainId,
        kind: u32,
        first_gfn: u64,
        frames: u64,
        vcpus: u16,
        page: WindowFrame,
    ) -> Result<Self, StartError> {
        let id = dm_op::create_ioreq_server(borrower).map_err(failed("create ioreq server"))?;
        let mut server = Self { borrower, id, page, ports: Vec::new() };
        match server.set_up(kind, first_gfn, frames, vcpus) {
            Ok(()) => Ok(server),
            Err(error) => {
                // It may be another's domain by now: what cannot be undone ends with that.
                let _ = server.destroy();
                let _ = server.let_go();
                Err(error)
            }
        }
    }

    fn set_up(&mut self, kind: u32, first_gfn: u64, frames: u64, vcpus: u16) -> Result<(), StartError> {
        let (borrower, id) = (self.borrower, self.id);
        physmap::show_ioreq_page(borrower, id, self.page).map_err(failed("map ioreq page"))?;
        let start = first_gfn * PAGE_SIZE;
        dm_op::map_range(borrower, id, kind, start, start + (frames * PAGE_SIZE - 1))
            .map_err(failed("register the aperture"))?;
        dm_op::set_state(borrower, id, true).map_err(failed("enable ioreq server"))?;
        for vcpu in 0..vcpus {
            // Xen has put the ports in when it enabled the server.
            let remote = self.word(vcpu, PORT_OFFSET).load(Ordering::Relaxed);
            let port = event_channel::bind(borrower, remote).map_err(failed("bind a vCPU's port"))?;
            self.ports.push(port).map_err(|_| StartError::Configuration("more vCPUs than 126"))?;
        }
        Ok(())
    }

    /// The ports to wait for.
    pub fn ports(&self) -> &[Port] {
        &self.ports
    }

    /// Lets go of what this domain holds of a server that is no more: its page would keep the borrower as a
    /// zombie. Says whether the frame can be used for another.
    pub fn let_go(&self) -> bool {
        for &port in &self.ports {
            event_channel::close(port);
        }
        physmap::empty(self.page).is_ok()
    }

    /// No new requests from now on: accesses to the aperture are answered by Xen itself, with all ones.
    /// Those that are here still have to be completed.
    ///
    /// # Errors
    /// Xen's error number.
    pub fn disable(&self) -> Result<(), u16> {
        dm_op::set_state(self.borrower, self.id, false)
    }

    /// Takes it off the borrower; no vCPU may have a request in it.
    ///
    /// # Errors
    /// Xen's error number.
    pub fn destroy(&self) -> Result<(), u16> {
        dm_op::destroy_ioreq_server(self.borrower, self.id)
    }

    /// A vCPU's request unless its state is NONE; every field is read once.
    pub fn request(&self, vcpu: u16) -> Option<IoreqClaim> {
        let packed = StateByte(self.byte(vcpu, STATE_OFFSET).load(Ordering::Acquire));
        if packed.state() == STATE_NONE {
            return None;
        }
        Some(IoreqClaim {
            address: self.long(vcpu, ADDR_OFFSET).load(Ordering::Relaxed),
            data: self.long(vcpu, DATA_OFFSET).load(Ordering::Relaxed),
            count: self.word(vcpu, COUNT_OFFSET).load(Ordering::Relaxed),
            size: self.word(vcpu, SIZE_OFFSET).load(Ordering::Relaxed),
            state: packed.state(),
            data_is_pointer: packed.data_is_pointer(),
            is_read: packed.is_read(),
            downwards: packed.downwards(),
            kind: self.byte(vcpu, TYPE_OFFSET).load(Ordering::Relaxed),
        })
    }

    /// Moves a READY request to INPROCESS.
    pub fn accept(&self, vcpu: u16) {
        self.set_state(vcpu, STATE_IN_PROCESS);
    }

    /// Answers a request and wakes its vCPU.
    pub fn complete(&self, vcpu: u16, data: u64) {
        self.long(vcpu, DATA_OFFSET).store(data, Ordering::Relaxed);
        self.set_state(vcpu, STATE_RESPONSE_READY);
        event_channel::notify(self.ports[usize::from(vcpu)]);
    }

    /// Writes the state's four bits. The byte holds flags too, and only this side writes it while a
    /// request is with the broker. Release: whatever was written before is there when Xen sees it.
    fn set_state(&self, vcpu: u16, state: u8) {
        let byte = self.byte(vcpu, STATE_OFFSET);
        let packed = StateByte(byte.load(Ordering::Relaxed));
        byte.store(packed.with_state(state).0, Ordering::Release);
    }

    fn address(&self, vcpu: u16, offset: usize) -> usize {
        assert!(usize::from(vcpu) < MAX_VCPUS);
        self.page.address() as usize + usize::from(vcpu) * SLOT_BYTES + offset
    }

    fn byte(&self, vcpu: u16, offset: usize) -> &AtomicU8 {
        // SAFETY: the page is shown for good, the slot is inside it. Xen writes it, which an atomic allows.
        unsafe { AtomicU8::from_ptr(self.address(vcpu, offset) as *mut u8) }
    }

    fn word(&self, vcpu: u16, offset: usize) -> &AtomicU32 {
        // SAFETY: as above, with the offset of an aligned field.
        unsafe { AtomicU32::from_ptr(self.address(vcpu, offset) as *mut u32) }
    }

    fn long(&self, vcpu: u16, offset: usize) -> &AtomicU64 {
        // SAFETY: as above, with the offset of an aligned field.
        unsafe { AtomicU64::from_ptr(self.address(vcpu, offset) as *mut u64) }
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! A xenstore client. For start-up one request at a time, with a deadline; for the event loop requests that are
//! sent if there is room and answers that are taken if they are there: it never waits for xenstored.

use core::mem::offset_of;
use core::sync::atomic::{AtomicU32, AtomicU8, Ordering};

use heapless::Vec;
use xenlend_xen_abi::event_channel::Port;
use xenlend_xen_abi::hvm::{PARAM_STORE_EVTCHN, PARAM_STORE_PFN};
use xenlend_xen_abi::xenstore::{
    error_number, Header, MessageType, Reassembly, XenstoreRing, HEADER_BYTES, RING_BYTES,
};
use xenlend_xen_abi::{errno, PAGE_SIZE};

use super::{event_channel, hvm_param, sched, shared_info, time};
use crate::config::{Nodes, VALUE_BYTES};
use crate::memory::page_table::{Access, PageTables};
use crate::more_borrowers::XenstoreLink;
use crate::start_error::StartError;

/// Longest message sent, in bytes.
const REQUEST_BYTES: usize = HEADER_BYTES + 512;
/// How long xenstored may take for one request, in nanoseconds: it may be busy with every other domain.
const DEADLINE_NS: u64 = 30_000_000_000;

/// The connection with xenstored.
pub struct Xenstore {
    base: usize,
    port: Port,
    next_request: u32,
}

impl Xenstore {
    /// Finds the ring.
    ///
    /// # Errors
    /// If the toolstack has made none.
    pub fn connect(tables: &mut PageTables) -> Result<Self, StartError> {
        let frame = hvm_param::get(PARAM_STORE_PFN, "xenstore ring")?;
        let port = hvm_param::get(PARAM_STORE_EVTCHN, "xenstore port")?;
        let base = frame * PAGE_SIZE;
        tables.map(base, base + PAGE_SIZE, Access::Data)?;
        Ok(Self { base: base as usize, port: port as Port, next_request: 1 })
    }

    /// Writes a node.
    ///
    /// # Errors
    /// If xenstored refuses or does not answer.
    pub fn write(&mut self, path: &'static str, value: &[u8]) -> Result<(), StartError> {
        let deadline = Self::deadline()?;
        self.ask(MessageType::Write, &[path.as_bytes(), b"\0", value], deadline)?
            .map(|_| ())
            .map_err(|errno| StartError::Xenstore { path, errno })
    }

    /// Has xenstored tell of changes at and below a node.
    ///
    /// # Errors
    /// If xenstored refuses or does not answer.
    pub fn watch(&mut self, path: &'static str) -> Result<(), StartError> {
        let deadline = Self::deadline()?;
        self.ask(MessageType::Watch, &[path.as_bytes(), b"\0", b"\0"], deadline)?
            .map(|_| ())
            .map_err(|errno| StartError::Xenstore { path, errno })
    }

    /// The port on which xenstored tells of answers and of room.
    pub fn port(&self) -> Port {
        self.port
    }

    /// Bytes that a request may have now; none if the indices cannot be.
    fn room(&self) -> usize {
        let produced = self.index(offset_of!(XenstoreRing, req_prod)).load(Ordering::Relaxed);
        let consumed = self.index(offset_of!(XenstoreRing, req_cons)).load(Ordering::Acquire);
        RING_BYTES.saturating_sub(produced.wrapping_sub(consumed)) as usize
    }

    /// Bytes that have come; none if the indices cannot be.
    fn arrived(&self) -> u32 {
        let consumed = self.index(offset_of!(XenstoreRing, rsp_cons)).load(Ordering::Relaxed);
        let produced = self.index(offset_of!(XenstoreRing, rsp_prod)).load(Ordering::Acquire);
        Some(produced.wrapping_sub(consumed)).filter(|bytes| *bytes <= RING_BYTES).unwrap_or(0)
    }

    fn deadline() -> Result<u64, StartError> {
        time::now_ns().map(|now| now + DEADLINE_NS).ok_or(StartError::XenstoreBroken("no clock yet"))
    }

    /// Sends a request and waits for its answer: the payload, or xenstored's error number.
    fn ask(
        &mut self,
        kind: MessageType,
        parts: &[&[u8]],
        deadline: u64,
    ) -> Result<Result<Vec<u8, VALUE_BYTES>, u16>, StartError> {
        let id = self.next_request;
        self.next_request += 1;
        let mut request = [0; REQUEST_BYTES];
        let length = Header::encode_message(kind, id, 0, parts, &mut request)
            .map_err(|_| StartError::XenstoreBroken("request too long"))?;
        for &byte in &request[..length] {
            self.put(byte, deadline)?;
        }
        event_channel::notify(self.port);

        let mut reply = Reassembly::<VALUE_BYTES>::new();
        loop {
            while reply.missing_bytes().map_err(|_| StartError::XenstoreBroken("reply too long"))? > 0 {
                reply.feed(self.take(deadline)?);
            }
            event_channel::notify(self.port);
            let (header, payload, cut) =
                reply.message().map_err(|_| StartError::XenstoreBroken("reply malformed"))?;
            if header.request_id == id && header.kind != MessageType::WatchEvent as u32 {
                if header.kind == MessageType::Error as u32 {
                    return Ok(Err(error_number(payload)));
                }
                if header.kind != kind as u32 {
                    return Err(StartError::XenstoreBroken("reply of another kind"));
                }
                if cut {
                    return Ok(Err(errno::E2BIG));
                }
                let value = Vec::from_slice(payload);
                return value.map(Ok).map_err(|()| StartError::XenstoreBroken("reply too long"));
            }
            reply.reset();
        }
    }

    fn put(&mut self, byte: u8, deadline: u64) -> Result<(), StartError> {
        let produced = self.index(offset_of!(XenstoreRing, req_prod)).load(Ordering::Relaxed);
        loop {
            let consumed = self.index(offset_of!(XenstoreRing, req_cons)).load(Ordering::Acquire);
            match produced.wrapping_sub(consumed) {
                used if used < RING_BYTES => break,
                RING_BYTES => self.wait(deadline)?,
                _ => return Err(StartError::XenstoreBroken("impossible ring indices")),
            }
        }
        self.put_one(byte);
        Ok(())
    }

    /// Puts a byte for which there is room.
    fn put_one(&self, byte: u8) {
        let produced = self.index(offset_of!(XenstoreRing, req_prod)).load(Ordering::Relaxed);
        self.byte(offset_of!(XenstoreRing, req), produced).store(byte, Ordering::Relaxed);
        self.index(offset_of!(XenstoreRing, req_prod)).store(produced.wrapping_add(1), Ordering::Release);
    }

    fn take(&mut self, deadline: u64) -> Result<u8, StartError> {
        let consumed = self.index(offset_of!(XenstoreRing, rsp_cons)).load(Ordering::Relaxed);
        loop {
            let produced = self.index(offset_of!(XenstoreRing, rsp_prod)).load(Ordering::Acquire);
            match produced.wrapping_sub(consumed) {
                0 => self.wait(deadline)?,
                1..=RING_BYTES => break,
                _ => return Err(StartError::XenstoreBroken("impossible ring indices")),
            }
        }
        Ok(self.take_one())
    }

    /// Takes a byte that has come.
    fn take_one(&self) -> u8 {
        let consumed = self.index(offset_of!(XenstoreRing, rsp_cons)).load(Ordering::Relaxed);
        let byte = self.byte(offset_of!(XenstoreRing, rsp), consumed).load(Ordering::Relaxed);
        self.index(offset_of!(XenstoreRing, rsp_cons)).store(consumed.wrapping_add(1), Ordering::Release);
        byte
    }

    /// Sleeps until xenstored notifies. What was seen before may be outdated when it returns.
    fn wait(&self, deadline: u64) -> Result<(), StartError> {
        // The bit is cleared only after a sleep, and the ring is looked at after every clearing: an
        // event between the look and the sleep makes the sleep return at once.
        event_channel::notify(self.port);
        sched::poll(&mut [self.port], deadline);
        shared_info::take_pending(self.port);
        if time::now_ns().is_some_and(|now| now >= deadline) {
            return Err(StartError::XenstoreBroken("no answer within 30 s"));
        }
        Ok(())
    }

    fn index(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: the ring's page is mapped for good and the offset one of its aligned fields. xenstored
        // writes it at any time, which an atomic allows.
        unsafe { AtomicU32::from_ptr((self.base + offset) as *mut u32) }
    }

    fn byte(&self, area: usize, index: u32) -> &AtomicU8 {
        // SAFETY: as for `index`, with a byte of the area.
        unsafe { AtomicU8::from_ptr((self.base + area + (index % RING_BYTES) as usize) as *mut u8) }
    }
}

impl Nodes for Xenstore {
    fn read(&mut self, path: &'static str) -> Result<Vec<u8, VALUE_BYTES>, StartError> {
        let deadline = Self::deadline()?;
        self.ask(MessageType::Read, &[path.as_bytes(), b"\0"], deadline)?
            .map_err(|errno| StartError::Xenstore { path, errno })
    }
}

impl XenstoreLink for Xenstore {
    fn send(&mut self, kind: MessageType, parts: &[&[u8]]) -> Option<u32> {
        let id = self.next_request;
        let mut request = [0; REQUEST_BYTES];
        let length = Header::encode_message(kind, id, 0, parts, &mut request).ok()?;
        if self.room() < length {
            return None;
        }
        for &byte in request.get(..length)? {
            self.put_one(byte);
        }
        self.next_request = self.next_request.wrapping_add(1);
        event_channel::notify(self.port);
        Some(id)
    }

    fn receive<const N: usize>(&mut self, message: &mut Reassembly<N>) -> bool {
        let mut taken = false;
        // A length that cannot be: nothing more is understood.
        while message.missing_bytes().is_ok_and(|missing| missing > 0) && self.arrived() > 0 {
            message.feed(self.take_one());
            taken = true;
        }
        if taken {
            event_channel::notify(self.port);
        }
        message.missing_bytes() == Ok(0)
    }
}

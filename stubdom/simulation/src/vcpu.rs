// SPDX-License-Identifier: MIT OR Apache-2.0
//! A vCPU of the borrower that touches the aperture: what the processor, Xen's fault handler and Xen's
//! emulator do with one instruction after another, each at its own time.
//!
//! An access to an absent page leaves the guest, and is looked at again under Xen's lock: a page that has
//! come meanwhile kills the borrower (`hvm_hap_nested_page_fault` knows no such case). An instruction that was
//! completed is emulated again: `rep stos` on a page that has come meanwhile kills it too, because
//! `hvmemul_rep_stos` takes another way for it and `hvmemul_do_io` does not recognise the answer. The second half of an instruction goes
//! as a request also where the page has come.
//!
//! On a lend-aware Xen the whole instruction waits until all its pages are there at once, or ends in an exception.

use xenlend_front_core::page_set::Pages;
use xenlend_lending::fault::Reply;
use xenlend_lending::hypervisor::IoreqClaim;
use xenlend_lending::ioreq::{KIND_COPY, KIND_INVALIDATE, STATE_RESPONSE_READY};
use xenlend_protocol::lease_id::LeaseId;

use crate::lending;
use crate::memory::{cell_of, Byte};
use crate::world::{Sim, Wrong};
use crate::xen::{frame_index, ram_address, Entry, Xen, APERTURE};

/// Pages that are touched: both ends of regions, both sides of a 2 MiB border.
const PAGES: [u32; 14] = [0, 1, 2, 3, 7, 8, 9, 510, 511, 512, 513, 519, 700, 1023];
/// Offsets in a page.
const OFFSETS: [u32; 6] = [0, 3, 8, 16, 4064, 4088];

/// Where an instruction stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    /// About to touch.
    Touching,
    /// Out of the guest, not yet under Xen's lock.
    Exiting(u32),
    /// Its request is with the broker.
    Blocked,
    /// The response is taken, the instruction not yet emulated again.
    Reemulating,
}

#[derive(Debug)]
struct Chunk {
    claim: IoreqClaim,
    bytes: std::ops::Range<usize>,
}

/// Why something may have happened to an instruction, since something was so at some time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Excuses {
    /// Ones and zeros are right too: at some time nobody lent the page.
    pub data: bool,
    /// An exception is right too.
    pub exception: bool,
}

/// A vCPU.
#[derive(Debug)]
pub struct Vcpu {
    id: usize,
    phase: Phase,
    chunks: Vec<Chunk>,
    at: usize,
    read: Vec<Option<u8>>,
    /// What has been right at some time.
    pub excused: Excuses,
    /// Faults of the instruction so far.
    faults: u32,
    counter: u8,
    /// The page-table entry that the instruction goes through.
    via: Option<Via>,
    /// Instructions of programs that are over.
    finished: u64,
    /// It was told to run the instruction again and has not yet: it takes interrupts, and others' work.
    sent_back: bool,
    /// The last instruction of a program did nothing, its page-table entry having gone.
    faulted: bool,
}

/// A page-table entry in use.
#[derive(Clone, Copy, Debug)]
pub struct Via {
    /// The page.
    pub page: u32,
    /// The lease that the program has mapped.
    pub lease: LeaseId,
}

impl Vcpu {
    /// The vCPU of that number.
    pub fn new(id: usize) -> Self {
        let chunks = Vec::new();
        let (read, phase) = (Vec::new(), Phase::Idle);
        let excused = Excuses::default();
        let (via, sent_back, faulted) = (None, false, false);
        Self {
            id,
            phase,
            chunks,
            at: 0,
            read,
            excused,
            faults: 0,
            counter: 0,
            via,
            finished: 0,
            sent_back,
            faulted,
        }
    }

    /// The page-table entry that an instruction under way goes through.
    pub fn via(&self) -> Option<Via> {
        self.via
    }

    /// Instructions of programs that are over.
    pub fn finished(&self) -> u64 {
        self.finished
    }

    /// Whether it is between instructions.
    pub fn is_idle(&self) -> bool {
        self.phase == Phase::Idle
    }

    /// Whether the guest may run something else on it.
    pub fn is_free(&self) -> bool {
        self.is_idle() || self.sent_back
    }

    /// Whether it is about to run an instruction again.
    pub fn is_sent_back(&self) -> bool {
        self.sent_back
    }

    /// Whether the last instruction of a program has to be begun anew, behind a page fault of its own.
    pub fn has_faulted(&self) -> bool {
        self.faulted
    }

    /// Whether it waits for the broker.
    pub fn is_blocked(&self) -> bool {
        self.phase == Phase::Blocked
    }

    /// Whether it can take a step.
    pub fn can_go_on(&self, xen: &Xen) -> bool {
        let answered = || xen.requests[self.id].is_some_and(|claim| claim.state == STATE_RESPONSE_READY);
        xen.borrower.runs() && (self.phase != Phase::Blocked || answered())
    }

    fn is_in_xen(&self) -> bool {
        matches!(self.phase, Phase::Exiting(_) | Phase::Reemulating)
    }

    /// An instruction: its chunks and the bytes they are about.
    fn begin(&mut self, sim: &Sim) -> Vec<Byte> {
        let kind = match (sim.draw(9), self.via) {
            // It would need the entry of another page too.
            (5, Some(_)) => 4,
            (kind, _) => kind,
        };
        let page = self.via.map_or_else(|| page(sim), |via| via.page);
        let offset = OFFSETS[sim.draw(OFFSETS.len() as u32) as usize];
        let size = [8, 1, 2, 4][sim.draw(4) as usize];
        // Only what stays in a page is repeated.
        let count = (1 + sim.draw(3)).min((4096 - offset) / size);
        let downwards = matches!(kind, 4 | 5) && sim.draw(4) == 3;
        let lowest = u64::from(page) * 4096 + u64::from(offset);
        let mut bytes = Vec::new();
        let mut claim = IoreqClaim {
            address: APERTURE + lowest,
            data: 0,
            count: 1,
            size,
            state: 0,
            data_is_pointer: false,
            is_read: true,
            downwards: false,
            kind: KIND_COPY,
        };
        self.chunks.clear();
        let mut add = |vcpu: &mut Self, claim: IoreqClaim, from: u64, length: u32| {
            let start = bytes.len();
            for at in from..from + u64::from(length) {
                let Some(cell) = cell_of((at % 4096) as u32) else { continue };
                let written = (!claim.is_read).then(|| value(&claim, at - from));
                let page = (at / 4096) as u32;
                bytes.push(Byte { user: None, page, cell, written, seen: Vec::new(), applied: false });
            }
            vcpu.chunks.push(Chunk { claim, bytes: start..bytes.len() });
        };
        match kind {
            0 | 1 => add(self, claim, lowest, size),
            2 => {
                claim.is_read = false;
                claim.data = self.datum();
                add(self, claim, lowest, size);
            }
            3 => {
                // A locked instruction: to Xen a read and a write.
                add(self, claim, lowest, size);
                claim.is_read = false;
                claim.data = self.datum();
                add(self, claim, lowest, size);
            }
            4 => {
                claim.is_read = false;
                (claim.data, claim.count, claim.downwards) = (self.datum(), count, downwards);
                claim.address += if downwards { u64::from(size * (count - 1)) } else { 0 };
                add(self, claim, lowest, size * count);
            }
            5 => {
                // One element of it, across the border of two pages.
                claim.is_read = false;
                (claim.data, claim.size, claim.downwards) = (self.datum(), 8, downwards);
                let lowest = u64::from(page) * 4096 + 4092;
                claim.address = APERTURE + lowest;
                add(self, claim, lowest, 8);
            }
            6 | 7 => {
                claim.is_read = kind == 7;
                claim.data_is_pointer = true;
                (claim.data, claim.count) = (ram_address(self.id) + 8, count);
                if kind == 6 {
                    let length = (size * count) as usize;
                    let values: Vec<u8> = (0..length).map(|_| self.next_value()).collect();
                    if let Ok(ram) = sim.xen.borrow_mut().ram_at(claim.data, length) {
                        ram.copy_from_slice(&values);
                    }
                    add(self, claim, lowest, size * count);
                    for (byte, value) in bytes.iter_mut().zip(values) {
                        byte.written = Some(value);
                    }
                } else {
                    add(self, claim, lowest, size * count);
                }
            }
            _ if size == 4 => {
                claim.kind = KIND_INVALIDATE;
                add(self, claim, lowest, 0);
            }
            _ => {
                // 16 bytes: two requests.
                claim.size = 8;
                let lowest = lowest & !15;
                claim.address = APERTURE + lowest;
                add(self, claim, lowest, 8);
                claim.address += 8;
                add(self, claim, lowest + 8, 8);
            }
        }
        bytes
    }

    fn next_value(&mut self) -> u8 {
        // 85 values for each vCPU.
        self.counter = (self.counter + 1) % 85;
        self.counter * 3 + self.id as u8 + 1
    }

    fn datum(&mut self) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|_| self.next_value()))
    }
}

/// Mostly a page that is lent, at an end of its region.
fn page(sim: &Sim) -> u32 {
    let choice = sim.draw(8);
    let regions = sim.lender.regions.borrow();
    let region = regions.get(choice as usize % regions.len().max(1)).filter(|_| choice != 7);
    match region {
        Some(region) => region.first + [0, 1, 2, region.count - 1, 3 % region.count][sim.draw(5) as usize],
        None => PAGES[sim.draw(PAGES.len() as u32) as usize],
    }
}

fn start(sim: &Sim, vcpu: &mut Vcpu) {
    let id = vcpu.id;
    let mut bytes = vcpu.begin(sim);
    let regions = sim.lender.regions.borrow();
    for byte in &mut bytes {
        byte.user = regions.iter().find_map(|region| region.user_page(byte.page));
    }
    vcpu.read = vec![None; bytes.len()];
    vcpu.at = 0;
    vcpu.excused = Excuses::default();
    vcpu.faults = 0;
    vcpu.faulted = false;
    sim.note(|| format!("vCPU {id}: {:?}", vcpu.chunks[0].claim));
    sim.memory.borrow_mut().begin(id, bytes);
    vcpu.phase = Phase::Touching;
    if vcpu.chunks[0].claim.kind == KIND_INVALIDATE {
        if !sim.xen.borrow().has_server() {
            return finish(sim, vcpu);
        }
        send(sim, vcpu);
    }
}

/// Begins an instruction of a program, whose page table has an entry of the page: the vCPU, and its count of
/// instructions that are over. None if no vCPU is free.
pub fn start_for(sim: &Sim, page: u32, lease: LeaseId) -> Option<(usize, u64)> {
    let vcpus = &mut *sim.vcpus.borrow_mut();
    let vcpu = vcpus.iter_mut().find(|vcpu| vcpu.is_idle())?;
    vcpu.via = Some(Via { page, lease });
    let finished = vcpu.finished;
    start(sim, vcpu);
    Some((vcpu.id, finished))
}

/// Takes a vCPU's next step.
pub fn step(sim: &Sim, id: usize) {
    let vcpu = &mut sim.vcpus.borrow_mut()[id];
    vcpu.sent_back = false;
    match vcpu.phase {
        Phase::Idle => start(sim, vcpu),
        Phase::Touching => touch(sim, vcpu),
        Phase::Exiting(page) => {
            if sim.config.is_lend_aware() {
                return fault(sim, vcpu, page);
            }
            let entry = sim.xen.borrow().entry(page);
            match entry {
                Entry::Lent { .. } => {
                    let text = format!("page {page} came between vCPU {id}'s exit and Xen's lock");
                    sim.xen.borrow_mut().crash(text);
                }
                Entry::Absent => {
                    split(sim, vcpu);
                    send(sim, vcpu);
                }
                Entry::BorrowerRam | Entry::Foreign => vcpu.phase = Phase::Touching,
            }
        }
        Phase::Blocked => {
            let Some(datum) = sim.xen.borrow_mut().take_response(id) else { return };
            if sim.config.is_lend_aware() {
                return resume(sim, vcpu, datum);
            }
            let chunk = &vcpu.chunks[vcpu.at];
            let claim = chunk.claim;
            if claim.is_read {
                let values: Vec<u8> = if claim.data_is_pointer {
                    let mut xen = sim.xen.borrow_mut();
                    xen.ram_at(claim.data, chunk.bytes.len()).map(|bytes| bytes.to_vec()).unwrap_or_default()
                } else {
                    datum.to_le_bytes().to_vec()
                };
                for (read, value) in vcpu.read[chunk.bytes.clone()].iter_mut().zip(values) {
                    *read = Some(value);
                }
            }
            vcpu.phase = Phase::Reemulating;
            if claim.data_is_pointer || claim.kind == KIND_INVALIDATE {
                // These are not emulated again.
                finish(sim, vcpu);
            }
        }
        Phase::Reemulating => {
            let claim = vcpu.chunks[vcpu.at].claim;
            if !claim.is_read && (claim.count > 1 || claim.downwards || crosses_page(&claim)) {
                // Xen looks at the page of the first element (`hvmemul_rep_stos`).
                let page = page_of(&claim);
                let xen = &mut *sim.xen.borrow_mut();
                if let Entry::Lent { .. } = xen.entry(page) {
                    xen.crash(format!("page {page} came under a repeated write of vCPU {id}"));
                    return;
                }
            }
            vcpu.at += 1;
            if vcpu.at < vcpu.chunks.len() {
                send(sim, vcpu);
            } else {
                finish(sim, vcpu);
            }
        }
    }
}

/// What a pause of the borrower waits for: no vCPU is inside Xen.
pub fn settle(sim: &Sim) {
    for id in 0..sim.config.vcpus {
        while sim.vcpus.borrow()[id].is_in_xen() && sim.xen.borrow().borrower.crashed.is_none() {
            step(sim, id);
        }
    }
}

/// The byte that a claim writes at a place of its run.
fn value(claim: &IoreqClaim, at: u64) -> u8 {
    claim.data.to_le_bytes()[(at % u64::from(claim.size)) as usize]
}

fn page_of(claim: &IoreqClaim) -> u32 {
    ((claim.address - APERTURE) / 4096) as u32
}

fn crosses_page(claim: &IoreqClaim) -> bool {
    claim.address % 4096 + u64::from(claim.size) > 4096
}

/// An element across a border whose first page is there is no `rep stos` to Xen, but two plain writes.
fn split(sim: &Sim, vcpu: &mut Vcpu) {
    let claim = vcpu.chunks[0].claim;
    if !crosses_page(&claim) || matches!(sim.xen.borrow().entry(page_of(&claim)), Entry::Absent) {
        return;
    }
    let first = IoreqClaim { size: 4, downwards: false, ..claim };
    let second = IoreqClaim { address: claim.address + 4, data: claim.data >> 32, ..first };
    vcpu.chunks = vec![Chunk { claim: first, bytes: 0..4 }, Chunk { claim: second, bytes: 4..8 }];
}

fn send(sim: &Sim, vcpu: &mut Vcpu) {
    sim.xen.borrow_mut().send_request(vcpu.id, vcpu.chunks[vcpu.at].claim);
    sim.broker_pending.set(true);
    vcpu.phase = Phase::Blocked;
}

fn touch(sim: &Sim, vcpu: &mut Vcpu) {
    let mut memory = sim.memory.borrow_mut();
    let bytes = memory.accesses[vcpu.id].clone();
    let entry = |page| sim.xen.borrow().entry(page);
    let faults = |byte: &&Byte| match entry(byte.page) {
        Entry::Absent => true,
        Entry::Lent { read_only, .. } => read_only && byte.written.is_some(),
        _ => false,
    };
    let absent = bytes.iter().find(faults);
    if let Some(byte) = absent {
        vcpu.phase = Phase::Exiting(byte.page);
        return;
    }
    for (at, byte) in bytes.iter().enumerate() {
        match entry(byte.page) {
            // A frame that only a lender that lies knows.
            Entry::Lent { mfn, .. } if frame_index(mfn).is_none() => vcpu.excused.data = true,
            Entry::Lent { mfn, .. } => {
                // Nobody hears when something comes where nothing was.
                vcpu.excused.data |= memory.is_zeros(mfn);
                match byte.written {
                    Some(value) => memory.write_frame(mfn, byte.cell, value),
                    None => vcpu.read[at] = Some(memory.read_frame(mfn, byte.cell)),
                }
            }
            _ => vcpu.excused.data = true,
        }
    }
    drop(memory);
    finish(sim, vcpu);
}

/// The access is to a page that is not there, or not for writing: under Xen's lock.
fn fault(sim: &Sim, vcpu: &mut Vcpu, page: u32) {
    let (entry, has_server) = (sim.xen.borrow().entry(page), sim.xen.borrow().has_server());
    let is_written = |byte: &Byte| byte.page == page && byte.written.is_some();
    let writes = sim.memory.borrow().accesses[vcpu.id].iter().any(is_written);
    let present = match entry {
        Entry::Absent => false,
        Entry::Lent { read_only, .. } if read_only && writes => true,
        _ => {
            vcpu.phase = Phase::Touching;
            return;
        }
    };
    if !has_server {
        return raise(sim, vcpu, page);
    }
    let claim = lending::fault(APERTURE + u64::from(page) * 4096, writes, vcpu.faults > 0, present);
    vcpu.faults += 1;
    sim.xen.borrow_mut().send_request(vcpu.id, claim);
    sim.broker_pending.set(true);
    vcpu.phase = Phase::Blocked;
}

/// The broker has answered a fault, or its end has. An instruction is run again, or ends in an exception.
fn resume(sim: &Sim, vcpu: &mut Vcpu, datum: u64) {
    if vcpu.chunks[0].claim.kind == KIND_INVALIDATE {
        finish(sim, vcpu);
    } else if datum == Reply::Retry as u64 {
        vcpu.phase = Phase::Touching;
        vcpu.sent_back = true;
    } else {
        let page = page_of(&vcpu.chunks[0].claim);
        raise(sim, vcpu, page);
    }
}

/// An exception, at the instruction. It has done nothing.
fn raise(sim: &Sim, vcpu: &mut Vcpu, page: u32) {
    sim.note(|| format!("an exception for vCPU {} at page {page}", vcpu.id));
    let bytes = sim.memory.borrow().accesses[vcpu.id].clone();
    if !vcpu.excused.exception && !crate::invariants::excuses(sim, vcpu.id, &bytes).exception {
        sim.fail(Wrong::Exception, format!("vCPU {} at page {page}, which was lent all along", vcpu.id));
    }
    vcpu.excused.data = true;
    finish(sim, vcpu);
}

/// Pages have gone from page tables: instructions through them that are about to run again meet a page fault of
/// the guest's kernel.
pub fn interrupt(sim: &Sim, pages: Pages) {
    let goes = |vcpu: &&mut Vcpu| vcpu.sent_back && vcpu.via.is_some_and(|via| pages.contains(via.page));
    for vcpu in sim.vcpus.borrow_mut().iter_mut().filter(goes) {
        (vcpu.phase, vcpu.via, vcpu.sent_back, vcpu.faulted) = (Phase::Idle, None, false, true);
        vcpu.finished += 1;
        sim.memory.borrow_mut().accesses[vcpu.id].clear();
    }
}

fn finish(sim: &Sim, vcpu: &mut Vcpu) {
    vcpu.phase = Phase::Idle;
    vcpu.finished += u64::from(vcpu.via.take().is_some());
    let bytes = std::mem::take(&mut sim.memory.borrow_mut().accesses[vcpu.id]);
    if vcpu.excused.data || crate::invariants::excuses(sim, vcpu.id, &bytes).data {
        return;
    }
    for (byte, read) in bytes.iter().zip(&vcpu.read) {
        let (page, cell) = (byte.page, byte.cell);
        match (byte.written, read) {
            (None, Some(read)) if byte.seen.contains(read) => {}
            (None, read) => {
                let seen = &byte.seen;
                let text = format!("vCPU {} read {read:?} at page {page} byte {cell}, was {seen:?}", vcpu.id);
                sim.fail(Wrong::StaleData, text);
            }
            (Some(_), _) if byte.applied => {}
            (Some(written), _) => {
                let text =
                    format!("vCPU {} wrote {written} at page {page} byte {cell}: never there", vcpu.id);
                sim.fail(Wrong::LostWrite, text);
            }
        }
    }
}

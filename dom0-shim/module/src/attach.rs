// SPDX-License-Identifier: MIT OR Apache-2.0
//! The life of a link: attach, detach.

use xenlend_protocol::frame::{FRAMES_PER_2MIB, PAGE_SIZE};
use xenlend_shim_core::counters::add;
use xenlend_shim_core::crew::{Place, MAX_WORKERS};
use xenlend_shim_core::domctl::{INFO_DYING, INFO_HVM};
use xenlend_shim_core::events::Event;
use xenlend_shim_core::histogram::BUCKETS;
use xenlend_shim_core::link::{Config, Link as CoreLink, Tables, MAX_WAITS};
use xenlend_shim_core::patience::Patience;
use xenlend_shim_core::regions::{Aperture, Slot, MAX_REGIONS};
use xenlend_shim_core::request_queue::Work;
use xenlend_shim_core::uapi::{Attach, ATTACH_CHECK};

use crate::errno::{Errno, EFBIG, EINVAL, ENOENT, ENOMEM, ENOSPC, EOPNOTSUPP, EXDEV};
use crate::frames::Frames;
use crate::hypervisor::Hypervisor;
use crate::kernel_api::event_channel::{Handler, Port};
use crate::kernel_api::grant::{rings, RingPages};
use crate::kernel_api::memory::KernelSlice;
use crate::kernel_api::module::ModuleReference;
use crate::kernel_api::shared::Shared;
use crate::kernel_api::Core as Module;
use crate::link::{Link, Parts};
use crate::{crew, leases, log_information};

const DEFAULT_DEADLINE_MS: u32 = 3000;
/// vCPUs that one page of ioreqs serves.
const MAX_VCPUS: u32 = 128;
const EVENTS: usize = 256;
const APERTURE_ALIGNMENT: u64 = FRAMES_PER_2MIB as u64 * PAGE_SIZE;

/// `XENLEND_ATTACH`; fills in the answers.
#[inline(never)] // keeps its frame off the other calls' stacks
pub fn attach(request: &mut Attach) -> Result<(), Errno> {
    let hypervisor = Hypervisor::probe()?;
    check_request(request)?;
    check_domain(hypervisor, request.borrower)?;
    check_domain(hypervisor, request.broker)?;
    let link = Module::links().add(request.borrower, || make(hypervisor, request))?;
    request.ring_refs = link.pages.references();
    request.event_channel = link.port.number();
    log_information!(
        "dom{}: linked to the broker dom{} on {} Xen, aperture {:#x} + {:#x}{}",
        request.borrower,
        request.broker,
        if link.kind.is_lend_aware() { "lend-aware" } else { "stock" },
        request.aperture_address,
        request.aperture_size,
        if link.check { ", check mode" } else { "" }
    );
    Ok(())
}

fn check_request(request: &Attach) -> Result<(), Errno> {
    let answers = request.ring_refs.iter().chain([&request.event_channel]);
    let answers_empty = answers.copied().all(|answer| answer == 0);
    let end = request.aperture_address.checked_add(request.aperture_size);
    let aligned = (request.aperture_address | request.aperture_size) % APERTURE_ALIGNMENT == 0;
    let sane = answers_empty
        && aligned
        && end.is_some()
        && request.aperture_size > 0
        && (1..=MAX_VCPUS).contains(&request.vcpus)
        && request.flags & !ATTACH_CHECK == 0
        && request.borrower != request.broker;
    if !sane {
        return Err(EINVAL);
    }
    if !request.is_within_limit() {
        return Err(EFBIG);
    }
    Ok(())
}

fn check_domain(hypervisor: Hypervisor, dom_id: u16) -> Result<(), Errno> {
    let info = hypervisor.info(dom_id)?;
    if info.flags & INFO_DYING != 0 {
        return Err(ENOENT);
    }
    if info.flags & INFO_HVM == 0 {
        return Err(EOPNOTSUPP);
    }
    Ok(())
}

fn make(hypervisor: Hypervisor, request: &Attach) -> Result<Shared<Link>, Errno> {
    let (borrower, broker) = (request.borrower, request.broker);
    let aperture = Aperture { address: request.aperture_address, size: request.aperture_size };
    let kind = hypervisor.kind(borrower)?;
    // Stock Xen enters what is lent into the IOMMU's tables too.
    if !kind.is_lend_aware() && hypervisor.may_have_devices(borrower)? {
        return Err(EXDEV);
    }
    let tables = Tables {
        slots: KernelSlice::new(MAX_REGIONS, || Slot::EMPTY).ok_or(ENOMEM)?,
        // One access for each vCPU, one page-in put back for each.
        requests: KernelSlice::new(request.vcpus as usize * 2 + 8, || None).ok_or(ENOMEM)?,
        waits: KernelSlice::new(MAX_WAITS, || None).ok_or(ENOMEM)?,
        workers: KernelSlice::new(MAX_WORKERS, || Place::Free).ok_or(ENOMEM)?,
        page_ins: KernelSlice::new(MAX_WORKERS, || None).ok_or(ENOMEM)?,
        events: KernelSlice::new(EVENTS, Event::default).ok_or(ENOMEM)?,
        histogram: KernelSlice::new(BUCKETS, || 0).ok_or(ENOMEM)?,
    };
    let pages = Shared::new(RingPages::new(broker)?).ok_or(ENOMEM)?;
    let (to_broker, to_lender) = rings(&pages);
    let config = Config { borrower, broker, aperture, flags: request.flags, kind };
    let mut core = CoreLink::new(config, tables, to_broker, to_lender);
    // The ring is empty: there is room.
    core.greet().map_err(|_| ENOSPC)?;
    let port = Port::new(broker)?;
    let frames = Frames::new(hypervisor, kind, borrower, broker, &aperture)?;
    let deadline_ms = if request.deadline_ms == 0 { DEFAULT_DEADLINE_MS } else { request.deadline_ms };
    let check = request.flags & ATTACH_CHECK != 0;
    let parts =
        Parts { borrower, broker, aperture, deadline_ms, check, kind, hypervisor, port, pages, frames, core };
    let link = Link::new(parts).and_then(Shared::new).ok_or(ENOMEM)?;
    if let Err(error) = start(&link) {
        stop(&link);
        return Err(error);
    }
    Ok(link)
}

fn start(link: &Shared<Link>) -> Result<(), Errno> {
    let mut running = link.running.lock();
    running.handler = Some(Handler::bind(link)?);
    running.module = Some(ModuleReference::take());
    crew::start(link)?;
    Ok(())
}

/// Ends everything that runs for a link and takes back its permissions. Nothing is lent any more.
fn stop(link: &Shared<Link>) {
    let mut running = link.running.lock();
    running.ended = true;
    let handler = running.handler.take();
    let module = running.module.take();
    // Behind a force that runs: the broker that it has paused has to hear of its end, or a vCPU whose answer
    // is on the way waits for ever.
    let force = link.force.lock();
    link.locked(|state| {
        state.stopping = true;
        state.core.detach();
        // One may be in a fault that never ends by itself. They are told and not waited for.
        state.interrupt_workers();
    });
    drop(force);
    drop(running);
    drop(handler);
    // Nothing is lent any more and no call begins: their permissions go with all others.
    drop(core::mem::take(&mut *link.bars.lock()));
    let failures = link.frames.lock().end();
    link.locked(|state| add(&mut state.core.counters().deny_failures, failures));
    drop(module);
}

/// No vCPU may be left waiting for an answer that nobody would give any more.
fn answer_rest(link: &Link, patience: &mut Patience) {
    link.locked(|state| state.core.take_back_all());
    while let Some(request) = link.locked(|state| state.core.pop_request()) {
        let Work::Access { id, .. } = request.work else { continue };
        leases::answer_lost(link, id, patience);
    }
}

/// `XENLEND_DETACH`: works whatever state the broker is in.
#[inline(never)]
pub fn detach(borrower: u16) -> Result<(), Errno> {
    let link = Module::links().find(borrower).ok_or(ENOENT)?;
    let ending = link.begin_ending();
    let patience = &mut ending.patience();
    let mut running = link.running.lock();
    if running.ended {
        return Err(ENOENT);
    }
    running.ended = true;
    leases::end_regions(&link, &running, None, patience);
    drop(running);
    answer_rest(&link, patience);
    stop(&link);
    drop(ending);
    Module::links().remove(&link)?;
    log_information!("dom{}: link to the broker dom{} ended", link.borrower, link.broker);
    Ok(())
}

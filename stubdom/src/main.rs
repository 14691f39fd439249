// SPDX-License-Identifier: MIT OR Apache-2.0
//! The broker's domain: start-up in order, then one event loop. What is decided, and why, is in
//! `xenlend-lending`; `stubdom/DESIGN.md` describes both halves.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::vec::Vec;
use core::arch::global_asm;
use core::fmt::Write;

use heapless::String;
use xenlend_lending::broker::{Broker, ConfigError, LinkState, Turn};
use xenlend_xen_abi::dm_op::IO_RANGE_MEMORY;
use xenlend_xen_abi::errno;
use xenlend_xen_abi::lend::IO_RANGE_LENT;
use xenlend_xen_abi::version::XenVersion;
use xenlend_xen_abi::PAGE_SIZE;

use crate::arguments::Arguments;
use crate::config::Config;
use crate::departure::Departure;
use crate::memory::page_table::{image_base, image_limit, Access, PageTables};
use crate::memory::window::Window;
use crate::memory::{exceptions, heap};
use crate::start_error::StartError;
use crate::start_info::{Boot, COMMAND_LINE_BYTES};
use crate::trace::{record, Event};
use crate::xen::borrower_link::BorrowerRings;
use crate::xen::domctl::BorrowerControl;
use crate::xen::event_channel::{self, WaitSet};
use crate::xen::foreign_memory::ForeignMemory;
use crate::xen::hypervisor::{XenHypervisor, XenKind};
use crate::xen::ioreq_server::IoreqServer;
use crate::xen::lend_aware_hypervisor::LendAwareHypervisor;
use crate::xen::lender_link::Link;
use crate::xen::stock_hypervisor::StockHypervisor;
use crate::xen::xenstore::Xenstore;
use crate::xen::{console, dm_op, grant_table, hypercall, shared_info, time};

mod arguments;
#[cfg(feature = "faults")]
mod attack;
mod config;
mod departure;
#[cfg(feature = "faults")]
mod faults;
mod memory;
mod panic;
mod single;
mod start_error;
mod start_info;
mod trace;
mod work;
mod xen;

global_asm!(include_str!("entry.s"), options(att_syntax));

/// Messages of the lender in one turn: what an invalidation may have to wait for.
const MESSAGES_PER_TURN: u32 = 32;
/// Steps for the borrower in one turn, each of one message and at most 1536 pages looked at.
const BORROWER_STEPS: u32 = 32;
/// How often the lender's end of the event channel is looked at, in nanoseconds: Xen does not tell.
const LENDER_CHECK_NS: u64 = 1_000_000_000;

/// The domain before it knows whom it serves.
struct Machine {
    command_line: String<COMMAND_LINE_BYTES>,
    xen: XenVersion,
    window: Window,
    xenstore: Xenstore,
}

/// Everything that the event loop needs.
struct Service {
    broker: Broker<'static>,
    hypervisor: arguments::ServedHypervisor,
    link: arguments::ServedLink,
    borrower: BorrowerRings,
    waits: WaitSet,
}

/// Where entry.s ends.
#[no_mangle]
extern "C" fn broker_entry(start_info: u64, no_execute: u64) -> ! {
    // SAFETY: this is the one call, made by entry.s with what Xen passed.
    let mut machine = match unsafe { start_machine(start_info, no_execute != 0) } {
        Ok(machine) => machine,
        Err(error) => panic::end(format_args!("cannot start: {error}")),
    };
    match start_service(&mut machine) {
        Ok(service) => serve(service),
        Err(error) => {
            let mut text = String::<256>::new();
            // A text that is too long ends early.
            let _ = write!(text, "{error}");
            // The console has it too, should xenstored be what is broken.
            let _ = machine.xenstore.write("xenlend/broker/error", text.as_bytes());
            let _ = machine.xenstore.write("xenlend/broker/state", b"failed");
            panic::end(format_args!("cannot start: {error}"))
        }
    }
}

/// From bare entry to a domain with memory, clock, console and xenstore.
///
/// # Safety
/// Called once, at entry.
unsafe fn start_machine(start_info: u64, no_execute: bool) -> Result<Machine, StartError> {
    // SAFETY: nothing else uses the tables yet.
    unsafe { exceptions::install() };
    // SAFETY: the address is Xen's, and entry.s's tables are in use.
    let boot = unsafe { Boot::read(start_info) }?;
    let ram = boot.ram_around(image_base()).ok_or(StartError::Memory("the image is not in RAM"))?;
    if ram.1 <= image_limit() {
        return Err(StartError::Memory("no RAM behind the image"));
    }
    let mut window = Window::find(&boot)?;
    // SAFETY: called once, with the RAM around the image.
    let mut tables = unsafe { PageTables::install(ram, no_execute) }?;
    let (window_start, window_end) = window.span();
    tables.map(window_start, window_end, Access::Data)?;
    // SAFETY: called once; what the start info points to has been copied, and nothing else is there.
    unsafe { heap::init(image_limit(), ram.1) };

    let xen = hypercall::install()?;
    shared_info::init(&mut window)?;
    console::init(&mut tables)?;
    let xenstore = Xenstore::connect(&mut tables)?;
    log!(
        "protocol {}, Xen {}.{}, {} KiB of memory",
        xenlend_protocol::message::VERSION,
        xen.major,
        xen.minor,
        (ram.1 - ram.0) / 1024
    );
    Ok(Machine { command_line: boot.command_line, xen, window, xenstore })
}

/// From xenstore's nodes to a broker that is ready for its lender's first message.
fn start_service(machine: &mut Machine) -> Result<Service, StartError> {
    let Machine { command_line, xen, window, xenstore } = machine;
    xenstore.write("xenlend/broker/state", b"starting")?;
    let arguments = Arguments::parse(command_line)?;
    let config = Config::read(xenstore)?;
    let kind = XenKind::ask(config.borrower)?;
    xenstore.write("xenlend/broker/xen", kind.name().as_bytes())?;
    xenstore.write("xenlend/broker/xen-reason", kind.reason().as_bytes())?;
    log!("{} Xen: {}", kind.name(), kind.reason());

    let pages = [window.take()?, window.take()?, window.take()?];
    for (reference, page) in config.rings.into_iter().zip(pages) {
        grant_table::map(config.lender, reference, page)
            .map_err(|refused| StartError::refused_grant(reference, refused))?;
    }
    let mut waits = WaitSet::default();
    let port = event_channel::bind(config.lender, config.lender_port)
        .map_err(|errno| StartError::Call { purpose: "bind the lender's port", errno })?;
    waits.add(port)?;
    // SAFETY: the three pages have just been mapped for good, and only the link knows them.
    let link = unsafe { Link::new(pages, port) };

    let borrower = BorrowerRings::new(config.borrower, [window.take()?, window.take()?, window.take()?]);

    let vcpus = vcpu_count(&config)?;
    let (aperture, slots) = (storage(config.aperture_pages as usize)?, storage(vcpus.into())?);
    let broker = Broker::new(config.aperture_gfn * PAGE_SIZE, aperture, slots, kind.capabilities()).map_err(
        |error| match error {
            ConfigError::Aperture => StartError::Configuration("aperture not at a multiple of 2 MiB"),
            ConfigError::VcpuCount => StartError::Configuration("no vCPU, or more than 126"),
        },
    )?;

    let hypervisor = hypervisor(kind, *xen, &config, vcpus, window, &mut waits)?;
    log!(
        "domain {} borrows {} pages from gfn {:#x} of domain {}; {vcpus} vCPUs, heap {} KiB used, {} KiB free",
        config.borrower,
        config.aperture_pages,
        config.aperture_gfn,
        config.lender,
        heap::usage().0 / 1024,
        heap::usage().1 / 1024
    );
    xenstore.write("xenlend/broker/version", env!("CARGO_PKG_VERSION").as_bytes())?;
    // It takes its server off the borrower when its lender has gone, and ends: `xenlend down` may wait for it.
    xenstore.write("xenlend/broker/feature-leave", b"1")?;
    xenstore.write("xenlend/broker/state", b"connected")?;
    heap::lock();
    let (hypervisor, link) = (arguments.hypervisor(hypervisor), arguments.link(link));
    Ok(Service { broker, hypervisor, link, borrower, waits })
}

/// The implementation for a kind of Xen, with its server on the borrower.
fn hypervisor(
    kind: XenKind,
    xen: XenVersion,
    config: &Config,
    vcpus: u16,
    window: &mut Window,
    waits: &mut WaitSet,
) -> Result<XenHypervisor, StartError> {
    let Config { borrower, lender, aperture_gfn, .. } = *config;
    let mut server = |range| {
        let frames = config.aperture_pages.into();
        IoreqServer::create(borrower, range, aperture_gfn, frames, vcpus, window, waits)
    };
    match kind {
        XenKind::Stock => {
            let control = BorrowerControl::probe(xen, borrower)?;
            log!("interface version {:#x}", control.version());
            let requests = server(IO_RANGE_MEMORY)?;
            let memory = ForeignMemory::new(borrower, window)?;
            Ok(XenHypervisor::Stock(StockHypervisor { control, aperture_gfn, requests, memory }))
        }
        XenKind::LendAware => {
            let requests = server(IO_RANGE_LENT)?;
            Ok(XenHypervisor::LendAware(LendAwareHypervisor { borrower, lender, aperture_gfn, requests }))
        }
    }
}

/// The borrower's vCPUs: Xen knows best; xenstore's number is for a Xen that cannot say.
fn vcpu_count(config: &Config) -> Result<u16, StartError> {
    match dm_op::vcpu_count(config.borrower) {
        Ok(count) if count != u32::from(config.vcpus) => {
            log!("xenstore says {} vCPUs, Xen says {count}", config.vcpus);
            u16::try_from(count).map_err(|_| StartError::Configuration("more vCPUs than 126"))
        }
        Ok(_) | Err(errno::EOPNOTSUPP) => Ok(config.vcpus),
        Err(errno) => Err(StartError::Call { purpose: "count the borrower's vCPUs", errno }),
    }
}

/// Storage for as long as the domain lives.
fn storage<T: Default>(count: usize) -> Result<&'static mut [T], StartError> {
    let mut values = Vec::new();
    values.try_reserve_exact(count).map_err(|_| StartError::Memory("too little for so large an aperture"))?;
    values.resize_with(count, T::default);
    Ok(values.leak())
}

/// The event loop: bounded work for each side, then sleep until somebody has more.
fn serve(mut service: Service) -> ! {
    let Service { broker, hypervisor, link, borrower, waits } = &mut service;
    record(Event::Started, waits.len() as u64, 0);
    let mut state = broker.link_state();
    let mut borrower_state = broker.borrower_state();
    let mut next_check = 0;
    let mut departure = Departure::default();
    loop {
        waits.clear();
        work::turn();
        arguments::start_turn(hypervisor);
        let lender = broker.serve_lender(hypervisor, link, MESSAGES_PER_TURN);
        let requests = broker.serve_requests(hypervisor, link);
        let borrowers = broker.serve_borrower(hypervisor, link, borrower, BORROWER_STEPS);
        borrower.finish_turn();
        waits.set_borrower(borrower.port());
        let sound_link = arguments::sound_link(link);
        sound_link.finish_turn();

        let now = time::now_ns().unwrap_or(0);
        if state != LinkState::LenderGone && now >= next_check {
            next_check = now + LENDER_CHECK_NS;
            if !sound_link.is_connected() {
                record(Event::LenderGone, now, 0);
                broker.lender_gone(hypervisor);
            }
        }
        let changed = broker.link_state() != state;
        if changed {
            state = broker.link_state();
            record(Event::LinkChanged, now, 0);
            log!("link: {state:?}");
            if !matches!(state, LinkState::AwaitingHello | LinkState::Connected) {
                log!("revocations: {}", work::revocations());
            }
        }
        if broker.borrower_state() != borrower_state {
            borrower_state = broker.borrower_state();
            record(Event::BorrowerChanged, now, 0);
            log!("borrower's link: {borrower_state:?}");
        }
        // A link that has just ended leaves requests that the next turn finishes.
        if !changed && ![lender, requests].contains(&Turn::More) {
            // Not for the borrower's link to hold up.
            departure.advance(broker, hypervisor);
            if borrowers != Turn::More {
                waits.wait(departure.next_look(state, now).unwrap_or(next_check));
            }
        }
    }
}

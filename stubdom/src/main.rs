// SPDX-License-Identifier: MIT OR Apache-2.0
//! The broker's domain: start-up in order, then one event loop. What is decided, and why, is in
//! `xenlend-lending`; `stubdom/DESIGN.md` describes both halves.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::boxed::Box;
use core::arch::global_asm;
use core::fmt::Write;

use heapless::{String, Vec};
use xenlend_broker_domain::{
    config, departure, event_loop, more_borrowers, start_error, start_info, turn, window,
};
use xenlend_xen_abi::lend::XenKind;
use xenlend_xen_abi::sched::POLL_PORTS_MAX;
use xenlend_xen_abi::version::XenVersion;
use xenlend_xen_abi::DomainId;

use crate::arguments::Arguments;
use crate::config::Config;
use crate::event_loop::{Borrowers, Machine, Service as _, Turn, MAX_BORROWERS};
use crate::memory::entry_memory::MappedToItself;
use crate::memory::page_table::{self, image_base, image_limit, Access};
use crate::memory::{exceptions, heap};
use crate::more_borrowers::MoreBorrowers;
use crate::service::{vcpu_count, Place, Service};
use crate::start_error::StartError;
use crate::start_info::{Boot, COMMAND_LINE_BYTES};
use crate::trace::{record, Event};
use crate::window::Window;
use crate::xen::event_channel::WaitSet;
use crate::xen::hypervisor;
use crate::xen::xenstore::Xenstore;
use crate::xen::{console, hypercall, shared_info};

mod arguments;
#[cfg(feature = "faults")]
mod attack;
#[cfg(feature = "faults")]
mod borrower;
#[cfg(feature = "faults")]
mod faults;
mod memory;
mod panic;
mod service;
mod single;
mod trace;
mod work;
mod xen;

global_asm!(include_str!("entry.s"), options(att_syntax));

/// The domain before it knows whom it serves.
struct Start {
    command_line: String<COMMAND_LINE_BYTES>,
    xen: XenVersion,
    window: Window,
    xenstore: Xenstore,
}

/// What serving one more borrower takes from.
struct Domain {
    /// Places that borrowers have left.
    free: Vec<Place, MAX_BORROWERS>,
    arguments: Arguments,
    xen: XenVersion,
    window: Window,
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
        Ok(started) => serve(settle(machine, started)),
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
unsafe fn start_machine(start_info: u64, no_execute: bool) -> Result<Start, StartError> {
    exceptions::install();
    // SAFETY: entry.s's tables are in use until others are installed below.
    let boot = Boot::read(&unsafe { MappedToItself::new() }, start_info)?;
    let ram = boot.ram_around(image_base()).ok_or(StartError::Memory("the image is not in RAM"))?;
    if ram.1 <= image_limit() {
        return Err(StartError::Memory("no RAM behind the image"));
    }
    let mut window = Window::find(&boot)?;
    // SAFETY: called once, with the RAM around the image.
    let mut tables = unsafe { page_table::install(ram, no_execute) }?;
    let (window_start, window_end) = window.span();
    tables.map(window_start, window_end, Access::Data)?;
    // SAFETY: called once; what the start info points to has been copied, and nothing else is there.
    unsafe { heap::init(image_limit(), ram.1) };

    let xen = hypercall::install()?;
    shared_info::init(&mut window)?;
    console::init(&mut tables)?;
    #[cfg(feature = "faults")]
    if let Some(pages) = borrower::pages(&boot.command_line) {
        borrower::run(pages, &mut tables)?;
    }
    let xenstore = Xenstore::connect(&mut tables)?;
    log!(
        "protocol {}, Xen {}.{}, {} KiB of memory",
        xenlend_protocol::message::VERSION,
        xen.major,
        xen.minor,
        (ram.1 - ram.0) / 1024
    );
    Ok(Start { command_line: boot.command_line, xen, window, xenstore })
}

/// What the start has come to.
struct Started {
    arguments: Arguments,
    /// For the first borrower.
    service: Box<Service>,
    /// Whether there can be more of them.
    listens: bool,
}

/// From xenstore's nodes to a broker that is ready for its lender's first message.
fn start_service(machine: &mut Start) -> Result<Started, StartError> {
    let Start { command_line, xen, window, xenstore } = machine;
    xenstore.write("xenlend/broker/state", b"starting")?;
    let arguments = Arguments::parse(command_line)?;
    let config = Config::read(xenstore)?;
    let kind = hypervisor::ask(config.borrower)?;
    xenstore.write("xenlend/broker/xen", kind.name().as_bytes())?;
    xenstore.write("xenlend/broker/xen-reason", hypervisor::reason(kind).as_bytes())?;
    log!("{} Xen: {}", kind.name(), hypervisor::reason(kind));

    let service = open(&config, kind, *xen, arguments, &mut Vec::new(), window)?;
    xenstore.write("xenlend/broker/version", env!("CARGO_PKG_VERSION").as_bytes())?;
    // It takes its server off the borrower when its lender has gone, and ends: `xenlend down` may wait for it.
    xenstore.write("xenlend/broker/feature-leave", b"1")?;
    // On stock Xen a domain has one target. One port for xenstore, one for the borrower's link.
    let listens = kind == XenKind::LendAware && service.port_count() + 2 <= POLL_PORTS_MAX;
    if listens {
        xenstore.watch(more_borrowers::FOLDER)?;
        xenstore.write("xenlend/broker/feature-more", b"1")?;
    }
    xenstore.write("xenlend/broker/state", b"connected")?;
    Ok(Started { arguments, service, listens })
}

/// One borrower's service, with what it takes of the domain.
fn open(
    config: &Config,
    kind: XenKind,
    xen: XenVersion,
    arguments: Arguments,
    free: &mut Vec<Place, MAX_BORROWERS>,
    window: &mut Window,
) -> Result<Box<Service>, StartError> {
    let config = Config { vcpus: vcpu_count(config)?, ..*config };
    let service = Service::open(&config, kind, xen, arguments, free, window)?;
    log!(
        "domain {} borrows {} pages from gfn {:#x} of domain {}; {} vCPUs, heap {} KiB used, {} KiB free",
        config.borrower,
        config.aperture_pages,
        config.aperture_gfn,
        config.lender,
        config.vcpus,
        heap::usage().0 / 1024,
        heap::usage().1 / 1024
    );
    Ok(service)
}

/// What the event loop serves, from what the start has made. From here on nothing waits for xenstore.
fn settle(machine: Start, started: Started) -> Borrowers<Domain, Xenstore> {
    let Start { xen, window, xenstore, .. } = machine;
    let Started { arguments, service, listens } = started;
    heap::lock();
    let more = listens.then(|| MoreBorrowers::new(xenstore));
    Borrowers::new(service, more, Domain { free: Vec::new(), arguments, xen, window })
}

impl Machine for Domain {
    type Service = Box<Service>;

    fn vcpu_count(&mut self, config: &Config) -> Result<u16, StartError> {
        vcpu_count(config)
    }

    fn free_bytes(&self) -> usize {
        heap::usage().1
    }

    fn open(&mut self, config: &Config) -> Result<Box<Service>, StartError> {
        let kind = hypervisor::ask(config.borrower)?;
        if kind != XenKind::LendAware {
            return Err(StartError::NotForMore("Xen lends to it as stock Xen"));
        }
        heap::unlock();
        let opened = open(config, kind, self.xen, self.arguments, &mut self.free, &mut self.window);
        heap::lock();
        opened
    }

    fn refuse(&mut self, borrower: DomainId, error: &StartError) {
        log!("cannot serve domain {borrower}: {error}");
    }

    fn close(&mut self, service: Box<Service>, why: &'static str) {
        log!("{why}: leaving domain {}", service.borrower());
        if let Some(place) = service.leave() {
            // There is room: places are made only while none is free, so there are no more than borrowers at a time.
            let _ = self.free.push(place);
        }
    }
}

/// The event loop: bounded work for each side, then sleep until somebody has more.
fn serve(mut borrowers: Borrowers<Domain, Xenstore>) -> ! {
    let mut waits = WaitSet::default();
    record(Event::Started, borrowers.services().len() as u64, 0);
    loop {
        waits.clear();
        work::turn();
        let turn = borrowers.turn();
        waits.restart();
        for service in borrowers.services() {
            service.ports().for_each(|port| waits.add(port));
        }
        if let Some(xenstore) = borrowers.xenstore() {
            waits.add(xenstore.port());
        }
        match turn {
            Turn::Busy => {}
            Turn::Rests(until) => waits.wait(until),
            Turn::Over(why) => panic::power_off(format_args!("{why}: leaving the borrower")),
        }
    }
}

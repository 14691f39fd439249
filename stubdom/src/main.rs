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
use xenlend_xen_abi::lend::XenKind;
use xenlend_xen_abi::sched::POLL_PORTS_MAX;
use xenlend_xen_abi::version::XenVersion;

use crate::arguments::Arguments;
use crate::config::Config;
use crate::memory::page_table::{image_base, image_limit, Access, PageTables};
use crate::memory::window::Window;
use crate::memory::{exceptions, heap};
use crate::more_borrowers::MoreBorrowers;
use crate::service::{ports_of, table_bytes, vcpu_count, Place, Service, Step};
use crate::start_error::StartError;
use crate::start_info::{Boot, COMMAND_LINE_BYTES};
use crate::trace::{record, Event};
use crate::xen::event_channel::WaitSet;
use crate::xen::hypervisor;
use crate::xen::xenstore::Xenstore;
use crate::xen::{console, hypercall, shared_info};

mod arguments;
#[cfg(feature = "faults")]
mod attack;
#[cfg(feature = "faults")]
mod borrower;
mod config;
mod departure;
#[cfg(feature = "faults")]
mod faults;
mod memory;
mod more_borrowers;
mod panic;
mod service;
mod single;
mod start_error;
mod start_info;
mod trace;
mod work;
mod xen;

global_asm!(include_str!("entry.s"), options(att_syntax));

/// Borrowers that one domain serves at a time.
const MAX_BORROWERS: usize = 8;

/// The domain before it knows whom it serves.
struct Machine {
    command_line: String<COMMAND_LINE_BYTES>,
    xen: XenVersion,
    window: Window,
    xenstore: Xenstore,
}

/// Everything that the event loop needs.
struct Domain {
    /// On the heap: one has more than its share of the stack.
    services: Vec<Box<Service>, MAX_BORROWERS>,
    /// Places that borrowers have left.
    free: Vec<Place, MAX_BORROWERS>,
    /// On lend-aware Xen, where more than one borrower can be had.
    more: Option<MoreBorrowers>,
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
    Ok(Machine { command_line: boot.command_line, xen, window, xenstore })
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
fn start_service(machine: &mut Machine) -> Result<Started, StartError> {
    let Machine { command_line, xen, window, xenstore } = machine;
    xenstore.write("xenlend/broker/state", b"starting")?;
    let arguments = Arguments::parse(command_line)?;
    let config = Config::read(xenstore)?;
    let kind = hypervisor::ask(config.borrower)?;
    xenstore.write("xenlend/broker/xen", kind.name().as_bytes())?;
    xenstore.write("xenlend/broker/xen-reason", hypervisor::reason(kind).as_bytes())?;
    log!("{} Xen: {}", kind.name(), hypervisor::reason(kind));

    let mut service = open(&config, kind, *xen, arguments, &mut Vec::new(), window)?;
    xenstore.write("xenlend/broker/version", env!("CARGO_PKG_VERSION").as_bytes())?;
    // It takes its server off the borrower when its lender has gone, and ends: `xenlend down` may wait for it.
    xenstore.write("xenlend/broker/feature-leave", b"1")?;
    // On stock Xen a domain has one target. One port for xenstore, one for the borrower's link.
    let listens = kind == XenKind::LendAware && service.ports().count() + 2 <= POLL_PORTS_MAX;
    if listens {
        MoreBorrowers::announce(xenstore)?;
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

/// What the event loop needs, from what the start has made. From here on nothing waits for xenstore.
fn settle(machine: Machine, started: Started) -> Domain {
    let Machine { xen, window, xenstore, .. } = machine;
    let Started { arguments, service, listens } = started;
    heap::lock();
    let more = listens.then(|| MoreBorrowers::new(xenstore));
    let mut services = Vec::new();
    // There is room.
    let _ = services.push(service);
    Domain { services, free: Vec::new(), more, arguments, xen, window }
}

impl Domain {
    /// A turn of everything: bounded work for each. `Some` if there is nothing more to do until an event or this
    /// system time (0: none).
    fn turn(&mut self) -> Option<u64> {
        let mut rest = Some(0);
        let mut index = 0;
        while let Some(service) = self.services.get_mut(index) {
            index += 1;
            match service.turn() {
                Step::Busy => rest = None,
                Step::Rests(until) => rest = rest.map(|rest| earlier(rest, until)),
                Step::Left(why) => {
                    index -= 1;
                    self.leave(index, why);
                }
            }
        }
        if let Some(config) = self.more.as_mut().and_then(MoreBorrowers::turn) {
            self.join(&config);
            rest = None;
        }
        rest
    }

    /// A borrower has been left. The domain ends with the last one.
    fn leave(&mut self, index: usize, why: &str) {
        if self.services.len() == 1 {
            panic::power_off(format_args!("{why}: leaving the borrower"));
        }
        let service = self.services.remove(index);
        let borrower = service.borrower();
        log!("{why}: leaving domain {borrower}");
        if let Some(place) = service.leave() {
            // There is room: places are made only while none is free, so there are no more than borrowers at a time.
            let _ = self.free.push(place);
        }
        if let Some(more) = &mut self.more {
            more.say(borrower, "left", None);
        }
    }

    /// One more borrower is to be served.
    fn join(&mut self, config: &Config) {
        // The node was touched again.
        if self.services.iter().any(|service| service.borrower() == config.borrower) {
            return;
        }
        heap::unlock();
        let opened = self.open_one_more(config);
        heap::lock();
        let result = match opened {
            Ok(service) => self.services.push(service).map_err(|_| StartError::NotForMore("no room")),
            Err(error) => Err(error),
        };
        let Some(more) = &mut self.more else { return };
        match result {
            Ok(()) => more.say(config.borrower, "connected", None),
            Err(error) => {
                log!("cannot serve domain {}: {error}", config.borrower);
                more.say(config.borrower, "failed", Some(&error));
            }
        }
    }

    fn open_one_more(&mut self, config: &Config) -> Result<Box<Service>, StartError> {
        if self.services.is_full() {
            return Err(StartError::NotForMore("this broker has 8 already"));
        }
        let vcpus = vcpu_count(config)?;
        let used: usize = self.services.iter_mut().map(|service| service.ports().count()).sum();
        // One for xenstore, and one for the link of each borrower that has none now.
        if used + self.services.len() + 1 + ports_of(vcpus) > POLL_PORTS_MAX {
            return Err(StartError::NotForMore("the vCPUs of all have more than 128 event channels"));
        }
        // The guest may have chosen the size.
        if table_bytes(config.aperture_pages) > heap::usage().1 / 2 {
            return Err(StartError::NotForMore(
                "its aperture takes more than half of the memory that is left",
            ));
        }
        let kind = hypervisor::ask(config.borrower)?;
        if kind != XenKind::LendAware {
            return Err(StartError::NotForMore("Xen lends to it as stock Xen"));
        }
        open(config, kind, self.xen, self.arguments, &mut self.free, &mut self.window)
    }
}

/// The earlier of two system times, 0 being never.
fn earlier(one: u64, other: u64) -> u64 {
    match (one, other) {
        (0, time) | (time, 0) => time,
        (one, other) => one.min(other),
    }
}

/// The event loop: bounded work for each side, then sleep until somebody has more.
fn serve(mut domain: Domain) -> ! {
    let mut waits = WaitSet::default();
    record(Event::Started, domain.services.len() as u64, 0);
    loop {
        waits.clear();
        work::turn();
        let rest = domain.turn();
        waits.restart();
        for service in &mut domain.services {
            service.ports().for_each(|port| waits.add(port));
        }
        if let Some(more) = &domain.more {
            waits.add(more.port());
        }
        if let Some(until) = rest {
            waits.wait(until);
        }
    }
}

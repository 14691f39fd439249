// SPDX-License-Identifier: MIT OR Apache-2.0
//! One borrower's share of the domain: its broker, its links, its server.

use alloc::boxed::Box;
use alloc::vec::Vec as HeapVec;
use core::hint::black_box;

use heapless::Vec;
use xenlend_lending::broker::{Broker, ConfigError, LinkState};
use xenlend_lending::lending_table::PageSlot;
use xenlend_lending::vcpu_slot::VcpuSlot;
use xenlend_xen_abi::dm_op::IO_RANGE_MEMORY;
use xenlend_xen_abi::errno;
use xenlend_xen_abi::event_channel::Port;
use xenlend_xen_abi::lend::XenKind;
use xenlend_xen_abi::lend::IO_RANGE_LENT;
use xenlend_xen_abi::version::XenVersion;
use xenlend_xen_abi::{DomainId, PAGE_SIZE};

use crate::arguments::{self, Arguments};
use crate::config::Config;
use crate::event_loop;
use crate::log;
use crate::start_error::StartError;
use crate::trace::{record, Event};
use crate::turn::{News, Step, Turns};
use crate::window::{Window, WindowFrame};
use crate::xen::borrower_link::BorrowerRings;
use crate::xen::domctl::BorrowerControl;
use crate::xen::foreign_memory::ForeignMemory;
use crate::xen::grant_table::Mapping;
use crate::xen::hypervisor::{capabilities, XenHypervisor};
use crate::xen::ioreq_server::IoreqServer;
use crate::xen::lend_aware_hypervisor::LendAwareHypervisor;
use crate::xen::lender_link::Link;
use crate::xen::stock_hypervisor::StockHypervisor;
use crate::xen::{dm_op, event_channel, grant_table, physmap, time};

/// What one borrower takes of the window. Whoever leaves gives it back.
#[derive(Clone, Copy)]
pub struct Place {
    lender_frames: [WindowFrame; 3],
    borrower_frames: [WindowFrame; 3],
    request_frame: WindowFrame,
}

/// One borrower's share.
pub struct Service {
    borrower: DomainId,
    broker: Broker<'static>,
    hypervisor: arguments::ServedHypervisor,
    link: arguments::ServedLink,
    rings: BorrowerRings,
    lender_frames: [WindowFrame; 3],
    request_frame: WindowFrame,
    grants: Vec<Mapping, 3>,
    turns: Turns,
}

impl Place {
    /// One of the free places, or a new one: there are never more of them than were borrowers at a time.
    ///
    /// # Errors
    /// If the window is used up.
    pub fn find<const N: usize>(free: &mut Vec<Self, N>, window: &mut Window) -> Result<Self, StartError> {
        if let Some(place) = free.pop() {
            return Ok(place);
        }
        Ok(Self {
            lender_frames: [window.take()?, window.take()?, window.take()?],
            borrower_frames: [window.take()?, window.take()?, window.take()?],
            request_frame: window.take()?,
        })
    }
}

/// What one borrower takes of the heap, on its way into its service.
struct Tables {
    pages: &'static mut [PageSlot],
    vcpus: &'static mut [VcpuSlot],
}

impl Tables {
    /// For an aperture of so many pages and so many vCPUs: the guest may have chosen how many.
    fn new(pages: u32, vcpus: u16) -> Result<Self, StartError> {
        let (pages, vcpus) = (storage(pages as usize)?, storage(vcpus.into())?);
        Ok(Self { pages: Box::leak(pages), vcpus: Box::leak(vcpus) })
    }

    /// Frees them, which may be done while the heap is locked.
    fn give_back(self) {
        let Self { pages, vcpus } = self;
        free(pages);
        free(vcpus);
    }
}

/// Storage on the heap, if there is any left.
fn storage<T: Default>(count: usize) -> Result<Box<[T]>, StartError> {
    let mut values = HeapVec::new();
    values.try_reserve_exact(count).map_err(|_| StartError::Memory("too little for so large an aperture"))?;
    values.resize_with(count, T::default);
    Ok(values.into_boxed_slice())
}

/// Frees storage of a [`Tables`].
fn free<T>(values: &'static mut [T]) {
    // SAFETY: it is the whole of what `Box::leak` gave to `Tables::new`, and this is the only reference.
    drop(unsafe { Box::from_raw(core::ptr::from_mut(values)) });
}

/// What is open already, while a service is made.
#[derive(Default)]
struct Opened {
    grants: Vec<Mapping, 3>,
    port: Option<Port>,
}

impl Opened {
    /// Whether nothing stays mapped.
    fn close(self) -> bool {
        if let Some(port) = self.port {
            event_channel::close(port);
        }
        let mut all_gone = true;
        for grant in self.grants {
            if let Err(refused) = grant_table::unmap(grant) {
                log!("a page of the lender stays mapped: {refused:?}");
                all_gone = false;
            }
        }
        all_gone
    }
}

impl Service {
    /// Takes up the service of a borrower.
    ///
    /// # Errors
    /// If a step of it fails: nothing of it is left then.
    pub fn open<const N: usize>(
        config: &Config,
        kind: XenKind,
        xen: XenVersion,
        arguments: Arguments,
        free: &mut Vec<Place, N>,
        window: &mut Window,
    ) -> Result<Box<Self>, StartError> {
        let place = Place::find(free, window)?;
        let mut opened = Opened::default();
        Self::make(config, kind, xen, arguments, place, window, &mut opened).inspect_err(|_| {
            // What is still shown at one of its frames must not be met by the next borrower's.
            if opened.close() && physmap::empty(place.request_frame).is_ok() {
                // There is room: it came from there, or is of one borrower more than were ever served.
                let _ = free.push(place);
            }
        })
    }

    fn make(
        config: &Config,
        kind: XenKind,
        xen: XenVersion,
        arguments: Arguments,
        place: Place,
        window: &mut Window,
        opened: &mut Opened,
    ) -> Result<Box<Self>, StartError> {
        let Place { lender_frames, borrower_frames, request_frame } = place;
        // The room of the service itself: `Box::new` would end the domain if there were none.
        let mut room = HeapVec::<Self>::new();
        room.try_reserve_exact(1).map_err(|_| StartError::Memory("too little for one more borrower"))?;
        // Or the compiler may leave out an allocation that nobody looks at.
        black_box(&mut room);
        for (reference, page) in config.rings.into_iter().zip(lender_frames) {
            let mapping = grant_table::map(config.lender, reference, page)
                .map_err(|refused| refused.at_start(reference))?;
            // Always room: there are three.
            let _ = opened.grants.push(mapping);
        }
        let port = event_channel::bind(config.lender, config.lender_port)
            .map_err(|errno| StartError::Call { purpose: "bind the lender's port", errno })?;
        opened.port = Some(port);
        let address = config.aperture_gfn * PAGE_SIZE;
        // Before there are tables, which a broker that does not come about would not give back.
        Broker::check(address, config.aperture_pages as usize, config.vcpus.into()).map_err(misconfigured)?;
        let Tables { pages, vcpus } = Tables::new(config.aperture_pages, config.vcpus)?;
        let broker = Broker::new(address, pages, vcpus, capabilities(kind)).map_err(misconfigured)?;
        let hypervisor = match hypervisor(kind, xen, config, request_frame, window) {
            Ok(hypervisor) => hypervisor,
            Err(error) => {
                let (pages, vcpus) = broker.into_storage();
                Tables { pages, vcpus }.give_back();
                return Err(error);
            }
        };
        // SAFETY: the three pages have just been mapped, stay until `leave` drops the link, and only the link
        // knows them.
        let link = unsafe { Link::new(lender_frames, port) };
        drop(room);
        Ok(Box::new(Self {
            borrower: config.borrower,
            broker,
            hypervisor: arguments.hypervisor(hypervisor),
            link: arguments.link(link),
            rings: BorrowerRings::new(config.borrower, borrower_frames),
            lender_frames,
            request_frame,
            grants: core::mem::take(&mut opened.grants),
            turns: Turns::default(),
        }))
    }

    /// The ports to wait for: at most `ports_of` its vCPUs.
    pub fn ports(&self) -> impl Iterator<Item = Port> + '_ {
        let requests = arguments::sound_hypervisor(&self.hypervisor).requests();
        let lender = arguments::sound_link(&self.link).port();
        requests.ports().iter().copied().chain([lender]).chain(self.rings.port())
    }

    fn tell(&self, news: News, now: u64) {
        match news {
            News::LenderGone => record(Event::LenderGone, now, 0),
            News::Link(state) => {
                record(Event::LinkChanged, now, 0);
                log!("link of domain {}: {state:?}", self.borrower);
                if !matches!(state, LinkState::AwaitingHello | LinkState::Connected) {
                    log!("revocations: {}", arguments::sound_link(&self.link).revocations());
                }
            }
            News::Borrower(state) => {
                record(Event::BorrowerChanged, now, 0);
                log!("domain {} as the borrower: {state:?}", self.borrower);
            }
            News::CannotLeave(errno) => log!("cannot leave the borrower: Xen's error {errno}"),
        }
    }

    /// Lets go of what this domain still holds of a borrower that it has left, and of the lender for it. Gives the
    /// place back, unless a page cannot be taken away from it.
    pub fn leave(self) -> Option<Place> {
        let Self { broker, hypervisor, link, rings, lender_frames, request_frame, grants, .. } = self;
        let borrower_frames = rings.into_frames();
        let requests_gone = arguments::sound_hypervisor(&hypervisor).requests().let_go();
        event_channel::close(arguments::sound_link(&link).port());
        let mut lender_gone = true;
        for grant in grants {
            lender_gone &= grant_table::unmap(grant).is_ok();
        }
        let (pages, vcpus) = broker.into_storage();
        Tables { pages, vcpus }.give_back();
        let borrower_frames = borrower_frames.filter(|_| requests_gone && lender_gone)?;
        Some(Place { lender_frames, borrower_frames, request_frame })
    }
}

impl event_loop::Service for Box<Service> {
    fn borrower(&self) -> DomainId {
        self.borrower
    }

    fn turn(&mut self) -> Step {
        let now = time::now_ns().unwrap_or(0);
        let Service { broker, hypervisor, link, rings, turns, .. } = &mut **self;
        arguments::start_turn(hypervisor);
        let (step, news) = turns.turn(broker, hypervisor, link, rings, now);
        for what in news {
            self.tell(what, now);
        }
        step
    }

    fn port_count(&self) -> usize {
        self.ports().count()
    }
}

fn misconfigured(error: ConfigError) -> StartError {
    match error {
        ConfigError::Aperture => StartError::Configuration("aperture not at a multiple of 2 MiB"),
        ConfigError::VcpuCount => StartError::Configuration("no vCPU, or more than 126"),
    }
}

/// The borrower's vCPUs: Xen knows best; xenstore's number is for a Xen that cannot say.
///
/// # Errors
/// Xen's.
pub fn vcpu_count(config: &Config) -> Result<u16, StartError> {
    match dm_op::vcpu_count(config.borrower) {
        Ok(count) if count != u32::from(config.vcpus) => {
            log!("xenstore says {} vCPUs, Xen says {count}", config.vcpus);
            u16::try_from(count).map_err(|_| StartError::Configuration("more vCPUs than 126"))
        }
        Ok(_) | Err(errno::EOPNOTSUPP) => Ok(config.vcpus),
        Err(errno) => Err(StartError::Call { purpose: "count the borrower's vCPUs", errno }),
    }
}

/// The implementation for a kind of Xen, with its server on the borrower.
fn hypervisor(
    kind: XenKind,
    xen: XenVersion,
    config: &Config,
    page: WindowFrame,
    window: &mut Window,
) -> Result<XenHypervisor, StartError> {
    let Config { borrower, lender, aperture_gfn, vcpus, .. } = *config;
    let server = |range| {
        let frames = config.aperture_pages.into();
        IoreqServer::create(borrower, range, aperture_gfn, frames, vcpus, page)
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

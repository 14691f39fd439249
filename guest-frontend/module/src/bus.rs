// SPDX-License-Identifier: MIT OR Apache-2.0
//! The device on xenbus: making a link, and taking it down.

use xenlend_front_core::aperture::Aperture;
use xenlend_front_core::bus::{self, on_backend, Phase, Step};
use xenlend_front_core::lease::MAX_LEASES;
use xenlend_front_core::link::{Link as CoreLink, Tables};
use xenlend_front_core::page_set::words_for;

use crate::driver::Driver;
use crate::errno::{Errno, EBUSY, EINVAL, ENOMEM};
use crate::kernel_api::aperture::{address_bits, Claim};
use crate::kernel_api::bus::{Device, KeptDevice};
use crate::kernel_api::event_channel::{Handler, Port};
use crate::kernel_api::grant::{rings, OwnedRing, RingPages};
use crate::kernel_api::memory::KernelSlice;
use crate::kernel_api::shared::Shared;
use crate::kernel_api::{mapping, work, KernelMemory};
use crate::link::Link;
use crate::log_information;

/// How long a driver that goes waits for the backend. The kernel keeps granted pages longer if it must.
const PATIENCE_MS: u32 = 5000;

/// The device, and what it holds outside the driver's mutex.
#[derive(Default)]
pub struct Bus {
    device: Option<KeptDevice>,
    phase: Phase,
    running: Option<Running>,
    /// The rings of a link that is over, until the broker has let go of them.
    parting: Option<CoreLink<OwnedRing, KernelMemory>>,
}

/// What a link holds. Dropped in this order.
struct Running {
    handler: Handler,
    claim: Claim,
}

/// What failed.
struct Failure {
    error: Errno,
    text: &'static core::ffi::CStr,
}

fn failure(text: &'static core::ffi::CStr) -> impl Fn(Errno) -> Failure {
    move |error| Failure { error, text }
}

/// A device has come. It is connected when its backend waits for it.
pub fn probe(driver: &Driver, device: Device<'_>) -> Result<(), Errno> {
    let mut bus = driver.bus.lock();
    if bus.device.is_some() {
        return Err(EBUSY);
    }
    let bound = device.bound().and_then(Shared::new).ok_or(ENOMEM)?;
    *driver.bound.lock() = Some(bound);
    *bus = Bus { device: Some(device.keep()), ..Bus::default() };
    // The bus remembers what this driver has said in an earlier life of the device, which may even
    // be what stands in the nodes of this one. The backend begins anew with whoever says this.
    device.switch(bus::INITIALISING);
    Ok(())
}

/// The backend's state has changed, or is told for the first time.
pub fn backend_changed(driver: &Driver, device: Device<'_>, state: u32) {
    let mut bus = driver.bus.lock();
    if !device.is(bus.device.as_ref()) {
        return;
    }
    bus.note_end(driver);
    match on_backend(bus.phase, state) {
        Step::Nothing => {}
        Step::Connect => bus.connect(driver, device),
        Step::Announce => {
            bus.phase = Phase::Connected;
            device.switch(bus::CONNECTED);
            // The link may have ended meanwhile, and its Closing have been overwritten.
            if driver.locked(|state| state.core.link().is_some_and(CoreLink::is_over)) {
                device.switch(bus::CLOSING);
            }
            // The broker may have come to the ring after the first notification.
            driver.locked(|state| {
                if let Some(link) = &state.link {
                    link.port.notify();
                }
            });
            work::queue();
        }
        Step::Part => {
            bus.part(driver);
            bus.phase = Phase::Parting;
            device.switch(bus::CLOSING);
        }
        Step::Free => {
            bus.free(driver);
            device.switch(bus::CLOSED);
        }
        Step::FreeAndConnect => {
            bus.free(driver);
            bus.connect(driver, device);
        }
    }
}

/// The device goes: unbound, the module unloaded, or its nodes removed.
pub fn remove(driver: &Driver, device: Device<'_>) {
    let mut bus = driver.bus.lock();
    if !device.is(bus.device.as_ref()) {
        return;
    }
    let had_link = bus.running.is_some() || bus.parting.is_some();
    bus.part(driver);
    let bound = driver.bound.lock().take();
    // The nodes of another device in its place are for whoever is bound next.
    let has_nodes = device.exists() && !bound.is_some_and(|bound| bound.is_replaced());
    if had_link && has_nodes {
        device.switch(bus::CLOSING);
        device.await_backend(PATIENCE_MS);
    }
    bus.free(driver);
    if has_nodes {
        device.switch(bus::CLOSED);
    }
    *bus = Bus::default();
}

/// Programs are frozen, and this guest may go on as another domain, with another broker or none:
/// nothing of the link outlives that. If this domain goes on, the backend begins anew and a link is
/// made as at first.
pub fn suspend(driver: &Driver, device: Device<'_>) {
    let mut bus = driver.bus.lock();
    if !device.is(bus.device.as_ref()) {
        return;
    }
    bus.part(driver);
    if bus.parting.is_none() {
        return;
    }
    device.switch(bus::CLOSING);
    if device.poll_backend(PATIENCE_MS) {
        bus.free(driver);
        device.switch(bus::CLOSED);
    } else if bus.phase != Phase::Failed {
        bus.phase = Phase::Parting;
    }
}

/// Nodes of a device have changed. If they are those of another device in its place, it is bound
/// anew: the bus itself takes it for the one that it knows. That happens when this guest was
/// restored as another domain, and when dom0 has taken one device away and added another before the
/// bus has looked. In the thread that calls watches, for which whoever holds the bus's lock may
/// wait.
pub fn nodes_changed(driver: &Driver) {
    let bound = driver.bound.lock().clone();
    let another = bound.filter(|bound| bus::is_another(bound.is_replaced(), || bound.device.state()));
    if let Some(bound) = another {
        log_information!("another device in the same place");
        bound.device.rebind();
    }
}

impl Bus {
    /// A link that ended by itself is not tried again: whoever broke it would break the next.
    fn note_end(&mut self, driver: &Driver) {
        let ended = driver.locked(|state| state.core.link().is_some_and(CoreLink::is_over));
        if ended && self.phase != Phase::Parting {
            self.part(driver);
            self.phase = Phase::Failed;
        }
    }

    fn connect(&mut self, driver: &Driver, device: Device<'_>) {
        match self.make(driver, device) {
            Ok(()) => self.phase = Phase::Named,
            Err(Failure { error, text }) => {
                self.part(driver);
                self.parting = None;
                self.phase = Phase::Failed;
                device.fail(error, text);
            }
        }
    }

    /// Makes a link and names it to the backend.
    fn make(&mut self, driver: &Driver, device: Device<'_>) -> Result<(), Failure> {
        let gfn = device.read(c"aperture-gfn").map_err(failure(c"reading aperture-gfn"))?;
        let pages = device.read(c"aperture-pages").map_err(failure(c"reading aperture-pages"))?;
        let aperture = Aperture::check(gfn, pages, address_bits())
            .ok_or(Failure { error: EINVAL, text: c"the aperture's place is impossible" })?;
        let claim = Claim::new(aperture).map_err(failure(c"claiming the aperture"))?;
        let backend = device.backend();
        let memory = failure(c"allocating the link");
        let tables = tables(aperture).ok_or_else(|| memory(ENOMEM))?;
        let pages = RingPages::new(backend).map_err(&memory)?;
        let references = pages.references();
        let pages = Shared::new(pages).ok_or_else(|| memory(ENOMEM))?;
        let port = Port::new(backend).map_err(failure(c"allocating an event channel"))?;
        let number = port.number();
        let link = Shared::new(Link::new(port)).ok_or_else(|| memory(ENOMEM))?;
        let handler = Handler::bind(&link).map_err(failure(c"binding the event channel"))?;
        // In the borrower's link the first ring is the one towards the borrower.
        let (inbound, outbound) = rings(&pages);
        let core = CoreLink::new(aperture, inbound, outbound, tables);
        let refused = driver.locked(|state| {
            let refused = state.core.connect(core);
            if refused.is_none() {
                state.link = Some(link.clone());
                state.device = Some(device.keep());
            }
            refused
        });
        if refused.is_some() {
            return Err(Failure { error: EBUSY, text: c"a link exists already" });
        }
        self.running = Some(Running { handler, claim });
        let names = [c"ring-ref-0", c"ring-ref-1", c"ring-ref-2"];
        let mut nodes =
            names.into_iter().zip(references.map(u64::from)).map(|(name, value)| (name, value, false));
        let others = [
            (c"event-channel", u64::from(number), false),
            (c"aperture-gfn", aperture.gfn(), true),
            (c"aperture-pages", u64::from(aperture.page_count()), false),
            (c"protocol", 1, false),
        ];
        nodes
            .by_ref()
            .chain(others)
            .try_for_each(|(name, value, hex)| device.write(name, value, hex))
            .map_err(failure(c"writing the nodes"))?;
        device.switch(bus::INITIALISED);
        log_information!(
            "aperture {:#x} + {:#x}, broker dom{}",
            aperture.address(),
            aperture.bytes(),
            backend
        );
        Ok(())
    }

    /// Ends the link, if there is one, and takes everything out of programs' page tables. The rings stay.
    fn part(&mut self, driver: &Driver) {
        let (core, link, _device) =
            driver.locked(|state| (state.core.disconnect(), state.link.take(), state.device.take()));
        let Some(core) = core else { return };
        let running = self.running.take();
        let claim = running.map(|Running { handler, claim }| {
            drop(handler);
            claim
        });
        drop(link);
        work::cancel();
        mapping::zap_all();
        drop(claim);
        self.parting = Some(core);
    }

    /// The backend has let go.
    fn free(&mut self, driver: &Driver) {
        self.part(driver);
        self.parting = None;
        if self.phase != Phase::Failed {
            self.phase = Phase::Waiting;
        }
    }
}

fn tables(aperture: Aperture) -> Option<Tables<KernelMemory>> {
    let words = || KernelSlice::new(words_for(aperture.page_count()), || 0);
    let leases = KernelSlice::new(MAX_LEASES, || None)?;
    Some(Tables { leases, present: words()?, wanted: words()?, lost: words()? })
}

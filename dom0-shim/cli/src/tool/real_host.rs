// SPDX-License-Identifier: MIT OR Apache-2.0
//! The effects on a real dom0: xl, xenstore, the module, files.

use std::fs::{self, File};
use std::io;
use std::time::{Duration, Instant};

use xenlend::layout::Attach;
use xenlend::{Attached, BarAddress, Device, FrontendRefusal, FrontendRings, RegionInfo, Status};

use super::again::next_domain;
use super::broker_config::BrokerConfig;
use super::connection::{wait_for, Listener, DOMAIN_COMES, DOMAIN_ENDS};
use super::domain::{Life, Vcpu};
use super::guest::Guest;
use super::host::{Host, Outcome};
use super::host_error::HostError;
use super::identity::{Domain, Identity, Uuid};
use super::nodes::{broker_folder, joined_folder, Node};
use super::record::{Record, Supervisor};
use super::xenstore::Xenstore;
use super::{paths, process, record_file, xl};

/// Where the kernel makes one at each reading.
const RANDOM_UUID: &str = "/proc/sys/kernel/random/uuid";
/// How long a broker may take to leave after the link has ended.
const DEPARTURE: Duration = Duration::from_secs(5);

/// A real dom0.
#[derive(Default)]
pub struct RealHost {
    xenstore: Option<Xenstore>,
    listener: Option<Listener>,
}

impl RealHost {
    fn xenstore<T>(
        &mut self,
        operation: &'static str,
        path: &str,
        call: impl FnOnce(&mut Xenstore) -> io::Result<T>,
    ) -> Outcome<T> {
        let result = match self.xenstore.take().map_or_else(Xenstore::open, Ok) {
            Ok(mut xenstore) => {
                let result = call(&mut xenstore);
                // After xenstored's own refusals the connection is as good as before.
                if result.as_ref().map_or_else(|error| error.raw_os_error().is_some(), |_| true) {
                    self.xenstore = Some(xenstore);
                }
                result
            }
            Err(error) => Err(error),
        };
        result.map_err(|error| HostError::Xenstore { operation, path: path.to_owned(), error })
    }
}

fn module<T>(call: &'static str, borrower: u16, act: impl FnOnce(&Device) -> io::Result<T>) -> Outcome<T> {
    Device::open().and_then(|device| act(&device)).map_err(|error| HostError::Module {
        call,
        borrower,
        error,
    })
}

fn make_broker(config: &BrokerConfig) -> Outcome<u16> {
    File::open(&config.image).map_err(|error| HostError::NoImage { path: config.image.clone(), error })?;
    let path = paths::broker_config(config.guest_uuid);
    record_file::replace(&path, &config.text()).map_err(|error| HostError::File {
        operation: "write",
        path: path.clone(),
        error,
    })?;
    xl::create_paused(&path)?;
    let found = xl::domains()?.into_iter().find(|domain| domain.identity.uuid == config.uuid);
    match found {
        Some(domain) => Ok(domain.identity.domid),
        None => Err(HostError::Xl {
            command: format!("xl create -p -q {}", path.display()),
            status: "it says that all is well".to_owned(),
            stderr: format!("but there is no domain with the UUID {}", config.uuid),
        }),
    }
}

fn xenstore_error(operation: &'static str, path: &str, error: io::Error) -> HostError {
    HostError::Xenstore { operation, path: path.to_owned(), error }
}

/// Looks whenever one of these watches fires (and every `again`), until something is seen or the time is over.
fn await_change<T>(
    watches: &[&str],
    timeout: Option<Duration>,
    again: Option<Duration>,
    mut look: impl FnMut(&mut Xenstore) -> Outcome<Option<T>>,
) -> Outcome<Option<T>> {
    let deadline = timeout.map(|timeout| Instant::now() + timeout);
    let failed = |error| xenstore_error("watch", watches.first().copied().unwrap_or_default(), error);
    let mut store = Xenstore::open().map_err(failed)?;
    for watch in watches {
        store.watch(watch).map_err(failed)?;
    }
    loop {
        store.fired().map_err(failed)?;
        let seen = look(&mut store)?;
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if seen.is_some() || left.is_some_and(|left| left.is_zero()) {
            return Ok(seen);
        }
        wait_for(&[&store], left.into_iter().chain(again).min()).map_err(failed)?;
    }
}

impl Host for RealHost {
    fn find_guest(&mut self, name: &str) -> Outcome<Option<Guest>> {
        xl::guest(name)
    }

    fn domains(&mut self) -> Outcome<Vec<Domain>> {
        xl::domains()
    }

    fn life(&mut self, domain: Identity) -> Outcome<Life> {
        xl::life(domain)
    }

    fn vcpus(&mut self, domid: u16) -> Outcome<Vec<Vcpu>> {
        xl::vcpus(domid)
    }

    fn new_uuid(&mut self) -> Outcome<Uuid> {
        let failed = |error| HostError::File { operation: "read", path: RANDOM_UUID.into(), error };
        let text = fs::read_to_string(RANDOM_UUID).map_err(failed)?;
        let bad = |reason: String| failed(io::Error::new(io::ErrorKind::InvalidData, reason));
        text.trim().parse().map_err(bad)
    }

    fn create_broker(&mut self, config: &BrokerConfig) -> Outcome<u16> {
        make_broker(config)
            .map_err(|cause| HostError::NoBroker { guest: config.guest.clone(), cause: Box::new(cause) })
    }

    fn unpause(&mut self, domid: u16) -> Outcome<()> {
        xl::unpause(domid)
    }

    fn destroy(&mut self, domain: Identity) -> Outcome<()> {
        xl::destroy(domain)
    }

    fn await_departure(&mut self, broker: Identity) -> Outcome<bool> {
        let feature = format!("{}/feature-leave", broker_folder(broker.domid));
        if self.xenstore("read", &feature, |store| store.read(&feature))?.as_deref() != Some("1") {
            return Ok(false);
        }
        self.xenstore("watch", DOMAIN_ENDS, |store| store.watch(DOMAIN_ENDS))?;
        let deadline = Instant::now() + DEPARTURE;
        loop {
            self.xenstore("read", DOMAIN_ENDS, Xenstore::fired)?;
            if !xl::life(broker)?.can_run() {
                return Ok(true);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let (false, Some(xenstore)) = (left.is_zero(), &self.xenstore) else { return Ok(false) };
            wait_for(&[xenstore], Some(left)).map_err(|error| HostError::Xenstore {
                operation: "wait for",
                path: DOMAIN_ENDS.to_owned(),
                error,
            })?;
        }
    }

    fn await_leave(&mut self, broker: Identity, borrower: u16) -> Outcome<bool> {
        let state = format!("{}/state", joined_folder(broker.domid, borrower));
        for path in [state.as_str(), DOMAIN_ENDS] {
            self.xenstore("watch", path, |store| store.watch(path))?;
        }
        let deadline = Instant::now() + DEPARTURE;
        loop {
            self.xenstore("read", &state, Xenstore::fired)?;
            let said = self.xenstore("read", &state, |store| store.read(&state))?;
            // What has failed is not tried again: the link has ended, and Xen lets the broker do nothing for it.
            let serves = !matches!(said.as_deref(), Some("left" | "failed"));
            if !serves || !xl::life(broker)?.can_run() {
                return Ok(true);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let (false, Some(xenstore)) = (left.is_zero(), &self.xenstore) else { return Ok(false) };
            wait_for(&[xenstore], Some(left)).map_err(|error| HostError::Xenstore {
                operation: "wait for",
                path: state.clone(),
                error,
            })?;
        }
    }

    fn load_record(&mut self, guest: Uuid) -> Outcome<Option<Record>> {
        record_file::load(&paths::record(guest))
    }

    fn records(&mut self) -> Outcome<Vec<Record>> {
        // One that cannot be understood names nobody.
        let load = |guest| record_file::load(&paths::record(guest)).ok().flatten();
        Ok(record_file::guests(&paths::records())?.into_iter().filter_map(load).collect())
    }

    fn save_record(&mut self, record: &Record) -> Outcome<()> {
        record_file::save(&paths::record(record.guest_uuid), record)
    }

    fn remove_record(&mut self, guest: Uuid) -> Outcome<()> {
        record_file::remove(&paths::broker_config(guest))?;
        record_file::remove(&paths::record(guest))
    }

    fn is_lend_aware(&mut self, borrower: u16) -> Outcome<bool> {
        module("XENLEND_XEN", borrower, |device| device.is_lend_aware(borrower))
    }

    fn link(&mut self, borrower: u16) -> Outcome<Option<Status>> {
        module("XENLEND_STATUS", borrower, |device| device.status(borrower))
    }

    fn regions(&mut self, borrower: u16) -> Outcome<Vec<RegionInfo>> {
        module("XENLEND_GET_REGION", borrower, |device| device.regions(borrower))
    }

    fn attach(&mut self, request: Attach) -> Outcome<Attached> {
        module("XENLEND_ATTACH", request.borrower, |device| device.attach(request))
    }

    fn allow_bar(&mut self, borrower: u16, bar: BarAddress) -> Outcome<u64> {
        module("XENLEND_ALLOW_BAR", borrower, |device| device.allow_bar(borrower, bar))
    }

    fn detach(&mut self, borrower: u16) -> Outcome<()> {
        module("XENLEND_DETACH", borrower, |device| match device.detach(borrower) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        })
    }

    fn write_node(&mut self, node: &Node) -> Outcome<()> {
        self.xenstore("write", &node.path, |store| {
            store.write(&node.path, &node.value)?;
            store.set_permissions(&node.path, &node.access.permissions())
        })
    }

    fn attach_frontend(&mut self, borrower: u16, rings: FrontendRings) -> Outcome<Option<FrontendRefusal>> {
        module("XENLEND_ATTACH_FRONTEND", borrower, |device| device.attach_frontend(borrower, rings))
    }

    fn detach_frontend(&mut self, borrower: u16) -> Outcome<bool> {
        // EINVAL: none is attached; ENOENT: there is no link that one could be attached to.
        module("XENLEND_DETACH_FRONTEND", borrower, |device| match device.detach_frontend(borrower) {
            Ok(()) => Ok(true),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput) => {
                Ok(false)
            }
            Err(error) => Err(error),
        })
    }

    fn read_node(&mut self, path: &str) -> Outcome<Option<String>> {
        self.xenstore("read", path, |store| store.read(path))
    }

    fn await_node(
        &mut self,
        path: &str,
        domain: Identity,
        timeout: Option<Duration>,
    ) -> Outcome<Option<String>> {
        let look = |store: &mut Xenstore| {
            let read = store.read(path).map_err(|error| xenstore_error("wait for", path, error))?;
            Ok(read.map(Some).or(if xl::life(domain)?.exists() { None } else { Some(None) }))
        };
        Ok(await_change(&[path, DOMAIN_ENDS], timeout, None, look)?.flatten())
    }

    fn await_end(&mut self, domain: Identity, timeout: Duration) -> Outcome<()> {
        let look = |_: &mut Xenstore| Ok(if xl::life(domain)?.exists() { None } else { Some(()) });
        await_change(&[DOMAIN_ENDS], Some(timeout), None, look).map(drop)
    }

    fn await_next(&mut self, ended: Identity, timeout: Duration) -> Outcome<Option<Guest>> {
        // xl lists a domain only when it has written its configuration to a file, which is after its introduction,
        // and nothing tells of that.
        let again = Some(Duration::from_secs(1));
        await_change(&[DOMAIN_COMES, DOMAIN_ENDS], Some(timeout), again, |_| next_domain(self, ended))
    }

    fn remove_node(&mut self, path: &str) -> Outcome<()> {
        self.xenstore("remove", path, |store| store.remove(path))
    }

    fn listen(&mut self, borrower: Identity, broker: Identity, named: &str, joined: bool) -> Outcome<()> {
        let folder =
            if joined { joined_folder(broker.domid, borrower.domid) } else { broker_folder(broker.domid) };
        self.listener = Some(Listener::new(named, borrower, broker, folder)?);
        Ok(())
    }

    fn await_connection(&mut self, timeout: Duration) -> Outcome<()> {
        match self.listener.take() {
            Some(listener) => listener.wait(timeout),
            None => Err(HostError::Xenstore {
                operation: "wait for",
                path: DOMAIN_ENDS.to_owned(),
                error: io::ErrorKind::NotConnected.into(),
            }),
        }
    }

    fn start_supervisor(&mut self, record: &Record) -> Outcome<Supervisor> {
        process::start_supervisor(record)
    }

    fn is_running(&mut self, supervisor: Supervisor) -> bool {
        process::is_running(supervisor)
    }
}

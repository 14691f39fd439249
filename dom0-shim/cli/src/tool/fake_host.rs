// SPDX-License-Identifier: MIT OR Apache-2.0
//! A world of domains, nodes, links and records in memory, whose effects fail where a test wants it.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::time::Duration;

use xenlend::layout::{Attach, STATUS_LEND_AWARE};
use xenlend::{Attached, BarAddress, FrontendRefusal, FrontendRings, LinkState, RegionInfo, Status};

use super::again::next_domain;
use super::broker_config::{broker_name, BrokerConfig};
use super::domain::{Life, Vcpu};
use super::guest::{
    tests::{pvh, uuid},
    Guest,
};
use super::host::{Host, Outcome};
use super::host_error::HostError;
use super::identity::{Domain, Identity, Uuid};
use super::nodes::{broker_folder, root, told, Node};
use super::record::{Phase, Record, Supervisor};

/// Process id of the supervisor that the fake starts.
pub const SUPERVISOR: Supervisor = Supervisor { pid: 4242, start_ticks: 17 };

/// What exists.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct World {
    pub guests: Vec<Guest>,
    pub lives: BTreeMap<u16, Life>,
    /// Brokers and other domains that are no guests, by name.
    pub brokers: BTreeMap<String, u16>,
    /// The UUIDs of those, and of domains that have ended.
    pub uuids: BTreeMap<u16, Uuid>,
    pub links: BTreeMap<u16, u16>,
    pub nodes: BTreeMap<String, String>,
    /// Borrowers whose frontend is attached.
    pub frontends: BTreeMap<u16, FrontendRings>,
    pub records: BTreeMap<Uuid, Record>,
}

/// What happens to it by itself, after so long.
type Happening = (Duration, fn(&mut FakeHost));

/// The effects on a [`World`].
#[derive(Debug)]
pub struct FakeHost {
    pub world: World,
    /// Names of the effects, in order.
    pub calls: Vec<String>,
    /// Numbers of the calls that fail.
    pub failing: Vec<usize>,
    /// Whether brokers leave when their link ends.
    pub brokers_leave: bool,
    /// Whether Xen knows lent frames.
    pub lend_aware: bool,
    /// State of every link.
    pub link_state: LinkState,
    /// What `vcpus` gives, one after the other; the last stays.
    pub samples: Vec<Vec<Vcpu>>,
    /// Whether a record goes away right after it was read.
    pub vanish_after_load: bool,
    /// What the broker answers to frontends, in order; then it takes them.
    pub attach_answers: VecDeque<Result<Option<FrontendRefusal>, rustix::io::Errno>>,
    pub next_domid: u16,
    /// What happens while somebody waits: after so long, and this.
    pub happens: VecDeque<Happening>,
    /// What the module was last asked to link.
    pub attached: Option<Attach>,
}

impl FakeHost {
    /// Guest g1 (domain 7) runs and nothing else exists.
    pub fn new() -> Self {
        let world = World {
            guests: vec![pvh()],
            lives: BTreeMap::from([(0, Life::Alive), (7, Life::Alive)]),
            ..World::default()
        };
        Self {
            world,
            calls: Vec::new(),
            failing: Vec::new(),
            brokers_leave: true,
            lend_aware: false,
            link_state: LinkState::Connected,
            samples: Vec::new(),
            vanish_after_load: false,
            attach_answers: VecDeque::new(),
            next_domid: 8,
            happens: VecDeque::new(),
            attached: None,
        }
    }

    /// Guest and its whole configuration vanish.
    pub fn kill_guest(&mut self) {
        self.world.guests.clear();
        self.world.uuids.insert(7, uuid(7));
        self.world.lives.insert(7, Life::Dying);
    }

    /// One guest more.
    pub fn add(&mut self, guest: Guest) {
        self.world.lives.insert(guest.domid, Life::Alive);
        self.world.uuids.remove(&guest.domid);
        self.world.guests.push(guest);
    }

    /// A domain that is no guest of ours, with a UUID that ends in its number.
    pub fn add_stranger(&mut self, name: &str, domid: u16) {
        self.world.brokers.insert(name.to_owned(), domid);
        self.world.uuids.insert(domid, uuid(domid));
        self.world.lives.insert(domid, Life::Alive);
    }

    /// A domain that is no guest ends, and nobody is told.
    pub fn destroy_quietly(&mut self, domid: u16) {
        self.world.lives.remove(&domid);
        self.world.uuids.remove(&domid);
        self.world.brokers.retain(|_, broker| *broker != domid);
    }

    /// The record of the guest that was called so.
    pub fn record(&self, guest: &str) -> Record {
        self.world.records.values().find(|record| record.guest == guest).unwrap().clone()
    }

    /// The same, to be changed.
    pub fn record_mut(&mut self, guest: &str) -> &mut Record {
        self.world.records.values_mut().find(|record| record.guest == guest).unwrap()
    }

    /// Whether the guest that was called so has a record.
    pub fn has_record(&self, guest: &str) -> bool {
        self.world.records.values().any(|record| record.guest == guest)
    }

    /// The next thing that happens, if it does within the time. False: the time is over.
    fn let_happen(&mut self, within: Option<Duration>) -> bool {
        match self.happens.front_mut() {
            Some((after, _)) if within.is_some_and(|within| *after > within) => {
                *after -= within.unwrap_or_default();
                false
            }
            Some((_, what)) => {
                let what = *what;
                self.happens.pop_front();
                what(self);
                true
            }
            // Nothing ever again.
            None => {
                assert!(within.is_some(), "somebody waits for ever");
                false
            }
        }
    }

    fn all_domains(&self) -> Vec<Domain> {
        let domain = |(domid, life): (&u16, &Life)| {
            let guest = self.world.guests.iter().find(|guest| guest.domid == *domid);
            let uuid = guest.map(|guest| guest.uuid).or(self.world.uuids.get(domid).copied());
            let broker = self.world.brokers.iter().find(|(_, broker)| *broker == domid);
            let name = guest.map(|guest| &guest.name).or(broker.map(|(name, _)| name));
            Domain {
                identity: Identity { domid: *domid, uuid: uuid.unwrap_or_default() },
                name: name.cloned().unwrap_or("(null)".to_owned()),
                life: *life,
            }
        };
        self.world.lives.iter().map(domain).filter(|domain| domain.life != Life::Gone).collect()
    }

    fn at(&self, domid: u16) -> Option<Domain> {
        self.all_domains().into_iter().find(|domain| domain.identity.domid == domid)
    }

    /// Forgets the calls so far.
    pub fn start_afresh(&mut self) {
        self.calls.clear();
        self.failing.clear();
    }

    /// Whether a call of this name happened.
    pub fn has_called(&self, name: &str) -> bool {
        self.calls.iter().any(|call| call == name)
    }

    /// The calls with an effect.
    pub fn effects(&self) -> Vec<&str> {
        let asks = [
            "find_guest",
            "life",
            "vcpus",
            "domains",
            "records",
            "new_uuid",
            "find_created_broker",
            "load_record",
            "link",
            "is_lend_aware",
            "read_node",
            "await_node",
            "await_end",
            "await_next",
        ];
        self.calls.iter().map(String::as_str).filter(|call| !asks.contains(call)).collect()
    }

    /// An event of a broker that runs, and knows no other guest, could have been missed.
    fn assert_new_or_shared(&self, broker: u16) {
        let paused = self.world.lives.get(&broker) == Some(&Life::Paused);
        let shared = self
            .world
            .records
            .values()
            .any(|record| record.broker_domid == Some(broker) && record.phase == Phase::Up);
        assert!(paused || shared, "broker {broker} has run");
    }

    fn step(&mut self, name: &str) -> Outcome<()> {
        let number = self.calls.len();
        self.calls.push(name.to_owned());
        if self.failing.contains(&number) {
            let error = std::io::Error::from(std::io::ErrorKind::Interrupted);
            return Err(HostError::File { operation: "do", path: PathBuf::from(name), error });
        }
        Ok(())
    }
}

impl Host for FakeHost {
    fn find_guest(&mut self, name: &str) -> Outcome<Option<Guest>> {
        self.step("find_guest")?;
        let number = name.parse().ok();
        let is_it = |guest: &&Guest| guest.name == name || Some(guest.domid) == number;
        Ok(self.world.guests.iter().find(is_it).cloned())
    }

    fn domains(&mut self) -> Outcome<Vec<Domain>> {
        self.step("domains")?;
        Ok(self.all_domains())
    }

    fn life(&mut self, domain: Identity) -> Outcome<Life> {
        self.step("life")?;
        Ok(self
            .at(domain.domid)
            .filter(|found| found.identity == domain)
            .map_or(Life::Gone, |found| found.life))
    }

    fn vcpus(&mut self, _domid: u16) -> Outcome<Vec<Vcpu>> {
        self.step("vcpus")?;
        let next = if self.samples.len() > 1 { self.samples.remove(0) } else { self.samples[0].clone() };
        Ok(next)
    }

    fn new_uuid(&mut self) -> Outcome<Uuid> {
        self.step("new_uuid")?;
        Ok(uuid(0xa8 + self.next_domid))
    }

    fn create_broker(&mut self, config: &BrokerConfig) -> Outcome<u16> {
        self.step("create_broker")?;
        let domid = self.next_domid;
        self.next_domid += 1;
        let name = broker_name(&config.guest);
        assert!(self.all_domains().iter().all(|domain| domain.name != name), "xl takes no name twice");
        self.world.brokers.insert(name, domid);
        self.world.uuids.insert(domid, config.uuid);
        self.world.lives.insert(domid, Life::Paused);
        // xl can fail after it has made the domain.
        self.step("find_created_broker")?;
        Ok(domid)
    }

    fn unpause(&mut self, domid: u16) -> Outcome<()> {
        self.step("unpause")?;
        if self.lend_aware {
            let feature = format!("{}/feature-more", broker_folder(domid));
            self.world.nodes.insert(feature, "1".to_owned());
        }
        self.world.lives.insert(domid, Life::Alive);
        Ok(())
    }

    fn destroy(&mut self, domain: Identity) -> Outcome<()> {
        self.step("destroy")?;
        let domid = domain.domid;
        if self.at(domid).is_none_or(|found| found.identity != domain) {
            return Ok(());
        }
        self.world.brokers.retain(|_, broker| *broker != domid);
        self.world.guests.retain(|guest| guest.domid != domid);
        self.world.lives.remove(&domid);
        if !self.brokers_leave && domid != 7 && self.world.lives.contains_key(&7) {
            self.world.lives.insert(domid, Life::Dying);
        } else {
            self.world.uuids.remove(&domid);
        }
        Ok(())
    }

    fn await_departure(&mut self, broker: Identity) -> Outcome<bool> {
        self.step("await_departure")?;
        if self.brokers_leave {
            self.world.lives.insert(broker.domid, Life::ShutDown);
        }
        Ok(self.brokers_leave)
    }

    fn await_leave(&mut self, broker: Identity, borrower: u16) -> Outcome<bool> {
        self.step("await_leave")?;
        let broker = broker.domid;
        assert!(!self.world.links.contains_key(&borrower), "its link has not ended");
        // It says nothing of a borrower of which it has not heard.
        let first = self.world.nodes.get(&told(broker, borrower, false));
        let heard = first == Some(&borrower.to_string())
            || self.world.nodes.contains_key(&told(broker, borrower, true));
        Ok(self.brokers_leave && heard)
    }

    fn load_record(&mut self, guest: Uuid) -> Outcome<Option<Record>> {
        self.step("load_record")?;
        let record = self.world.records.get(&guest).cloned();
        if self.vanish_after_load {
            self.world.records.remove(&guest);
        }
        Ok(record)
    }

    fn records(&mut self) -> Outcome<Vec<Record>> {
        self.step("records")?;
        Ok(self.world.records.values().cloned().collect())
    }

    fn save_record(&mut self, record: &Record) -> Outcome<()> {
        self.step("save_record")?;
        self.world.records.insert(record.guest_uuid, record.clone());
        Ok(())
    }

    fn remove_record(&mut self, guest: Uuid) -> Outcome<()> {
        self.step("remove_record")?;
        self.world.records.remove(&guest);
        Ok(())
    }

    fn is_lend_aware(&mut self, _borrower: u16) -> Outcome<bool> {
        self.step("is_lend_aware")?;
        Ok(self.lend_aware)
    }

    fn link(&mut self, borrower: u16) -> Outcome<Option<Status>> {
        self.step("link")?;
        let state = self.link_state.raw() as u16;
        let flags = if self.lend_aware { STATUS_LEND_AWARE } else { 0 };
        let status = |broker: &u16| Status { borrower, broker: *broker, state, flags, ..Status::default() };
        Ok(self.world.links.get(&borrower).map(status))
    }

    fn regions(&mut self, _borrower: u16) -> Outcome<Vec<RegionInfo>> {
        self.step("regions")?;
        Ok(Vec::new())
    }

    fn attach(&mut self, request: Attach) -> Outcome<Attached> {
        self.step("attach")?;
        self.assert_new_or_shared(request.broker);
        assert!(!self.world.links.contains_key(&request.borrower));
        self.world.links.insert(request.borrower, request.broker);
        self.attached = Some(request);
        Ok(Attached { ring_refs: [8, 9, 10], event_channel: 33 })
    }

    fn allow_bar(&mut self, borrower: u16, _bar: BarAddress) -> Outcome<u64> {
        self.step("allow_bar")?;
        assert!(self.world.links.contains_key(&borrower));
        Ok(4096)
    }

    fn detach(&mut self, borrower: u16) -> Outcome<()> {
        self.step("detach")?;
        self.world.links.remove(&borrower);
        self.world.frontends.remove(&borrower);
        Ok(())
    }

    fn write_node(&mut self, node: &Node) -> Outcome<()> {
        self.step("write_node")?;
        self.world.nodes.insert(node.path.clone(), node.value.clone());
        Ok(())
    }

    fn remove_node(&mut self, path: &str) -> Outcome<()> {
        self.step("remove_node")?;
        self.world.nodes.retain(|node, _| !node.starts_with(path));
        Ok(())
    }

    fn read_node(&mut self, path: &str) -> Outcome<Option<String>> {
        self.step("read_node")?;
        Ok(self.world.nodes.get(path).cloned())
    }

    fn await_node(
        &mut self,
        path: &str,
        domain: Identity,
        timeout: Option<Duration>,
    ) -> Outcome<Option<String>> {
        self.step("await_node")?;
        loop {
            let lives = self.at(domain.domid).is_some_and(|at| at.identity == domain && at.life.exists());
            let found = self.world.nodes.get(path).cloned();
            if found.is_some() || !lives || !self.let_happen(timeout) {
                return Ok(found);
            }
        }
    }

    fn await_end(&mut self, domain: Identity, timeout: Duration) -> Outcome<()> {
        self.step("await_end")?;
        let lives =
            |host: &Self| host.at(domain.domid).is_some_and(|at| at.identity == domain && at.life.exists());
        while lives(self) && self.let_happen(Some(timeout)) {}
        Ok(())
    }

    fn await_next(&mut self, ended: Identity, timeout: Duration) -> Outcome<Option<Guest>> {
        self.step("await_next")?;
        loop {
            let next = next_domain(self, ended)?;
            if next.is_some() || !self.let_happen(Some(timeout)) {
                return Ok(next);
            }
        }
    }

    fn attach_frontend(&mut self, borrower: u16, rings: FrontendRings) -> Outcome<Option<FrontendRefusal>> {
        self.step("attach_frontend")?;
        match self.attach_answers.pop_front().unwrap_or(Ok(None)) {
            Ok(None) => {
                assert!(self.world.frontends.insert(borrower, rings).is_none(), "attached twice");
                Ok(None)
            }
            Ok(refusal) => Ok(refusal),
            Err(errno) => {
                let error = errno.into();
                Err(HostError::Module { call: "XENLEND_ATTACH_FRONTEND", borrower, error })
            }
        }
    }

    fn detach_frontend(&mut self, borrower: u16) -> Outcome<bool> {
        self.step("detach_frontend")?;
        Ok(self.world.frontends.remove(&borrower).is_some())
    }

    fn listen(&mut self, borrower: Identity, broker: Identity, _named: &str, joined: bool) -> Outcome<()> {
        self.step("listen")?;
        self.assert_new_or_shared(broker.domid);
        if joined {
            let line = format!("{}/more/{}", root(broker.domid), borrower.domid);
            assert!(!self.world.nodes.contains_key(&line), "an event could be missed");
        }
        Ok(())
    }

    fn await_connection(&mut self, _timeout: Duration) -> Outcome<()> {
        self.step("await_connection")
    }

    fn start_supervisor(&mut self, _record: &Record) -> Outcome<Supervisor> {
        self.step("start_supervisor")?;
        Ok(SUPERVISOR)
    }

    fn is_running(&mut self, supervisor: Supervisor) -> bool {
        supervisor == SUPERVISOR
    }
}

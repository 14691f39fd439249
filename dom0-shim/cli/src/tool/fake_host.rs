// SPDX-License-Identifier: MIT OR Apache-2.0
//! A world of domains, nodes, links and records in memory, whose effects fail where a test wants it.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::time::Duration;

use xenlend::layout::{Attach, STATUS_LEND_AWARE};
use xenlend::{Attached, BarAddress, FrontendRefusal, FrontendRings, LinkState, RegionInfo, Status};

use super::broker_config::{broker_name, BrokerConfig};
use super::domain::{Life, Vcpu};
use super::guest::{tests::pvh, Guest};
use super::host::{Host, Outcome};
use super::host_error::HostError;
use super::nodes::{broker_folder, root, told, Node};
use super::record::{Phase, Record, Supervisor};

/// Process id of the supervisor that the fake starts.
pub const SUPERVISOR: Supervisor = Supervisor { pid: 4242, start_ticks: 17 };

/// What exists.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct World {
    pub guests: Vec<Guest>,
    pub lives: BTreeMap<u16, Life>,
    pub brokers: BTreeMap<String, u16>,
    pub links: BTreeMap<u16, u16>,
    pub nodes: BTreeMap<String, String>,
    /// Borrowers whose frontend is attached.
    pub frontends: BTreeMap<u16, FrontendRings>,
    pub records: BTreeMap<String, Record>,
}

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
            attached: None,
        }
    }

    /// Guest and its whole configuration vanish.
    pub fn kill_guest(&mut self) {
        self.world.guests.clear();
        self.world.lives.insert(7, Life::Dying);
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
            "find_broker",
            "others_of",
            "find_created_broker",
            "load_record",
            "link",
            "is_lend_aware",
            "read_node",
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
        Ok(self.world.guests.iter().find(|guest| guest.name == name).cloned())
    }

    fn life(&mut self, domid: u16) -> Outcome<Life> {
        self.step("life")?;
        Ok(self.world.lives.get(&domid).copied().unwrap_or(Life::Gone))
    }

    fn vcpus(&mut self, _domid: u16) -> Outcome<Vec<Vcpu>> {
        self.step("vcpus")?;
        let next = if self.samples.len() > 1 { self.samples.remove(0) } else { self.samples[0].clone() };
        Ok(next)
    }

    fn find_broker(&mut self, guest: &str) -> Outcome<Option<u16>> {
        self.step("find_broker")?;
        Ok(self.world.brokers.get(&broker_name(guest)).copied())
    }

    fn others_of(&mut self, broker: u16, guest: &str) -> Outcome<Vec<String>> {
        self.step("others_of")?;
        let lives = |record: &Record| {
            self.world.lives.get(&record.guest_domid).copied().unwrap_or(Life::Gone).exists()
        };
        let serves = |record: &&Record| {
            record.broker_domid == Some(broker)
                && record.guest != guest
                && record.phase != Phase::BrokerGone
                && lives(record)
        };
        Ok(self.world.records.values().filter(serves).map(|record| record.guest.clone()).collect())
    }

    fn create_broker(&mut self, config: &BrokerConfig) -> Outcome<u16> {
        self.step("create_broker")?;
        let domid = self.next_domid;
        self.next_domid += 1;
        self.world.brokers.insert(broker_name(&config.guest), domid);
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

    fn destroy(&mut self, domid: u16) -> Outcome<()> {
        self.step("destroy")?;
        self.world.brokers.retain(|_, broker| *broker != domid);
        self.world.guests.retain(|guest| guest.domid != domid);
        self.world.lives.remove(&domid);
        if !self.brokers_leave && domid != 7 && self.world.lives.contains_key(&7) {
            self.world.lives.insert(domid, Life::Dying);
        }
        Ok(())
    }

    fn await_departure(&mut self, broker: u16) -> Outcome<bool> {
        self.step("await_departure")?;
        if self.brokers_leave {
            self.world.lives.insert(broker, Life::ShutDown);
        }
        Ok(self.brokers_leave)
    }

    fn await_leave(&mut self, broker: u16, borrower: u16) -> Outcome<bool> {
        self.step("await_leave")?;
        assert!(!self.world.links.contains_key(&borrower), "its link has not ended");
        // It says nothing of a borrower of which it has not heard.
        let first = self.world.nodes.get(&told(broker, borrower, false));
        let heard = first == Some(&borrower.to_string())
            || self.world.nodes.contains_key(&told(broker, borrower, true));
        Ok(self.brokers_leave && heard)
    }

    fn load_record(&mut self, guest: &str) -> Outcome<Option<Record>> {
        self.step("load_record")?;
        let record = self.world.records.get(guest).cloned();
        if self.vanish_after_load {
            self.world.records.remove(guest);
        }
        Ok(record)
    }

    fn save_record(&mut self, record: &Record) -> Outcome<()> {
        self.step("save_record")?;
        self.world.records.insert(record.guest.clone(), record.clone());
        Ok(())
    }

    fn remove_record(&mut self, guest: &str) -> Outcome<()> {
        self.step("remove_record")?;
        self.world.records.remove(guest);
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

    fn await_node(&mut self, path: &str, _timeout: Duration) -> Outcome<Option<String>> {
        self.read_node(path)
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

    fn listen(&mut self, borrower: u16, broker: u16, joined: Option<&str>) -> Outcome<()> {
        self.step("listen")?;
        self.assert_new_or_shared(broker);
        if joined.is_some() {
            let line = format!("{}/more/{borrower}", root(broker));
            assert!(!self.world.nodes.contains_key(&line), "an event could be missed");
        }
        Ok(())
    }

    fn await_connection(&mut self, _timeout: Duration) -> Outcome<()> {
        self.step("await_connection")
    }

    fn start_supervisor(&mut self, _guest: &str) -> Outcome<Supervisor> {
        self.step("start_supervisor")?;
        Ok(SUPERVISOR)
    }

    fn is_running(&mut self, supervisor: Supervisor) -> bool {
        supervisor == SUPERVISOR
    }
}

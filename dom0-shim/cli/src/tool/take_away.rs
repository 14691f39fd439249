// SPDX-License-Identifier: MIT OR Apache-2.0
//! Takes a link away, in whatever state it is: used by `down`, by an `up` that failed, by the supervisor.

use super::domain::Life;
use super::frontend_nodes::FrontendNodes;
use super::host::{Host, Outcome};
use super::host_error::HostError;
use super::identity::{Identity, Uuid};
use super::nodes;
use super::record::{Phase, Record};

/// What may exist of a link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remains {
    /// The guest whose record it is.
    pub guest: Uuid,
    /// Borrowers whose link is to be ended.
    pub links: Vec<Identity>,
    /// The broker's domain.
    pub broker: Option<Identity>,
    /// Whether it was another guest's first.
    pub joined: bool,
}

/// What became of it.
#[derive(Debug, Default)]
pub struct TakenAway {
    /// What could not be done. The record is kept then.
    pub errors: Vec<HostError>,
    /// The broker is destroyed but not gone: its server is still on the guest.
    pub dying_broker: Option<u16>,
}

impl Remains {
    /// All that a recorded link may consist of.
    pub fn of(record: &Record) -> Self {
        Self {
            guest: record.guest_uuid,
            links: vec![record.borrower()],
            broker: record.broker(),
            joined: record.joined.is_some(),
        }
    }

    /// Leaves out whatever has been given to somebody else: a number that another domain has now stands for that
    /// domain, in Xen, in the module and in xenstore. What a guest was told of a broker whose number is another's
    /// goes here, since nothing else will be looked for there.
    fn without_strangers<H: Host>(&self, host: &mut H) -> Outcome<Self> {
        let domains = host.domains()?;
        let is_ours = |ours: &Identity| {
            domains.iter().all(|found| found.identity.domid != ours.domid || found.identity == *ours)
        };
        let mut own = self.clone();
        own.links.retain(is_ours);
        own.broker = self.broker.filter(is_ours);
        if let (Some(Identity { domid: broker, .. }), None) = (self.broker, own.broker) {
            for guest in &own.links {
                host.remove_node(&FrontendNodes { guest: guest.domid, broker }.frontend())?;
            }
        }
        Ok(own)
    }
}

/// The records of other guests that live and that this broker serves.
pub fn others_of<H: Host>(host: &mut H, broker: Uuid, guest: Uuid) -> Outcome<Vec<Record>> {
    let mut others = host.records()?;
    others.retain(|record| {
        record.broker_uuid == broker
            && record.broker_domid.is_some()
            && record.guest_uuid != guest
            && record.phase != Phase::BrokerGone
    });
    if others.is_empty() {
        return Ok(others);
    }
    let domains = host.domains()?;
    let lives = |record: &Record| {
        domains.iter().any(|found| found.identity == record.borrower() && found.life.exists())
    };
    Ok(others.into_iter().filter(lives).collect())
}

/// Takes it away. Goes on after a failure, since each step is worth having.
///
/// Revoking comes first: the module needs nothing of what is taken away after it. The broker gets time to
/// leave before it is destroyed: only the broker itself can take its server off the guest.
///
/// A broker that serves others stays, and goes with the last of them.
pub fn take_away<H: Host>(host: &mut H, remains: &Remains) -> TakenAway {
    // What is not known is not touched.
    let unknown = |error| TakenAway { errors: vec![error], dying_broker: None };
    let remains = match remains.without_strangers(host) {
        Ok(remains) => remains,
        Err(error) => return unknown(error),
    };
    if let Some(broker) = remains.broker {
        match others_of(host, broker.uuid, remains.guest) {
            Ok(others) if others.is_empty() => {}
            Ok(_) => return take_away_from_shared(host, &remains, broker),
            Err(error) => return unknown(error),
        }
    }
    let mut taken = TakenAway::default();
    let mut attempt = |outcome: Result<(), HostError>| taken.errors.extend(outcome.err());
    for borrower in &remains.links {
        attempt(host.detach(borrower.domid));
    }
    if let Some(broker) = remains.broker {
        let guest_stays = remains.links.iter().any(|borrower| host.life(*borrower).is_ok_and(Life::exists));
        if guest_stays && matches!(host.life(broker), Ok(Life::Alive)) {
            // A broker that does not leave is destroyed all the same.
            let _left = host.await_departure(broker);
        }
        attempt(host.remove_node(&nodes::root(broker.domid)));
        let destroyed = host.destroy(broker);
        let is_destroyed = destroyed.is_ok();
        attempt(destroyed);
        if matches!(host.life(broker), Ok(Life::Dying)) {
            taken.dying_broker = Some(broker.domid);
        }
        // Last, and not while the broker may have them mapped: the guest's driver then takes its pages back.
        for guest in remains.links.iter().filter(|_| is_destroyed) {
            remove_frontend(host, guest.domid, broker.domid, &mut taken.errors);
        }
    }
    if taken.errors.is_empty() {
        taken.errors.extend(host.remove_record(remains.guest).err());
    }
    taken
}

fn remove_frontend<H: Host>(host: &mut H, guest: u16, broker: u16, errors: &mut Vec<HostError>) {
    // The guest's bus only hears of the end of the device itself, not of its parent's.
    let nodes = FrontendNodes { guest, broker };
    for path in [nodes.backend(), nodes.frontend(), nodes.frontend_folder()] {
        errors.extend(host.remove_node(&path).err());
    }
}

/// Waits until a broker does not serve the borrower, whose link has ended.
fn leave<H: Host>(host: &mut H, broker: Identity, borrower: u16, joined: bool) -> Outcome<bool> {
    // It has never heard of the borrower, or has left it before, when something else could not be done.
    let told = host.read_node(&nodes::told(broker.domid, borrower, joined))?.is_some();
    if !told || !host.life(broker)?.can_run() {
        return Ok(true);
    }
    host.await_leave(broker, borrower)
}

fn take_away_from_shared<H: Host>(host: &mut H, remains: &Remains, broker: Identity) -> TakenAway {
    let mut errors = Vec::new();
    for borrower in remains.links.iter().map(|borrower| borrower.domid) {
        if let Err(error) = host.detach(borrower) {
            // The broker goes on with it.
            errors.push(error);
            continue;
        }
        match leave(host, broker, borrower, remains.joined) {
            Ok(true) => {}
            Ok(false) => {
                errors.push(HostError::NotLeft { broker: broker.domid, borrower });
                continue;
            }
            Err(error) => {
                errors.push(error);
                continue;
            }
        }
        for path in nodes::of_one(broker.domid, borrower, remains.joined) {
            errors.extend(host.remove_node(&path).err());
        }
        remove_frontend(host, borrower, broker.domid, &mut errors);
    }
    if errors.is_empty() {
        errors.extend(host.remove_record(remains.guest).err());
    }
    // Two that go at the same time find each other's records; the last one finds none.
    if errors.is_empty() {
        match others_of(host, broker.uuid, remains.guest) {
            Ok(others) if others.is_empty() => {
                errors.extend(host.remove_node(&nodes::root(broker.domid)).err());
                errors.extend(host.destroy(broker).err());
            }
            Ok(_) => {}
            Err(error) => errors.push(error),
        }
    }
    TakenAway { errors, dying_broker: None }
}

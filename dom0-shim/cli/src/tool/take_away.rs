// SPDX-License-Identifier: MIT OR Apache-2.0
//! Takes a link away, in whatever state it is: used by `down`, by an `up` that failed, by the supervisor.

use super::domain::Life;
use super::frontend_nodes::FrontendNodes;
use super::host::Host;
use super::host_error::HostError;
use super::nodes;
use super::record::Record;

/// What may exist of a link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remains {
    /// Name of the guest.
    pub guest: String,
    /// Borrowers whose link is to be ended.
    pub links: Vec<u16>,
    /// The broker's domain.
    pub broker: Option<u16>,
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
            guest: record.guest.clone(),
            links: vec![record.guest_domid],
            broker: record.broker_domid,
            joined: record.joined.is_some(),
        }
    }
}

/// Takes it away. Goes on after a failure, since each step is worth having.
///
/// Revoking comes first: the module needs nothing of what is taken away after it. The broker gets time to
/// leave before it is destroyed: only the broker itself can take its server off the guest.
///
/// A broker that serves others stays, and goes with the last of them.
pub fn take_away<H: Host>(host: &mut H, remains: &Remains) -> TakenAway {
    if let Some(broker) = remains.broker {
        match host.others_of(broker, &remains.guest) {
            Ok(others) if others.is_empty() => {}
            Ok(_) => return take_away_from_shared(host, remains, broker),
            // Not known, so nothing is destroyed.
            Err(error) => return TakenAway { errors: vec![error], dying_broker: None },
        }
    }
    let mut taken = TakenAway::default();
    let mut attempt = |outcome: Result<(), HostError>| taken.errors.extend(outcome.err());
    for borrower in &remains.links {
        attempt(host.detach(*borrower));
    }
    if let Some(broker) = remains.broker {
        let guest_stays = remains.links.iter().any(|borrower| host.life(*borrower).is_ok_and(Life::exists));
        if guest_stays && matches!(host.life(broker), Ok(Life::Alive)) {
            // A broker that does not leave is destroyed all the same.
            let _left = host.await_departure(broker);
        }
        attempt(host.remove_node(&nodes::root(broker)));
        let destroyed = host.destroy(broker);
        let is_destroyed = destroyed.is_ok();
        attempt(destroyed);
        if matches!(host.life(broker), Ok(Life::Dying)) {
            taken.dying_broker = Some(broker);
        }
        // Last, and not while the broker may have them mapped: the guest's driver then takes its pages back.
        for guest in remains.links.iter().filter(|_| is_destroyed) {
            remove_frontend(host, *guest, broker, &mut taken.errors);
        }
    }
    if taken.errors.is_empty() {
        taken.errors.extend(host.remove_record(&remains.guest).err());
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
fn leave<H: Host>(host: &mut H, broker: u16, borrower: u16, joined: bool) -> Result<bool, HostError> {
    // It has never heard of the borrower, or has left it before, when something else could not be done.
    let told = host.read_node(&nodes::told(broker, borrower, joined))?.is_some();
    if !told || !host.life(broker)?.can_run() {
        return Ok(true);
    }
    host.await_leave(broker, borrower)
}

fn take_away_from_shared<H: Host>(host: &mut H, remains: &Remains, broker: u16) -> TakenAway {
    let mut errors = Vec::new();
    for borrower in &remains.links {
        if let Err(error) = host.detach(*borrower) {
            // The broker goes on with it.
            errors.push(error);
            continue;
        }
        match leave(host, broker, *borrower, remains.joined) {
            Ok(true) => {}
            Ok(false) => {
                errors.push(HostError::NotLeft { broker, borrower: *borrower });
                continue;
            }
            Err(error) => {
                errors.push(error);
                continue;
            }
        }
        for path in nodes::of_one(broker, *borrower, remains.joined) {
            errors.extend(host.remove_node(&path).err());
        }
        remove_frontend(host, *borrower, broker, &mut errors);
    }
    if errors.is_empty() {
        errors.extend(host.remove_record(&remains.guest).err());
    }
    // Two that go at the same time find each other's records; the last one finds none.
    if errors.is_empty() {
        match host.others_of(broker, &remains.guest) {
            Ok(others) if others.is_empty() => {
                errors.extend(host.remove_node(&nodes::root(broker)).err());
                errors.extend(host.destroy(broker).err());
            }
            Ok(_) => {}
            Err(error) => errors.push(error),
        }
    }
    TakenAway { errors, dying_broker: None }
}

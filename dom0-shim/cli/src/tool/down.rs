// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xenlend down`: ends a link in whatever state it is.

use super::failure::Failure;
use super::host::Host;
use super::host_error::HostError;
use super::identity::{Domain, Uuid};
use super::take_away::{take_away, Remains};
use super::whom::{serves, uuid_of, Served};

/// What `down` did, for people.
#[derive(Debug, PartialEq, Eq)]
pub struct DownReport {
    /// The broker's domain, if there was one.
    pub broker: Option<u16>,
    /// The broker waits for the guest's end: its server is still on the guest.
    pub dying_broker: Option<u16>,
}

/// Ends the link of this guest.
pub fn down<H: Host>(host: &mut H, name: &str) -> Result<DownReport, Failure> {
    let guest = uuid_of(host, name)?;
    let Some(remains) = remains(host, guest)? else { return Err(Failure::NotUp(name.to_owned())) };
    let taken = take_away(host, &remains);
    if taken.errors.is_empty() {
        Ok(DownReport { broker: remains.broker.map(|broker| broker.domid), dying_broker: taken.dying_broker })
    } else {
        Err(Failure::Leftovers { guest: name.to_owned(), errors: taken.errors })
    }
}

/// Everything that there is, recorded or not. A broker is known by the record; without one by what only dom0 can
/// write, in the module and in xenstore. A domain that is only called like a broker is none.
fn remains<H: Host>(host: &mut H, guest: Uuid) -> Result<Option<Remains>, Failure> {
    let (record, unreadable) = match host.load_record(guest) {
        Ok(record) => (record, false),
        // Not to be understood, but to be removed.
        Err(HostError::Record { .. }) => (None, true),
        Err(error) => return Err(error.into()),
    };
    let recorded = record.is_some() || unreadable;
    let mut remains = Remains { guest, ..record.as_ref().map(Remains::of).unwrap_or_default() };
    let domains = host.domains()?;
    if let (Some(record), None) = (&record, remains.broker) {
        // An `up` was killed when it had made the broker and did not know its number yet.
        let made = domains.iter().find(|domain| domain.identity.uuid == record.broker_uuid);
        remains.broker = made.map(|domain| domain.identity);
    }
    for domain in domains.iter().filter(|domain| domain.identity.uuid == guest) {
        find_link(host, domain, &domains, &mut remains)?;
    }
    let anything = recorded || remains.broker.is_some() || !remains.links.is_empty();
    Ok(anything.then_some(remains))
}

/// A link of the module that is not recorded, and its broker.
fn find_link<H: Host>(
    host: &mut H,
    guest: &Domain,
    domains: &[Domain],
    remains: &mut Remains,
) -> Result<(), Failure> {
    let domid = guest.identity.domid;
    if remains.links.contains(&guest.identity) {
        return Ok(());
    }
    let Some(link) = host.link(domid)? else { return Ok(()) };
    remains.links.push(guest.identity);
    if remains.broker.is_some() {
        return Ok(());
    }
    if let Some(served) = serves(host, link.broker, domid)? {
        let broker = domains.iter().find(|domain| domain.identity.domid == link.broker);
        remains.broker = broker.map(|domain| domain.identity);
        remains.joined = served == Served::Joined;
    }
    Ok(())
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which guest a name or a number means.

use super::broker_config::is_usable_name;
use super::failure::Failure;
use super::host::Host;
use super::identity::{Domain, Identity, Uuid};
use super::nodes;

/// The guest that is meant: the domain that is called so now; else one that was called so when it was given its
/// broker, and has ended.
///
/// # Errors
/// [`Failure::Renamed`] if the one that was called so lives under another name; [`Failure::NoSuchGuest`].
pub fn uuid_of<H: Host>(host: &mut H, name: &str) -> Result<Uuid, Failure> {
    if !is_usable_name(name) {
        return Err(Failure::UnusableName(name.to_owned()));
    }
    if let Some(guest) = host.find_guest(name)? {
        return Ok(guest.uuid);
    }
    let domains = host.domains()?;
    let number = name.parse().ok();
    let mut renamed = None;
    for record in host.records()? {
        if record.guest != name && number != Some(record.guest_domid) {
            continue;
        }
        match alive(&domains, record.borrower()) {
            None => return Ok(record.guest_uuid),
            Some(domain) => renamed = Some(domain),
        }
    }
    // A domain of that name that is dying has no configuration any more.
    if let Some(dying) = domains.iter().find(|domain| domain.name == name) {
        return Ok(dying.identity.uuid);
    }
    Err(match renamed {
        Some(domain) => Failure::Renamed { old: name.to_owned(), new: domain.name.clone() },
        None => Failure::NoSuchGuest(name.to_owned()),
    })
}

/// This domain, if it is there and not on its way out.
pub fn alive(domains: &[Domain], identity: Identity) -> Option<&Domain> {
    domains.iter().find(|domain| domain.identity == identity && domain.life.exists())
}

/// Whether dom0 has told the domain `broker` that it serves `borrower`: no guest can write there.
///
/// # Errors
/// Of xenstore.
pub fn serves<H: Host>(host: &mut H, broker: u16, borrower: u16) -> Result<Option<Served>, Failure> {
    let first = host.read_node(&nodes::told(broker, borrower, false))?;
    if first.as_deref() == Some(&borrower.to_string()) {
        return Ok(Some(Served::First));
    }
    let joined = host.read_node(&nodes::told(broker, borrower, true))?;
    Ok(joined.map(|_| Served::Joined))
}

/// How a borrower came to its broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// The broker was made for it.
    First,
    /// It has joined another's.
    Joined,
}

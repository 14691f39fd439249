// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xenlend down`: ends a link in whatever state it is.

use super::broker_config::is_usable_name;
use super::failure::Failure;
use super::host::Host;
use super::host_error::HostError;
use super::take_away::{take_away, Remains};

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
    if !is_usable_name(name) {
        return Err(Failure::UnusableName(name.to_owned()));
    }
    let remains = remains(host, name)?;
    let Some(remains) = remains else {
        return Err(match host.find_guest(name)? {
            Some(_) => Failure::NotUp(name.to_owned()),
            None => Failure::NoSuchGuest(name.to_owned()),
        });
    };
    let taken = take_away(host, &remains);
    if taken.errors.is_empty() {
        Ok(DownReport { broker: remains.broker, dying_broker: taken.dying_broker })
    } else {
        Err(Failure::Leftovers { guest: name.to_owned(), errors: taken.errors })
    }
}

/// Everything that there is, recorded or not.
fn remains<H: Host>(host: &mut H, name: &str) -> Result<Option<Remains>, Failure> {
    let (record, unreadable) = match host.load_record(name) {
        Ok(record) => (record, false),
        // Not to be understood, but to be removed.
        Err(HostError::Record { .. }) => (None, true),
        Err(error) => return Err(error.into()),
    };
    let recorded = record.is_some() || unreadable;
    let mut remains =
        record.as_ref().map_or_else(|| Remains { guest: name.to_owned(), ..Remains::default() }, Remains::of);
    if remains.broker.is_none() {
        remains.broker = host.find_broker(name)?;
    }
    if let Some(guest) = host.find_guest(name)? {
        if !remains.links.contains(&guest.domid) && host.link(guest.domid)?.is_some() {
            remains.links.push(guest.domid);
        }
    }
    if record.is_none() {
        if let Some(broker) = remains.broker {
            // Named after this guest, which has left it.
            if !host.others_of(broker, name)?.is_empty() {
                remains.broker = None;
            }
        }
    }
    let anything = recorded || remains.broker.is_some() || !remains.links.is_empty();
    Ok(anything.then_some(remains))
}

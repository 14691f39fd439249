// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xenlend up`: the steps that give a guest its broker, in the order that they need.
//!
//! Whatever fails, everything that was made is taken away again.

use std::path::PathBuf;
use std::time::Duration;

use xenlend::layout::{Attach, ATTACH_CHECK};
use xenlend::BarAddress;

use super::aperture::{choose, claim_path, reserves_any, Aperture};
use super::broker_config::{broker_name, is_usable_name, BrokerConfig};
use super::domain::Life;
use super::failure::Failure;
use super::frontend_nodes::FrontendNodes;
use super::guest::Guest;
use super::host::{Host, Outcome};
use super::identity::{Identity, Uuid};
use super::nodes::{broker_folder, of_one, Link};
use super::record::{Phase, Record, VERSION};
use super::take_away::{others_of, take_away, Remains};
use super::whom::uuid_of;

/// The lender's domain on stock Xen.
const DOM0: u16 = 0;

/// What was asked for.
#[derive(Clone, Debug)]
pub struct UpRequest {
    /// Name of the guest.
    pub guest: String,
    /// The BARs that may be lent, with their text.
    pub bars: Vec<(String, BarAddress)>,
    /// The aperture; default: the only one that the guest reserves.
    pub aperture: Option<Aperture>,
    /// The largest that it may be, in bytes.
    pub max_aperture: u64,
    /// Whether the module is to verify every acknowledgement.
    pub check: bool,
    /// Deadline on the broker's progress in milliseconds; 0: the module's default.
    pub deadline_ms: u32,
    /// The guest whose broker is to serve this one too.
    pub broker_of: Option<String>,
    /// The broker's image.
    pub image: PathBuf,
    /// The broker's command line.
    pub arguments: String,
    /// How long to wait for the connection.
    pub timeout: Duration,
    /// This program's arguments, to be used again when the guest reboots.
    pub again: Option<Vec<String>>,
}

/// Waits until the guest has said where its aperture is, if it has to. Another guest's lock must not be held
/// meanwhile: when this one speaks is its own business.
///
/// # Errors
/// Of xl or of xenstore.
pub fn await_claim<H: Host>(host: &mut H, request: &UpRequest) -> Outcome<()> {
    if let Some(guest) = host.find_guest(&request.guest)?.filter(|guest| !reserves_any(guest)) {
        host.await_node(&claim_path(guest.domid), guest.identity(), Some(request.timeout))?;
    }
    Ok(())
}

/// Gives the guest its broker.
pub fn up<H: Host>(host: &mut H, request: &UpRequest) -> Result<Record, Failure> {
    let name = &request.guest;
    if !is_usable_name(name) {
        return Err(Failure::UnusableName(name.clone()));
    }
    if request.broker_of.as_ref() == Some(name) {
        return Err(Failure::JoinsItself(name.clone()));
    }
    let guest = host.find_guest(name)?.ok_or_else(|| Failure::NoSuchGuest(name.clone()))?;
    // What no Xen can do comes first: of such a guest nothing can be asked.
    guest.check(true)?;
    let life = host.life(guest.identity())?;
    if !life.can_run() {
        return Err(Failure::NotAlive { guest: name.clone(), domid: guest.domid, life });
    }
    let lend_aware = host.is_lend_aware(guest.domid)?;
    guest.check(lend_aware)?;
    clear_the_way(host, &guest, request.broker_of.is_some())?;
    let host_broker = match &request.broker_of {
        None => None,
        Some(other) => Some(find_shared(host, other, lend_aware)?),
    };
    let claim = if reserves_any(&guest) {
        None
    } else {
        // The driver claims one when the guest has booted so far. Where another guest's broker is joined, that has
        // been awaited.
        let patience = if request.broker_of.is_some() { Duration::ZERO } else { request.timeout };
        host.await_node(&claim_path(guest.domid), guest.identity(), Some(patience))?
    };
    let aperture = choose(&guest, request.aperture, claim.as_deref(), request.max_aperture)?;

    let mut record = Record {
        version: VERSION,
        guest: name.clone(),
        guest_domid: guest.domid,
        guest_uuid: guest.uuid,
        broker_domid: host_broker.as_ref().map(|(broker, _)| broker.domid),
        // By which it is found, whatever happens while it is made.
        broker_uuid: match &host_broker {
            Some((broker, _)) => broker.uuid,
            None => host.new_uuid()?,
        },
        joined: host_broker.map(|(_, named)| named),
        phase: Phase::Starting,
        aperture,
        check: request.check,
        lend_aware,
        bars: request.bars.iter().map(|(text, _)| text.clone()).collect(),
        supervisor: None,
        last: None,
        again: request.again.clone(),
    };
    let mut made = Remains { guest: guest.uuid, joined: record.joined.is_some(), ..Remains::default() };
    match build(host, request, &guest, &mut record, &mut made) {
        Ok(()) => Ok(record),
        Err(cause) => {
            // xl may have made the domain and failed all the same.
            let lookup = match made.broker {
                None => find_made(host, record.broker_uuid).map(|broker| made.broker = broker).err(),
                Some(_) => None,
            };
            let errors = match lookup {
                None => take_away(host, &made).errors,
                Some(error) => vec![error],
            };
            if errors.is_empty() {
                Err(cause)
            } else {
                Err(Failure::NotUndone { guest: name.clone(), cause: Box::new(cause), errors })
            }
        }
    }
}

/// The domain that was to be made with this UUID, if it was.
fn find_made<H: Host>(host: &mut H, uuid: Uuid) -> Outcome<Option<Identity>> {
    let found = host.domains()?.into_iter().find(|domain| domain.identity.uuid == uuid);
    Ok(found.map(|domain| domain.identity))
}

/// Takes away what an interrupted `up` or an earlier life of the guest left; refuses where something is up.
fn clear_the_way<H: Host>(host: &mut H, guest: &Guest, joins: bool) -> Result<(), Failure> {
    let name = guest.name.clone();
    if let Some(record) = host.load_record(guest.uuid)? {
        if record.guest_domid == guest.domid && !matches!(record.phase, Phase::Starting | Phase::Waiting) {
            let broker = record.broker();
            let lives = broker.map_or(Ok(Life::Gone), |broker| host.life(broker))?.can_run();
            return Err(match broker {
                Some(broker) if lives && record.phase == Phase::Up => {
                    Failure::AlreadyUp { guest: name, broker: broker.domid }
                }
                _ => Failure::BrokerDead { guest: name },
            });
        }
        if record.guest_domid != guest.domid && host.life(record.borrower())?.exists() {
            let (domid, other) = (guest.domid, record.guest_domid);
            return Err(Failure::SameUuid { guest: name, domid, other });
        }
        let mut remains = Remains::of(&record);
        if remains.broker.is_none() {
            remains.broker = find_made(host, record.broker_uuid)?;
        }
        let errors = take_away(host, &remains).errors;
        if !errors.is_empty() {
            return Err(Failure::Leftovers { guest: name, errors });
        }
    }
    if let Some(link) = host.link(guest.domid)? {
        let what = format!("a link with domain {}", link.broker);
        return Err(Failure::Unrecorded { guest: name, domid: guest.domid, what });
    }
    if joins {
        return Ok(());
    }
    // Two domains of one name there are not.
    let broker_name = broker_name(&name);
    let Some(taken) = host.domains()?.into_iter().find(|domain| domain.name == broker_name) else {
        return Ok(());
    };
    let others = others_of(host, taken.identity.uuid, guest.uuid)?;
    let domid = taken.identity.domid;
    if others.is_empty() {
        return Err(Failure::NameTaken { guest: name, name: broker_name, domid });
    }
    let others = others.into_iter().map(|other| other.guest).collect();
    Err(Failure::ServesOthers { guest: name, broker: domid, others })
}

/// The broker that serves the other guest, and the guest after whom its domain is named.
fn find_shared<H: Host>(host: &mut H, other: &str, lend_aware: bool) -> Result<(Identity, String), Failure> {
    let cannot = |why| Failure::CannotJoin(other.to_owned(), why);
    if !lend_aware {
        return Err(cannot("on stock Xen a domain has rights over one other"));
    }
    let uuid = uuid_of(host, other)?;
    let record = host.load_record(uuid)?.ok_or_else(|| Failure::NotUp(other.to_owned()))?;
    let (Phase::Up, Some(broker)) = (record.phase, record.broker()) else {
        return Err(Failure::BrokerDead { guest: other.to_owned() });
    };
    if !host.life(broker)?.can_run() {
        return Err(Failure::BrokerDead { guest: other.to_owned() });
    }
    let feature = format!("{}/feature-more", broker_folder(broker.domid));
    if host.read_node(&feature)?.as_deref() != Some("1") {
        return Err(cannot("its image is too old for that, or its guest has too many vCPUs"));
    }
    Ok((broker, record.joined.unwrap_or(record.guest)))
}

fn build<H: Host>(
    host: &mut H,
    request: &UpRequest,
    guest: &Guest,
    record: &mut Record,
    made: &mut Remains,
) -> Result<(), Failure> {
    host.save_record(record)?;
    let config = BrokerConfig {
        guest: guest.name.clone(),
        guest_uuid: guest.uuid,
        uuid: record.broker_uuid,
        image: request.image.clone(),
        arguments: request.arguments.clone(),
    };
    let broker = match (&record.joined, record.broker_domid) {
        (Some(_), Some(broker)) => broker,
        _ => host.create_broker(&config)?,
    };
    let identity = Identity { domid: broker, uuid: record.broker_uuid };
    made.broker = Some(identity);
    record.broker_domid = Some(broker);
    host.save_record(record)?;

    let attached = host.attach(Attach {
        borrower: guest.domid,
        broker,
        flags: if request.check { ATTACH_CHECK } else { 0 },
        aperture_address: record.aperture.address,
        aperture_size: record.aperture.size,
        aperture_limit: request.max_aperture,
        deadline_ms: request.deadline_ms,
        vcpus: guest.vcpus,
        ..Attach::default()
    })?;
    made.links.push(guest.identity());
    for (_, bar) in &request.bars {
        host.allow_bar(guest.domid, *bar)?;
    }

    let link = Link {
        broker,
        lender: DOM0,
        borrower: guest.domid,
        vcpus: guest.vcpus,
        aperture: record.aperture,
        attached,
    };
    // Listening starts before the broker runs, or hears of the link: nothing that it does can be missed.
    if record.joined.is_some() {
        // What the broker has said of an earlier link is no answer to this one.
        for path in of_one(broker, guest.domid, true) {
            host.remove_node(&path)?;
        }
        host.listen(guest.identity(), identity, record.joined.as_deref().unwrap_or_default(), true)?;
        for node in link.joining_nodes() {
            host.write_node(&node)?;
        }
    } else {
        for node in link.nodes() {
            host.write_node(&node)?;
        }
        host.listen(guest.identity(), identity, &guest.name, false)?;
        host.unpause(broker)?;
    }
    host.await_connection(request.timeout)?;
    let frontend = FrontendNodes { guest: guest.domid, broker };
    for node in frontend.nodes(record.aperture) {
        host.write_node(&node)?;
    }
    record.supervisor = Some(host.start_supervisor(record)?);
    record.phase = Phase::Up;
    Ok(host.save_record(record)?)
}

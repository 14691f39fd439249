// SPDX-License-Identifier: MIT OR Apache-2.0
//! After the end of a guest that is to be brought up again: waits for the domain that follows it.
//!
//! Nothing says whether one will: a guest that reboots gets another domain at once, one that was shut down
//! never does. So the wait has an end.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::connection::{wait_for, DOMAIN_ENDS};
use super::domain::Life;
use super::guest::Guest;
use super::host::{Host, Outcome};
use super::host_error::HostError;
use super::identity::Domain;
use super::log_line;
use super::real_host::RealHost;
use super::record::{Phase, Record};
use super::take_away::others_of;
use super::whom::{alive, uuid_of};
use super::xenstore::Xenstore;

/// The watch that fires when a domain has been made.
const DOMAIN_COMES: &str = "@introduceDomain";
/// How long a domain may take to follow. xl makes it at once; its machine may be busy.
const PATIENCE: Duration = Duration::from_secs(300);
/// The option that names a guest whose broker is joined.
const BROKER_OF: &str = "--broker-of";
/// How often to look meanwhile: xl lists a domain only when it has written its configuration to a file, which is
/// after its introduction, and nothing tells of that.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Does what was asked for the guest's next domain, if there is one: that of `record` has ended.
pub fn bring_up(record: &Record, arguments: &[String]) -> Outcome<()> {
    let mut host = RealHost::default();
    let failed = |error| HostError::Xenstore { operation: "watch", path: DOMAIN_COMES.to_owned(), error };
    let mut store = Xenstore::open().map_err(failed)?;
    // The one that ends may keep the name for a while.
    for path in [DOMAIN_COMES, DOMAIN_ENDS] {
        store.watch(path).map_err(failed)?;
    }
    let deadline = Instant::now() + PATIENCE;
    log_line::write(&format!("waiting for another domain of guest {}", record.guest));
    let next = loop {
        if let Some(next) = next_domain(&mut host, record)? {
            break next;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            log_line::write("none came: leaving");
            return Ok(());
        }
        wait_for(&[&store], Some(left.min(LOOK_AGAIN))).map_err(failed)?;
        store.fired().map_err(failed)?;
    };
    let other = whom_to_join(&mut host, record, arguments)?;
    let arguments = joining(&naming(arguments, &record.guest, &next.name), other);
    // Another process: this one has watched a guest that is no more. What it says goes to the log.
    let status = Command::new("/proc/self/exe").args(arguments).stdin(Stdio::null()).status();
    log_line::write(&match status {
        Ok(status) => format!("guest {} again: {status}", record.guest),
        Err(error) => format!("guest {} again: {error}", record.guest),
    });
    Ok(())
}

/// The guest whose broker the next domain is to have: one that the guest's last broker still serves, or the one that
/// was named, if it is up. Else the guest has a broker for itself, which is better than none.
fn whom_to_join<H: Host>(host: &mut H, record: &Record, arguments: &[String]) -> Outcome<Option<String>> {
    let mut wanted = Vec::new();
    if let Some(broker) = record.broker().filter(|_| record.lend_aware) {
        if host.life(broker).is_ok_and(Life::can_run) {
            wanted = others_of(host, broker.uuid, record.guest_uuid)?;
        }
    }
    if let Some(name) = named(arguments) {
        if let Ok(uuid) = uuid_of(host, name) {
            wanted.extend(host.load_record(uuid)?);
        }
    }
    let domains = host.domains()?;
    let mut up = wanted.into_iter().filter(|found| found.phase == Phase::Up);
    Ok(up.find_map(|found| alive(&domains, found.borrower()).map(|domain| domain.name.clone())))
}

/// The guest whose broker was asked for.
fn named(arguments: &[String]) -> Option<&str> {
    let position = arguments.iter().position(|argument| argument.starts_with(BROKER_OF))?;
    let (_, value) = arguments.split_at_checked(position)?;
    match value.first()?.strip_prefix(BROKER_OF)? {
        "" => value.get(1).map(String::as_str),
        inline => inline.strip_prefix('='),
    }
}

/// The same arguments with another guest to join, or none.
fn joining(arguments: &[String], other: Option<String>) -> Vec<String> {
    let mut result = Vec::new();
    let mut skip = false;
    for argument in arguments {
        let is_value = std::mem::replace(&mut skip, argument == BROKER_OF);
        if !is_value && !argument.starts_with(BROKER_OF) {
            result.push(argument.clone());
        }
    }
    result.extend(other.map(|other| format!("{BROKER_OF}={other}")));
    result
}

/// The arguments with the guest's name of now. It may have been renamed since.
fn naming(arguments: &[String], before: &str, now: &str) -> Vec<String> {
    let named = |argument: &String| if argument == before { now.to_owned() } else { argument.clone() };
    arguments.iter().map(named).collect()
}

/// The domain that follows the one that has ended: another number, the same UUID. One that only has its name is
/// another guest. xl knows it when it has written its configuration.
fn next_domain<H: Host>(host: &mut H, record: &Record) -> Outcome<Option<Guest>> {
    let domains = host.domains()?;
    let is_next = |domain: &&Domain| {
        domain.identity.uuid == record.guest_uuid
            && domain.identity.domid != record.guest_domid
            && domain.life.exists()
    };
    match domains.iter().find(is_next) {
        Some(next) => host.find_guest(&next.identity.domid.to_string()),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::super::guest::tests::{pvh, uuid};
    use super::super::record::tests::up;
    use super::super::shared_tests::three_borrowers;
    use super::super::{down::down, fake_host::FakeHost};
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    /// What the guest's next domain is brought up with, having been brought up so.
    fn next(host: &mut FakeHost, guest: &str, arguments: &str) -> String {
        let record = host.record(guest);
        down(host, guest).unwrap();
        let arguments = words(arguments);
        let other = whom_to_join(host, &record, &arguments).unwrap();
        joining(&arguments, other).join(" ")
    }

    #[test]
    fn the_next_domain_joins_whoever_the_last_ones_broker_still_serves() {
        let mut host = three_borrowers();
        assert_eq!(next(&mut host, "g1", "up g1 --again"), "up g1 --again --broker-of=g2");
        assert_eq!(next(&mut host, "g2", "up g2 --broker-of g1 --again"), "up g2 --again --broker-of=g3");
        // The broker has gone with the last of them.
        assert_eq!(next(&mut host, "g3", "up --broker-of=g2 g3 --again"), "up g3 --again");
    }

    #[test]
    fn whom_the_guest_was_told_to_join_is_joined_if_that_is_up() {
        let mut host = three_borrowers();
        let broker_dead = |host: &mut FakeHost| host.world.lives.insert(100, Life::Crashed);
        broker_dead(&mut host);
        assert_eq!(next(&mut host, "g2", "up g2 --broker-of g1"), "up g2 --broker-of=g1");
        host.record_mut("g1").phase = Phase::BrokerGone;
        assert_eq!(next(&mut host, "g3", "up g3 --broker-of g1"), "up g3");
    }

    #[test]
    fn only_the_guest_itself_under_another_number_follows() {
        let mut host = FakeHost::new();
        let next = |host: &mut FakeHost| next_domain(host, &up()).unwrap().map(|guest| guest.domid);
        assert_eq!(next(&mut host), None, "the one that ends is there for a while");
        host.kill_guest();
        host.add(Guest { domid: 9, uuid: uuid(0x99), ..pvh() });
        assert_eq!(next(&mut host), None, "a stranger of its name");
        host.add(Guest { domid: 20, name: "renamed".to_owned(), ..pvh() });
        assert_eq!(next(&mut host), Some(20));
        assert_eq!(naming(&words("up g1 --check"), "g1", "renamed"), words("up renamed --check"));
    }
}

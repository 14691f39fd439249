// SPDX-License-Identifier: MIT OR Apache-2.0
//! After the end of a guest that is to be brought up again: waits for the domain that follows it, and for its driver.
//!
//! Nothing says whether a domain will follow: a guest that reboots gets another at once, one that was shut down never
//! does. So that wait has an end. The driver of a domain that is there may come at any time, so that wait has none
//! but the domain's.

use std::process::{Command, Stdio};
use std::time::Duration;

use super::aperture::{claim_path, reserves_any};
use super::domain::Life;
use super::failure::{ALREADY_UP, OK, USAGE};
use super::guest::Guest;
use super::host::{Host, Outcome};
use super::identity::{Domain, Identity};
use super::lock::Lock;
use super::log_line;
use super::paths;
use super::real_host::RealHost;
use super::record::{Phase, Record};
use super::take_away::others_of;
use super::whom::{alive, uuid_of};

/// How long a domain may take to follow. xl makes it at once; its machine may be busy.
const PATIENCE: Duration = Duration::from_secs(300);
/// The option that names a guest whose broker is joined.
const BROKER_OF: &str = "--broker-of";
/// Before an `up` that has failed is tried again: doubled each time, up to [`LONGEST_PAUSE`].
const PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(320);

/// Does what was asked for the guest's next domain, if there is one: that of `record` has ended.
pub fn bring_up(record: &Record, arguments: &[String]) -> Outcome<()> {
    let mut run = |arguments: &[String]| {
        // Another process: this one has watched a guest that is no more. What it says goes to the log.
        let status = Command::new("/proc/self/exe").args(arguments).stdin(Stdio::null()).status();
        status.ok().and_then(|status| status.code()).and_then(|code| u8::try_from(code).ok())
    };
    let mut lock = || Lock::take(&paths::lock(record.guest_uuid), &mut || ()).ok();
    let mut say = |line: String| log_line::write(&line);
    go_on(
        &mut RealHost::default(),
        record,
        arguments,
        &mut Means { run: &mut run, lock: &mut lock, say: &mut say },
    )
}

/// What it needs besides the host.
struct Means<'a, L> {
    /// Runs this program with these arguments; its exit status.
    run: &'a mut dyn FnMut(&[String]) -> Option<u8>,
    /// Locks the guest.
    lock: &'a mut dyn FnMut() -> L,
    /// Writes the log.
    say: &'a mut dyn FnMut(String),
}

/// Domain after domain, until one is up, somebody has seen to it by hand, or none follows.
fn go_on<H: Host, L>(
    host: &mut H,
    record: &Record,
    arguments: &[String],
    means: &mut Means<'_, L>,
) -> Outcome<()> {
    let mut ended = record.clone();
    loop {
        (means.say)(format!("waiting for another domain of guest {}", record.guest));
        let Some(next) = host.await_next(ended.borrower(), PATIENCE)? else {
            (means.say)("none came: leaving".to_owned());
            return Ok(());
        };
        let waiting = Record { guest: next.name.clone(), guest_domid: next.domid, ..waiting_after(record) };
        {
            let _lock = (means.lock)();
            if host.load_record(record.guest_uuid)?.is_some() {
                (means.say)("somebody else has brought it up: leaving".to_owned());
                return Ok(());
            }
            host.save_record(&waiting)?;
        }
        if see_to(host, record, &waiting, &next, arguments, means)? {
            return Ok(());
        }
        ended = waiting;
    }
}

/// What stands in the place of a link while the guest's driver is awaited: `down` ends the wait.
fn waiting_after(record: &Record) -> Record {
    Record { phase: Phase::Waiting, broker_domid: None, joined: None, last: None, ..record.clone() }
}

/// Brings this domain up, however late its driver comes. False: it has ended before.
fn see_to<H: Host, L>(
    host: &mut H,
    record: &Record,
    waiting: &Record,
    next: &Guest,
    arguments: &[String],
    means: &mut Means<'_, L>,
) -> Outcome<bool> {
    let mut pause = PAUSE;
    loop {
        if !reserves_any(next) {
            (means.say)(format!("waiting for the driver of guest {}", next.name));
            host.await_node(&claim_path(next.domid), next.identity(), None)?;
        }
        let lives = host.life(next.identity())?.exists();
        let mine = host.load_record(record.guest_uuid)?.as_ref() == Some(waiting);
        if !lives || !mine {
            if mine {
                host.remove_record(record.guest_uuid)?;
            }
            return Ok(!mine);
        }
        let other = whom_to_join(host, record, arguments)?;
        let status = (means.run)(&joining(&naming(arguments, &record.guest, &next.name), other));
        (means.say)(match status {
            Some(status) => format!("guest {} again: exit status {status}", next.name),
            None => format!("guest {} again: it has no exit status", next.name),
        });
        if matches!(status, Some(OK | USAGE | ALREADY_UP)) {
            return Ok(true);
        }
        // A failed `up` takes the record along, this one too.
        let lock = (means.lock)();
        if host.load_record(record.guest_uuid)?.is_none() {
            host.save_record(waiting)?;
        }
        drop(lock);
        (means.say)(format!("once more in {} s, if the guest is still there", pause.as_secs()));
        host.await_end(next.identity(), pause)?;
        pause = LONGEST_PAUSE.min(pause * 2);
    }
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
pub fn next_domain<H: Host>(host: &mut H, ended: Identity) -> Outcome<Option<Guest>> {
    let domains = host.domains()?;
    let is_next = |domain: &&Domain| {
        domain.identity.uuid == ended.uuid && domain.identity.domid != ended.domid && domain.life.exists()
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
    use super::super::up_tests::request;
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
        let next = |host: &mut FakeHost| next_domain(host, up().borrower()).unwrap().map(|guest| guest.domid);
        assert_eq!(next(&mut host), None, "the one that ends is there for a while");
        host.kill_guest();
        host.add(Guest { domid: 9, uuid: uuid(0x99), ..pvh() });
        assert_eq!(next(&mut host), None, "a stranger of its name");
        host.add(Guest { domid: 20, name: "renamed".to_owned(), ..pvh() });
        assert_eq!(next(&mut host), Some(20));
        assert_eq!(naming(&words("up g1 --check"), "g1", "renamed"), words("up renamed --check"));
    }

    /// The domain of g1 that follows domain 7, without an aperture of its own.
    fn reboot(host: &mut FakeHost) {
        host.add(Guest { domid: 20, command_line: Some("console=hvc0".to_owned()), ..pvh() });
    }

    fn claim(host: &mut FakeHost) {
        let domid = host.world.guests.last().unwrap().domid;
        host.world.nodes.insert(claim_path(domid), "0x4000000 512".to_owned());
    }

    /// g1 ends; then this happens. The commands that were run, and what was said.
    fn bring_up_again(host: &mut FakeHost, answers: &[u8]) -> (Vec<String>, String) {
        let record = Record { again: Some(words("up g1 --again")), ..up() };
        host.kill_guest();
        let (mut commands, mut said, mut answers) = (Vec::new(), String::new(), answers.iter());
        let mut run = |arguments: &[String]| {
            commands.push(arguments.join(" "));
            answers.next().copied()
        };
        let mut say = |line: String| said.extend([line.as_str(), "\n"]);
        let mut means = Means { run: &mut run, lock: &mut || (), say: &mut say };
        go_on(host, &record, &words("up g1 --again"), &mut means).unwrap();
        (commands, said)
    }

    #[test]
    fn a_driver_may_come_as_late_as_it_likes() {
        let mut host = FakeHost::new();
        host.happens.push_back((Duration::from_secs(10), reboot));
        host.happens.push_back((Duration::from_secs(86_400), claim));
        let (commands, said) = bring_up_again(&mut host, &[OK]);
        assert_eq!(commands, ["up g1 --again"]);
        assert!(said.contains("waiting for the driver of guest g1"), "{said}");
        assert_eq!(host.record("g1").phase, Phase::Waiting, "until `up` has its own");
        assert_eq!(host.record("g1").guest_domid, 20);
    }

    #[test]
    fn a_domain_that_ends_before_its_driver_comes_is_followed_by_the_next() {
        let mut host = FakeHost::new();
        host.happens.push_back((Duration::from_secs(10), reboot));
        host.happens.push_back((Duration::from_secs(1000), |host| {
            host.world.guests.clear();
            host.world.lives.remove(&20);
        }));
        host.happens.push_back((Duration::from_secs(10), |host| {
            host.add(Guest { domid: 21, command_line: None, ..pvh() });
        }));
        host.happens.push_back((Duration::from_secs(1000), claim));
        let (commands, _) = bring_up_again(&mut host, &[OK]);
        assert_eq!(commands.len(), 1);
        assert_eq!(host.record("g1").guest_domid, 21);
    }

    #[test]
    fn a_guest_that_does_not_come_back_leaves_nothing() {
        let mut host = FakeHost::new();
        let (commands, said) = bring_up_again(&mut host, &[]);
        assert!(commands.is_empty() && said.contains("none came"), "{said}");
        assert!(host.world.records.is_empty());
        // Nor does one that comes back and ends before its driver has come.
        host.happens.push_back((Duration::from_secs(299), reboot));
        host.happens.push_back((Duration::from_secs(1), |host| {
            host.world.lives.insert(20, Life::Dying);
        }));
        let (commands, _) = bring_up_again(&mut host, &[]);
        assert!(commands.is_empty() && host.world.records.is_empty());
    }

    #[test]
    fn down_ends_the_wait_and_up_by_hand_does_too() {
        let mut host = FakeHost::new();
        host.happens.push_back((Duration::from_secs(10), reboot));
        host.happens.push_back((Duration::from_secs(10), |host| {
            down(host, "g1").unwrap();
            claim(host);
        }));
        let (commands, _) = bring_up_again(&mut host, &[]);
        assert!(commands.is_empty() && host.world.records.is_empty());
        let mut host = FakeHost::new();
        host.happens.push_back((Duration::from_secs(10), |host| {
            host.add(Guest { domid: 20, ..pvh() });
            super::super::up::up(host, &request()).unwrap();
        }));
        let (commands, said) = bring_up_again(&mut host, &[]);
        assert!(commands.is_empty() && said.contains("somebody else"), "{said}");
        assert_eq!(host.record("g1").phase, Phase::Up);
    }

    #[test]
    fn what_fails_is_tried_again_ever_more_seldom_as_long_as_the_guest_lives() {
        let mut host = FakeHost::new();
        host.happens.push_back((Duration::from_secs(10), |host| {
            host.add(Guest { domid: 20, ..pvh() });
        }));
        let end = |host: &mut FakeHost| {
            host.world.guests.clear();
            host.world.lives.remove(&20);
        };
        host.happens.push_back((Duration::from_secs(3600), end));
        let (commands, said) = bring_up_again(&mut host, &[1; 100]);
        // 5, 10, 20 … 320 s: 635 s for the first eight, and one in 320 s after that.
        assert_eq!(commands.len(), 17, "{said}");
        assert!(host.world.records.is_empty());
        for status in [ALREADY_UP, USAGE] {
            let mut host = FakeHost::new();
            host.happens.push_back((Duration::from_secs(10), |host| {
                host.add(Guest { domid: 20, ..pvh() });
            }));
            assert_eq!(bring_up_again(&mut host, &[status]).0.len(), 1);
        }
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xenlend status`: finds the links and prints them, for people or as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;
use xenlend::{RegionInfo, Status};

use super::domain::Life;
use super::failure::Failure;
use super::frontend;
use super::host::Host;
use super::identity::{Domain, Identity, Uuid};
use super::link_report::{Findings, LinkReport};
use super::whom::alive;

/// Version of the JSON. Keys are added without a new one, never changed.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    links: &'a [LinkReport],
}

/// The links of these guests (those with a record) and of those that only the module knows.
///
/// `settle` returns when nobody is at work on a guest: where the guest has ended, its supervisor is about
/// to take the link away.
pub fn collect<H: Host>(
    host: &mut H,
    recorded: &[Uuid],
    links: &[Status],
    settle: &mut dyn FnMut(Uuid) -> Result<(), Failure>,
) -> Result<Vec<LinkReport>, Failure> {
    let mut by_borrower: BTreeMap<u16, Status> = links.iter().map(|link| (link.borrower, *link)).collect();
    let mut reports = Vec::new();
    for guest in recorded {
        let Some(mut record) = host.load_record(*guest)? else { continue };
        if !host.life(record.borrower())?.exists() {
            settle(*guest)?;
            let Some(settled) = host.load_record(*guest)? else {
                by_borrower.remove(&record.guest_domid);
                continue;
            };
            record = settled;
        }
        let domains = host.domains()?;
        let at = |domid: u16| domains.iter().find(|domain| domain.identity.domid == domid);
        let life = |domain: Option<Identity>| {
            let found = domain.and_then(|wanted| at(wanted.domid).filter(|found| found.identity == wanted));
            found.map_or(Life::Gone, |found| found.life)
        };
        let borrower = record.borrower();
        // A number that another domain has now stands for that one.
        let is_its = at(borrower.domid).is_none_or(|found| found.identity == borrower);
        let link = if is_its { by_borrower.remove(&borrower.domid) } else { None };
        let frontend_refusal = if is_its { frontend::refusal(host, &record)? } else { None };
        let findings = Findings {
            guest: name_of(&domains, borrower).unwrap_or_else(|| record.guest.clone()),
            uuid: Some(record.guest_uuid),
            regions: regions(host, link.as_ref())?,
            link,
            guest_life: life(Some(borrower)),
            broker_life: life(record.broker()),
            supervisor_running: record.supervisor.is_some_and(|supervisor| host.is_running(supervisor)),
            record: Some(record),
            frontend_refusal,
        };
        reports.push(findings.report());
    }
    if by_borrower.is_empty() {
        return Ok(reports);
    }
    let domains = host.domains()?;
    for (borrower, link) in by_borrower {
        let at = |domid: u16| domains.iter().find(|domain| domain.identity.domid == domid);
        let guest = at(borrower).map(|guest| guest.identity);
        let findings = Findings {
            guest: guest.and_then(|guest| name_of(&domains, guest)).unwrap_or_else(|| borrower.to_string()),
            uuid: guest.map(|guest| guest.uuid),
            record: None,
            regions: regions(host, Some(&link))?,
            link: Some(link),
            guest_life: at(borrower).map_or(Life::Gone, |guest| guest.life),
            broker_life: at(link.broker).map_or(Life::Gone, |broker| broker.life),
            supervisor_running: false,
            frontend_refusal: None,
        };
        reports.push(findings.report());
    }
    Ok(reports)
}

/// What a domain is called now; nothing if it is on its way out, which has lost its name.
fn name_of(domains: &[Domain], identity: Identity) -> Option<String> {
    alive(domains, identity).map(|domain| domain.name.clone())
}

fn regions<H: Host>(host: &mut H, link: Option<&Status>) -> Result<Vec<RegionInfo>, Failure> {
    Ok(link.map_or(Ok(Vec::new()), |link| host.regions(link.borrower))?)
}

/// For programs.
pub fn json(links: &[LinkReport]) -> Result<String, serde_json::Error> {
    serde_json::to_string_pretty(&Document { version: VERSION, links })
}

/// For people: a line each, and what to do below.
pub fn table(links: &[LinkReport]) -> String {
    if links.is_empty() {
        return "no guest is up\n".to_owned();
    }
    let mut text = String::new();
    let mut line = |fields: [String; 7]| {
        let [guest, domain, broker, state, regions, present, lent] = fields;
        let row =
            format!("{guest:<20} {domain:>6} {broker:>6}  {state:<12} {regions:>7} {present:>13} {lent:>10}");
        let _infallible = writeln!(text, "{}", row.trim_end());
    };
    line(["GUEST", "DOMAIN", "BROKER", "STATE", "REGIONS", "PRESENT", "LENT"].map(str::to_owned));
    for link in links {
        line([
            link.guest.clone(),
            link.borrower.domid.to_string(),
            link.broker.as_ref().map_or("-".to_owned(), |broker| broker.domid.to_string()),
            link.state.to_owned(),
            link.regions.to_string(),
            format!("{} pages", link.counters.present_pages),
            mebibytes(link.counters.lent_bytes),
        ]);
    }
    for link in links {
        if link.reason != "none" {
            let _infallible = writeln!(text, "{}: {}", link.guest, link.text);
        }
        if let Some(advice) = &link.advice {
            let _infallible = writeln!(text, "{}: {advice}", link.guest);
        }
    }
    text
}

/// For people: everything about one link.
pub fn details(link: &LinkReport) -> String {
    let mut text =
        format!("guest        {} (domain {}, {})\n", link.guest, link.borrower.domid, link.borrower.state);
    let mut line = |name: &str, value: String| {
        let _infallible = writeln!(text, "{name:<12} {value}");
    };
    line("state", link.text.clone());
    if let Some(broker) = &link.broker {
        let checked = if link.check { ", every acknowledgement is verified" } else { "" };
        let version = link.protocol_version;
        line("broker", format!("domain {}, {}, protocol {version}{checked}", broker.domid, broker.state));
    }
    line("Xen", format!("{}: {}", link.xen.kind, link.xen.why));
    let (address, size) = (link.aperture.address, mebibytes(link.aperture.size));
    line("aperture", format!("{address:#x}, {size}, {} regions", link.regions));
    for lease in &link.leases {
        let (size, access) = (lease.size >> 10, if lease.read_only { ", read-only" } else { "" });
        line(
            "  lease",
            format!("{:2} at {:#x}, {size} KiB{access} {:?}", lease.slot, lease.address, lease.label),
        );
    }
    if !link.bars.is_empty() {
        line("BARs", link.bars.join(" "));
    }
    line(
        "supervisor",
        match &link.supervisor {
            Some(supervisor) if supervisor.running => format!("process {}", supervisor.pid),
            Some(supervisor) => format!("process {}, which is gone", supervisor.pid),
            None => "none".to_owned(),
        },
    );
    line(
        "frontend",
        match &link.frontend.reason {
            Some(reason) => format!("{}: {reason}", link.frontend.state),
            None => link.frontend.state.to_owned(),
        },
    );
    if let Some(advice) = &link.advice {
        line("do", advice.clone());
    }
    if let Ok(serde_json::Value::Object(counters)) = serde_json::to_value(link.counters) {
        for (name, value) in counters {
            let _infallible = writeln!(text, "  {name:<26} {:>14}", value.to_string());
        }
    }
    text
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

#[cfg(test)]
mod tests {
    use super::super::fake_host::FakeHost;
    use super::super::guest::tests::uuid;
    use super::super::link_report::tests::healthy;
    use super::super::up::up;
    use super::super::up_tests::request;
    use super::*;

    #[test]
    fn recorded_and_unrecorded_links_are_found_once_each() {
        let mut host = FakeHost::new();
        up(&mut host, &request()).unwrap();
        let link = |borrower, broker| Status { borrower, broker, state: 2, ..Status::default() };
        let links = [link(7, 8), link(30, 31)];
        let reports = collect(&mut host, &[uuid(7), uuid(99)], &links, &mut |_| Ok(())).unwrap();
        let seen: Vec<_> = reports.iter().map(|r| (r.guest.as_str(), r.borrower.domid, r.state)).collect();
        assert_eq!(seen, [("g1", 7, "connected"), ("30", 30, "guest-gone")]);
        assert!(reports[0].supervisor.as_ref().unwrap().running);
    }

    #[test]
    fn a_link_that_its_supervisor_takes_away_just_now_is_not_shown() {
        let mut host = FakeHost::new();
        up(&mut host, &request()).unwrap();
        host.kill_guest();
        let links = [Status { borrower: 7, broker: 8, ..Status::default() }];
        let guests = [uuid(7)];
        let mut settled = 0;
        let reports = collect(&mut host, &guests, &links, &mut |_| {
            settled += 1;
            Ok(())
        });
        assert_eq!((reports.unwrap()[0].state, settled), ("guest-gone", 1), "nobody took it away");
        // The second look at the record, after settling, finds none.
        host.vanish_after_load = true;
        assert_eq!(collect(&mut host, &guests, &links, &mut |_| Ok(())).unwrap(), []);
    }

    #[test]
    fn the_table_is_a_line_each_and_the_trouble_below() {
        let trouble = Findings { broker_life: Life::Gone, guest: "g2".to_owned(), ..healthy() };
        let text = table(&[healthy().report(), trouble.report()]);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines[..3],
            [
                "GUEST                DOMAIN BROKER  STATE        REGIONS       PRESENT       LENT",
                "g1                        7      8  connected          3     100 pages      0 MiB",
                "g2                        7      8  broker-gone        3     100 pages      0 MiB",
            ]
        );
        assert_eq!(lines[3], "g2: broker-gone: the broker's domain has died");
        assert!(lines[4].starts_with("g2: `xl destroy g2`"));
        assert_eq!(table(&[]), "no guest is up\n");
    }

    #[test]
    fn the_details_hold_every_counter() {
        let text = details(&healthy().report());
        assert!(text.contains("  page_ins                                5\n"), "{text}");
        assert!(text.contains("revoke_ns_p99"), "{text}");
        assert!(text.contains("frontend     absent\n"), "{text}");
        assert!(
            text.contains("  lease       5 at 0x200100000, 1024 KiB, read-only \"scanout 0\"\n"),
            "{text}"
        );
        let json: serde_json::Value = serde_json::from_str(&json(&[healthy().report()]).unwrap()).unwrap();
        assert_eq!((&json["version"], &json["links"][0]["guest"]), (&1.into(), &"g1".into()));
    }
}

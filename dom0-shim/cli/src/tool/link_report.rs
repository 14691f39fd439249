// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `status` says about one link, made from what xl, the module and the record say.

use serde::Serialize;
use xenlend::layout::{REGION_READONLY, STATUS_LEND_AWARE};
use xenlend::{Counters, LinkState, Reason, RegionInfo, Status};

use super::aperture::Aperture;
use super::domain::Life;
use super::identity::Uuid;
use super::record::{Phase, Record};

/// A domain in a report.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct DomainReport {
    /// Its number.
    pub domid: u16,
    /// alive, paused, crashed, shut-down, dying or gone.
    pub state: &'static str,
}

/// The supervisor in a report.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct SupervisorReport {
    /// Its process.
    pub pid: i32,
    /// Whether it runs.
    pub running: bool,
}

/// The guest's driver in a report.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct FrontendReport {
    /// absent, connected or refused.
    pub state: &'static str,
    /// Why it is refused.
    pub reason: Option<String>,
}

/// The kind of Xen in a report.
#[derive(Clone, Copy, Debug, Serialize, PartialEq, Eq)]
pub struct XenReport {
    /// stock or lend-aware.
    pub kind: &'static str,
    /// How that was found out.
    pub why: &'static str,
}

impl XenReport {
    fn new(lend_aware: bool) -> Self {
        if lend_aware {
            Self { kind: "lend-aware", why: "Xen knows calls to lend memory" }
        } else {
            Self { kind: "stock", why: "Xen knows no calls to lend memory: it is mapped as that of a device" }
        }
    }
}

/// A lease in a report: a region of the lender's process.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct LeaseReport {
    /// Number of the region's slot.
    pub slot: u32,
    /// First byte in the borrower's address space.
    pub address: u64,
    /// Bytes.
    pub size: u64,
    /// Whether the borrower may only read it.
    pub read_only: bool,
    /// What the lender's process calls it; may be empty.
    pub label: String,
}

impl From<&RegionInfo> for LeaseReport {
    fn from(region: &RegionInfo) -> Self {
        Self {
            slot: region.slot,
            address: region.guest_phys_addr,
            size: region.memory_size,
            read_only: region.flags & REGION_READONLY != 0,
            label: region.label.to_string(),
        }
    }
}

/// One link. The fields and words are stable: programs read them.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct LinkReport {
    /// The guest's name.
    pub guest: String,
    /// The guest's UUID, if there is a record or a domain.
    pub guest_uuid: Option<Uuid>,
    /// The guest's domain.
    pub borrower: DomainReport,
    /// The broker's domain.
    pub broker: Option<DomainReport>,
    /// waiting, starting, connecting, connected, forced, condemned, broker-gone, guest-gone or no-link.
    pub state: &'static str,
    /// The words of the header: none, deadline, broker-gone, breach, incompatible, remove-failed, lied, borrower-gone.
    pub reason: &'static str,
    /// State and reason for people.
    pub text: String,
    /// The guest cannot go on with its aperture and has to be destroyed.
    pub must_destroy_guest: bool,
    /// What to do, if there is anything.
    pub advice: Option<String>,
    /// The aperture: bytes.
    pub aperture: Aperture,
    /// What Xen the link uses.
    pub xen: XenReport,
    /// Whether the module verifies every acknowledgement.
    pub check: bool,
    /// The BARs that may be lent.
    pub bars: Vec<String>,
    /// Regions now.
    pub regions: u32,
    /// What they are, as of a moment later.
    pub leases: Vec<LeaseReport>,
    /// Version of the protocol, 0 before the connection.
    pub protocol_version: u32,
    /// The supervisor.
    pub supervisor: Option<SupervisorReport>,
    /// The guest's driver.
    pub frontend: FrontendReport,
    /// The counters: of now, or the last ones of a link that has ended.
    pub counters: Counters,
}

/// Everything that is known of one link.
#[derive(Clone, Debug)]
pub struct Findings {
    /// The guest's name.
    pub guest: String,
    /// The guest's UUID, if there is a record or a domain.
    pub uuid: Option<Uuid>,
    /// The record.
    pub record: Option<Record>,
    /// What the module says.
    pub link: Option<Status>,
    /// The regions that it lists.
    pub regions: Vec<RegionInfo>,
    /// Whether the guest lives.
    pub guest_life: Life,
    /// Whether the broker lives.
    pub broker_life: Life,
    /// Whether the supervisor runs.
    pub supervisor_running: bool,
    /// Why the guest's frontend is refused, if it is.
    pub frontend_refusal: Option<String>,
}

impl Findings {
    fn state(&self) -> (&'static str, Reason) {
        let phase = self.record.as_ref().map(|record| record.phase);
        let last = self.record.as_ref().and_then(|record| record.last);
        let reason = match (&self.link, last) {
            (Some(link), _) => Reason::from_raw(link.reason),
            (None, Some(last)) => last.reason(),
            (None, None) => Reason::None,
        };
        let or = |fallback: Reason| if reason == Reason::None { fallback } else { reason };
        if !self.guest_life.exists() {
            return ("guest-gone", or(Reason::BorrowerGone));
        }
        if phase == Some(Phase::Waiting) {
            return ("waiting", reason);
        }
        if phase == Some(Phase::Starting) {
            return ("starting", reason);
        }
        let condemned = self.link.is_some_and(|link| u32::from(link.state) == LinkState::Condemned.raw());
        if phase == Some(Phase::BrokerGone) || (!condemned && !self.broker_life.can_run()) {
            return ("broker-gone", or(Reason::BrokerGone));
        }
        match self.link {
            Some(link) => (LinkState::from_raw(link.state.into()).word(), reason),
            None => ("no-link", reason),
        }
    }

    fn advice(&self, must_destroy: bool) -> Option<String> {
        let guest = &self.guest;
        if must_destroy {
            return Some(format!(
                "`xl destroy {guest}` and start it again: a vCPU that touches an absent page of the aperture waits for ever"
            ));
        }
        if !self.guest_life.exists() {
            return Some(format!("`xenlend down {guest}` if this does not go away by itself"));
        }
        match &self.record {
            None => Some(format!("`xenlend down {guest}`: there is no record of this link")),
            Some(record) if record.phase == Phase::Waiting && self.supervisor_running => {
                Some(format!("load the driver in guest {guest}; `xenlend down {guest}` ends the wait"))
            }
            Some(record) if record.phase == Phase::Waiting => {
                Some(format!("`xenlend up {guest}`: nobody waits for its driver any more"))
            }
            Some(record) if record.phase == Phase::Starting => {
                Some(format!("`xenlend down {guest}` if no `xenlend up` is at work"))
            }
            Some(_) if self.link.is_none() || matches!(self.state().0, "condemned" | "broker-gone") => {
                Some(format!("`xenlend down {guest}`, then `xenlend up {guest}`"))
            }
            Some(_) if !self.supervisor_running => {
                Some(format!("`xenlend supervise {guest}`: nobody would notice the end of the guest"))
            }
            Some(_) => None,
        }
    }

    /// The report.
    pub fn report(&self) -> LinkReport {
        let (state, reason) = self.state();
        let record = self.record.as_ref();
        let link = self.link.as_ref();
        let lend_aware = match link {
            Some(link) => link.flags & STATUS_LEND_AWARE != 0,
            None => record.is_some_and(|record| record.lend_aware),
        };
        // A lend-aware Xen lets go of vCPUs that wait for a broker that cannot answer.
        let must_destroy_guest = matches!(state, "condemned" | "broker-gone") && !lend_aware;
        let broker = link.map(|link| link.broker).or(record.and_then(|record| record.broker_domid));
        let borrower = record.map(|record| record.guest_domid).or(link.map(|link| link.borrower));
        let ended = record.and_then(|record| record.last);
        let attached = link.map(|link| Aperture { address: link.aperture_address, size: link.aperture_size });
        LinkReport {
            guest: self.guest.clone(),
            guest_uuid: self.uuid,
            borrower: DomainReport { domid: borrower.unwrap_or_default(), state: self.guest_life.word() },
            broker: broker.map(|domid| DomainReport { domid, state: self.broker_life.word() }),
            state,
            reason: reason.word(),
            text: if reason == Reason::None { state.to_owned() } else { format!("{state}: {reason}") },
            must_destroy_guest,
            advice: self.advice(must_destroy_guest),
            aperture: attached
                .or(record.map(|record| record.aperture))
                .unwrap_or(Aperture { address: 0, size: 0 }),
            xen: XenReport::new(lend_aware),
            check: link
                .map_or(record.is_some_and(|r| r.check), |l| l.flags & xenlend::layout::ATTACH_CHECK != 0),
            bars: record.map(|record| record.bars.clone()).unwrap_or_default(),
            regions: link.map_or(0, |link| link.regions),
            leases: self.regions.iter().map(LeaseReport::from).collect(),
            protocol_version: link.map_or(0, |link| link.protocol_version),
            supervisor: record
                .and_then(|record| record.supervisor)
                .map(|supervisor| SupervisorReport { pid: supervisor.pid, running: self.supervisor_running }),
            frontend: match (link, &self.frontend_refusal) {
                (Some(link), _) if link.counters.borrower_attached != 0 => {
                    let broken = link.counters.borrower_attached == 2;
                    FrontendReport { state: if broken { "broken" } else { "connected" }, reason: None }
                }
                (Some(_), Some(reason)) => FrontendReport { state: "refused", reason: Some(reason.clone()) },
                _ => FrontendReport { state: "absent", reason: None },
            },
            counters: link.map(|l| l.counters).or(ended.map(|last| last.counters)).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::super::record::{tests::up, LastStatus};
    use super::*;
    use serde_json::json;
    use xenlend::Label;

    /// A link that works.
    pub fn healthy() -> Findings {
        let link = Status {
            borrower: 7,
            broker: 8,
            state: 2,
            regions: 3,
            protocol_version: 1,
            aperture_address: 0x2_0000_0000,
            aperture_size: 64 << 20,
            counters: Counters { page_ins: 5, present_pages: 100, ..Counters::default() },
            ..Status::default()
        };
        Findings {
            guest: "g1".to_owned(),
            uuid: Some(up().guest_uuid),
            record: Some(up()),
            link: Some(link),
            regions: vec![RegionInfo {
                slot: 5,
                flags: REGION_READONLY,
                guest_phys_addr: 0x2_0010_0000,
                memory_size: 1 << 20,
                label: Label::new("scanout 0").unwrap(),
            }],
            guest_life: Life::Alive,
            broker_life: Life::Alive,
            supervisor_running: true,
            frontend_refusal: None,
        }
    }

    fn with_link(state: LinkState, reason: Reason) -> Findings {
        let mut findings = healthy();
        let link = findings.link.as_mut().unwrap();
        (link.state, link.reason) = (state.raw() as u16, reason.raw());
        findings
    }

    #[test]
    fn a_healthy_link_needs_nothing() {
        let report = healthy().report();
        assert_eq!((report.state, report.reason), ("connected", "none"));
        assert_eq!((report.must_destroy_guest, report.advice), (false, None));
        assert_eq!((report.counters.page_ins, report.regions), (5, 3));
        assert_eq!(report.supervisor, Some(SupervisorReport { pid: 4242, running: true }));
    }

    #[test]
    fn what_happened_is_said_in_words() {
        let report = with_link(LinkState::Condemned, Reason::Lied).report();
        assert_eq!((report.state, report.reason), ("condemned", "lied"));
        assert!(report.text.contains("acknowledged an invalidation without removing"), "{}", report.text);
        assert!(report.must_destroy_guest && report.advice.unwrap().contains("xl destroy g1"));
        let report = with_link(LinkState::Forced, Reason::Deadline).report();
        assert_eq!((report.state, report.must_destroy_guest), ("forced", false));
        let report = Findings { broker_life: Life::Gone, ..healthy() }.report();
        assert_eq!((report.state, report.reason), ("broker-gone", "broker-gone"));
        assert!(report.must_destroy_guest);
        let report = Findings { guest_life: Life::Gone, broker_life: Life::Gone, ..healthy() }.report();
        assert_eq!((report.state, report.reason), ("guest-gone", "borrower-gone"));
        assert!(!report.must_destroy_guest, "there is none to destroy");
    }

    #[test]
    fn the_kind_of_xen_is_that_of_the_link_or_of_the_record() {
        let report = healthy().report();
        assert_eq!(report.xen, XenReport::new(false));
        let mut aware = healthy();
        aware.link.as_mut().unwrap().flags = STATUS_LEND_AWARE;
        assert_eq!(aware.report().xen.kind, "lend-aware");
        let record = Record { phase: Phase::BrokerGone, lend_aware: true, ..up() };
        let gone =
            Findings { record: Some(record), link: None, broker_life: Life::Gone, ..healthy() }.report();
        assert_eq!(
            (gone.state, gone.xen.kind, gone.must_destroy_guest),
            ("broker-gone", "lend-aware", false)
        );
        assert!(gone.advice.unwrap().contains("xenlend up g1"), "nobody waits there");
    }

    #[test]
    fn the_last_counters_of_an_ended_link_are_kept() {
        let counters = Counters { forced_revocations: 1, ..Counters::default() };
        let last = LastStatus { state: 2, reason: 0, counters };
        let record = Record { phase: Phase::BrokerGone, last: Some(last), ..up() };
        let ended = Findings { record: Some(record), link: None, broker_life: Life::Gone, ..healthy() };
        let report = ended.report();
        assert_eq!((report.state, report.counters.forced_revocations), ("broker-gone", 1));
    }

    #[test]
    fn the_frontend_is_absent_connected_or_refused_with_its_reason() {
        let frontend = |attached, refusal: Option<&str>| {
            let mut findings = Findings { frontend_refusal: refusal.map(str::to_owned), ..healthy() };
            findings.link.as_mut().unwrap().counters.borrower_attached = attached;
            let frontend = findings.report().frontend;
            (frontend.state, frontend.reason)
        };
        assert_eq!(frontend(0, None), ("absent", None));
        assert_eq!(frontend(1, None), ("connected", None));
        assert_eq!(frontend(2, None), ("broken", None));
        assert_eq!(frontend(0, Some("why")), ("refused", Some("why".to_owned())));
        assert_eq!(frontend(1, Some("old")), ("connected", None));
        let ended = Findings { link: None, frontend_refusal: Some("why".to_owned()), ..healthy() };
        assert_eq!(ended.report().frontend.state, "absent");
    }

    #[test]
    fn odd_states_come_with_advice() {
        let advice = |findings: Findings| (findings.report().state, findings.report().advice.unwrap());
        let (state, text) = advice(Findings { record: None, ..healthy() });
        assert!(state == "connected" && text.contains("xenlend down g1"), "{text}");
        let (_, text) = advice(Findings { supervisor_running: false, ..healthy() });
        assert!(text.contains("xenlend supervise g1"), "{text}");
        let (state, text) = advice(Findings { link: None, ..healthy() });
        assert!(state == "no-link" && text.contains("xenlend up g1"), "{text}");
        let record = Some(Record { phase: Phase::Waiting, broker_domid: None, ..up() });
        let waiting = Findings { record, link: None, broker_life: Life::Gone, ..healthy() };
        let (state, text) = advice(waiting.clone());
        assert!(state == "waiting" && text.contains("load the driver in guest g1"), "{text}");
        assert!(!waiting.report().must_destroy_guest);
        let (_, text) = advice(Findings { supervisor_running: false, ..waiting });
        assert!(text.contains("xenlend up g1"), "{text}");
        let record = Some(Record { phase: Phase::Starting, ..up() });
        let (state, text) = advice(Findings { record, link: None, ..healthy() });
        assert!(state == "starting" && text.contains("at work"), "{text}");
    }

    #[test]
    fn the_json_has_the_documented_keys() {
        let json = serde_json::to_value(healthy().report()).unwrap();
        let mut keys: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
        keys.sort_unstable();
        assert_eq!(
            keys,
            [
                "advice",
                "aperture",
                "bars",
                "borrower",
                "broker",
                "check",
                "counters",
                "frontend",
                "guest",
                "guest_uuid",
                "leases",
                "must_destroy_guest",
                "protocol_version",
                "reason",
                "regions",
                "state",
                "supervisor",
                "text",
                "xen",
            ]
        );
        let lease = json!({"slot": 5, "address": 0x2_0010_0000_u64, "size": 1 << 20, "read_only": true, "label": "scanout 0"});
        assert_eq!(json["leases"], json!([lease]));
        assert_eq!(json["borrower"]["domid"], 7);
        assert_eq!(json["guest_uuid"], "00000000-0000-0000-0000-000000000007");
        assert_eq!(json["counters"]["present_pages"], 100);
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! What this program remembers of one link, in `/var/run/xenlend/UUID.json`.
//!
//! It is written before anything is made, so that `down` can take away what an `up` that was killed left.

use serde::{Deserialize, Serialize};
use xenlend::{Counters, Reason, Status};

use super::aperture::Aperture;
use super::identity::{Identity, Uuid};

/// Version of the format.
pub const VERSION: u32 = 2;

/// How far a link has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// The guest has rebooted, and is to be brought up again when its driver has claimed an aperture.
    Waiting,
    /// `up` is at it, or was killed in it.
    Starting,
    /// Up.
    Up,
    /// The broker has died; everything has been revoked; the guest may still be there.
    BrokerGone,
}

/// The program that watches the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Supervisor {
    /// Its process id.
    pub pid: i32,
    /// When it was started, in the kernel's ticks since boot: tells it from a later process with its id.
    pub start_ticks: u64,
}

/// The module's last word on a link that is no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastStatus {
    /// `enum xenlend_link_state`.
    pub state: u32,
    /// `enum xenlend_reason`.
    pub reason: u32,
    /// The counters.
    pub counters: Counters,
}

impl LastStatus {
    /// The reason of its end.
    pub fn reason(&self) -> Reason {
        Reason::from_raw(self.reason)
    }
}

impl From<&Status> for LastStatus {
    fn from(status: &Status) -> Self {
        Self { state: status.state.into(), reason: status.reason, counters: status.counters }
    }
}

/// One link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// [`VERSION`].
    pub version: u32,
    /// Name of the guest when the link was made.
    pub guest: String,
    /// Its domain when the link was made.
    pub guest_domid: u16,
    /// Its UUID, by which the record is found.
    pub guest_uuid: Uuid,
    /// Domain of the broker, once there is one.
    pub broker_domid: Option<u16>,
    /// Its UUID, chosen before there is one.
    pub broker_uuid: Uuid,
    /// The guest after whom that domain is named, if this one has joined its broker.
    #[serde(default)]
    pub joined: Option<String>,
    /// How far it has come.
    pub phase: Phase,
    /// The aperture.
    pub aperture: Aperture,
    /// Whether the module verifies every acknowledgement.
    pub check: bool,
    /// Whether Xen knows lent frames.
    #[serde(default)]
    pub lend_aware: bool,
    /// The BARs that may be lent, as given on the command line.
    pub bars: Vec<String>,
    /// The watching program, once there is one.
    pub supervisor: Option<Supervisor>,
    /// The module's last word, once the link has ended.
    pub last: Option<LastStatus>,
    /// The arguments that bring up the domain that follows this one, if one is to be brought up.
    #[serde(default)]
    pub again: Option<Vec<String>>,
}

impl Record {
    /// The guest's domain.
    pub fn borrower(&self) -> Identity {
        Identity { domid: self.guest_domid, uuid: self.guest_uuid }
    }

    /// The broker's domain, once there is one.
    pub fn broker(&self) -> Option<Identity> {
        self.broker_domid.map(|domid| Identity { domid, uuid: self.broker_uuid })
    }
}

#[cfg(test)]
pub mod tests {
    use super::super::guest::tests::uuid;
    use super::*;

    /// A link that is up.
    pub fn up() -> Record {
        Record {
            version: VERSION,
            guest: "g1".to_owned(),
            guest_domid: 7,
            guest_uuid: uuid(7),
            broker_domid: Some(8),
            broker_uuid: uuid(0xb0),
            joined: None,
            phase: Phase::Up,
            aperture: Aperture { address: 0x2_0000_0000, size: 64 << 20 },
            check: false,
            lend_aware: false,
            bars: vec!["0000:00:01.0/0".to_owned()],
            supervisor: Some(Supervisor { pid: 4242, start_ticks: 17 }),
            last: None,
            again: None,
        }
    }

    #[test]
    fn a_record_survives_the_file() {
        let last = LastStatus { state: 4, reason: 2, counters: Counters { lies: 3, ..Counters::default() } };
        let record = Record { phase: Phase::BrokerGone, last: Some(last), ..up() };
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
        assert!(text.contains("\"broker-gone\""));
    }
}

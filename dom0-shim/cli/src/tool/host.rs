// SPDX-License-Identifier: MIT OR Apache-2.0
//! Everything that `up`, `down`, `supervise` and `status` do to the world, behind one trait.
//!
//! Implemented over xl, xenstore and the module by [`super::real_host`], by a fake in the tests.

use std::time::Duration;

use xenlend::layout::Attach;
use xenlend::{Attached, BarAddress, FrontendRefusal, FrontendRings, RegionInfo, Status};

use super::broker_config::BrokerConfig;
use super::domain::{Life, Vcpu};
use super::guest::Guest;
use super::host_error::HostError;
use super::identity::{Domain, Identity, Uuid};
use super::nodes::Node;
use super::record::{Record, Supervisor};

/// Result of an effect.
pub type Outcome<T> = Result<T, HostError>;

/// The effects.
pub trait Host {
    /// What xl knows of a guest, by name or number; `None` if there is no such domain.
    fn find_guest(&mut self, name: &str) -> Outcome<Option<Guest>>;
    /// All domains, those too that are dying.
    fn domains(&mut self) -> Outcome<Vec<Domain>>;
    /// Whether a domain lives. A later one of its number is another.
    fn life(&mut self, domain: Identity) -> Outcome<Life>;
    /// Its vCPUs.
    fn vcpus(&mut self, domid: u16) -> Outcome<Vec<Vcpu>>;
    /// A UUID that nobody has.
    fn new_uuid(&mut self) -> Outcome<Uuid>;
    /// Makes the broker's domain, paused.
    fn create_broker(&mut self, config: &BrokerConfig) -> Outcome<u16>;
    /// Lets it run.
    fn unpause(&mut self, domid: u16) -> Outcome<()>;
    /// Destroys a domain; fine if it is gone.
    fn destroy(&mut self, domain: Identity) -> Outcome<()>;
    /// Waits until the broker, whose link has ended, has taken its server off the borrower and left. False:
    /// it does not say that it does so (`xenlend/broker/feature-leave` in xenstore), or did not.
    fn await_departure(&mut self, broker: Identity) -> Outcome<bool>;

    /// Waits until a broker that serves others too has left this borrower, whose link has ended. False: it did not.
    fn await_leave(&mut self, broker: Identity, borrower: u16) -> Outcome<bool>;

    /// The record of a guest.
    fn load_record(&mut self, guest: Uuid) -> Outcome<Option<Record>>;
    /// All records that this program understands.
    fn records(&mut self) -> Outcome<Vec<Record>>;
    /// Writes it.
    fn save_record(&mut self, record: &Record) -> Outcome<()>;
    /// Removes it and what else is kept in files; fine if there is none.
    fn remove_record(&mut self, guest: Uuid) -> Outcome<()>;

    /// Whether Xen knows lent frames, as far as this borrower is concerned.
    fn is_lend_aware(&mut self, borrower: u16) -> Outcome<bool>;
    /// The link of a borrower in the module.
    fn link(&mut self, borrower: u16) -> Outcome<Option<Status>>;
    /// Its regions, by rising slot; none without a link.
    fn regions(&mut self, borrower: u16) -> Outcome<Vec<RegionInfo>>;
    /// Makes it.
    fn attach(&mut self, request: Attach) -> Outcome<Attached>;
    /// Allows a BAR; gives the number of frames.
    fn allow_bar(&mut self, borrower: u16, bar: BarAddress) -> Outcome<u64>;
    /// Ends the link, everything revoked; fine if there is none.
    fn detach(&mut self, borrower: u16) -> Outcome<()>;

    /// Gives the broker what the borrower's frontend has made, and waits for its answer; `Some` if it refuses.
    fn attach_frontend(&mut self, borrower: u16, rings: FrontendRings) -> Outcome<Option<FrontendRefusal>>;
    /// Has the broker let go of it. False if there was none.
    fn detach_frontend(&mut self, borrower: u16) -> Outcome<bool>;

    /// Writes a node with its permissions.
    fn write_node(&mut self, node: &Node) -> Outcome<()>;
    /// The value of a node, read once.
    fn read_node(&mut self, path: &str) -> Outcome<Option<String>>;
    /// Waits for a node to be there, at most so long and as long as the domain is there, and reads it once.
    fn await_node(
        &mut self,
        path: &str,
        domain: Identity,
        timeout: Option<Duration>,
    ) -> Outcome<Option<String>>;
    /// Waits for a domain to end, at most so long.
    fn await_end(&mut self, domain: Identity, timeout: Duration) -> Outcome<()>;
    /// Waits, at most so long, for another domain of the UUID of one that has ended.
    fn await_next(&mut self, ended: Identity, timeout: Duration) -> Outcome<Option<Guest>>;
    /// Removes a node and everything below; fine if there is none.
    fn remove_node(&mut self, path: &str) -> Outcome<()>;

    /// Starts to listen for the connection, before the broker knows of the link. `named` is the guest after whom the
    /// broker is named; `joined`: it serves another already.
    fn listen(&mut self, borrower: Identity, broker: Identity, named: &str, joined: bool) -> Outcome<()>;
    /// Waits for it. The error says which side did not come up and why.
    fn await_connection(&mut self, timeout: Duration) -> Outcome<()>;
    /// Starts the supervisor and waits until it watches.
    fn start_supervisor(&mut self, record: &Record) -> Outcome<Supervisor>;
    /// Whether that process still runs.
    fn is_running(&mut self, supervisor: Supervisor) -> bool;
}

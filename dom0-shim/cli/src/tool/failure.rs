// SPDX-License-Identifier: MIT OR Apache-2.0
//! How a command ends when it does not do what was asked, and with which exit status.

use thiserror::Error;

use super::aperture::ApertureRefusal;
use super::domain::Life;
use super::guest::GuestRefusal;
use super::host_error::HostError;
use super::preflight::Missing;

/// The command did what was asked.
pub const OK: u8 = 0;
/// It failed; nothing of it is left, unless the message says so.
pub const FAILED: u8 = 1;
/// It was not asked properly.
pub const USAGE: u8 = 2;
/// There is no such guest, or it has no link.
pub const NOTHING_SUCH: u8 = 3;
/// `up`: the guest is up already.
pub const ALREADY_UP: u8 = 4;

/// Why a command did not do what was asked.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Failure {
    #[error("there is no guest {0}")]
    NoSuchGuest(String),
    #[error("guest {0} is not up: it has no broker, no link and no record")]
    NotUp(String),
    #[error("the guest that was called {old} is called {new} now")]
    Renamed { old: String, new: String },
    #[error("guest {guest} (domain {domid}) has the UUID of domain {other}, which has a link")]
    SameUuid { guest: String, domid: u16, other: u16 },
    #[error(
        "guest {guest}: a broker would be called {name}, as domain {domid} is, which is none of this guest's"
    )]
    NameTaken { guest: String, name: String, domid: u16 },
    #[error("guest {guest} is up already: its broker is domain {broker}")]
    AlreadyUp { guest: String, broker: u16 },
    #[error("guest {0:?} cannot have a broker: its name holds a character that is not in A-Z a-z 0-9 . _ + @ -, starts with one of . - or is longer than 64")]
    UnusableName(String),
    #[error("guest {guest} (domain {domid}) is {}", life.word())]
    NotAlive { guest: String, domid: u16, life: Life },
    #[error("the broker of guest {guest} has died")]
    BrokerDead { guest: String },
    #[error("guest {guest} (domain {domid}) has {what}, but there is no record of it")]
    Unrecorded { guest: String, domid: u16, what: String },
    #[error("guest {0} cannot join its own broker")]
    JoinsItself(String),
    #[error("the broker of guest {0} cannot serve another guest: {1}")]
    CannotJoin(String, &'static str),
    #[error("the broker that is named after guest {guest} (domain {broker}) serves {}", others.join(", "))]
    ServesOthers { guest: String, broker: u16, others: Vec<String> },
    #[error(transparent)]
    Missing(#[from] Missing),
    #[error(transparent)]
    Guest(#[from] GuestRefusal),
    #[error(transparent)]
    Aperture(#[from] ApertureRefusal),
    #[error(transparent)]
    Host(#[from] HostError),
    #[error("guest {guest}: not everything could be taken away:{}", list(errors))]
    Leftovers { guest: String, errors: Vec<HostError> },
    #[error("{cause}\n  and not everything could be taken away again:{}", list(errors))]
    NotUndone { guest: String, cause: Box<Failure>, errors: Vec<HostError> },
}

fn list(errors: &[HostError]) -> String {
    errors.iter().flat_map(|error| ["\n  - ".to_owned(), error.to_string()]).collect()
}

impl Failure {
    /// The exit status.
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::NoSuchGuest(_) | Self::NotUp(_) | Self::Renamed { .. } => NOTHING_SUCH,
            Self::AlreadyUp { .. } => ALREADY_UP,
            Self::UnusableName(_) | Self::JoinsItself(_) => USAGE,
            _ => FAILED,
        }
    }

    /// What to do about it.
    pub fn remedy(&self) -> String {
        let text = match self {
            Self::NoSuchGuest(_) => "`xl list` shows the guests".to_owned(),
            Self::NotUp(guest) => format!("`xenlend up {guest}` gives it a broker"),
            Self::Renamed { new, .. } => format!("name it {new}"),
            Self::SameUuid { .. } => {
                "give each guest a UUID of its own: remove uuid= from its xl file, or change it, and start it again"
                    .to_owned()
            }
            Self::NameTaken { domid, .. } => {
                format!("`xl rename {domid} OTHER_NAME`; `xl destroy {domid}` if it is a broker that was left over")
            }
            Self::AlreadyUp { guest, .. } => {
                format!("nothing, or `xenlend down {guest}` first if its settings are to change")
            }
            Self::UnusableName(_) => "rename the guest: name= in its xl file, or `xl rename`".to_owned(),
            Self::NotAlive { guest, life: Life::Crashed | Life::ShutDown, .. } => {
                format!("`xl destroy {guest}` and start it again")
            }
            Self::NotAlive { guest, .. } => format!("start guest {guest} with `xl create`"),
            Self::BrokerDead { guest } => {
                format!("`xl destroy {guest}` and start it again: accesses that the broker left unanswered hang in it; `xenlend status {guest}` says more")
            }
            Self::Unrecorded { guest, .. } => format!("`xenlend down {guest}`, then try again"),
            Self::JoinsItself(guest) => format!("`xenlend up {guest}` gives it a broker of its own"),
            Self::CannotJoin(guest, _) => {
                format!("leave --broker-of away, for a broker of its own; `xenlend status {guest}` says more")
            }
            Self::ServesOthers { guest, others, .. } => format!(
                "`xenlend up {guest} --broker-of {}`, or `xenlend down` for those first",
                others.first().map_or("GUEST", String::as_str)
            ),
            Self::Missing(missing) => missing.remedy().to_owned(),
            Self::Guest(refusal) => refusal.remedy().to_owned(),
            Self::Aperture(refusal) => refusal.remedy(),
            Self::Host(error) => error.remedy(),
            Self::Leftovers { guest, .. } => format!("`xenlend down {guest}` again, when the reason is gone"),
            Self::NotUndone { guest, cause, .. } => {
                format!("{}; then `xenlend down {guest}`", cause.remedy())
            }
        };
        text
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::path::PathBuf;

    use super::super::aperture::{choose, Aperture};
    use super::super::guest::tests::pvh;
    use super::super::guest::{Guest, Kind, Obstacle};
    use super::*;

    fn module(call: &'static str, errno: rustix::io::Errno) -> Failure {
        HostError::Module { call, borrower: 7, error: errno.into() }.into()
    }

    fn no_broker(cause: HostError) -> Failure {
        HostError::NoBroker { guest: "g1".to_owned(), cause: Box::new(cause) }.into()
    }

    /// One of each that is about one guest.
    fn about_g1() -> Vec<Failure> {
        let g1 = || "g1".to_owned();
        let others = || vec!["g2".to_owned()];
        let guest = |change: fn(&mut Guest)| {
            let mut guest = pvh();
            change(&mut guest);
            Failure::from(guest.check(false).unwrap_err())
        };
        let aperture = |line: Option<&str>, requested: Option<Aperture>, claim: Option<&str>| {
            let guest = Guest { command_line: line.map(str::to_owned), ..pvh() };
            Failure::from(choose(&guest, requested, claim, 1 << 30).unwrap_err())
        };
        let file = || std::io::Error::from(ErrorKind::NotFound);
        let mut all = vec![
            Failure::NoSuchGuest(g1()),
            Failure::NotUp(g1()),
            Failure::Renamed { old: g1(), new: "g2".to_owned() },
            Failure::SameUuid { guest: g1(), domid: 7, other: 8 },
            Failure::NameTaken { guest: g1(), name: "xenlend-g1".to_owned(), domid: 8 },
            Failure::AlreadyUp { guest: g1(), broker: 8 },
            Failure::UnusableName("g1/".to_owned()),
            Failure::BrokerDead { guest: g1() },
            Failure::Unrecorded { guest: g1(), domid: 7, what: "a link".to_owned() },
            Failure::JoinsItself(g1()),
            Failure::CannotJoin(g1(), "it is too old"),
            Failure::ServesOthers { guest: g1(), broker: 8, others: others() },
            guest(|guest| guest.kind = Kind::Pv),
            guest(|guest| guest.domid = 0),
            aperture(None, None, None),
            aperture(Some("quiet"), None, None),
            aperture(Some("quiet"), None, Some("nonsense")),
            aperture(Some("quiet"), None, Some("0x4000000 1048576")),
            aperture(Some("quiet"), None, Some("0x4000000 33292288")),
            aperture(Some("memmap=2M$8G,2M$16G"), None, None),
            aperture(Some("memmap=2M$8G"), Some(Aperture { address: 0, size: 1 << 21 }), None),
            aperture(Some("memmap=1M$8G"), None, None),
            aperture(Some("memmap=2M$64M"), None, None),
            no_broker(HostError::NoImage { path: PathBuf::from("/broker"), error: file() }),
            no_broker(HostError::NoXl(file())),
            no_broker(HostError::Xl {
                command: "xl create".to_owned(),
                status: "exit status: 1".to_owned(),
                stderr: String::new(),
            }),
            HostError::Supervisor { guest: g1(), reason: "it left".to_owned() }.into(),
            Failure::Leftovers { guest: g1(), errors: Vec::new() },
        ];
        let obstacles = [Obstacle::Passthrough, Obstacle::NestedHvm, Obstacle::Altp2m, Obstacle::NoHap];
        all.extend(obstacles.map(|obstacle| {
            let guest = Guest { obstacles: vec![obstacle], ..pvh() };
            Failure::from(guest.check(false).unwrap_err())
        }));
        let lives = [Life::Crashed, Life::ShutDown, Life::Dying, Life::Gone];
        all.extend(lives.map(|life| Failure::NotAlive { guest: g1(), domid: 7, life }));
        let cause = Box::new(Failure::NotUp(g1()));
        all.push(Failure::NotUndone { guest: g1(), cause, errors: Vec::new() });
        all
    }

    #[test]
    fn whatever_fails_says_which_guest_and_what_to_do_next() {
        for failure in about_g1() {
            let (text, remedy) = (failure.to_string(), failure.remedy());
            assert!(text.contains("g1"), "which guest? {text}");
            assert!(remedy.len() > 8 && remedy != text, "what next? {text}: {remedy}");
            assert!(failure.exit_status() != OK);
        }
        for call in ["XENLEND_ATTACH", "XENLEND_ALLOW_BAR", "XENLEND_BIND", "XENLEND_DETACH"] {
            for errno in 1..134 {
                let failure = module(call, rustix::io::Errno::from_raw_os_error(errno));
                let text = failure.to_string();
                assert!(text.contains("domain 7") && text.contains(call), "{text}");
                assert!(text.contains(&format!("os error {errno}")), "{text}");
                assert!(!failure.remedy().is_empty(), "{text}");
            }
        }
    }

    #[test]
    fn a_machine_that_cannot_lend_is_told_apart_from_a_guest_that_cannot_borrow() {
        let missing = [
            (Missing::NotRoot(1000), "user 1000", "sudo"),
            (Missing::NotXen, "does not run on Xen", "boot"),
            (Missing::NotDom0, "not dom0", "dom0"),
            (Missing::WrongXen("4.16".to_owned()), "Xen 4.16; xenlend works with", "xl info"),
            (Missing::NoModule, "kernel module xenlend", "modprobe"),
        ];
        for (missing, text, remedy) in missing {
            let failure = Failure::from(missing);
            assert!(failure.to_string().contains(text), "{failure}");
            assert!(failure.remedy().contains(remedy), "{}", failure.remedy());
            assert_eq!(failure.exit_status(), FAILED);
        }
    }
}

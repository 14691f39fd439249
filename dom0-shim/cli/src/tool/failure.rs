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

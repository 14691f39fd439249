// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why a broker did not come up: which side did not, and what it said last.

use std::fmt;

use thiserror::Error;
use xenlend::Reason;

use super::domain::Life;

/// What the broker says of itself in its folder in xenstore. Its own words: claims.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BrokerNodes {
    /// `state`: starting, connected or failed.
    pub state: Option<String>,
    /// `error`: what it failed at.
    pub error: Option<String>,
}

impl BrokerNodes {
    /// Whether it says that it serves the borrower.
    pub fn is_connected(&self) -> bool {
        self.state.as_deref() == Some("connected")
    }

    /// Whether it says that it gave up.
    pub fn has_failed(&self) -> bool {
        self.state.as_deref() == Some("failed")
    }
}

/// Everything that is known when a connection does not come about.
#[derive(Clone, Debug)]
pub struct Observations {
    /// The guest's domain.
    pub borrower: u16,
    /// The broker's domain.
    pub broker: u16,
    /// Whether the guest lives.
    pub borrower_life: Life,
    /// Whether the broker lives.
    pub broker_life: Life,
    /// What the broker says of itself.
    pub nodes: BrokerNodes,
    /// Whether the module says that it is connected.
    pub module_connected: bool,
    /// The reason that the module gives, if it has the link.
    pub module_reason: Option<Reason>,
    /// Messages that the module got from the broker.
    pub messages_received: u64,
    /// How long was waited, in seconds.
    pub waited_s: u64,
    /// The end of the broker's console log.
    pub console: ConsoleTail,
}

/// The end of the broker's console log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConsoleTail {
    /// Its last lines.
    Lines(Vec<String>),
    /// There is none, at this path.
    Missing(String),
}

/// The connection did not come about.
#[derive(Debug, Error, PartialEq, Eq)]
pub struct NotConnected {
    /// The side that did not come up.
    pub side: &'static str,
    /// What it did instead.
    pub why: String,
    console: ConsoleTail,
}

impl fmt::Display for NotConnected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no connection: {} {}", self.side, self.why)?;
        match &self.console {
            ConsoleTail::Missing(path) => write!(f, "\n  its console log {path} does not exist"),
            ConsoleTail::Lines(lines) if lines.is_empty() => write!(f, "\n  its console log is empty"),
            ConsoleTail::Lines(lines) => {
                write!(f, "\n  the end of its console log:")?;
                lines.iter().try_for_each(|line| write!(f, "\n  | {line}"))
            }
        }
    }
}

impl NotConnected {
    /// What to do about it.
    pub fn remedy(&self) -> String {
        match (self.side, &self.console) {
            ("the guest", _) => "start the guest and run `xenlend up` again".to_owned(),
            ("the module", _) => "the kernel's log says more: `dmesg`".to_owned(),
            (_, ConsoleTail::Missing(_)) => {
                "have xenconsoled keep logs (xenconsoled --log=all) and try again; `xl dmesg` says more"
                    .to_owned()
            }
            _ => "`xl dmesg` and `dmesg` say more; is the broker's image of the module's version?".to_owned(),
        }
    }
}

/// Names the side that did not come up.
pub fn diagnose(seen: Observations) -> NotConnected {
    let (side, why) = blame(&seen);
    NotConnected { side, why, console: seen.console }
}

fn blame(seen: &Observations) -> (&'static str, String) {
    const BROKER: &str = "the broker";
    let broker = seen.broker;
    if !seen.borrower_life.exists() {
        return ("the guest", format!("(domain {}) is {}", seen.borrower, seen.borrower_life.word()));
    }
    if seen.nodes.has_failed() {
        let error = seen.nodes.error.as_deref().unwrap_or("without saying why");
        return (BROKER, format!("(domain {broker}) failed: {}", printable(error)));
    }
    if !seen.broker_life.can_run() {
        let state = seen.nodes.state.as_deref().unwrap_or("nothing");
        return (
            BROKER,
            format!(
                "(domain {broker}) is {}; its last word was {:?}",
                seen.broker_life.word(),
                printable(state)
            ),
        );
    }
    match seen.module_reason {
        Some(Reason::None) => {}
        Some(reason) => return (BROKER, format!("(domain {broker}) was given up by the module: {reason}")),
        None => return ("the module", format!("has no link of domain {} any more", seen.borrower)),
    }
    let within = format!("within {} s", seen.waited_s);
    let why = match (seen.nodes.state.as_deref(), seen.module_connected) {
        (_, true) => format!("(domain {broker}) answers, but does not serve the guest {within}"),
        (None, _) => format!("(domain {broker}) runs but wrote nothing to xenstore {within}"),
        (Some("connected"), _) if seen.messages_received == 0 => {
            format!("(domain {broker}) says connected, but the module got no message of it {within}")
        }
        (Some(state), _) => {
            format!("(domain {broker}) is still {:?} after {} s", printable(state), seen.waited_s)
        }
    };
    (BROKER, why)
}

/// Another domain's text, fit for a terminal.
pub fn printable(text: &str) -> String {
    const MAX: usize = 400;
    text.chars().take(MAX).map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen() -> Observations {
        Observations {
            borrower: 7,
            broker: 8,
            borrower_life: Life::Alive,
            broker_life: Life::Alive,
            nodes: BrokerNodes::default(),
            module_connected: false,
            module_reason: Some(Reason::None),
            messages_received: 0,
            waited_s: 30,
            console: ConsoleTail::Lines(vec!["hello".to_owned(), "panicked".to_owned()]),
        }
    }

    fn nodes(state: &str, error: Option<&str>) -> BrokerNodes {
        BrokerNodes { state: Some(state.to_owned()), error: error.map(str::to_owned) }
    }

    #[test]
    fn each_way_to_fail_names_its_side() {
        let said = |seen: Observations| {
            let reason = diagnose(seen);
            (reason.side, reason.why)
        };
        let (side, why) = said(seen());
        assert_eq!(side, "the broker");
        assert!(why.contains("wrote nothing to xenstore within 30 s"), "{why}");
        let (_, why) = said(Observations { nodes: nodes("failed", Some("no grant 8")), ..seen() });
        assert!(why.contains("failed: no grant 8"), "{why}");
        let (_, why) =
            said(Observations { nodes: nodes("starting", None), broker_life: Life::Gone, ..seen() });
        assert!(why.contains("is gone; its last word was \"starting\""), "{why}");
        let (_, why) = said(Observations { nodes: nodes("starting", None), ..seen() });
        assert!(why.contains("still \"starting\" after 30 s"), "{why}");
        let (_, why) = said(Observations { nodes: nodes("connected", None), ..seen() });
        assert!(why.contains("the module got no message"), "{why}");
        let (_, why) = said(Observations { module_reason: Some(Reason::Incompatible), ..seen() });
        assert!(why.contains("no protocol version in common"), "{why}");
        let (side, _) = said(Observations { module_reason: None, ..seen() });
        assert_eq!(side, "the module");
        let (side, why) = said(Observations { borrower_life: Life::Gone, ..seen() });
        assert_eq!((side, why.as_str()), ("the guest", "(domain 7) is gone"));
    }

    #[test]
    fn the_console_is_quoted_and_its_absence_is_said() {
        assert!(diagnose(seen()).to_string().ends_with("console log:\n  | hello\n  | panicked"));
        let missing = diagnose(Observations { console: ConsoleTail::Missing("/log".to_owned()), ..seen() });
        assert!(missing.to_string().contains("/log does not exist"));
        assert!(missing.remedy().contains("xenconsoled"));
    }

    #[test]
    fn what_a_broker_wrote_cannot_play_with_the_terminal() {
        let reason = diagnose(Observations { nodes: nodes("failed", Some("\x1b[2Jgone\n")), ..seen() });
        assert!(reason.why.contains("?[2Jgone?"), "{}", reason.why);
        assert_eq!(printable(&"x".repeat(5000)).len(), 400);
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The backend's state machine of xenbus, played by the supervisor: the broker never uses xenstore after
//! its start.
//!
//! Where the backend stands is in its own `state` node, which only dom0 can write, so another supervisor
//! goes on where one was killed. The guest may write what it likes, as often as it likes: each turn reads
//! each node once, and the log has an end.

use super::frontend_nodes::{
    parse_state, read_claims, FrontendNodes, Nonsense, CLOSED, CLOSING, CONNECTED, INITIALISED, INITIALISING,
    INIT_WAIT,
};
use super::host::{Host, Outcome};
use super::record::Record;
use super::watch::Next;

/// Refusals after which only a new probe of the guest's driver (Initialising) begins anew.
const MAX_REFUSALS: u32 = 3;
/// Lines about a frontend in the log of one supervisor.
const MAX_LINES: u32 = 32;

/// What has to be done about two states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Nothing.
    Nothing,
    /// Check what the frontend claims, and attach it.
    Attach,
    /// Let the frontend go, and say Closing: a guest that shuts down waits for that word.
    Part,
    /// Let the frontend go, and say Closed.
    Close,
    /// Let it go and begin anew.
    Restart,
    /// The frontend does what it may not.
    Refuse,
}

/// What to do when the backend's node says `ours` and the frontend's claims `theirs`.
fn step(ours: u32, theirs: Option<u32>, may_restart: bool) -> Step {
    match (ours, theirs) {
        (INIT_WAIT, Some(INITIALISED)) => Step::Attach,
        (CONNECTED, Some(INITIALISED | CONNECTED)) | (INIT_WAIT, Some(INITIALISING | INIT_WAIT | CLOSED)) => {
            Step::Nothing
        }
        // A frontend whose driver starts again without having closed.
        (CONNECTED | CLOSING | CLOSED, Some(INITIALISING)) => Step::Restart,
        // Who says Closed needs no word of ours any more.
        (_, Some(CLOSED)) if may_restart => Step::Restart,
        (INIT_WAIT | CONNECTED, Some(CLOSING)) => Step::Part,
        (CONNECTED, Some(CLOSED)) | (CLOSING, Some(CLOSING | CLOSED)) => Step::Close,
        (CLOSING | CLOSED, _) => Step::Nothing,
        _ => Step::Refuse,
    }
}

/// What the supervisor remembers of the frontend.
#[derive(Debug, Default)]
pub struct FrontendWatch {
    /// Whether it is known that nothing is attached while the backend's node says InitWait: another supervisor may
    /// have ended between the two.
    clean: bool,
    refusals: u32,
    lines: u32,
}

/// What came of an attempt to attach.
enum Attached {
    Yes,
    /// The broker cannot be asked now.
    Later,
    No(String),
}

impl FrontendWatch {
    /// Looks at both states and does what has to be done.
    pub fn turn<H: Host>(
        &mut self,
        host: &mut H,
        record: &Record,
        say: &mut dyn FnMut(String),
    ) -> Outcome<Next> {
        let Some(broker) = record.broker_domid else { return Ok(Next::Wait) };
        let nodes = FrontendNodes { guest: record.guest_domid, broker };
        let ours = host.read_node(&format!("{}/state", nodes.backend()))?;
        let Some(ours) = parse_state(ours.as_deref()) else { return Ok(Next::Wait) };
        let theirs = host.read_node(&format!("{}/state", nodes.frontend()))?;
        let theirs = parse_state(theirs.as_deref());
        if ours == INIT_WAIT && !self.clean {
            if !self.let_go(host, nodes, say) {
                return Ok(Next::Sample);
            }
            self.clean = true;
        }
        let may_restart = self.refusals < MAX_REFUSALS;
        match step(ours, theirs, may_restart) {
            Step::Nothing => {}
            Step::Attach => match self.attach(host, record, nodes)? {
                Attached::Yes => {
                    self.refusals = 0;
                    self.say(say, "the guest's frontend is connected".to_owned());
                    host.remove_node(&format!("{}/error", nodes.backend()))?;
                    write_state(host, nodes, CONNECTED)?;
                }
                Attached::Later => return Ok(Next::Sample),
                Attached::No(reason) => self.refuse(host, nodes, &reason, say)?,
            },
            Step::Part => {
                if !self.let_go(host, nodes, say) {
                    return Ok(Next::Sample);
                }
                write_state(host, nodes, CLOSING)?;
                return Ok(Next::Soon);
            }
            Step::Close => {
                if !self.let_go(host, nodes, say) {
                    return Ok(Next::Sample);
                }
                write_state(host, nodes, CLOSED)?;
            }
            Step::Restart => {
                if !self.let_go(host, nodes, say) {
                    return Ok(Next::Sample);
                }
                write_state(host, nodes, INIT_WAIT)?;
            }
            Step::Refuse => self.refuse(host, nodes, &Nonsense::State.text(), say)?,
        }
        Ok(Next::Wait)
    }

    fn attach<H: Host>(&mut self, host: &mut H, record: &Record, nodes: FrontendNodes) -> Outcome<Attached> {
        let folder = nodes.frontend();
        let claims = read_claims(record.aperture, |name| host.read_node(&format!("{folder}/{name}")))?;
        let rings = match claims {
            Ok(rings) => rings,
            Err(nonsense) => return Ok(Attached::No(nonsense.text())),
        };
        self.clean = false;
        Ok(match host.attach_frontend(nodes.guest, rings) {
            Ok(None) => Attached::Yes,
            Ok(Some(refusal)) => Attached::No(refusal.to_string()),
            Err(error) if error.is_later() => Attached::Later,
            Err(error) => Attached::No(error.to_string()),
        })
    }

    /// The state Closing and a reason. What was attached is let go first: who reads Closing and answers
    /// Closed has its pages back.
    fn refuse<H: Host>(
        &mut self,
        host: &mut H,
        nodes: FrontendNodes,
        reason: &str,
        say: &mut dyn FnMut(String),
    ) -> Outcome<()> {
        self.refusals = self.refusals.saturating_add(1);
        self.say(say, format!("the guest's frontend is refused: {reason}"));
        host.write_node(&nodes.backend_node("error", reason.to_owned()))?;
        // If that fails, Closed is not said before it has been done.
        let _ = self.let_go(host, nodes, say);
        write_state(host, nodes, CLOSING)
    }

    /// Whether nothing of the frontend is mapped or bound any more.
    fn let_go<H: Host>(&mut self, host: &mut H, nodes: FrontendNodes, say: &mut dyn FnMut(String)) -> bool {
        match host.detach_frontend(nodes.guest) {
            Ok(true) => self.say(say, "the guest's frontend is let go".to_owned()),
            Ok(false) => {}
            Err(error) => {
                self.say(say, format!("the guest's frontend cannot be let go: {error}"));
                return false;
            }
        }
        true
    }

    /// A guest that goes round in circles does not fill dom0's disk.
    fn say(&mut self, say: &mut dyn FnMut(String), line: String) {
        self.lines = self.lines.saturating_add(1);
        if self.lines < MAX_LINES {
            say(line);
        } else if self.lines == MAX_LINES {
            say(format!("{line}; nothing more is said about this guest's frontend"));
        }
    }
}

/// Why the frontend of this link is refused, if it is: what the backend's nodes say.
pub fn refusal<H: Host>(host: &mut H, record: &Record) -> Outcome<Option<String>> {
    let Some(broker) = record.broker_domid else { return Ok(None) };
    let backend = FrontendNodes { guest: record.guest_domid, broker }.backend();
    let state = host.read_node(&format!("{backend}/state"))?;
    match parse_state(state.as_deref()) {
        Some(CLOSING | CLOSED) => host.read_node(&format!("{backend}/error")),
        _ => Ok(None),
    }
}

fn write_state<H: Host>(host: &mut H, nodes: FrontendNodes, state: u32) -> Outcome<()> {
    host.write_node(&nodes.backend_node("state", state.to_string()))
}

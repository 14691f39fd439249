// SPDX-License-Identifier: MIT OR Apache-2.0
//! What happened, as the scheduler chose it: enough to make it happen again.
//!
//! An event names the actor that took a step and the numbers that it drew meanwhile. A replay leaves out
//! events whose actor has nothing to do then, and an actor that wants more numbers than were recorded draws
//! zeros, which always stand for the harmless choice. So any part of a history is a history.

use std::fmt;
use std::str::FromStr;

/// Who can take a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Actor {
    /// The broker: begins a turn, or goes on to its next hypercall or message.
    Broker,
    /// The lender's event handler.
    Interrupt,
    /// Time passes.
    Clock,
    /// A vCPU of the borrower.
    Vcpu(u8),
    /// A flow of the lender's kernel: its number.
    Task(u8),
    /// The lender's memory management begins to move or take something away.
    MemoryOperation,
    /// The lender's VMM makes a region or deletes one.
    RegionCall,
    /// The lender's process writes to its own memory.
    ProcessWrite,
    /// Something breaks or somebody interferes.
    Incident,
    /// A lender that lies sends something.
    Liar,
    /// A program of the borrower, or its administrator, begins something.
    Program,
    /// A borrower that lies says something.
    BorrowerLiar,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Who.
    pub actor: Actor,
    /// What it drew.
    pub draws: Vec<u32>,
}

/// Text that is no history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoHistory(pub String);

impl fmt::Display for NoHistory {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{:?} is no event", self.0)
    }
}

impl std::error::Error for NoHistory {}

impl fmt::Display for Event {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.actor {
            Actor::Broker => write!(to, "b")?,
            Actor::Interrupt => write!(to, "i")?,
            Actor::Clock => write!(to, "c")?,
            Actor::Vcpu(vcpu) => write!(to, "v{vcpu}")?,
            Actor::Task(task) => write!(to, "t{task}")?,
            Actor::MemoryOperation => write!(to, "m")?,
            Actor::RegionCall => write!(to, "r")?,
            Actor::ProcessWrite => write!(to, "p")?,
            Actor::Incident => write!(to, "x")?,
            Actor::Liar => write!(to, "l")?,
            Actor::Program => write!(to, "g")?,
            Actor::BorrowerLiar => write!(to, "n")?,
        }
        self.draws.iter().try_for_each(|draw| write!(to, ".{draw}"))
    }
}

impl FromStr for Event {
    type Err = NoHistory;

    fn from_str(text: &str) -> Result<Self, NoHistory> {
        let wrong = || NoHistory(text.to_owned());
        let mut parts = text.split('.');
        let name = parts.next().unwrap_or_default();
        let number = || name.get(1..).and_then(|digits| digits.parse().ok()).ok_or_else(wrong);
        let actor = match name {
            "b" => Actor::Broker,
            "i" => Actor::Interrupt,
            "c" => Actor::Clock,
            "m" => Actor::MemoryOperation,
            "r" => Actor::RegionCall,
            "p" => Actor::ProcessWrite,
            "x" => Actor::Incident,
            "l" => Actor::Liar,
            "g" => Actor::Program,
            "n" => Actor::BorrowerLiar,
            _ if name.starts_with('v') => Actor::Vcpu(number()?),
            _ if name.starts_with('t') => Actor::Task(number()?),
            _ => return Err(wrong()),
        };
        let draws = parts.map(|part| part.parse().map_err(|_| wrong())).collect::<Result<_, _>>()?;
        Ok(Self { actor, draws })
    }
}

/// A history as one word of a command line.
pub fn to_text(history: &[Event]) -> String {
    history.iter().map(Event::to_string).collect::<Vec<_>>().join(",")
}

/// The history that [`to_text`] wrote.
///
/// # Errors
/// [`NoHistory`].
pub fn from_text(text: &str) -> Result<Vec<Event>, NoHistory> {
    text.split(',').filter(|word| !word.is_empty()).map(Event::from_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_survives_its_text() {
        let text = "r.1.2,t4,b,v0.3.4.5,m.1,i,c,p.7,x.3,l.2.0,g.1,n.4,t12,v1";
        assert_eq!(to_text(&from_text(text).unwrap()), text);
        assert_eq!(from_text("b,q"), Err(NoHistory("q".into())));
        assert_eq!(from_text("v"), Err(NoHistory("v".into())));
    }
}

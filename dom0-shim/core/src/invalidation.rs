// SPDX-License-Identifier: MIT OR Apache-2.0
//! Invalidations that the broker has not acknowledged yet.

use heapless::Vec;
use xenlend_protocol::message::MAX_INVALIDATIONS;
use xenlend_protocol::refusal::{BreachKind, RemoveFailure};

/// Where an invalidation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// No acknowledgement yet.
    Waiting,
    /// The broker says that the entries are removed.
    Removed,
    /// The broker could not remove them.
    Failed(RemoveFailure),
    /// The lender removed every entry itself.
    Forced,
}

#[derive(Debug)]
struct Outstanding {
    sequence: u64,
    standing: Standing,
}

/// The invalidations of one link that have begun and not ended.
#[derive(Debug, Default)]
pub struct Invalidations {
    outstanding: Vec<Outstanding, MAX_INVALIDATIONS>,
    /// Forced before they were acknowledged: the broker may still find each of them in the ring, and
    /// acknowledge it once.
    forced: Vec<u64, MAX_INVALIDATIONS>,
    newest: u64,
    ended: u32,
}

impl Invalidations {
    /// Newest sequence given out.
    pub fn newest(&self) -> u64 {
        self.newest
    }

    /// Whether one more may begin.
    pub fn has_room(&self) -> bool {
        !self.outstanding.is_full()
    }

    /// Begins one and gives its sequence; `None` if as many as the ring has room for are
    /// outstanding.
    pub fn begin(&mut self) -> Option<u64> {
        let sequence = self.newest.checked_add(1)?;
        self.outstanding.push(Outstanding { sequence, standing: Standing::Waiting }).ok()?;
        self.newest = sequence;
        Some(sequence)
    }

    /// How many have ended.
    pub fn ended(&self) -> u32 {
        self.ended
    }

    /// Takes an acknowledgement and says where the invalidation stands now.
    ///
    /// # Errors
    /// If nothing of that sequence waits. What the lender has forced meanwhile may still be acknowledged,
    /// once, by a broker that finds it in the ring: that says nothing any more.
    pub fn acknowledge(
        &mut self,
        sequence: u64,
        result: Result<u32, RemoveFailure>,
    ) -> Result<Standing, BreachKind> {
        if let Some(place) = self.forced.iter().position(|forced| *forced == sequence) {
            self.forced.swap_remove(place);
            return Ok(Standing::Forced);
        }
        let waiting = self
            .outstanding
            .iter_mut()
            .find(|one| one.sequence == sequence && one.standing == Standing::Waiting)
            .ok_or(BreachKind::UnexpectedAnswer)?;
        waiting.standing = match result {
            Ok(_) => Standing::Removed,
            Err(failure) => Standing::Failed(failure),
        };
        Ok(waiting.standing)
    }

    /// Where the invalidation stands. One that is not listed was forced.
    pub fn standing(&self, sequence: u64) -> Standing {
        let found = self.outstanding.iter().find(|one| one.sequence == sequence);
        found.map_or(Standing::Forced, |one| one.standing)
    }

    /// Ends one: its place in the ring's reserve is free again.
    pub fn end(&mut self, sequence: u64) {
        self.outstanding.retain(|one| one.sequence != sequence);
        self.ended = self.ended.wrapping_add(1);
    }

    /// Everything given out so far counts as removed by the lender itself.
    pub fn force_all(&mut self) {
        for one in &mut self.outstanding {
            if one.standing == Standing::Waiting {
                // There is room: those of an earlier force were forgotten before these could begin.
                let _ = self.forced.push(one.sequence);
            }
            one.standing = Standing::Forced;
        }
    }

    /// The broker has read everything up to the force, and what it said before that has been taken: no
    /// acknowledgement from before it can come any more.
    pub fn forget_forced(&mut self) {
        self.forced.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use xenlend_protocol::frame::AperturePage;

    #[test]
    fn no_more_than_the_reserve_holds_are_outstanding() {
        let mut list = Invalidations::default();
        let all: std::vec::Vec<u64> = (0..MAX_INVALIDATIONS).map(|_| list.begin().unwrap()).collect();
        assert!(!list.has_room());
        assert_eq!(list.begin(), None);
        list.acknowledge(all[3], Ok(1)).unwrap();
        assert_eq!(list.begin(), None, "an acknowledged one keeps its place until it ends");
        list.end(all[3]);
        assert_eq!(list.begin(), Some(all.len() as u64 + 1));
    }

    #[test]
    fn an_answer_to_nothing_is_a_breach() {
        let mut list = Invalidations::default();
        let sequence = list.begin().unwrap();
        assert_eq!(list.acknowledge(sequence + 1, Ok(0)), Err(BreachKind::UnexpectedAnswer));
        list.acknowledge(sequence, Ok(0)).unwrap();
        assert_eq!(list.acknowledge(sequence, Ok(0)), Err(BreachKind::UnexpectedAnswer));
    }

    #[test]
    fn a_failed_removal_stays_a_failure() {
        let mut list = Invalidations::default();
        let sequence = list.begin().unwrap();
        let failure = RemoveFailure { page: AperturePage(4), errno: 12 };
        list.acknowledge(sequence, Err(failure)).unwrap();
        assert_eq!(list.standing(sequence), Standing::Failed(failure));
    }

    #[test]
    fn late_acknowledgements_of_forced_ones_are_ignored() {
        let mut list = Invalidations::default();
        let sequence = list.begin().unwrap();
        list.force_all();
        assert_eq!(list.standing(sequence), Standing::Forced);
        list.end(sequence);
        assert_eq!(list.acknowledge(sequence, Ok(3)), Ok(Standing::Forced));
        let next = list.begin().unwrap();
        assert_eq!(list.standing(next), Standing::Waiting);
    }

    #[test]
    fn what_was_forced_is_acknowledged_once_and_only_what_was_outstanding() {
        let mut list = Invalidations::default();
        let failure = RemoveFailure { page: AperturePage(4), errno: 22 };
        let nothing = Err(BreachKind::UnexpectedAnswer);
        assert_eq!(list.acknowledge(0, Ok(0)), nothing, "no invalidation has this number");
        let sequences: std::vec::Vec<u64> = (0..3).map(|_| list.begin().unwrap()).collect();
        list.acknowledge(sequences[0], Ok(1)).unwrap();
        list.force_all();
        assert_eq!(list.acknowledge(sequences[0], Ok(1)), nothing, "it was acknowledged before the force");
        assert_eq!(list.acknowledge(sequences[1], Err(failure)), Ok(Standing::Forced));
        assert_eq!(list.acknowledge(sequences[1], Err(failure)), nothing, "twice");
        list.forget_forced();
        assert_eq!(list.acknowledge(sequences[2], Ok(1)), nothing, "its time is over");
        assert_eq!(list.acknowledge(0, Ok(0)), nothing);
    }
}

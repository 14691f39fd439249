// SPDX-License-Identifier: MIT OR Apache-2.0
//! How long a piece of work waits for the broker: bounded in stillness and in total.
//!
//! *Stillness.* A neighbour's load makes a healthy broker slow, not still. So the deadline is counted from
//! the last movement, and only what brings this wait nearer to its end is a movement: a whole message taken
//! from in front of the question, a whole message taken where room is waited for, an acknowledgement of an
//! invalidation that was outstanding ([`Awaited`](crate::link::Awaited)).
//!
//! *In total.* A broker that moves a little just before each deadline would stretch a wait as often as there
//! are messages in front of it. So everything that one piece of work waits for shares one bound,
//! [`MOST_DEADLINES`] deadlines, whatever moves. A neighbour's honest load does not reach it. In front of an
//! invalidation lie at most the 4096 bytes of the ring: one `Present`; 8 invalidations and a `Forced`; an
//! answer to each vCPU's access (at most 128, 8 to 272 bytes each) and to each of 8 wants; a region call;
//! and drops and notes of 64 leases. The broker takes 32 messages in a turn and does not sleep while there
//! are more, so all of that is done in 16 turns at most (512 frames of 8 bytes), and in one or two as a
//! rule. A broker that needs more than a quarter of a deadline for each of 16 turns in a row (0.75 s by
//! default; a turn takes milliseconds, under load tens of them) is not loaded but stopped.
//!
//! Whoever ends something (close, detach, the death of a process) has one deadline in total, and then
//! revokes by force: so it is over within two, whatever the broker does. It shares that with whoever it
//! has to wait for.

use xenlend_protocol::lease_id::LeaseId;

/// Deadlines that one piece of work waits in total.
pub const MOST_DEADLINES: u64 = 4;

/// Looks so often in one deadline.
const LOOKS: u64 = 8;

/// For whom somebody waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum For {
    /// The worker: nobody waits for it.
    Nobody,
    /// A call that holds up whoever wants to end something meanwhile.
    Call,
    /// A notifier of the region of this lease.
    Notifier(LeaseId),
    /// The end of something, which began at this time.
    End(u64),
}

/// What is left of a piece of work's patience.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    deadline_ms: u64,
    whom: For,
    ends_ms: u64,
    has_begun: bool,
    wait: Option<Wait>,
}

/// The wait that is on.
#[derive(Clone, Copy, Debug)]
struct Wait {
    last_movement_ms: u64,
    last_seen: u64,
}

/// What a wait should do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Wait on, look again after so many milliseconds at the latest.
    Wait(u32),
    /// Nothing has moved for the whole deadline, or the patience is used up.
    Expired,
}

impl Patience {
    /// Nothing has been waited for yet.
    pub fn new(deadline_ms: u32, whom: For) -> Self {
        let deadline_ms = u64::from(deadline_ms.max(1));
        let mut patience = Self { deadline_ms, whom, ends_ms: u64::MAX, has_begun: false, wait: None };
        if let For::End(since_ms) = whom {
            patience.hurry(since_ms);
        }
        patience
    }

    /// For whom it is.
    pub fn whom(&self) -> For {
        self.whom
    }

    /// Milliseconds without a movement.
    pub fn deadline_ms(&self) -> u64 {
        self.deadline_ms
    }

    /// From now on it ends one deadline after `since_ms` at the latest.
    pub fn hurry(&mut self, since_ms: u64) {
        self.ends_ms = self.ends_ms.min(since_ms.saturating_add(self.deadline_ms));
    }

    /// Another wait begins: what moved in the one before counts no more.
    pub fn begin_wait(&mut self) {
        self.wait = None;
    }

    /// Judges at `now_ms`; `movements` is any number that changes when this wait comes nearer to its end.
    pub fn observe(&mut self, now_ms: u64, movements: u64) -> Verdict {
        if !self.has_begun {
            self.has_begun = true;
            let most = self.deadline_ms.saturating_mul(MOST_DEADLINES);
            self.ends_ms = self.ends_ms.min(now_ms.saturating_add(most));
        }
        let wait = self.wait.get_or_insert(Wait { last_movement_ms: now_ms, last_seen: movements });
        if movements != wait.last_seen {
            *wait = Wait { last_movement_ms: now_ms, last_seen: movements };
        }
        let still_ends = wait.last_movement_ms.saturating_add(self.deadline_ms);
        let left = still_ends.min(self.ends_ms).saturating_sub(now_ms);
        if left == 0 {
            return Verdict::Expired;
        }
        let look = (self.deadline_ms / LOOKS).max(1);
        Verdict::Wait(look.min(left) as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stillness_expires_at_the_deadline_and_not_before() {
        let mut patience = Patience::new(3000, For::Nobody);
        assert_eq!(patience.observe(1000, 7), Verdict::Wait(375));
        assert_eq!(patience.observe(3999, 7), Verdict::Wait(1));
        assert_eq!(patience.observe(4000, 7), Verdict::Expired);
    }

    #[test]
    fn movements_start_the_deadline_anew_but_not_the_bound() {
        let mut patience = Patience::new(3000, For::Nobody);
        for step in 0..4u64 {
            assert_ne!(patience.observe(step * 2999, step), Verdict::Expired, "{step}");
        }
        assert_eq!(patience.observe(11_999, 99), Verdict::Wait(1));
        assert_eq!(patience.observe(12_000, 100), Verdict::Expired);
    }

    #[test]
    fn the_waits_of_one_piece_of_work_share_its_bound_but_not_their_movements() {
        let mut patience = Patience::new(100, For::Nobody);
        assert_eq!(patience.observe(0, 5), Verdict::Wait(12));
        patience.begin_wait();
        assert_eq!(patience.observe(99, 5), Verdict::Wait(12), "stillness is this wait's own");
        assert_eq!(patience.observe(198, 5), Verdict::Wait(1));
        for (wait, now) in [(0, 250), (1, 349), (2, 399)] {
            patience.begin_wait();
            assert_ne!(patience.observe(now, 5), Verdict::Expired, "{wait}");
        }
        patience.begin_wait();
        assert_eq!(patience.observe(400, 6), Verdict::Expired);
    }

    #[test]
    fn the_end_of_something_has_one_deadline_from_its_beginning() {
        let mut patience = Patience::new(100, For::End(1000));
        assert_eq!(patience.observe(1090, 1), Verdict::Wait(10));
        assert_eq!(patience.observe(1099, 2), Verdict::Wait(1));
        assert_eq!(patience.observe(1100, 3), Verdict::Expired);
        let mut patience = Patience::new(100, For::Call);
        assert_eq!(patience.observe(0, 1), Verdict::Wait(12));
        patience.hurry(50);
        assert_eq!(patience.observe(149, 2), Verdict::Wait(1));
        patience.hurry(140);
        assert_eq!(patience.observe(150, 3), Verdict::Expired, "nobody else makes it longer");
    }

    #[test]
    fn a_wait_never_outlasts_the_deadline() {
        let mut patience = Patience::new(80, For::Nobody);
        assert_eq!(patience.observe(0, 0), Verdict::Wait(10));
        assert_eq!(patience.observe(75, 0), Verdict::Wait(5));
    }
}

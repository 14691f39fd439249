// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a wait is for, and who must not be held up by it.

use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::ring::RingMemory;

use super::Link;
use crate::patience::{For, Patience, Verdict};
use crate::storage::Storage;

/// What somebody waits for, and so what a movement is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// The answer to a question that ends at this place in the ring.
    Answer(u32),
    /// Room in the ring.
    Room,
    /// A place among the invalidations that may be outstanding.
    Place,
}

/// Those who want to end something and wait for whoever makes a call.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Enders {
    count: u32,
    /// When the first of them came.
    since_ms: u64,
}

impl<R: RingMemory, S: Storage> Link<R, S> {
    /// Somebody wants to end something: whoever makes a call has one deadline left, and no other call is
    /// begun.
    pub fn begin_ending(&mut self, now_ms: u64) {
        if self.enders.count == 0 {
            self.enders.since_ms = now_ms;
        }
        self.enders.count = self.enders.count.saturating_add(1);
        self.effects.wake = true;
    }

    /// It has ended.
    pub fn finish_ending(&mut self) {
        self.enders.count = self.enders.count.saturating_sub(1);
        self.effects.wake = true;
    }

    /// Whether somebody wants to end something.
    pub fn is_ending(&self) -> bool {
        self.enders.count > 0
    }

    /// The process of a region dies; all that is revoked for its end has one deadline together. A process that
    /// goes on after two was not meant.
    pub fn note_death(&mut self, lease: LeaseId, deadline_ms: u64, now_ms: u64) {
        let Some(region) = self.regions.get(lease) else { return };
        let process = region.process;
        if region.dies_since_ms.is_some_and(|since| !is_over(since, deadline_ms, now_ms)) {
            return;
        }
        for region in self.regions.iter_mut().filter(|region| region.process == process) {
            region.dies_since_ms = Some(now_ms);
        }
    }

    /// What somebody does who has not found what it waits for.
    pub fn keep_waiting(&mut self, awaited: Awaited, patience: &mut Patience, now_ms: u64) -> Verdict {
        let movements = self.movements(awaited);
        self.hurry(patience, now_ms);
        patience.observe(now_ms, movements)
    }

    /// Shortens a wait for the sake of others.
    fn hurry(&self, patience: &mut Patience, now_ms: u64) {
        match patience.whom() {
            For::Call if self.enders.count > 0 => patience.hurry(self.enders.since_ms),
            For::Nobody | For::End(_) | For::Call => {}
            For::Notifier(lease) => {
                let since = self.regions.get(lease).and_then(|region| region.dies_since_ms);
                if let Some(since) = since.filter(|since| !is_over(*since, patience.deadline_ms(), now_ms)) {
                    patience.hurry(since);
                }
            }
        }
    }
}

/// Whether a death that was heard of then was none after all.
fn is_over(since_ms: u64, deadline_ms: u64, now_ms: u64) -> bool {
    now_ms >= since_ms.saturating_add(deadline_ms.saturating_mul(2))
}

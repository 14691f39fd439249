// SPDX-License-Identifier: MIT OR Apache-2.0
//! The pages of a link that are waited for, the oldest first.

use core::ops::DerefMut;

use xenlend_protocol::frame::AperturePage;
use xenlend_protocol::lease_id::LeaseId;

/// Pages that can be waited for on a link at once.
pub const MAX_WAITS: usize = 128;
/// Threads that wait on a link at once.
pub const MAX_THREADS: usize = 64;
/// Threads that wait in one region at once.
pub const MAX_THREADS_OF_REGION: usize = 8;
/// Milliseconds that a thread waits for one page while another page of its region has none.
const TURN_MS: u64 = 100;
/// Milliseconds that a thread waits for one page in any case.
pub(super) const PATIENCE_MS: u64 = 5000;

/// A page that is waited for.
#[derive(Clone, Copy, Debug)]
pub struct Wait {
    pub(super) lease: LeaseId,
    pub(super) page: AperturePage,
    /// Behind the last page that is meant: the next, but where something is only to be asked for
    /// again.
    pub(super) end: AperturePage,
    /// What is waited for is a permission. The same page may be waited for on both accounts: by a
    /// write and by a read.
    pub(super) protected: bool,
    pub(super) stage: Stage,
    /// A want was answered with "waits": the broker has to ask again.
    pub(super) told: bool,
    /// It has to do so now.
    pub(super) ask: bool,
    /// When somebody needed it last.
    pub(super) needed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// For a thread.
    Queued,
    /// A thread waits since then.
    Waiting { since: u64 },
    /// A thread has to be told to come back.
    Recalled,
    /// A thread has been told to come back.
    Stopping,
    /// No thread waits: looked at again at that time, and then after twice as long.
    Looking { next: u64, after: u64 },
    /// Nobody waits any more.
    Over,
}

impl Wait {
    pub(super) fn is_among(&self, lease: LeaseId, first: AperturePage, count: u32) -> bool {
        let end = first.0.saturating_add(count);
        self.lease == lease && self.page >= first && self.page.0 < end
    }

    pub(super) fn has_thread(&self) -> bool {
        matches!(self.stage, Stage::Waiting { .. } | Stage::Recalled | Stage::Stopping)
    }
}

/// All of them, the oldest first.
pub(super) struct Waits<T> {
    places: T,
}

impl<T: DerefMut<Target = [Option<Wait>]>> Waits<T> {
    /// Over places that hold nothing.
    pub(super) fn new(places: T) -> Self {
        Self { places }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Wait> {
        self.places.iter().flatten()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Wait> {
        self.places.iter_mut().flatten()
    }

    pub(super) fn find(&mut self, lease: LeaseId, page: AperturePage, protected: bool) -> Option<&mut Wait> {
        self.iter_mut().find(|wait| (wait.lease, wait.page, wait.protected) == (lease, page, protected))
    }

    /// What a thread waits for, or waited for.
    pub(super) fn find_answer(&mut self, lease: LeaseId, page: AperturePage) -> Option<&mut Wait> {
        self.find(lease, page, false)
    }

    /// Keeps what is left in its order.
    pub(super) fn retain(&mut self, keep: impl Fn(&Wait) -> bool) {
        let mut kept = 0;
        for at in 0..self.places.len() {
            let Some(wait) = self.places.get_mut(at).and_then(Option::take) else { continue };
            if keep(&wait) {
                if let Some(place) = self.places.get_mut(kept) {
                    *place = Some(wait);
                }
                kept = kept.saturating_add(1);
            }
        }
    }

    pub(super) fn push(&mut self, wait: Wait) -> bool {
        let free = self.places.iter_mut().find(|place| place.is_none());
        free.map(|place| *place = Some(wait)).is_some()
    }

    pub(super) fn is_full(&self) -> bool {
        self.places.iter().all(Option::is_some)
    }

    pub(super) fn threads(&self) -> usize {
        self.iter().filter(|wait| wait.has_thread()).count()
    }

    pub(super) fn threads_of(&self, lease: LeaseId) -> usize {
        self.iter().filter(|wait| wait.lease == lease && wait.has_thread()).count()
    }

    /// When a thread's turn at a page is over: soon if another page would have the thread.
    pub(super) fn turn_end(&self, wait: &Wait) -> Option<u64> {
        let since = match wait.stage {
            Stage::Waiting { since } => since,
            Stage::Recalled => return Some(0),
            _ => return None,
        };
        let is_full = self.threads() >= MAX_THREADS;
        let would = |other: &Wait| other.stage == Stage::Queued && (is_full || other.lease == wait.lease);
        let turn = if self.iter().any(would) { TURN_MS } else { PATIENCE_MS };
        Some(since.saturating_add(turn))
    }

    /// The oldest page that has none and may have one.
    pub(super) fn next_queued(&mut self) -> Option<&mut Wait> {
        let may =
            |wait: &Wait| wait.stage == Stage::Queued && self.threads_of(wait.lease) < MAX_THREADS_OF_REGION;
        let at = self.places.iter().position(|place| place.as_ref().is_some_and(may))?;
        self.places.get_mut(at)?.as_mut()
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The core of the lender's module: what a broker says, well formed or not, between page-ins and revocations as
//! the module makes them. What is present stays known until it was acknowledged, and force finds all of it.

use std::collections::{BTreeMap, BTreeSet};

use xenlend_protocol::codec::decode;
use xenlend_protocol::frame::AperturePage;
use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::message::{
    AccessOperation, AccessOutcome, FromBroker, PresentOutcome, ToBroker, MAX_INVALIDATIONS,
};
use xenlend_protocol::refusal::RemoveFailure;
use xenlend_shim_core::invalidation::Standing;
use xenlend_shim_core::link::{
    Completion, InvalidateStart, NextWant, PageInEnd, Posted, PresentStanding, Reason,
};

use crate::shim_support::{extents, force, invalidate, Pair, USER};
use crate::Stream;

const PAGES: u32 = 64;
const STEPS: usize = 200;
/// Places that `Pair` gives to requests.
const REQUESTS: usize = 4;

struct Run {
    pair: Pair,
    lease: LeaseId,
    /// Pages that were posted and not taken out again.
    known: BTreeSet<u32>,
    /// The one Present that is not ended: its first page and count.
    posted: Option<(u32, u32)>,
    /// Unended invalidations, and whether they were acknowledged.
    revoking: BTreeMap<u64, (u32, u32)>,
    acknowledged: BTreeSet<u64>,
    /// Page-ins that the lender's thread has taken.
    taken: Vec<(u32, AperturePage)>,
}

/// Drives a link by these bytes.
///
/// # Panics
/// If something does not hold that must.
pub fn lender_link(bytes: &[u8]) {
    let mut stream = Stream(bytes);
    let mut pair = Pair::connected();
    let lease = pair.region(0, 0, PAGES, USER);
    let mut run = Run {
        pair,
        lease,
        known: BTreeSet::new(),
        posted: None,
        revoking: BTreeMap::new(),
        acknowledged: BTreeSet::new(),
        taken: Vec::new(),
    };
    for _ in 0..STEPS {
        if stream.is_empty() || run.pair.link.needs_force().is_some() {
            break;
        }
        run.step(&mut stream);
        run.check();
    }
    run.end();
}

impl Run {
    fn step(&mut self, stream: &mut Stream<'_>) {
        let [step, first, what] = stream.take();
        let (first, count) = (u32::from(first) % PAGES, 1 + u32::from(what) % 8);
        match step % 12 {
            0 | 1 => self.page_in(first, count.min(PAGES - first)),
            2 => {
                let outcome = match what % 8 {
                    0 => PresentOutcome::Later,
                    1 => PresentOutcome::Stale,
                    _ => PresentOutcome::Added { entries_2mib: 0, entries_4kib: count },
                };
                self.say(FromBroker::Presented { ticket: first & 7, outcome });
            }
            3 | 4 => {
                let started = invalidate(&mut self.pair, self.lease, first, count);
                if let InvalidateStart::Posted(sequence) = started {
                    assert!(self.revoking.len() < MAX_INVALIDATIONS);
                    self.revoking.insert(sequence, (first, count));
                }
            }
            5 | 6 => {
                let failure = RemoveFailure { page: AperturePage(first), errno: u16::from(what) };
                let result = if what >= 240 { Err(failure) } else { Ok(count) };
                // Mostly of what was asked for.
                let nth = usize::from(what) % self.revoking.len().max(1);
                let asked = self.revoking.keys().nth(nth).copied();
                let sequence = asked.filter(|_| what < 250).unwrap_or(u64::from(first));
                self.say(FromBroker::Invalidated { sequence, result });
            }
            7 => {
                let (page, operation) =
                    (AperturePage(first), AccessOperation::Read { length: u16::from(what) });
                let (id, wants_page) = (u32::from(what) % 6, what & 1 != 0);
                self.say(FromBroker::Access {
                    id,
                    lease: self.lease,
                    page,
                    offset: 0,
                    operation,
                    wants_page,
                });
            }
            8 => {
                let (ticket, lease, first) = (u32::from(what) % 10, self.lease, AperturePage(first));
                self.say(FromBroker::Want { ticket, lease, first, count, vcpu: what & 16 != 0 });
            }
            9 => {
                let bytes = stream.take::<24>();
                let message = (1..=bytes.len()).find_map(|length| decode(&bytes[..length]).ok());
                if let Some(message) = message {
                    self.say(message);
                }
            }
            10 => self.work(what),
            _ => self.finish(),
        }
    }

    fn say(&mut self, message: FromBroker) {
        if let FromBroker::Invalidated { sequence, result: Ok(_) } = message {
            self.acknowledged.insert(sequence);
        }
        self.pair.say(message);
    }

    /// As the module's worker: a page-in of pages that are not present.
    fn page_in(&mut self, first: u32, count: u32) {
        if self.posted.is_some() || (first..first + count).any(|page| self.known.contains(&page)) {
            return;
        }
        let Ok(page_in) = self.pair.link.begin_page_in(self.lease, AperturePage(first)) else { return };
        let frames = extents(first, 0x1001 + 2 * u64::from(first), count);
        if matches!(self.pair.link.post_present(&page_in, &frames, None), Posted::Yes { .. }) {
            self.known.extend(first..first + count);
            self.posted = Some((first, count));
        }
        self.pair.link.end_page_in(&page_in);
    }

    /// As the module's worker: accesses are completed, wants are answered.
    fn work(&mut self, what: u8) {
        let mut requests = 0;
        while let Some(request) = self.pair.link.pop_request() {
            requests += 1;
            assert!(requests <= 2 * REQUESTS, "more work than the vCPUs can cause");
            if what & 1 != 0 {
                self.pair.link.push_again(request);
                break;
            }
            let completion = Completion { id: u32::from(what) % 6, outcome: AccessOutcome::Lost };
            let _ = self.pair.link.post_completed(&completion);
        }
        match self.pair.link.next_want() {
            Some(NextWant::PageIn { ticket, page, .. }) => self.taken.push((ticket, page)),
            Some(NextWant::Answer { ticket, outcome }) => {
                let _ = self.pair.link.post_wanted(ticket, outcome);
            }
            None => {}
        }
        if let Some((ticket, page)) = self.taken.pop() {
            self.pair.link.on_want_served(ticket, page, PageInEnd::Present);
        }
        while let Some(message) = self.pair.next() {
            assert!(!matches!(message, ToBroker::Hello { .. }), "hello is said once");
        }
    }

    /// As whoever waits: what was acknowledged is taken out, and nothing else.
    fn finish(&mut self) {
        for (sequence, (first, count)) in std::mem::take(&mut self.revoking) {
            match self.pair.link.invalidation_standing(sequence) {
                Standing::Removed => {
                    let (page, pages) = (AperturePage(first), first..first + count);
                    assert!(self.acknowledged.contains(&sequence), "{sequence} was never acknowledged");
                    while !self.pair.link.take_present(self.lease, page, count, true).is_empty() {}
                    self.known.retain(|page| !pages.contains(page));
                    self.pair.link.end_invalidate(sequence);
                }
                Standing::Failed(_) => {
                    self.pair.link.end_invalidate(sequence);
                    self.pair.link.fail(Reason::RemoveFailed);
                }
                Standing::Waiting | Standing::Forced => {
                    self.revoking.insert(sequence, (first, count));
                }
            }
        }
        if let PresentStanding::Answered(outcome) = self.pair.link.present_standing() {
            self.pair.link.end_present();
            let Some((first, count)) = self.posted.take() else { panic!("an answer to nothing") };
            if !matches!(outcome, PresentOutcome::Added { .. } | PresentOutcome::Refused(_)) {
                while !self.pair.link.take_present(self.lease, AperturePage(first), count, false).is_empty() {
                }
                self.known.retain(|page| !(first..first + count).contains(page));
            }
        }
    }

    fn check(&mut self) {
        for page in 0..PAGES {
            let found = self.pair.link.find_present(self.lease, AperturePage(page), 1);
            assert_eq!(found.is_some(), self.known.contains(&page), "page {page}");
        }
        if self.pair.link.needs_force().is_some() {
            assert_eq!(self.pair.link.drain(64).messages, 0, "a link that has failed hears no more");
        }
    }

    /// Force finds everything that is present, once.
    fn end(&mut self) {
        self.pair.link.fail(Reason::Deadline);
        let Some(reason) = self.pair.link.needs_force() else { return };
        let (pages, _) = force(&mut self.pair, reason, true);
        assert_eq!(pages as usize, self.known.len(), "force took another number of pages");
        let left = self.pair.link.find_present(self.lease, AperturePage(0), PAGES);
        assert!(left.is_none(), "{left:?} stays");
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! A broker that says what it likes, when it likes: the lender's event handler does bounded work, and no
//! word of it makes the lender forget what is present.
#![allow(missing_docs)]

mod support;

use std::cell::Cell;
use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use support::{extents, invalidate, present, Pair, USER};
use xenlend_protocol::frame::AperturePage;
use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::message::{AccessOperation, FromBroker, PresentOutcome, ToBroker, VERSION};
use xenlend_protocol::refusal::{
    AddFailure, AttachFailure, Blame, Breach, BreachKind, Refusal, RemoveFailure,
};
use xenlend_shim_core::link::{Drained, FrontendState, InvalidateStart, PageIn, Posted, State};
use xenlend_shim_core::mirror::Mirror;

/// vCPUs of the borrower, and so the most accesses at a time.
const VCPUS: u32 = 4;

fn access(id: u32, lease: LeaseId) -> FromBroker {
    let (page, operation) = (AperturePage(id), AccessOperation::Read { length: 8 });
    FromBroker::Access { id, lease, page, offset: 0, operation, wants_page: true }
}

#[test]
fn a_drain_takes_no_more_messages_than_it_is_told() {
    let mut pair = Pair::connected();
    let lease = pair.region(0, 0, 1024, USER);
    for id in 0..VCPUS {
        pair.say_unheard(access(id, lease));
    }
    assert_eq!(pair.link.drain(3), Drained { messages: 3, more: true });
    assert_eq!(pair.link.drain(3), Drained { messages: 1, more: false });
    assert_eq!(pair.link.status().counters.stage2_faults, u64::from(VCPUS));
}

#[test]
fn events_without_messages_cost_nothing() {
    let mut pair = Pair::connected();
    let lease = pair.region(0, 0, 1024, USER);
    present(&mut pair, lease, 0, 0x700, 8);
    let _ = pair.link.take_effects();
    let before = pair.link.status();
    for _ in 0..1000 {
        assert_eq!(pair.link.drain(64), Drained { messages: 0, more: false });
        let effects = pair.link.take_effects();
        assert!(!effects.notify && !effects.wake, "nobody is woken and nobody notified");
    }
    assert_eq!(pair.link.status(), before);
    assert_eq!(pair.next(), None);
}

/// Anything that can be encoded, often about what exists.
fn any_word() -> impl Strategy<Value = FromBroker> {
    let lease = (0_u16..3, 0_u32..3).prop_map(|(index, generation)| LeaseId { index, generation });
    let page = prop_oneof![0_u32..40, any::<u32>()].prop_map(AperturePage);
    let failure = (page.clone(), any::<u16>()).prop_map(|(page, errno)| RemoveFailure { page, errno });
    let removed = prop_oneof![any::<u32>().prop_map(Ok), failure.prop_map(Err)];
    let refusal = prop_oneof![
        Just(Refusal::NoSuchLease),
        Just(Refusal::IndexInUse),
        Just(Refusal::BadExtent),
        page.clone().prop_map(|page| Refusal::AlreadyPresent { page }),
    ];
    let outcome = prop_oneof![
        (any::<u16>(), any::<u32>())
            .prop_map(|(entries_2mib, entries_4kib)| PresentOutcome::Added { entries_2mib, entries_4kib }),
        Just(PresentOutcome::Later),
        Just(PresentOutcome::Stale),
        refusal.clone().prop_map(PresentOutcome::Refused),
        (page.clone(), any::<u16>())
            .prop_map(|(page, errno)| PresentOutcome::Failed(AddFailure { page, errno })),
    ];
    let small = 0_u32..4;
    prop_oneof![
        1 => any::<[u32; 2]>().prop_map(|[features, aperture_pages]| FromBroker::Welcome {
            version: VERSION, features, aperture_pages, lease_capacity: 64
        }),
        2 => (lease.clone(), prop_oneof![Just(Ok(())), refusal.prop_map(Err)])
            .prop_map(|(lease, result)| FromBroker::RegionSet { lease, result }),
        2 => (lease.clone(), removed.clone())
            .prop_map(|(lease, result)| FromBroker::RegionDropped { lease, result }),
        6 => (small.clone(), outcome).prop_map(|(ticket, outcome)| FromBroker::Presented { ticket, outcome }),
        6 => (0_u64..6, removed).prop_map(|(sequence, result)| FromBroker::Invalidated { sequence, result }),
        6 => (small, lease, page, 0_u16..4096, 0_u16..300, any::<bool>()).prop_map(
            |(id, lease, page, offset, length, wants_page)| FromBroker::Access {
                id, lease, page, offset, operation: AccessOperation::Read { length }, wants_page
            }
        ),
        1 => Just(FromBroker::Closed { breach: Breach { blame: Blame::Lender, kind: BreachKind::OutOfTurn } }),
    ]
}

/// What happens next: mostly what the contract allows.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "there are few, for a moment")]
enum Move {
    /// The lender makes so many pages present.
    Present(u32, u32),
    /// The broker answers the Present: added, later, stale, refused, failed.
    AnswerPresent(u8),
    /// The lender revokes a page.
    Invalidate(u32),
    /// The broker acknowledges one of those that are outstanding.
    Acknowledge(usize),
    /// The broker has an access, or a task waits.
    Ask(u32, bool),
    /// The lender's worker answers what it was asked.
    Work,
    /// A second region comes, and the broker takes it, or not.
    Set(bool),
    /// It goes.
    Drop,
    /// A frontend comes, and the broker takes it, or not.
    Attach(bool),
    /// It goes.
    Detach,
    /// The broker says whatever it likes.
    Say(FromBroker),
}

fn any_move() -> impl Strategy<Value = Move> {
    prop_oneof![
        12 => (0_u32..1000, 1_u32..24).prop_map(|(page, count)| Move::Present(page, count)),
        12 => (0_u8..8).prop_map(Move::AnswerPresent),
        10 => (0_u32..1024).prop_map(Move::Invalidate),
        14 => (0_usize..8).prop_map(Move::Acknowledge),
        14 => (0_u32..1024, any::<bool>()).prop_map(|(page, wants)| Move::Ask(page, wants)),
        8 => Just(Move::Work),
        4 => any::<bool>().prop_map(Move::Set),
        4 => Just(Move::Drop),
        3 => any::<bool>().prop_map(Move::Attach),
        3 => Just(Move::Detach),
        1 => any_word().prop_map(Move::Say),
    ]
}

/// A lender at work, and a broker that mostly does what it should.
struct Play {
    pair: Pair,
    lease: LeaseId,
    second: Option<LeaseId>,
    /// What the lender has not taken out of its mirror.
    present: BTreeMap<u32, u64>,
    /// Ticket, pages, and what the lender does when it is answered.
    pending: Option<(u32, PageIn, Vec<u32>)>,
    outstanding: Vec<(u64, u32)>,
    accesses: Vec<u32>,
    asked: u32,
    attachment: u32,
    /// Words that the contract allows, heard by a link that had not failed.
    legal: u32,
    /// It said something of its own, and nobody knows what for.
    is_over: bool,
}

impl Play {
    fn new() -> Self {
        let mut pair = Pair::connected();
        let lease = pair.region(0, 0, 1024, USER);
        Self {
            pair,
            lease,
            second: None,
            present: BTreeMap::new(),
            pending: None,
            outstanding: Vec::new(),
            accesses: Vec::new(),
            asked: 0,
            attachment: 0,
            legal: 0,
            is_over: false,
        }
    }

    fn is_well(&self) -> bool {
        self.pair.link.state() == State::Connected
    }

    /// The broker says what it may say.
    fn say(&mut self, word: FromBroker) {
        self.pair.say(word);
        self.legal += 1;
        assert!(self.is_well(), "the contract allows that");
    }

    fn take_ring(&mut self) {
        while self.pair.next().is_some() {}
    }

    fn present(&mut self, page: u32, count: u32) {
        if self.pending.is_some() {
            return;
        }
        let pages: Vec<u32> =
            (page..page + count).take_while(|page| !self.present.contains_key(page)).collect();
        let Ok(page_in) = self.pair.link.begin_page_in(self.lease, AperturePage(page)) else { return };
        // Never congruent, so that no entry is of 2 MiB.
        let mfn = 0x10_0000 + 3 * u64::from(page) + u64::from(page % 512 == 0);
        let posted = self.pair.link.post_present(&page_in, &extents(page, mfn, pages.len() as u32), None);
        assert_eq!(posted, Posted::Yes { completed: false });
        let ticket = loop {
            match self.pair.next() {
                Some(ToBroker::Present { ticket, .. }) => break ticket,
                Some(_) => {}
                None => panic!("no Present"),
            }
        };
        self.present.extend(pages.iter().copied().zip(mfn..));
        self.pending = Some((ticket, page_in, pages));
    }

    fn answer_present(&mut self, how: u8) {
        let Some((ticket, page_in, pages)) = self.pending.take() else { return };
        let page = AperturePage(pages[0]);
        let outcome = match how {
            0 => PresentOutcome::Later,
            1 => PresentOutcome::Stale,
            2 => PresentOutcome::Refused(Refusal::BadExtent),
            3 => PresentOutcome::Failed(AddFailure { page, errno: 12 }),
            _ => PresentOutcome::Added { entries_2mib: 0, entries_4kib: pages.len() as u32 },
        };
        self.say(FromBroker::Presented { ticket, outcome });
        self.pair.link.end_present();
        self.pair.link.end_page_in(&page_in);
        if how < 4 {
            self.forget(pages[0], pages.len() as u32, false);
        }
    }

    fn forget(&mut self, first: u32, count: u32, revoked: bool) {
        while !self.pair.link.take_present(self.lease, AperturePage(first), count, revoked).is_empty() {}
        for page in first..first + count {
            self.present.remove(&page);
        }
    }

    fn invalidate(&mut self, page: u32) {
        if let InvalidateStart::Posted(sequence) = invalidate(&mut self.pair, self.lease, page, 1) {
            self.outstanding.push((sequence, page));
            self.take_ring();
        }
    }

    fn acknowledge(&mut self, place: usize) {
        if self.outstanding.is_empty() {
            return;
        }
        let (sequence, page) = self.outstanding.remove(place % self.outstanding.len());
        self.say(FromBroker::Invalidated { sequence, result: Ok(1) });
        self.forget(page, 1, true);
        self.pair.link.end_invalidate(sequence);
    }

    fn ask(&mut self, page: u32, wants_page: bool) {
        if self.accesses.len() == VCPUS as usize {
            return;
        }
        self.asked += 1;
        let (id, lease, page) = (self.asked, self.lease, AperturePage(page));
        self.accesses.push(id);
        let operation = AccessOperation::Read { length: 8 };
        self.say(FromBroker::Access { id, lease, page, offset: 8, operation, wants_page });
    }

    fn work(&mut self) {
        while self.pair.link.pop_request().is_some() {}
        self.accesses.clear();
    }

    fn set(&mut self, takes: bool) {
        if self.second.is_some() {
            return;
        }
        let new = self.pair.plan(1, 1024, 8, USER);
        self.pair.link.insert_region(&new, Mirror::new(new.first, vec![0; 8], vec![0; 2]));
        self.pair.link.post_set(new.lease).unwrap();
        self.take_ring();
        let result = if takes { Ok(()) } else { Err(Refusal::Quarantined { index: 1 }) };
        self.say(FromBroker::RegionSet { lease: new.lease, result });
        if takes {
            self.second = Some(new.lease);
        } else {
            self.pair.link.remove_region(new.lease);
        }
    }

    fn drop_second(&mut self) {
        let Some(lease) = self.second.take() else { return };
        self.pair.link.begin_end(lease);
        self.pair.link.post_drop(lease).unwrap();
        self.take_ring();
        self.say(FromBroker::RegionDropped { lease, result: Ok(0) });
        self.pair.link.remove_region(lease);
    }

    fn attach(&mut self, takes: bool) {
        if self.pair.link.post_attach_frontend([1, 2, 3], 4).is_ok() {
            self.take_ring();
            self.attachment += 1;
            let result = if takes { Ok(()) } else { Err(AttachFailure::InUse) };
            self.say(FromBroker::BorrowerAttached { attachment: self.attachment, result });
        }
    }

    fn detach(&mut self) {
        if self.pair.link.frontend_state() == FrontendState::Attached {
            self.pair.link.post_detach_frontend().unwrap();
            self.take_ring();
            self.say(FromBroker::BorrowerDetached { attachment: self.attachment });
        }
    }

    fn make(&mut self, next: Move) {
        if let Move::Say(word) = next {
            // By chance it may be the answer to something.
            let may_answer = !matches!(word, FromBroker::Access { .. });
            self.pair.say(word);
            self.is_over = may_answer;
            self.work();
            return;
        }
        match next {
            Move::Present(page, count) => self.present(page, count),
            Move::AnswerPresent(how) => self.answer_present(how),
            Move::Invalidate(page) => self.invalidate(page),
            Move::Acknowledge(place) => self.acknowledge(place),
            Move::Ask(page, wants_page) => self.ask(page, wants_page),
            Move::Work => self.work(),
            Move::Set(takes) => self.set(takes),
            Move::Drop => self.drop_second(),
            Move::Attach(takes) => self.attach(takes),
            Move::Detach => self.detach(),
            Move::Say(_) => {}
        }
    }

    /// The mirror has what the lender has posted and not taken out, whatever the broker said.
    fn check(&self) {
        let found = self.pair.link.region(self.lease).map(|region| region.mirror.present_pages());
        assert_eq!(found, Some(self.present.len() as u32));
        for (page, mfn) in &self.present {
            let run = self.pair.link.find_present(self.lease, AperturePage(*page), 1);
            assert!(run.is_some_and(|run| run.page.0 == *page && run.mfn.0 == *mfn), "page {page}");
        }
    }
}

/// Words of the contract that a link has to hear on average before another one ends it.
const DEPTH: u32 = 15;

#[test]
fn whatever_the_broker_says_what_is_present_stays_known() {
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    let (links, legal, failed) = (Cell::new(0_u32), Cell::new(0), Cell::new(0));
    let played = TestRunner::new(config).run(&prop::collection::vec(any_move(), 1..300), |moves| {
        let mut play = Play::new();
        for next in moves {
            play.make(next);
            play.check();
            if !play.is_well() {
                prop_assert!(play.pair.link.needs_force().is_some());
                prop_assert_eq!(play.pair.link.drain(64).messages, 0, "a link that failed hears no more");
                failed.set(failed.get() + 1);
                break;
            }
            if play.is_over {
                break;
            }
        }
        links.set(links.get() + 1);
        legal.set(legal.get() + play.legal);
        Ok(())
    });
    played.unwrap();
    let (links, legal, failed) = (links.get(), legal.get(), failed.get());
    println!("{links} links heard {legal} words of the contract, {failed} a word that is none");
    assert!(legal >= DEPTH * links, "{links} links heard {legal} words of the contract");
    assert!(failed * 2 > links, "only {failed} of {links} links met a word that is none");
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! One borrower's turns, from its lender's first message to the last of it, over the fakes of the lending logic.

#[path = "../../lending/tests/support/mod.rs"]
mod support;

use std::cell::RefCell;

use support::bench::{attach, extent, hello, lease, read, set_region, Bench};
use support::fake_borrower::FakeBorrower;
use support::fake_hypervisor::{FakeXen, EINVAL, EPERM};
use support::fake_link::FakeLink;
use support::fault_injector::FaultInjector;
use xenlend_broker_domain::departure::Server;
use xenlend_broker_domain::turn::{
    BorrowerEnd, LenderEnd, News, Step, Turns, LENDER_CHECK_NS, MESSAGES_PER_TURN,
};
use xenlend_lending::borrower_link::BorrowerState;
use xenlend_lending::broker::LinkState;
use xenlend_lending::hypervisor::{
    BorrowerLink, Errno, Hypervisor, IoreqClaim, LenderLink, Partial, SendError,
};
use xenlend_lending::lending_table::FrameRun;
use xenlend_protocol::frontend::{FromBorrower, ToBorrower};
use xenlend_protocol::message::{FromBroker, Rights, ToBroker};
use xenlend_protocol::refusal::{AttachFailure, BreachKind};

/// Xen, with a server that can be taken off.
struct Xen<'b> {
    inner: &'b mut FaultInjector<FakeXen>,
    server: &'b FakeServer,
}

#[derive(Default)]
struct FakeServer {
    can_dismiss: bool,
    /// What the next calls are answered, the last one for ever.
    refuses: RefCell<Option<u16>>,
    calls: RefCell<Vec<&'static str>>,
}

impl FakeServer {
    fn call(&self, name: &'static str) -> Result<(), u16> {
        self.calls.borrow_mut().push(name);
        self.refuses.borrow().map_or(Ok(()), Err)
    }

    fn calls(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.calls.borrow_mut())
    }
}

impl Server for Xen<'_> {
    fn disable(&self) -> Result<(), u16> {
        self.server.call("disable")
    }

    fn destroy(&self) -> Result<(), u16> {
        self.server.call("destroy")
    }

    fn can_dismiss(&self) -> bool {
        self.server.can_dismiss
    }

    fn is_dismissed(&self, errno: u16) -> bool {
        self.server.can_dismiss && errno == EPERM
    }
}

impl Hypervisor for Xen<'_> {
    fn add(&mut self, runs: &[FrameRun], rights: Rights) -> Result<(), Partial> {
        self.inner.add(runs, rights)
    }
    fn remove(&mut self, runs: &[FrameRun]) -> Result<(), Partial> {
        self.inner.remove(runs)
    }
    fn request(&mut self, vcpu: u16) -> Option<IoreqClaim> {
        self.inner.request(vcpu)
    }
    fn accept(&mut self, vcpu: u16) {
        self.inner.accept(vcpu);
    }
    fn complete(&mut self, vcpu: u16, data: u64) {
        self.inner.complete(vcpu, data);
    }
    fn read_borrower(&mut self, address: u64, bytes: &mut [u8]) -> Result<(), Errno> {
        self.inner.read_borrower(address, bytes)
    }
    fn write_borrower(&mut self, address: u64, bytes: &[u8]) -> Result<(), Errno> {
        self.inner.write_borrower(address, bytes)
    }
    fn forget_borrower_memory(&mut self) {
        self.inner.forget_borrower_memory();
    }
}

/// The lender's end, which the test closes.
struct Lender<'b> {
    inner: &'b mut FakeLink,
    is_open: bool,
    notices: u32,
}

impl LenderLink for Lender<'_> {
    fn send(&mut self, message: &FromBroker) -> Result<(), SendError> {
        self.inner.send(message)
    }
    fn receive(&mut self) -> Result<Option<ToBroker>, BreachKind> {
        self.inner.receive()
    }
}

impl LenderEnd for Lender<'_> {
    fn finish_turn(&mut self) {
        self.notices += 1;
    }
    fn is_connected(&self) -> bool {
        self.is_open
    }
}

struct Borrower<'b>(&'b mut FakeBorrower, u32);

impl BorrowerLink for Borrower<'_> {
    fn attach(&mut self, ring_refs: [u32; 3], event_channel: u32) -> Result<(), AttachFailure> {
        self.0.attach(ring_refs, event_channel)
    }
    fn detach(&mut self) {
        self.0.detach();
    }
    fn send(&mut self, message: &ToBorrower) -> Result<(), SendError> {
        self.0.send(message)
    }
    fn receive(&mut self) -> Result<Option<FromBorrower>, BreachKind> {
        self.0.receive()
    }
}

impl BorrowerEnd for Borrower<'_> {
    fn finish_turn(&mut self) {
        self.1 += 1;
    }
}

/// Everything in one place.
struct Domain {
    bench: Bench,
    turns: Turns,
    server: FakeServer,
    lender_is_open: bool,
    now: u64,
}

impl Domain {
    fn new(bench: Bench, can_dismiss: bool) -> Self {
        let server = FakeServer { can_dismiss, ..FakeServer::default() };
        Self { bench, turns: Turns::default(), server, lender_is_open: true, now: 1 }
    }

    /// One with a lease of 64 pages, of which one is present, at rest.
    fn lending(can_dismiss: bool) -> Self {
        let (mut bench, id) = Bench::with_lease(64, 1);
        bench.present(id, 0, &[extent(3, 0x333, 1)]);
        let mut domain = Self::new(bench, can_dismiss);
        assert_eq!(domain.turn(), (Step::Busy, vec![News::Link(LinkState::Connected)]));
        assert_eq!(domain.turn(), (Step::Rests(1 + LENDER_CHECK_NS), vec![]));
        domain
    }

    fn turn(&mut self) -> (Step, Vec<News>) {
        let Bench { broker, xen, link, borrower, .. } = &mut self.bench;
        let mut xen = Xen { inner: xen, server: &self.server };
        let mut lender = Lender { inner: link, is_open: self.lender_is_open, notices: 0 };
        let mut borrower = Borrower(borrower, 0);
        let (step, news) = self.turns.turn(broker, &mut xen, &mut lender, &mut borrower, self.now);
        assert_eq!((lender.notices, borrower.1), (1, 1), "each side is told once in each turn");
        (step, news.to_vec())
    }

    /// The lender closes its end, and the time comes to look.
    fn lose_the_lender(&mut self) -> Vec<News> {
        self.lender_is_open = false;
        self.now += LENDER_CHECK_NS;
        let (step, news) = self.turn();
        assert_eq!(step, Step::Busy, "requests that ended with the link are completed at once");
        news
    }
}

#[test]
fn the_loop_rests_only_when_nobody_has_more() {
    let mut domain = Domain::new(Bench::unconnected(64, 1), false);
    assert_eq!(domain.turn(), (Step::Rests(1 + LENDER_CHECK_NS), vec![]));
    domain.bench.link.to_broker.push_back(hello());
    let (_, news) = domain.turn();
    assert_eq!(news, [News::Link(LinkState::Connected)]);
    // More messages than one turn takes.
    for index in 0..40 {
        domain.bench.link.to_broker.push_back(set_region(lease(index, 1), u32::from(index), 1));
    }
    assert_eq!(domain.turn().0, Step::Busy);
    assert_eq!(domain.bench.link.to_broker.len(), 40 - MESSAGES_PER_TURN as usize);
    assert_eq!(domain.turn().0, Step::Rests(1 + LENDER_CHECK_NS));
    domain.bench.link.to_broker.push_back(attach(1));
    assert_eq!(domain.turn().1, [News::Borrower(BorrowerState::AwaitingHello)]);
}

#[test]
fn the_lender_is_looked_at_once_a_second() {
    let mut domain = Domain::lending(false);
    domain.lender_is_open = false;
    domain.now = LENDER_CHECK_NS;
    assert_eq!(domain.turn(), (Step::Rests(1 + LENDER_CHECK_NS), vec![]), "not yet");
    domain.now += 1;
    let (step, news) = domain.turn();
    assert_eq!((step, news), (Step::Busy, vec![News::LenderGone, News::Link(LinkState::LenderGone)]));
    assert!(domain.bench.xen.inner.lent().is_empty(), "nothing is lent by nobody");
    domain.now += LENDER_CHECK_NS;
    let (_, news) = domain.turn();
    assert_eq!(news, [], "it goes once");
}

#[test]
fn a_broker_without_a_lender_leaves_when_no_vcpu_is_with_it() {
    let mut domain = Domain::lending(false);
    domain.bench.xen.inner.send_request(0, read(8 * 4096, 8));
    assert_eq!(domain.turn().0, Step::Rests(1 + LENDER_CHECK_NS));
    domain.lose_the_lender();
    // The request is completed, and Xen has yet to take its answer up.
    let (step, _) = domain.turn();
    assert_eq!(domain.server.calls(), ["disable"]);
    let Step::Rests(look) = step else { panic!("{step:?}") };
    assert!(look > domain.now && look < domain.now + LENDER_CHECK_NS, "nobody tells when: {look}");
    assert_eq!(domain.turn().0, Step::Rests(look));
    assert_eq!(domain.server.calls(), [""; 0]);
    assert_eq!(domain.bench.xen.inner.take_response(0), Some(0));
    assert_eq!(domain.turn().0, Step::Left("the lender is gone"));
    assert_eq!(domain.server.calls(), ["destroy"]);
}

#[test]
fn what_cannot_be_removed_keeps_the_broker_there() {
    let mut domain = Domain::lending(false);
    domain.bench.xen.fail_next_remove(0, EINVAL);
    domain.lose_the_lender();
    for _ in 0..3 {
        domain.bench.xen.fail_next_remove(0, EINVAL);
        assert!(matches!(domain.turn().0, Step::Rests(_)));
    }
    assert_eq!(domain.server.calls(), ["disable"], "a page is lent still");
    assert_eq!(domain.turn().0, Step::Left("the lender is gone"));
    domain.bench.check();
}

#[test]
fn a_broker_that_is_dismissed_meanwhile_leaves_at_once() {
    let mut domain = Domain::lending(true);
    domain.bench.xen.inner.send_request(0, read(8 * 4096, 8));
    let _ = domain.turn();
    domain.lose_the_lender();
    let _ = domain.turn();
    assert_eq!(domain.server.calls(), ["disable"]);
    let _ = domain.turn();
    assert_eq!(domain.server.calls(), ["disable"], "that asks Xen whether the server is still there");
    *domain.server.refuses.borrow_mut() = Some(EPERM);
    assert_eq!(domain.turn().0, Step::Left("the lender has dismissed this broker"));
}

#[test]
fn a_refusal_of_xen_is_told_once_and_requests_go_on_being_completed() {
    let mut domain = Domain::lending(false);
    *domain.server.refuses.borrow_mut() = Some(EPERM);
    domain.lose_the_lender();
    assert_eq!(domain.turn(), (Step::Rests(0), vec![News::CannotLeave(EPERM)]));
    assert_eq!(domain.turn(), (Step::Rests(0), vec![]), "until an event");
    assert_eq!(domain.server.calls(), ["disable"]);
    domain.bench.xen.inner.send_request(0, read(8 * 4096, 8));
    let _ = domain.turn();
    assert_eq!(domain.bench.xen.inner.take_response(0), Some(0));
}

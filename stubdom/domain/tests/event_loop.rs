// SPDX-License-Identifier: MIT OR Apache-2.0
//! Several borrowers of one domain: who joins, who is refused and why, who leaves, and that nobody is forgotten.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use xenlend_broker_domain::config::Config;
use xenlend_broker_domain::event_loop::{Borrowers, Machine, Service, Turn, MAX_BORROWERS};
use xenlend_broker_domain::more_borrowers::{MoreBorrowers, XenstoreLink};
use xenlend_broker_domain::start_error::StartError;
use xenlend_broker_domain::turn::Step;
use xenlend_protocol::joining::Joining;
use xenlend_xen_abi::xenstore::{Header, MessageType, Reassembly};
use xenlend_xen_abi::DomainId;

/// What the test sees of everything, and decides.
#[derive(Default)]
struct World {
    /// Borrowers whose turn has come, in order.
    turns: Vec<DomainId>,
    /// What the next turn of a borrower comes to, if it is not a rest until an event.
    steps: Vec<(DomainId, Step)>,
    /// Lines that xenstore has, and events that have fired.
    lines: Vec<(DomainId, String)>,
    incoming: VecDeque<u8>,
    /// What was written: path and word.
    said: Vec<String>,
    free_bytes: usize,
    open_fails: Option<StartError>,
    closed: Vec<DomainId>,
}

type Shared = Rc<RefCell<World>>;

struct Served {
    world: Shared,
    borrower: DomainId,
    vcpus: u16,
}

impl Service for Served {
    fn borrower(&self) -> DomainId {
        self.borrower
    }

    fn turn(&mut self) -> Step {
        let mut world = self.world.borrow_mut();
        world.turns.push(self.borrower);
        let position = world.steps.iter().position(|(borrower, _)| *borrower == self.borrower);
        position.map_or(Step::Rests(0), |position| world.steps.remove(position).1)
    }

    fn port_count(&self) -> usize {
        usize::from(self.vcpus) + 1
    }
}

struct FakeMachine(Shared);

impl Machine for FakeMachine {
    type Service = Served;

    fn vcpu_count(&mut self, config: &Config) -> Result<u16, StartError> {
        Ok(config.vcpus)
    }

    fn free_bytes(&self) -> usize {
        self.0.borrow().free_bytes
    }

    fn open(&mut self, config: &Config) -> Result<Served, StartError> {
        match self.0.borrow_mut().open_fails.take() {
            Some(error) => Err(error),
            None => Ok(Served { world: self.0.clone(), borrower: config.borrower, vcpus: config.vcpus }),
        }
    }

    fn refuse(&mut self, _: DomainId, _: &StartError) {}

    fn close(&mut self, service: Served, _: &'static str) {
        self.0.borrow_mut().closed.push(service.borrower);
    }
}

struct Xenstored(Shared, u32);

fn message(kind: MessageType, id: u32, payload: &[u8]) -> Vec<u8> {
    let mut buffer = [0; 512];
    let length = Header::encode_message(kind, id, 0, &[payload], &mut buffer).unwrap();
    buffer[..length].to_vec()
}

impl XenstoreLink for Xenstored {
    fn send(&mut self, kind: MessageType, parts: &[&[u8]]) -> Option<u32> {
        let mut world = self.0.borrow_mut();
        self.1 += 1;
        let text = String::from_utf8(parts.concat()).unwrap();
        if kind == MessageType::Read {
            let borrower: DomainId = text.trim_end_matches('\0').rsplit('/').next()?.parse().ok()?;
            let line = world.lines.iter().find(|(announced, _)| *announced == borrower);
            let answer = match line {
                Some((_, line)) => message(MessageType::Read, self.1, line.as_bytes()),
                None => message(MessageType::Error, self.1, b"ENOENT\0"),
            };
            world.incoming.extend(answer);
        } else {
            world.said.push(text.replace('\0', " = "));
        }
        Some(self.1)
    }

    fn receive<const N: usize>(&mut self, message: &mut Reassembly<N>) -> bool {
        let mut world = self.0.borrow_mut();
        while message.missing_bytes().is_ok_and(|missing| missing > 0) {
            let Some(byte) = world.incoming.pop_front() else { return false };
            message.feed(byte);
        }
        true
    }
}

struct Loop {
    world: Shared,
    borrowers: Borrowers<FakeMachine, Xenstored>,
}

impl Loop {
    /// One that serves domain 1 with so many vCPUs.
    fn new(vcpus: u16) -> Self {
        let world = Rc::new(RefCell::new(World { free_bytes: 1 << 20, ..World::default() }));
        let first = Served { world: world.clone(), borrower: 1, vcpus };
        let more = MoreBorrowers::new(Xenstored(world.clone(), 0));
        Self { borrowers: Borrowers::new(first, Some(more), FakeMachine(world.clone())), world }
    }

    fn announce(&self, borrower: DomainId, vcpus: u16, aperture_pages: u32) {
        let (rings, aperture_gfn) = ([8, 9, 10], 0x100_0000);
        let joining = Joining { lender: 0, rings, event_channel: 11, aperture_gfn, aperture_pages, vcpus };
        let mut world = self.world.borrow_mut();
        world.lines.push((borrower, joining.to_string()));
        let event = message(MessageType::WatchEvent, 0, format!("xenlend/more/{borrower}\0t\0").as_bytes());
        world.incoming.extend(event);
    }

    /// Turns until the loop sleeps and no event wakes it; gives what was said in xenstore.
    fn run(&mut self) -> Vec<String> {
        for _ in 0..100 {
            let turn = self.borrowers.turn();
            let mut world = self.world.borrow_mut();
            if matches!(turn, Turn::Rests(_)) && world.incoming.is_empty() {
                return std::mem::take(&mut world.said);
            }
        }
        panic!("the loop never sleeps");
    }

    fn served(&self) -> Vec<DomainId> {
        self.borrowers.services().iter().map(Service::borrower).collect()
    }

    fn next(&self, borrower: DomainId, step: Step) {
        self.world.borrow_mut().steps.push((borrower, step));
    }
}

fn says(borrower: DomainId, state: &str) -> String {
    format!("xenlend/broker/more/{borrower}/state = {state}")
}

fn fails(borrower: DomainId, why: &str) -> [String; 2] {
    let error = format!("xenlend/broker/more/{borrower}/error = one more borrower: {why}");
    [error, says(borrower, "failed")]
}

#[test]
fn a_borrower_that_joins_has_its_turn_and_is_said_to_be_connected() {
    let mut domain = Loop::new(2);
    domain.announce(7, 1, 512);
    assert_eq!(domain.run(), [says(7, "connected")]);
    assert_eq!(domain.served(), [1, 7]);
    domain.world.borrow_mut().turns.clear();
    assert_eq!(domain.borrowers.turn(), Turn::Rests(0));
    assert_eq!(domain.world.borrow().turns, [1, 7]);
    // Its node is touched again.
    domain.announce(7, 1, 512);
    assert_eq!(domain.run(), [""; 0]);
    assert_eq!(domain.served(), [1, 7]);
}

#[test]
fn whoever_is_too_much_is_refused_with_the_reason_and_the_others_stay() {
    let mut domain = Loop::new(60);
    domain.announce(2, 63, 512);
    // 61 ports and a link, one for xenstore, and 63 with two links: 128.
    assert_eq!(domain.run(), [says(2, "connected")]);
    domain.announce(3, 1, 512);
    assert_eq!(domain.run(), fails(3, "the vCPUs of all have more than 128 event channels"));

    let mut domain = Loop::new(60);
    domain.announce(2, 64, 512);
    assert_eq!(domain.run(), fails(2, "the vCPUs of all have more than 128 event channels"));
    domain.world.borrow_mut().free_bytes = 2 * 8 * 512;
    domain.announce(3, 1, 513);
    assert_eq!(domain.run(), fails(3, "its aperture takes more than half of the memory that is left"));
    domain.announce(4, 1, 512);
    assert_eq!(domain.run(), [says(4, "connected")]);
    domain.world.borrow_mut().open_fails = Some(StartError::NotForMore("Xen lends to it as stock Xen"));
    domain.announce(5, 1, 512);
    assert_eq!(domain.run(), fails(5, "Xen lends to it as stock Xen"));
    assert_eq!(domain.served(), [1, 4]);
}

#[test]
fn eight_are_served_and_no_more_until_one_has_left() {
    let mut domain = Loop::new(1);
    for borrower in 2..=MAX_BORROWERS as DomainId {
        domain.announce(borrower, 1, 512);
        assert_eq!(domain.run(), [says(borrower, "connected")]);
    }
    domain.announce(20, 1, 512);
    assert_eq!(domain.run(), fails(20, "this broker has 8 already"));
    domain.next(4, Step::Left("the lender is gone"));
    assert_eq!(domain.run(), [says(4, "left")]);
    assert_eq!(domain.world.borrow().closed, [4]);
    domain.announce(20, 1, 512);
    assert_eq!(domain.run(), [says(20, "connected")]);
    assert_eq!(domain.served(), [1, 2, 3, 5, 6, 7, 8, 20]);
}

#[test]
fn whoever_comes_behind_one_that_leaves_has_its_turn_all_the_same() {
    let mut domain = Loop::new(1);
    for borrower in [2, 3] {
        domain.announce(borrower, 1, 512);
        let _ = domain.run();
    }
    domain.world.borrow_mut().turns.clear();
    domain.next(2, Step::Left("the lender is gone"));
    let _ = domain.borrowers.turn();
    assert_eq!(domain.world.borrow().turns, [1, 2, 3]);
    assert_eq!(domain.served(), [1, 3]);
}

#[test]
fn the_domain_ends_with_the_last_borrower() {
    let mut domain = Loop::new(1);
    domain.announce(2, 1, 512);
    let _ = domain.run();
    domain.next(1, Step::Left("the lender is gone"));
    domain.next(2, Step::Left("the lender has dismissed this broker"));
    assert_eq!(domain.borrowers.turn(), Turn::Over("the lender has dismissed this broker"));
    assert_eq!(domain.world.borrow().closed, [1]);
}

#[test]
fn the_loop_sleeps_until_the_earliest_of_all_and_not_while_one_is_busy() {
    let mut domain = Loop::new(1);
    for borrower in [2, 3] {
        domain.announce(borrower, 1, 512);
        let _ = domain.run();
    }
    for (steps, expected) in [
        ([Step::Rests(0), Step::Rests(0), Step::Rests(0)], Turn::Rests(0)),
        ([Step::Rests(0), Step::Rests(9), Step::Rests(0)], Turn::Rests(9)),
        ([Step::Rests(8), Step::Rests(0), Step::Rests(5)], Turn::Rests(5)),
        ([Step::Rests(4), Step::Rests(5), Step::Rests(6)], Turn::Rests(4)),
        ([Step::Busy, Step::Rests(5), Step::Rests(0)], Turn::Busy),
        ([Step::Rests(5), Step::Rests(0), Step::Busy], Turn::Busy),
    ] {
        for (borrower, step) in (1..).zip(steps) {
            domain.next(borrower, step);
        }
        assert_eq!(domain.borrowers.turn(), expected, "{steps:?}");
    }
}

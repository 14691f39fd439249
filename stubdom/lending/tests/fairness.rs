// SPDX-License-Identifier: MIT OR Apache-2.0
//! More vCPUs ask than can be served at a time: each has its turn, whatever the others do.

mod support;

use std::collections::VecDeque;

use support::bench::{extent, fault, fill, invalidate, lease, present, read, wait_for, Bench};
use xenlend_lending::fault::FAULT_READ;
use xenlend_protocol::message::{CacheMode, FromBroker, Rights, ToBroker, WantedOutcome, MAX_WANTED};

const VCPUS: u16 = 16;
const ROUNDS: u64 = 400;

fn at(page: u32) -> u64 {
    u64::from(page) * 4096
}

/// How often each vCPU has been answered.
#[derive(Default)]
struct Answers([u32; VCPUS as usize]);

impl Answers {
    /// Every vCPU of these that has been answered asks anew.
    fn ask_again(
        &mut self,
        bench: &mut Bench,
        vcpus: std::ops::Range<u16>,
        claim: impl Fn(u16) -> xenlend_lending::hypervisor::IoreqClaim,
    ) {
        for vcpu in vcpus {
            if bench.xen.inner.take_response(vcpu).is_some() {
                self.0[usize::from(vcpu)] += 1;
            }
            if bench.xen.inner.ioreqs[usize::from(vcpu)].is_none() {
                bench.xen.inner.send_request(vcpu, claim(vcpu));
            }
        }
    }

    fn check(&self, vcpus: std::ops::Range<usize>) {
        let of_these = &self.0[vcpus];
        let (least, most) = (of_these.iter().min().unwrap(), of_these.iter().max().unwrap());
        assert!(most - least < 2, "{:?}", self.0);
    }
}

/// vCPUs that fault without end, each on a page of its own, which is taken again as soon as it has come; the
/// lender answers so many questions in a turn, the oldest first.
fn fault_without_end(answered_at_a_time: usize) -> u32 {
    let (mut bench, id) =
        Bench::lend_aware(u32::from(VCPUS), VCPUS.into(), Rights::ReadWrite, CacheMode::WriteBack);
    let mut answers = Answers::default();
    let mut questions = VecDeque::new();
    let mut present_pages = Vec::new();
    let mut sequence = 0;
    for _ in 0..ROUNDS {
        answers.ask_again(&mut bench, 0..VCPUS, |vcpu| fault(at(vcpu.into()), FAULT_READ));
        answers.check(0..VCPUS.into());
        for page in present_pages.drain(..) {
            sequence += 1;
            bench.link.to_broker.push_back(invalidate(sequence, id, page, 1));
        }
        let _ = bench.turn();
        for message in bench.link.to_lender.drain(..) {
            if let FromBroker::Want { ticket, first, .. } = message {
                questions.push_back((ticket, first.0));
            }
        }
        assert!(questions.len() <= MAX_WANTED);
        for _ in 0..answered_at_a_time.min(questions.len()) {
            let (ticket, page) = questions.pop_front().unwrap();
            bench.link.to_broker.push_back(present(ticket, id, sequence, &[extent(page, 0x1000, 1)]));
            let outcome = WantedOutcome::Present;
            bench.link.to_broker.push_back(ToBroker::Wanted { ticket, outcome });
            present_pages.push(page);
        }
        let _ = bench.turn();
        bench.check();
        bench.link.to_lender.retain(|message| matches!(message, FromBroker::Want { .. }));
    }
    *answers.0.iter().min().unwrap()
}

#[test]
fn more_vcpus_than_questions_that_fault_without_end_are_served_alike() {
    for answered_at_a_time in [1, 3, MAX_WANTED] {
        let least = fault_without_end(answered_at_a_time);
        assert!(least >= 20, "{least} answers with {answered_at_a_time} at a time");
    }
}

/// Stock Xen: the ring has room for three accesses a turn, and the first vCPU is always busy with what needs
/// no lender.
#[test]
fn vcpus_that_find_no_room_are_served_alike_whatever_another_one_does() {
    let (mut bench, _) = Bench::with_lease(u32::from(VCPUS), VCPUS.into());
    for vcpu in 0..VCPUS {
        bench.pages.insert(vcpu.into(), vec![0; 4096]);
    }
    bench.link.room = 3;
    let mut answers = Answers::default();
    for _ in 0..ROUNDS {
        answers.ask_again(&mut bench, 0..1, |_| fill(1 << 30, 8, 0, 4096));
        answers.ask_again(&mut bench, 1..VCPUS, |vcpu| read(at(vcpu.into()), 8));
        answers.check(1..VCPUS.into());
        let _ = bench.turn();
        for access in bench.link.to_lender.drain(..).collect::<Vec<_>>() {
            let answer = bench.do_access(&access);
            bench.link.to_broker.push_back(answer);
        }
    }
    assert!(answers.0.iter().all(|answers| *answers >= 20), "{:?}", answers.0);
}

#[test]
fn a_place_that_a_task_leaves_is_a_vcpus_at_once() {
    let vcpus = MAX_WANTED as u16 / 2 + 1;
    let (mut bench, id) = Bench::lend_aware(64, vcpus.into(), Rights::ReadWrite, CacheMode::WriteBack);
    assert_eq!(id, lease(0, 1));
    bench.attach();
    for task in 0..MAX_WANTED as u32 / 2 {
        bench.borrower.to_broker.push_back(wait_for(id, task * 2, 1));
    }
    bench.run();
    for vcpu in 0..vcpus {
        bench.xen.inner.send_request(vcpu, fault(at(40 + u32::from(vcpu)), FAULT_READ));
    }
    bench.run();
    let asked: Vec<_> = bench.link.to_lender.drain(..).collect();
    assert_eq!(asked.len(), MAX_WANTED);
    let Some(FromBroker::Want { ticket, vcpu: false, .. }) = asked.first() else { panic!("{asked:?}") };
    let outcome = WantedOutcome::Unavailable;
    let now_asked = bench.ask(ToBroker::Wanted { ticket: *ticket, outcome });
    let [FromBroker::Want { first, vcpu: true, .. }] = now_asked[..] else { panic!("{now_asked:?}") };
    assert_eq!(first.0, 39 + u32::from(vcpus));
}

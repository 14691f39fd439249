// SPDX-License-Identifier: MIT OR Apache-2.0
//! Faults of vCPUs on lend-aware Xen: what the lender is asked, and what Xen is answered.

mod support;

use support::bench::{extent, fault, invalidate, lease, lost, present, read, wait_for, Bench};
use xenlend_lending::borrower_link::BorrowerState;
use xenlend_lending::capabilities::Capabilities;
use xenlend_lending::fault::{FAULT_FETCH, FAULT_READ, FAULT_SAME_INSTRUCTION, FAULT_WRITE, MAX_KEPT};
use xenlend_lending::hypervisor::IoreqClaim;
use xenlend_protocol::frame::AperturePage;
use xenlend_protocol::frontend::{FromBorrower, ToBorrower};
use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::message::{
    AccessOutcome, CacheMode, FromBroker, PresentOutcome, Rights, ToBroker, WantedOutcome, MAX_WANTED,
};
use xenlend_protocol::refusal::{Blame, Breach, BreachKind, Refusal};

const RETRY: u64 = 0;
const LOST: u64 = 1;
const REFUSED: u64 = 2;
const SAME: u64 = FAULT_READ | FAULT_SAME_INSTRUCTION;

fn bench(vcpus: usize) -> (Bench, LeaseId) {
    Bench::lend_aware(64, vcpus, Rights::ReadWrite, CacheMode::WriteBack)
}

fn page(page: u32) -> u64 {
    u64::from(page) * 4096
}

/// The tickets and first pages of what the broker asks now for vCPUs.
fn asked(bench: &mut Bench) -> Vec<(u32, u32)> {
    asked_for(bench, true)
}

fn asked_for(bench: &mut Bench, vcpus: bool) -> Vec<(u32, u32)> {
    bench.run();
    let asked = bench.link.to_lender.drain(..).map(|message| match message {
        FromBroker::Want { ticket, lease: id, first, count: 1, vcpu } if id == lease(0, 1) => {
            assert_eq!(vcpu, vcpus);
            (ticket, first.0)
        }
        other => panic!("{other:?}"),
    });
    asked.collect()
}

/// A vCPU faults; gives what the broker asks then.
fn faults(bench: &mut Bench, vcpu: u16, claim: IoreqClaim) -> Vec<(u32, u32)> {
    bench.xen.inner.send_request(vcpu, claim);
    asked(bench)
}

/// What the vCPU is answered, if it is.
fn reply(bench: &mut Bench, vcpu: u16) -> Option<u64> {
    bench.run();
    bench.xen.inner.take_response(vcpu)
}

fn wanted(ticket: u32, outcome: WantedOutcome) -> ToBroker {
    ToBroker::Wanted { ticket, outcome }
}

/// The lender brings pages in and answers, all in one go.
fn bring_in(bench: &mut Bench, id: LeaseId, questions: &[(u32, u32)]) {
    for (ticket, page) in questions {
        let sequence = u64::MAX >> 1;
        let extents = [extent(*page, 0x1000 + u64::from(*page), 1)];
        bench.link.to_broker.push_back(present(*ticket, id, sequence, &extents));
        bench.link.to_broker.push_back(wanted(*ticket, WantedOutcome::Present));
    }
    bench.run();
    for message in bench.link.to_lender.drain(..) {
        let FromBroker::Presented { outcome, .. } = message else { panic!("{message:?}") };
        assert!(matches!(outcome, PresentOutcome::Added { .. }), "{outcome:?}");
    }
}

#[test]
fn an_absent_page_is_asked_for_and_the_instruction_is_run_again_when_it_has_come() {
    for bits in [FAULT_READ, FAULT_WRITE, FAULT_READ | FAULT_WRITE, FAULT_FETCH] {
        let (mut bench, id) = bench(1);
        let questions = faults(&mut bench, 0, fault(page(3) + 17, bits));
        assert_eq!(questions, [(0, 3)]);
        assert_eq!(reply(&mut bench, 0), None, "it waits");
        bring_in(&mut bench, id, &questions);
        assert_eq!(reply(&mut bench, 0), Some(RETRY));
        assert_eq!(faults(&mut bench, 0, fault(page(3), bits)), [], "it is there already");
        assert_eq!(reply(&mut bench, 0), Some(RETRY));
        bench.check();
    }
}

#[test]
fn the_page_decides_and_not_the_answer() {
    let (mut bench, id) = bench(1);
    let [(ticket, 3)] = faults(&mut bench, 0, fault(page(3), FAULT_READ))[..] else { panic!() };
    bench.link.to_broker.push_back(present(9, id, 0, &[extent(3, 0x77, 1)]));
    assert_eq!(reply(&mut bench, 0), Some(RETRY), "brought in for somebody else");
    bench.link.to_lender.clear();
    // The answer to a question that nobody waits for any more.
    assert_eq!(bench.ask(wanted(ticket, WantedOutcome::Failed)), []);
    assert_eq!(bench.ask(wanted(ticket, WantedOutcome::Present))[..], [closed(BreachKind::UnexpectedAnswer)]);
}

#[test]
fn an_instruction_of_two_pages_is_run_again_when_both_are_present() {
    let (mut bench, id) = bench(1);
    let first = faults(&mut bench, 0, fault(page(3), FAULT_READ));
    bring_in(&mut bench, id, &first);
    assert_eq!(reply(&mut bench, 0), Some(RETRY));
    let second = faults(&mut bench, 0, fault(page(4), SAME));
    assert_eq!(second[0].1, 4);
    // The first goes while the second comes: no revocation waits.
    assert_eq!(bench.invalidate(1, id, 3, 1), Ok(1));
    bench.link.to_broker.push_back(present(1, id, 1, &[extent(4, 0x2004, 1)]));
    bench.link.to_broker.push_back(wanted(second[0].0, WantedOutcome::Present));
    bench.run();
    assert!(matches!(bench.link.to_lender.pop_front(), Some(FromBroker::Presented { .. })));
    let again = asked(&mut bench);
    assert_eq!(again.iter().map(|(_, page)| *page).collect::<Vec<_>>(), [3]);
    assert_eq!(reply(&mut bench, 0), None, "only one of the two is present");
    bring_in(&mut bench, id, &again);
    assert_eq!(reply(&mut bench, 0), Some(RETRY));
    assert!(bench.broker.table().is_present(3) && bench.broker.table().is_present(4));
    bench.check();
}

#[test]
fn the_loss_of_another_page_of_the_instruction_is_not_this_faults() {
    for outcome in [WantedOutcome::Lost, WantedOutcome::Failed] {
        let (mut bench, id) = bench(1);
        let first = faults(&mut bench, 0, fault(page(3), FAULT_READ));
        bring_in(&mut bench, id, &first);
        assert_eq!(reply(&mut bench, 0), Some(RETRY));
        assert_eq!(bench.invalidate(1, id, 3, 1), Ok(1));
        let second = faults(&mut bench, 0, fault(page(4), SAME));
        bench.link.to_broker.push_back(present(1, id, 1, &[extent(4, 0x2004, 1)]));
        bench.link.to_broker.push_back(wanted(second[0].0, WantedOutcome::Present));
        bench.run();
        assert!(matches!(bench.link.to_lender.pop_front(), Some(FromBroker::Presented { .. })));
        let [(ticket, 3)] = asked(&mut bench)[..] else { panic!() };
        assert_eq!(bench.ask(wanted(ticket, outcome)), []);
        assert_eq!(reply(&mut bench, 0), Some(RETRY), "page 4 is there; page 3 has a fault of its own");
    }
}

#[test]
fn another_instruction_does_not_wait_for_the_pages_of_the_one_before() {
    let (mut bench, id) = bench(1);
    let first = faults(&mut bench, 0, fault(page(3), FAULT_READ));
    bring_in(&mut bench, id, &first);
    assert_eq!(reply(&mut bench, 0), Some(RETRY));
    assert_eq!(bench.invalidate(1, id, 3, 1), Ok(1));
    let second = faults(&mut bench, 0, fault(page(4), FAULT_READ));
    bring_in(&mut bench, id, &second);
    assert_eq!(reply(&mut bench, 0), Some(RETRY));
}

#[test]
fn pages_that_never_stay_are_asked_for_a_bounded_number_of_times() {
    let (mut bench, id) = bench(1);
    let mut questions = faults(&mut bench, 0, fault(page(3), FAULT_READ));
    let mut rounds = 0;
    while let [(ticket, 3)] = questions[..] {
        rounds += 1;
        assert!(rounds < 1000, "asked for ever");
        bench.link.to_broker.push_back(present(1, id, rounds - 1, &[extent(3, 0x1000, 1)]));
        bench.link.to_broker.push_back(invalidate(rounds, id, 3, 1));
        bench.link.to_broker.push_back(wanted(ticket, WantedOutcome::Present));
        bench.run();
        let is_answer = |message: &FromBroker| !matches!(message, FromBroker::Want { .. });
        bench.link.to_lender.retain(|message| !is_answer(message));
        questions = asked(&mut bench);
    }
    assert!(rounds > 1, "asked again at least once");
    assert_eq!(reply(&mut bench, 0), Some(RETRY), "the vCPU can take its interrupts");
}

#[test]
fn an_instruction_of_more_pages_than_are_kept_still_ends() {
    let (mut bench, id) = bench(1);
    for at in 0..2 * MAX_KEPT as u32 {
        let questions = faults(&mut bench, 0, fault(page(at), SAME));
        assert_eq!(questions.len(), 1);
        bring_in(&mut bench, id, &questions);
        assert_eq!(reply(&mut bench, 0), Some(RETRY), "page {at}");
    }
}

#[test]
fn what_can_never_come_is_lost() {
    for outcome in [WantedOutcome::Lost, WantedOutcome::Failed] {
        let (mut bench, _) = bench(1);
        let [(ticket, _)] = faults(&mut bench, 0, fault(page(3), FAULT_READ))[..] else { panic!() };
        assert_eq!(bench.ask(wanted(ticket, outcome)), []);
        assert_eq!(reply(&mut bench, 0), Some(LOST), "{outcome:?}");
    }
    let (mut bench, id) = bench(1);
    assert_eq!(bench.ask(lost(id, 5, 1)), []);
    for claim in [fault(page(5), FAULT_WRITE), fault(page(64), FAULT_READ), fault(page(1 << 30), FAULT_READ)]
    {
        assert_eq!(faults(&mut bench, 0, claim), []);
        assert_eq!(reply(&mut bench, 0), Some(LOST), "lost, or outside the aperture");
    }
    // Lost while a vCPU waits for it, and while it is one of two.
    let first = faults(&mut bench, 0, fault(page(6), FAULT_READ));
    bench.link.to_broker.push_back(lost(id, 6, 1));
    assert_eq!(reply(&mut bench, 0), Some(LOST));
    assert_eq!(bench.ask(wanted(first[0].0, WantedOutcome::Lost)), []);
    let questions = faults(&mut bench, 0, fault(page(7), SAME));
    bring_in(&mut bench, id, &questions);
    assert_eq!(reply(&mut bench, 0), Some(RETRY), "the lost one has a fault of its own");
}

fn ask_again(lease: LeaseId, first: u32) -> ToBroker {
    ToBroker::AskAgain { lease, first: AperturePage(first), count: 64 }
}

#[test]
fn unavailable_means_run_it_again() {
    let (mut bench, _) = bench(1);
    let [(ticket, _)] = faults(&mut bench, 0, fault(page(3), FAULT_READ))[..] else { panic!() };
    assert_eq!(bench.ask(wanted(ticket, WantedOutcome::Unavailable)), []);
    assert_eq!(reply(&mut bench, 0), Some(RETRY));
}

#[test]
fn a_page_that_the_lender_waits_for_itself_is_asked_for_again_when_it_says_so() {
    let (mut bench, id) = bench(2);
    let [(ticket, _)] = faults(&mut bench, 0, fault(page(3), FAULT_READ))[..] else { panic!() };
    assert_eq!(bench.ask(wanted(ticket, WantedOutcome::Waits)), []);
    assert_eq!(reply(&mut bench, 0), None, "nothing can be said of it");
    assert_eq!(bench.ask(ask_again(lease(1, 1), 0)), [], "another lease");
    assert_eq!(bench.ask(ask_again(id, 4)), [], "other pages");
    // Its place among the questions is free, and another vCPU asks for itself.
    let other = faults(&mut bench, 1, fault(page(3), FAULT_READ));
    assert_eq!(other.len(), 1);
    bench.link.to_broker.push_back(ask_again(id, 0));
    assert_eq!(asked(&mut bench), [], "the question of the other one is open");
    bring_in(&mut bench, id, &other);
    assert_eq!([0, 1].map(|vcpu| reply(&mut bench, vcpu)), [Some(RETRY); 2]);

    let [(ticket, _)] = faults(&mut bench, 0, fault(page(4), FAULT_READ))[..] else { panic!() };
    assert_eq!(bench.ask(wanted(ticket, WantedOutcome::Waits)), []);
    bench.link.to_broker.push_back(ask_again(id, 0));
    let again = asked(&mut bench);
    assert_eq!(again[0].1, 4);
    assert_eq!(bench.ask(wanted(again[0].0, WantedOutcome::Waits)), []);
    assert!(matches!(bench.ask(ToBroker::DropRegion { lease: id })[..], [FromBroker::RegionDropped { .. }]));
    assert_eq!(reply(&mut bench, 0), Some(LOST));
}

#[test]
fn the_end_of_the_lease_or_of_the_link_ends_the_wait() {
    let (mut bench, id) = bench(2);
    let [(ticket, _)] = faults(&mut bench, 0, fault(page(3), FAULT_READ))[..] else { panic!() };
    assert_eq!(
        bench.ask(ToBroker::DropRegion { lease: id }),
        [FromBroker::RegionDropped { lease: id, result: Ok(0) }]
    );
    assert_eq!(reply(&mut bench, 0), Some(LOST));
    assert_eq!(bench.ask(wanted(ticket, WantedOutcome::Unavailable)), []);
    assert_eq!(faults(&mut bench, 1, fault(page(3), FAULT_READ)), [], "outside every lease");
    assert_eq!(reply(&mut bench, 1), Some(LOST));

    let (mut bench, _) = self::bench(2);
    let questions = faults(&mut bench, 1, fault(page(3), FAULT_READ));
    assert_eq!(questions.len(), 1);
    bench.broker.lender_gone(&mut bench.xen);
    assert_eq!(reply(&mut bench, 1), Some(LOST));
    assert!(bench.broker.is_finished(&mut bench.xen));
    assert_eq!(faults(&mut bench, 0, fault(page(3), FAULT_READ)), []);
    assert_eq!(reply(&mut bench, 0), Some(LOST));
}

#[test]
fn a_touch_between_the_end_of_a_lease_and_the_drivers_zap_is_run_again() {
    let (mut bench, id) = bench(2);
    let _ = bench.attach();
    let _ = faults(&mut bench, 1, fault(page(3), FAULT_READ));
    let _ = bench.ask(ToBroker::DropRegion { lease: id });
    // Also before the driver has been told.
    bench.borrower.room = 0;
    assert_eq!(reply(&mut bench, 1), Some(RETRY), "it waited when the lease ended");
    bench.borrower.room = 100;
    let told = bench.told();
    let Some(ToBorrower::Revoked { sequence, ended: true, .. }) = told.last() else { panic!("{told:?}") };
    for bits in [FAULT_READ, FAULT_WRITE, SAME] {
        assert_eq!(faults(&mut bench, 0, fault(page(4), bits)), []);
        assert_eq!(reply(&mut bench, 0), Some(RETRY));
    }
    let _ = bench.hear(FromBorrower::ZapDone { sequence: *sequence });
    assert_eq!(faults(&mut bench, 0, fault(page(4), SAME)), []);
    assert_eq!(reply(&mut bench, 0), Some(LOST), "nobody is left who has it mapped");
    bench.check();
}

#[test]
fn a_touch_between_a_loss_and_the_drivers_zap_is_run_again() {
    let (mut bench, id) = bench(1);
    let _ = bench.attach();
    let questions = faults(&mut bench, 0, fault(page(3), FAULT_READ));
    bring_in(&mut bench, id, &questions);
    assert_eq!(reply(&mut bench, 0), Some(RETRY));
    assert_eq!(bench.invalidate(1, id, 3, 1), Ok(1));
    let told = bench.told();
    let Some(ToBorrower::Revoked { sequence, .. }) = told.last() else { panic!("{told:?}") };

    let [(ticket, 3)] = faults(&mut bench, 0, fault(page(3), FAULT_READ))[..] else { panic!() };
    assert_eq!(bench.ask(wanted(ticket, WantedOutcome::Lost)), []);
    assert_eq!(reply(&mut bench, 0), Some(RETRY), "the answer to the question");
    assert_eq!(bench.ask(lost(id, 3, 1)), []);
    assert_eq!(faults(&mut bench, 0, fault(page(3), SAME)), []);
    assert_eq!(reply(&mut bench, 0), Some(RETRY), "what is known without asking");

    let _ = bench.hear(FromBorrower::ZapDone { sequence: *sequence });
    assert_eq!(faults(&mut bench, 0, fault(page(3), SAME)), []);
    assert_eq!(reply(&mut bench, 0), Some(LOST), "no program has it any more");
    bench.check();
}

#[test]
fn a_zap_that_the_driver_has_not_been_told_of_is_owed_too() {
    let (mut bench, id) = bench(1);
    let _ = bench.attach();
    let questions = faults(&mut bench, 0, fault(page(3), FAULT_READ));
    bring_in(&mut bench, id, &questions);
    assert_eq!(reply(&mut bench, 0), Some(RETRY));
    bench.borrower.room = 0;
    assert_eq!(bench.invalidate(1, id, 3, 1), Ok(1));
    assert_eq!(bench.ask(lost(id, 3, 1)), []);
    assert_eq!(faults(&mut bench, 0, fault(page(3), FAULT_READ)), []);
    assert_eq!(reply(&mut bench, 0), Some(RETRY));
    bench.borrower.room = 100;
    let told = bench.told();
    let Some(sequence) = told.iter().find_map(|message| match message {
        ToBorrower::Revoked { sequence, .. } => Some(*sequence),
        _ => None,
    }) else {
        panic!("{told:?}")
    };
    let _ = bench.hear(FromBorrower::ZapDone { sequence });
    assert_eq!(faults(&mut bench, 0, fault(page(3), FAULT_READ)), []);
    assert_eq!(reply(&mut bench, 0), Some(LOST));
}

#[test]
fn a_driver_that_broke_the_contract_is_not_waited_for() {
    let (mut bench, id) = bench(1);
    let _ = bench.attach();
    let _ = bench.ask(ToBroker::DropRegion { lease: id });
    let _ = bench.hear(FromBorrower::ZapDone { sequence: 77 });
    assert!(matches!(bench.link.to_lender.pop_front(), Some(FromBroker::BorrowerClosed { .. })));
    assert!(matches!(bench.broker.borrower_state(), BorrowerState::Closed(_)));
    assert!(bench.broker.is_quarantined(4));
    assert_eq!(faults(&mut bench, 0, fault(page(4), FAULT_READ)), []);
    assert_eq!(reply(&mut bench, 0), Some(LOST));
}

#[test]
fn a_read_only_lease_is_read_and_refuses_writes() {
    let (mut bench, id) = Bench::lend_aware(64, 1, Rights::ReadOnly, CacheMode::WriteCombining);
    assert_eq!(faults(&mut bench, 0, fault(page(3), FAULT_WRITE)), [], "nothing is brought in for it");
    assert_eq!(reply(&mut bench, 0), Some(REFUSED));
    let questions = faults(&mut bench, 0, fault(page(3), FAULT_READ));
    bring_in(&mut bench, id, &questions);
    assert_eq!(reply(&mut bench, 0), Some(RETRY));
    assert_eq!(faults(&mut bench, 0, fault(page(3), FAULT_READ | FAULT_WRITE)), []);
    assert_eq!(reply(&mut bench, 0), Some(REFUSED));
    assert_eq!(bench.xen.calls, [(1, Some(Rights::ReadOnly))]);
}

#[test]
fn stock_xen_refuses_what_it_cannot_enforce() {
    for (rights, cache) in
        [(Rights::ReadOnly, CacheMode::WriteCombining), (Rights::ReadWrite, CacheMode::WriteBack)]
    {
        assert_eq!(Capabilities::STOCK.check(rights, cache), Err(Refusal::Unsupported));
        assert_eq!(Capabilities::LEND_AWARE.check(rights, cache), Ok(()));
    }
}

#[test]
fn vcpus_that_need_the_same_page_share_one_question() {
    let (mut bench, id) = bench(3);
    let questions = faults(&mut bench, 0, fault(page(3), FAULT_READ));
    assert_eq!(faults(&mut bench, 1, fault(page(3) + 8, FAULT_WRITE)), []);
    assert_eq!(faults(&mut bench, 2, fault(page(3), FAULT_FETCH)), []);
    bring_in(&mut bench, id, &questions);
    assert_eq!([0, 1, 2].map(|vcpu| reply(&mut bench, vcpu)), [Some(RETRY); 3]);

    let [(ticket, _)] = faults(&mut bench, 0, fault(page(4), FAULT_READ))[..] else { panic!() };
    assert_eq!(faults(&mut bench, 1, fault(page(4), FAULT_READ)), []);
    assert_eq!(bench.ask(wanted(ticket, WantedOutcome::Failed)), []);
    assert_eq!([0, 1].map(|vcpu| reply(&mut bench, vcpu)), [Some(LOST); 2]);
}

#[test]
fn more_vcpus_than_questions_take_turns() {
    let vcpus = MAX_WANTED + 3;
    let (mut bench, id) = bench(vcpus);
    for vcpu in 0..vcpus as u16 {
        bench.xen.inner.send_request(vcpu, fault(page(vcpu.into()), FAULT_READ));
    }
    let mut served = 0;
    loop {
        let questions = asked(&mut bench);
        assert!(questions.len() <= MAX_WANTED);
        let Some(first) = questions.first() else { break };
        assert!(served > 0 || questions.len() == MAX_WANTED);
        bring_in_keeping_questions(&mut bench, id, &questions);
        served += questions.len();
        assert!(reply(&mut bench, first.1 as u16) == Some(RETRY));
    }
    assert_eq!(served, vcpus);
}

/// As [`bring_in`], where the room that it makes is used at once.
fn bring_in_keeping_questions(bench: &mut Bench, id: LeaseId, questions: &[(u32, u32)]) {
    for (ticket, page) in questions {
        bench.link.to_broker.push_back(present(1, id, 0, &[extent(*page, 0x1000 + u64::from(*page), 1)]));
        bench.link.to_broker.push_back(wanted(*ticket, WantedOutcome::Present));
    }
    bench.run();
    bench.link.to_lender.retain(|message| !matches!(message, FromBroker::Presented { .. }));
}

#[test]
fn tasks_leave_half_of_the_questions_to_vcpus() {
    let (mut bench, id) = bench(4);
    bench.attach();
    for at in 0..MAX_WANTED as u32 {
        bench.borrower.to_broker.push_back(wait_for(id, at * 2, 1));
    }
    let of_tasks = asked_for(&mut bench, false);
    assert_eq!(of_tasks.len(), MAX_WANTED / 2);
    for vcpu in 0..4 {
        // The last one needs a page that a task waits for already: that has its own answer.
        let at = if vcpu == 3 { 0 } else { 40 + u32::from(vcpu) };
        let questions = faults(&mut bench, vcpu, fault(page(at), FAULT_READ));
        assert_eq!(questions.len(), 1, "vCPU {vcpu}");
        bring_in(&mut bench, id, &questions);
        assert_eq!(reply(&mut bench, vcpu), Some(RETRY));
    }
}

#[test]
fn a_question_waits_for_room() {
    let (mut bench, id) = bench(1);
    bench.link.room = 0;
    assert_eq!(faults(&mut bench, 0, fault(page(3), FAULT_READ)), []);
    bench.link.room = 100;
    let questions = asked(&mut bench);
    bring_in(&mut bench, id, &questions);
    assert_eq!(reply(&mut bench, 0), Some(RETRY));
}

#[test]
fn a_detached_borrowers_link_takes_no_answer_from_a_vcpu() {
    let (mut bench, id) = bench(1);
    bench.attach();
    let questions = faults(&mut bench, 0, fault(page(3), FAULT_READ));
    bench.ask(ToBroker::DetachBorrower { attachment: support::bench::ATTACHMENT });
    bring_in(&mut bench, id, &questions);
    assert_eq!(reply(&mut bench, 0), Some(RETRY));
}

#[test]
fn requests_that_are_no_faults_end_and_the_lender_is_asked_for_no_access() {
    let (mut bench, _) = bench(1);
    assert_eq!(faults(&mut bench, 0, read(page(3), 8)), []);
    assert_eq!(reply(&mut bench, 0), Some(u64::MAX));
    let invalidate = IoreqClaim { kind: 8, data: 0x1234, ..read(0, 8) };
    assert_eq!(faults(&mut bench, 0, invalidate), []);
    assert_eq!(reply(&mut bench, 0), Some(0x1234));
    let completed = ToBroker::Completed { id: 0, outcome: AccessOutcome::Written };
    assert_eq!(bench.ask(completed), [closed(BreachKind::UnexpectedAnswer)]);
    // And a fault is nothing on stock Xen, nor is `Failed`.
    let (mut stock, _) = Bench::with_lease(64, 1);
    assert_eq!(stock.request(0, fault(page(3), FAULT_READ)), u64::MAX);
    stock.attach();
    stock.borrower.to_broker.push_back(wait_for(lease(0, 1), 3, 1));
    let [(ticket, 3)] = asked_for(&mut stock, false)[..] else { panic!() };
    assert_eq!(stock.ask(wanted(ticket, WantedOutcome::Failed)), [closed(BreachKind::UnexpectedAnswer)]);
}

#[test]
fn scattered_frames_are_added_and_removed_in_few_calls() {
    let (mut bench, id) = bench(1);
    let scattered = |from: u32| (from..from + 16).map(|at| extent(at, 0x9000 + 2 * u64::from(at), 1));
    for from in [0, 16, 32, 48] {
        let extents = scattered(from).collect::<Vec<_>>();
        let added = PresentOutcome::Added { entries_2mib: 0, entries_4kib: 16 };
        assert_eq!(bench.present(id, 0, &extents), added);
    }
    assert_eq!(bench.invalidate(1, id, 0, 64), Ok(64));
    assert_eq!(bench.xen.calls, [vec![(16, Some(Rights::ReadWrite)); 4], vec![(64, None)]].concat());
    bench.check();
    assert!(bench.xen.inner.lent().is_empty());
}

#[test]
fn a_call_that_fails_half_way_leaves_the_table_true() {
    for failing in 0..16 {
        let (mut bench, id) = bench(1);
        let extents = (0..16).map(|at| extent(at, 0x9000 + 2 * u64::from(at), 1)).collect::<Vec<_>>();
        bench.xen.adds_to_fail.insert(failing, support::fault_injector::Fault { done: 0, errno: 1 });
        let failed = bench.present(id, 0, &extents);
        let PresentOutcome::Failed(failure) = failed else { panic!("{failed:?}") };
        assert_eq!((failure.page, failure.errno), (AperturePage(failing), 1));
        bench.check();
        assert!(bench.xen.inner.lent().is_empty(), "all or nothing");
        assert!(matches!(bench.present(id, 0, &extents), PresentOutcome::Added { .. }));
        let fault = support::fault_injector::Fault { done: 0, errno: 22 };
        bench.xen.removes_to_fail.insert(bench.xen.removes + failing, fault);
        let failure = bench.invalidate(1, id, 0, 16).unwrap_err();
        assert_eq!((failure.page, failure.errno), (AperturePage(failing), 22));
        bench.check();
        assert_eq!(bench.invalidate(2, id, 0, 16), Ok(16 - failing));
    }
}

fn closed(kind: BreachKind) -> FromBroker {
    FromBroker::Closed { breach: Breach { blame: Blame::Lender, kind } }
}

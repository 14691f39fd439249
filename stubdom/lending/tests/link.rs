// SPDX-License-Identifier: MIT OR Apache-2.0
//! The link itself: who speaks first, what a broken contract ends, what waits for room,
//! and how requests end when the lender, or the lease, is gone.

mod support;

use support::bench::{
    copy_in, extent, fill, hello, invalidate, lease, lost, present, read, set_region, write, Bench,
};
use xenlend_lending::broker::{Broker, ConfigError, LinkState, Turn, MAX_VCPUS};
use xenlend_lending::capabilities::Capabilities;
use xenlend_lending::lending_table::PageSlot;
use xenlend_lending::vcpu_slot::VcpuSlot;
use xenlend_protocol::message::{
    AccessOutcome, FromBroker, PresentOutcome, ToBroker, FEATURE_LEND_AWARE, VERSION,
};
use xenlend_protocol::refusal::{Blame, Breach, BreachKind};

fn by_lender(kind: BreachKind) -> Breach {
    Breach { blame: Blame::Lender, kind }
}

fn read_answer(id: u32, bytes: &[u8]) -> ToBroker {
    let bytes = heapless::Vec::from_slice(bytes).unwrap();
    ToBroker::Completed { id, outcome: AccessOutcome::Read { bytes } }
}

fn written(id: u32) -> ToBroker {
    ToBroker::Completed { id, outcome: AccessOutcome::Written }
}

/// The id of the one access that the broker asks for now.
fn asked_id(bench: &mut Bench) -> u32 {
    bench.run();
    let asked: Vec<_> = bench.link.to_lender.drain(..).collect();
    let [FromBroker::Access { id, .. }] = asked[..] else { panic!("{asked:?}") };
    id
}

#[test]
fn hello_comes_first_and_once() {
    let mut bench = Bench::unconnected(8, 1);
    let welcome =
        FromBroker::Welcome { version: VERSION, features: 0, aperture_pages: 8, lease_capacity: 64 };
    assert_eq!(bench.ask(ToBroker::Hello { oldest: 0, newest: 9, features: !FEATURE_LEND_AWARE }), [welcome]);
    let closed = [FromBroker::Closed { breach: by_lender(BreachKind::OutOfTurn) }];
    assert_eq!(bench.ask(hello()), closed);
    for message in [
        set_region(lease(0, 1), 0, 1),
        ToBroker::DropRegion { lease: lease(0, 1) },
        present(1, lease(0, 1), 0, &[]),
        invalidate(1, lease(0, 1), 0, 1),
        ToBroker::Forced { sequence: 1 },
        written(0),
        lost(lease(0, 1), 0, 1),
    ] {
        let mut bench = Bench::unconnected(8, 1);
        assert_eq!(bench.ask(message), closed);
        assert_eq!(bench.ask(hello()), [], "a closed link says no more");
    }
}

#[test]
fn without_a_common_version_the_link_is_over_and_requests_still_end() {
    for (oldest, newest) in [(VERSION + 1, VERSION + 5), (0, VERSION - 1), (9, 0)] {
        let mut bench = Bench::unconnected(8, 1);
        let answer = bench.ask(ToBroker::Hello { oldest, newest, features: 0 });
        assert_eq!(answer, [FromBroker::Incompatible { oldest: VERSION, newest: VERSION }]);
        assert_eq!(bench.broker.link_state(), LinkState::Incompatible);
        assert_eq!(bench.ask(hello()), []);
        assert_eq!(bench.request(0, read(0, 8)), u64::MAX);
    }
}

#[test]
fn both_sides_have_found_the_same_kind_of_xen_or_the_link_is_over() {
    let aware = FEATURE_LEND_AWARE;
    for (capabilities, own) in [(Capabilities::STOCK, 0), (Capabilities::LEND_AWARE, aware)] {
        for offered in [0, aware, !aware, u32::MAX] {
            let mut bench = Bench::unconnected_on(capabilities, 8, 1);
            let answer = bench.ask(ToBroker::Hello { oldest: VERSION, newest: VERSION, features: offered });
            if offered & aware == own {
                let (version, aperture_pages) = (VERSION, 8);
                let welcome =
                    FromBroker::Welcome { version, features: own, aperture_pages, lease_capacity: 64 };
                assert_eq!(answer, [welcome], "{offered:#x}");
                assert_eq!(bench.broker.link_state(), LinkState::Connected);
            } else {
                assert_eq!(answer, [FromBroker::OtherKind { features: own }], "{offered:#x}");
                assert_eq!(bench.broker.link_state(), LinkState::OtherKind);
                assert_eq!(bench.ask(hello()), [], "nothing more is said");
            }
        }
    }
    // Versions are looked at first: features of another version mean something else.
    let mut bench = Bench::unconnected_on(Capabilities::LEND_AWARE, 8, 1);
    let answer = bench.ask(ToBroker::Hello { oldest: VERSION + 1, newest: VERSION + 1, features: 0 });
    assert_eq!(answer, [FromBroker::Incompatible { oldest: VERSION, newest: VERSION }]);
}

#[test]
fn before_hello_the_aperture_reads_all_ones() {
    let mut bench = Bench::unconnected(8, 1);
    assert_eq!(bench.request(0, read(0, 8)), u64::MAX);
}

#[test]
fn answers_wait_for_room_and_no_message_is_taken_meanwhile() {
    let (mut bench, id) = Bench::with_lease(64, 1);
    bench.link.room = 0;
    for (ticket, page) in (0..).zip([3, 4, 5]) {
        bench.link.to_broker.push_back(present(ticket, id, 0, &[extent(page, u64::from(page), 1)]));
    }
    let lender = |bench: &mut Bench| bench.broker.serve_lender(&mut bench.xen, &mut bench.link, 32);
    assert_eq!(lender(&mut bench), Turn::WaitsForRoom);
    assert_eq!(lender(&mut bench), Turn::WaitsForRoom);
    assert_eq!(bench.link.to_broker.len(), 2, "one was taken, and its answer is owed");
    bench.link.room = 1;
    assert_eq!(lender(&mut bench), Turn::WaitsForRoom);
    assert_eq!(bench.link.to_broker.len(), 1);
    bench.link.room = 100;
    assert_eq!(lender(&mut bench), Turn::Idle);
    let tickets = bench.link.to_lender.iter().map(|message| match message {
        FromBroker::Presented { ticket, outcome: PresentOutcome::Added { .. } } => *ticket,
        other => panic!("{other:?}"),
    });
    assert!(tickets.eq(0..3), "in order, none lost, none twice");
    bench.check();
}

#[test]
fn a_turn_takes_no_more_messages_than_it_is_told() {
    let mut bench = Bench::new(64, 1);
    for sequence in 1..=5 {
        bench.link.to_broker.push_back(invalidate(sequence, lease(0, 1), 0, 1));
    }
    let mut lender = |left| {
        let turn = bench.broker.serve_lender(&mut bench.xen, &mut bench.link, 2);
        assert_eq!(bench.link.to_broker.len(), left);
        turn
    };
    assert_eq!(lender(3), Turn::More);
    assert_eq!(lender(1), Turn::More);
    assert_eq!(lender(0), Turn::Idle);
}

#[test]
fn accesses_wait_for_room_and_every_vcpu_has_its_turn() {
    let (mut bench, _) = Bench::with_lease(8, 4);
    bench.pages.insert(0, (0..=255).cycle().take(4096).collect());
    bench.link.room = 1;
    let mut served = Vec::new();
    for _ in 0..40 {
        for vcpu in 0..4 {
            if bench.xen.inner.ioreqs[usize::from(vcpu)].is_none() {
                bench.xen.inner.send_request(vcpu, read(8 * u64::from(vcpu), 8));
            }
        }
        assert_ne!(bench.turn().1, Turn::More);
        for access in bench.link.to_lender.drain(..).collect::<Vec<_>>() {
            let answer = bench.do_access(&access);
            bench.link.to_broker.push_back(answer);
        }
        for vcpu in 0..4_u16 {
            if let Some(datum) = bench.xen.inner.take_response(vcpu) {
                let first = 8 * u64::from(vcpu);
                assert_eq!(datum, u64::from_le_bytes(core::array::from_fn(|byte| first as u8 + byte as u8)));
                served.push(vcpu);
            }
        }
    }
    assert!(served.len() >= 38, "a little room is used");
    for vcpu in 0..4 {
        assert!(served.iter().filter(|served| **served == vcpu).count() >= 9, "vCPU {vcpu} starves");
    }
}

#[test]
fn an_answer_must_fit_what_was_asked() {
    let wrong: [fn(u32) -> ToBroker; 8] = [
        |id| read_answer(id, &[0; 7]),
        |id| read_answer(id, &[0; 9]),
        |id| read_answer(id, &[]),
        written,
        |id| read_answer(id ^ 0x100, &[0; 8]),
        |id| read_answer(id ^ 1, &[0; 8]),
        |id| read_answer(id ^ 0x80, &[0; 8]),
        |_| ToBroker::Completed { id: 0xffff_ffff, outcome: AccessOutcome::Lost },
    ];
    for answer in wrong {
        let (mut bench, id) = Bench::with_lease(8, 2);
        bench.present(id, 0, &[extent(5, 0x705, 1)]);
        bench.xen.inner.send_request(0, read(0, 8));
        let access = asked_id(&mut bench);
        let closed = FromBroker::Closed { breach: by_lender(BreachKind::UnexpectedAnswer) };
        assert_eq!(bench.ask(answer(access)), [closed]);
        // The request ends by the loss policy and nothing stays lent.
        assert_eq!(bench.xen.inner.take_response(0), Some(0));
        assert!(bench.xen.inner.lent().is_empty());
        bench.check();
    }
    // A write that is answered as a read; and an answer that comes twice.
    let (mut bench, _) = Bench::with_lease(8, 1);
    bench.xen.inner.send_request(0, write(0, 8, 1));
    let access = asked_id(&mut bench);
    bench.ask(read_answer(access, &[0; 8]));
    assert!(bench.is_closed());
    let (mut bench, _) = Bench::with_lease(8, 1);
    bench.xen.inner.send_request(0, write(0, 8, 1));
    let access = asked_id(&mut bench);
    assert_eq!(bench.ask(written(access)), []);
    bench.ask(written(access));
    assert!(bench.is_closed());
    bench.check();
}

#[test]
fn a_lease_that_ends_ends_its_outstanding_accesses_and_their_answers_are_ignored_once() {
    let mut bench = Bench::new(8, 3);
    let (ending, staying) = (lease(0, 1), lease(1, 1));
    bench.ask(set_region(ending, 0, 4));
    bench.ask(set_region(staying, 4, 4));
    bench.xen.inner.send_request(0, read(0, 8));
    let given_up = asked_id(&mut bench);
    bench.xen.inner.send_request(1, read(4 * 4096, 8));
    let kept = asked_id(&mut bench);
    bench.xen.inner.send_request(2, write(4 * 4096 - 4, 8, 0x1122_3344_5566_7788));
    let given_up_too = asked_id(&mut bench);

    let dropped = FromBroker::RegionDropped { lease: ending, result: Ok(0) };
    bench.link.to_broker.push_back(ToBroker::DropRegion { lease: ending });
    bench.run();
    assert_eq!(bench.link.to_lender.pop_front(), Some(dropped));
    assert_eq!(bench.xen.inner.take_response(0), Some(0), "the loss policy of the lease it was asked under");
    assert_eq!(bench.xen.inner.take_response(1), None);
    // The part of the other lease is still done.
    let rest = bench.link.to_lender.pop_front().unwrap();
    let FromBroker::Access { id: rest, lease: asked_of, offset: 0, .. } = rest else { panic!("{rest:?}") };
    assert_eq!(asked_of, staying);
    assert_eq!(bench.ask(written(rest)), []);
    assert!(bench.xen.inner.take_response(2).is_some());

    // Late answers, even of the wrong shape, were asked for.
    assert_eq!(bench.ask(written(given_up)), []);
    assert_eq!(bench.ask(written(given_up_too)), []);
    assert_eq!(bench.ask(read_answer(kept, &[7; 8])), []);
    assert_eq!(bench.xen.inner.take_response(1), Some(0x0707_0707_0707_0707));
    // A second time they were not.
    bench.ask(written(given_up));
    assert_eq!(bench.broker.link_state(), LinkState::Closed(by_lender(BreachKind::UnexpectedAnswer)));
}

#[test]
fn a_vcpu_whose_answers_are_owed_waits_until_one_comes() {
    let mut bench = Bench::new(8, 1);
    let mut owed = Vec::new();
    for generation in 1..=4 {
        bench.ask(set_region(lease(0, generation), 0, 4));
        bench.xen.inner.send_request(0, read(0, 8));
        owed.push(asked_id(&mut bench));
        bench.ask(ToBroker::DropRegion { lease: lease(0, generation) });
        assert!(bench.xen.inner.take_response(0).is_some());
    }
    bench.ask(set_region(lease(0, 5), 0, 4));
    bench.xen.inner.send_request(0, read(0, 8));
    bench.run();
    assert_eq!(bench.link.to_lender, [], "four are owed");
    bench.link.to_broker.push_back(read_answer(owed[2], &[9; 8]));
    let id = asked_id(&mut bench);
    assert!(!owed.contains(&id));
    assert_eq!(bench.ask(read_answer(id, &[5; 8])), []);
    assert_eq!(bench.xen.inner.take_response(0), Some(0x0505_0505_0505_0505));
    bench.check();
}

#[test]
fn a_lender_that_is_gone_leaves_nothing_lent_and_nobody_waiting() {
    let (mut bench, id) = Bench::with_lease(2048, 3);
    bench.xen.inner.ram.insert(8, vec![1; 4096]);
    bench.present(id, 0, &[extent(512, 0x1_0000, 512), extent(3, 0x703, 1)]);
    bench.xen.inner.send_request(0, read(0, 8));
    bench.xen.inner.send_request(1, copy_in(4096, 0x8000, 8, 512));
    bench.xen.inner.send_request(2, fill(8192, 1, 1, 4096));
    bench.run();
    assert_eq!(bench.link.to_lender.len(), 3);
    bench.broker.lender_gone(&mut bench.xen);
    assert_eq!(bench.broker.link_state(), LinkState::LenderGone);
    assert!(bench.xen.inner.lent().is_empty());
    bench.run();
    for vcpu in 0..3 {
        assert!(bench.xen.inner.take_response(vcpu).is_some(), "vCPU {vcpu} hangs");
    }
    assert_eq!(bench.link.to_lender.len(), 3, "nothing more is said");
    bench.link.to_lender.clear();
    assert_eq!(bench.request(0, read(0, 8)), 0, "later accesses end by the loss policy");
    bench.check();
}

#[test]
fn a_broker_is_finished_when_nobody_needs_it_any_more() {
    let (mut bench, id) = Bench::with_lease(8, 2);
    assert!(!bench.broker.is_finished(&mut bench.xen), "it has a lender");
    bench.present(id, 0, &[extent(3, 0x703, 2)]);
    bench.xen.inner.send_request(1, read(0, 8));
    bench.run();
    // One page cannot be removed at first.
    bench.xen.fail_next_remove(1, 1);
    bench.broker.lender_gone(&mut bench.xen);
    assert_eq!(bench.xen.inner.lent().len(), 1);
    assert!(!bench.broker.is_finished(&mut bench.xen), "a page is lent and a vCPU waits");
    bench.run();
    assert!(bench.xen.inner.lent().is_empty());
    assert!(!bench.broker.is_finished(&mut bench.xen), "the vCPU has not taken its answer");
    assert_eq!(bench.xen.inner.take_response(1), Some(0));
    assert!(bench.broker.is_finished(&mut bench.xen));
    bench.xen.inner.send_request(0, read(0, 8));
    assert!(!bench.broker.is_finished(&mut bench.xen), "a request has come that nobody has looked at");
    bench.run();
    assert_eq!(bench.xen.inner.take_response(0), Some(0));
    assert!(bench.broker.is_finished(&mut bench.xen));
}

#[test]
fn a_broken_ring_ends_the_link_in_whatever_direction_it_is_found() {
    let kind = BreachKind::RingIndices;
    for found in ["receiving", "sending an answer", "sending an access"] {
        let (mut bench, id) = Bench::with_lease(8, 2);
        bench.present(id, 0, &[extent(3, 0x703, 1)]);
        bench.xen.inner.send_request(0, read(0, 8));
        let _ = asked_id(&mut bench);
        match found {
            "receiving" => bench.link.receive_breach = Some(kind),
            "sending an answer" => {
                bench.link.send_breach = Some(kind);
                bench.link.to_broker.push_back(invalidate(1, id, 0, 1));
            }
            _ => {
                bench.link.send_breach = Some(kind);
                bench.xen.inner.send_request(1, read(0, 8));
            }
        }
        bench.run();
        assert_eq!(bench.broker.link_state(), LinkState::Closed(by_lender(kind)), "{found}");
        assert!(bench.xen.inner.lent().is_empty());
        assert_eq!(bench.xen.inner.take_response(0), Some(0), "{found}");
        bench.check();
        // Whatever comes later is not listened to.
        bench.link.receive_breach = None;
        bench.link.send_breach = None;
        let said = bench.ask(set_region(lease(1, 1), 0, 1));
        assert!(said.iter().all(|said| matches!(said, FromBroker::Closed { .. })), "{said:?}");
        assert_eq!(bench.request(0, read(0, 8)), 0);
    }
}

#[test]
fn what_could_not_be_removed_when_the_link_ended_is_tried_again() {
    let (mut bench, id) = Bench::with_lease(8, 1);
    bench.present(id, 0, &[extent(3, 0x703, 2)]);
    bench.xen.fail_next_remove(1, 1);
    bench.broker.lender_gone(&mut bench.xen);
    assert_eq!(bench.xen.inner.lent().len(), 1);
    bench.check();
    bench.run();
    assert!(bench.xen.inner.lent().is_empty());
    bench.check();
}

#[test]
fn a_broker_that_cannot_be_is_not_made() {
    let make = |address: u64, pages: usize, vcpus: usize| {
        let pages = Box::leak(vec![PageSlot::ABSENT; pages].into_boxed_slice());
        let vcpus = Box::leak((0..vcpus).map(|_| VcpuSlot::default()).collect::<Vec<_>>().into_boxed_slice());
        Broker::new(address, pages, vcpus, Capabilities::STOCK).map(|_| ())
    };
    assert_eq!(make(0x20_0000, 1, MAX_VCPUS), Ok(()));
    assert_eq!(make(0x20_1000, 1, 1), Err(ConfigError::Aperture));
    assert_eq!(make(0x20_0000, 0, 1), Err(ConfigError::Aperture));
    assert_eq!(make(u64::MAX - 0x1f_ffff, 512, 1), Err(ConfigError::Aperture));
    assert_eq!(make(0x20_0000, 1, 0), Err(ConfigError::VcpuCount));
    assert_eq!(make(0x20_0000, 1, MAX_VCPUS + 1), Err(ConfigError::VcpuCount));
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Events without work, and a borrower that never stops asking: neither costs a revocation anything.
//! Counted in turns, calls to Xen and messages.

mod support;

use support::bench::{copy_in, extent, fault, fill, invalidate, read, write, Bench};
use xenlend_lending::broker::Turn;
use xenlend_lending::fault::{FAULT_READ, FAULT_SAME_INSTRUCTION};
use xenlend_protocol::message::{CacheMode, FromBroker, Rights, ToBroker, WantedOutcome};

const VCPUS: usize = 8;

#[test]
fn events_without_work_cost_nothing_and_say_nothing() {
    let (mut bench, id) = Bench::with_lease(64, VCPUS);
    bench.present(id, 0, &[extent(0, 0x700, 8)]);
    bench.xen.inner.send_request(0, read(16 * 4096, 8));
    bench.run();
    // An access is outstanding, and the lender takes its time.
    bench.link.to_lender.clear();
    let before = (bench.xen.adds, bench.xen.removes, bench.xen.inner.completions.len());
    for _ in 0..1000 {
        assert_eq!(bench.turn(), (Turn::Idle, Turn::Idle));
    }
    assert_eq!((bench.xen.adds, bench.xen.removes, bench.xen.inner.completions.len()), before);
    assert_eq!(bench.link.to_lender.len(), 0);
    bench.check();
}

/// A vCPU whose instruction faults again and again, on pages that a lender will not bring in now.
#[test]
fn faults_that_are_retried_for_ever_cost_a_revocation_nothing() {
    let (mut bench, id) = Bench::lend_aware(64, VCPUS, Rights::ReadWrite, CacheMode::WriteCombining);
    bench.present(id, 0, &[extent(0, 0x700, 8)]);
    for round in 1..100 {
        for vcpu in 0..VCPUS as u16 {
            let _ = bench.xen.inner.take_response(vcpu);
            if bench.xen.inner.ioreqs[usize::from(vcpu)].is_none() {
                let at = (8 + u64::from(vcpu)) * 4096;
                bench.xen.inner.send_request(vcpu, fault(at, FAULT_READ | FAULT_SAME_INSTRUCTION));
            }
        }
        let removes = bench.xen.removes;
        let asked = bench.ask(invalidate(round, id, 0, 8));
        let is_answer = |said: &&FromBroker| matches!(said, FromBroker::Invalidated { sequence, .. } if *sequence == round);
        assert_eq!(asked.iter().position(|said| is_answer(&said)), Some(0), "nothing is in front of it");
        assert!(bench.xen.removes - removes <= 1);
        for said in asked {
            if let FromBroker::Want { ticket, .. } = said {
                let outcome = WantedOutcome::Unavailable;
                bench.link.to_broker.push_back(ToBroker::Wanted { ticket, outcome });
            }
        }
    }
    // A round to fault and to be asked about, one to be answered, one to take that.
    assert!(bench.broker.counters().faults_retried >= 99 / 3 * VCPUS as u64 - VCPUS as u64);
    bench.check();
}

/// What lies between an `Invalidate` and its acknowledgement.
#[derive(Debug, PartialEq, Eq)]
struct Cost {
    turns: u32,
    adds: u32,
    removes: u32,
    /// Messages in front of the acknowledgement.
    messages: usize,
}

/// Revokes eight pages; before each turn every vCPU that can has a new request.
fn revoke(asking: bool) -> Cost {
    let (mut bench, id) = Bench::with_lease(64, VCPUS);
    bench.present(id, 0, &[extent(0, 0x700, 8)]);
    let ask = |bench: &mut Bench| {
        for vcpu in 0..VCPUS as u16 {
            let _ = bench.xen.inner.take_response(vcpu);
            if !asking || bench.xen.inner.ioreqs[usize::from(vcpu)].is_some() {
                continue;
            }
            // Of every kind: to absent pages of the lease, to no page, and to the one that is revoked.
            let claim = match vcpu % 4 {
                0 => read(32 * 4096, 8),
                1 => fill(40 * 4096, 8, 1, 512),
                2 => copy_in(0, 0x5000, 8, 512),
                _ => write(1 << 30, 8, 7),
            };
            bench.xen.inner.send_request(vcpu, claim);
        }
    };
    // The borrower has been at it for a while.
    for _ in 0..20 {
        ask(&mut bench);
        let _ = bench.turn();
    }
    bench.link.to_lender.clear();
    let (adds, removes) = (bench.xen.adds, bench.xen.removes);
    bench.link.to_broker.push_back(invalidate(1, id, 0, 8));
    for turns in 1..=100 {
        ask(&mut bench);
        let _ = bench.turn();
        let acknowledged =
            |message: &FromBroker| matches!(message, FromBroker::Invalidated { result: Ok(8), .. });
        if let Some(messages) = bench.link.to_lender.iter().position(acknowledged) {
            bench.check();
            return Cost {
                turns,
                adds: bench.xen.adds - adds,
                removes: bench.xen.removes - removes,
                messages,
            };
        }
    }
    panic!("never acknowledged");
}

#[test]
fn a_borrower_that_never_stops_asking_adds_nothing_to_a_revocation() {
    let quiet = revoke(false);
    assert_eq!(quiet, Cost { turns: 1, adds: 0, removes: 1, messages: 0 });
    assert_eq!(revoke(true), quiet);
}

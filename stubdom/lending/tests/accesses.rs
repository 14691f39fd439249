// SPDX-License-Identifier: MIT OR Apache-2.0
//! Requests of vCPUs against an independent model of what they do to two flat memories.

mod support;

use std::collections::BTreeSet;

use proptest::prelude::*;
use support::bench::{copy_in, copy_out, extent, fill, lease, lost, read, set_region, write, Bench};
use support::byte_model::ByteModel;
use support::fake_hypervisor::APERTURE;
use xenlend_lending::hypervisor::IoreqClaim;
use xenlend_protocol::message::{AccessOperation, FromBroker, ToBroker, MAX_ACCESS_BYTES};

/// Pages 0 to 2 are lent, page 3 is not; gfns 8 and 9 are RAM, 10 is not, 11 is.
const LENT_PAGES: u64 = 3;
const RAM: u64 = 8 * 4096;

fn page_of(seed: u64) -> Vec<u8> {
    (0..4096_u64).map(|byte| (byte.wrapping_mul(seed.wrapping_mul(2).wrapping_add(1)) >> 3) as u8).collect()
}

fn bench() -> Bench {
    let mut bench = Bench::new(4, 2);
    let id = lease(0, 1);
    bench.ask(set_region(id, 0, LENT_PAGES as u32));
    bench.pages = (0..LENT_PAGES).map(|page| (page, page_of(page + 100))).collect();
    bench.xen.inner.ram = [8, 9, 11].into_iter().map(|gfn| (gfn, page_of(gfn))).collect();
    bench
}

fn model_of(bench: &Bench) -> ByteModel {
    ByteModel { aperture: bench.pages.clone(), ram: bench.xen.inner.ram.clone() }
}

/// Does the request in both worlds and compares all of both memories, and the datum.
fn check_against_model(bench: &mut Bench, claim: IoreqClaim) {
    let mut model = model_of(bench);
    let expected = model.copy(&claim);
    let forgets = bench.xen.inner.forgets;
    bench.xen.inner.send_request(0, claim);
    for access in bench.serve() {
        let FromBroker::Access { offset, operation, .. } = access else { panic!("{access:?}") };
        let length = match &operation {
            AccessOperation::Read { length } => usize::from(*length),
            AccessOperation::Write { bytes } => bytes.len(),
        };
        assert!((1..=MAX_ACCESS_BYTES).contains(&length) && usize::from(offset) + length <= 4096);
    }
    let datum = bench.xen.inner.take_response(0).expect("the request is completed");
    if let Some(expected) = expected {
        let size_mask = u64::MAX >> (64 - 8 * claim.size);
        assert_eq!(datum & size_mask, expected, "{claim:x?}");
    } else {
        assert_eq!(datum, claim.data, "Xen compares the datum of what it re-issues: {claim:x?}");
    }
    assert_eq!(model_of(bench), model, "{claim:x?}");
    assert_eq!(bench.xen.inner.forgets, forgets);
    bench.check();
}

fn downwards(claim: IoreqClaim) -> IoreqClaim {
    IoreqClaim { downwards: true, ..claim }
}

#[test]
fn requests_do_what_the_model_does() {
    const VALUE: u64 = 0x1122_3344_5566_7788;
    let mut claims = Vec::new();
    for size in [1, 2, 4, 8] {
        // Alone: in a page, unaligned, at its end, across pages, into what is not lent.
        for at in [0, 8, 3, 4096 - 1, 4096 - 5, 2 * 4096 - 8, 3 * 4096 - 4, 3 * 4096 - 1, 3 * 4096 + 16] {
            claims.extend([read(at, size), write(at, size, VALUE)]);
        }
        // memset, and memcpy both ways: up to a page, aligned and not.
        for (at, ram, count) in [
            (0, RAM, 4096 / size),
            (0, RAM, 1),
            (24, RAM + 16, 16),
            (40, RAM + 4096 - 4, 7),
            (4096 - 3, RAM + 1, 1),
            (4096 + 1, RAM + 3, (4096 - 8) / size),
            (2 * 4096, RAM + 2048, 2048 / size),
            (3 * 4096 - 16, RAM, 6),
            (3 * 4096, RAM + 4096, 16),
        ] {
            claims.extend([fill(at, size, VALUE, count), copy_in(at, ram, size, count)]);
            claims.push(copy_out(at, ram, size, count));
            // The same, downwards: the address is that of the last element then.
            let behind = u64::from(size * (count - 1));
            claims.extend([
                downwards(fill(at + behind, size, VALUE, count)),
                downwards(copy_in(at + behind, ram + behind, size, count)),
                downwards(copy_out(at + behind, ram + behind, size, count)),
            ]);
        }
        // A repeated read into a value: the last one stays.
        claims.push(IoreqClaim { count: 5, ..read(64, size) });
        claims.push(downwards(IoreqClaim { count: 5, ..read(64, size) }));
        // RAM that is not there: that part is dropped, the rest is done.
        claims.extend([
            copy_in(0, 10 * 4096 - 16, size, 64 / size),
            copy_out(0, 10 * 4096 - 16, size, 64 / size),
            copy_in(0, 11 * 4096 - 16, size, 64 / size),
            copy_out(0, 11 * 4096 - 16, size, 64 / size),
        ]);
    }
    let mut bench = bench();
    for claim in claims {
        check_against_model(&mut bench, claim);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_request_does_what_the_model_does(
        at in 0_u64..4 * 4096,
        ram in 7 * 4096_u64..12 * 4096,
        size in prop::sample::select(vec![1_u32, 2, 4, 8]),
        count in prop_oneof![3 => 1_u32..9, 1 => 1_u32..513],
        value: u64,
        is_read: bool,
        data_is_pointer: bool,
        downwards: bool,
    ) {
        let behind = if downwards { u64::from(size * (count - 1)) } else { 0 };
        let claim = IoreqClaim {
            address: APERTURE + at + behind,
            data: if data_is_pointer { ram + behind } else { value },
            count,
            size,
            state: 0,
            data_is_pointer,
            is_read,
            downwards,
            kind: 1,
        };
        check_against_model(&mut bench(), claim);
    }
}

#[test]
fn what_is_no_sensible_request_reads_all_ones_and_is_completed() {
    let odd = [
        IoreqClaim { kind: 0, ..read(0, 8) },
        IoreqClaim { kind: 7, ..read(0, 8) },
        IoreqClaim { kind: 255, ..write(0, 8, 1) },
        read(0, 0),
        read(0, 3),
        read(0, 16),
        write(0, u32::MAX, 1),
        IoreqClaim { count: 0, ..read(0, 4) },
        fill(0, 8, 1, u32::MAX),
        fill(0, 1, 1, 4097),
        IoreqClaim { address: u64::MAX - 3, ..read(0, 8) },
        IoreqClaim { address: 8, ..downwards(fill(0, 8, 1, 3)) },
        copy_in(0, u64::MAX - 8, 8, 2),
        downwards(copy_out(64, 8, 8, 3)),
    ];
    for claim in odd {
        let mut bench = bench();
        let before = model_of(&bench);
        assert_eq!(bench.request(0, claim), u64::MAX, "{claim:x?}");
        assert_eq!(model_of(&bench), before);
        assert_eq!(bench.broker.counters().unknown_requests, 1);
    }
}

#[test]
fn an_invalidate_request_forgets_borrower_memory_and_is_completed() {
    let mut bench = bench();
    bench.request(1, IoreqClaim { kind: 8, ..read(0, 8) });
    assert_eq!(bench.xen.inner.forgets, 1);
    assert_eq!(bench.broker.counters().accesses, 0);
}

#[test]
fn addresses_outside_the_aperture_read_all_ones() {
    let mut bench = bench();
    for address in [0, APERTURE - 8, APERTURE + 4 * 4096, u64::MAX - 64] {
        assert_eq!(bench.request(0, IoreqClaim { address, ..read(0, 8) }), u64::MAX);
        bench.request(0, IoreqClaim { address, ..write(0, 8, 5) });
    }
    assert_eq!(bench.broker.counters().accesses, 0);
}

#[test]
fn a_lost_page_reads_zeros_and_takes_no_writes_and_nobody_is_asked() {
    let mut bench = bench();
    bench.ask(lost(lease(0, 1), 1, 1));
    assert_eq!(bench.request(0, read(4096 + 8, 8)), 0);
    bench.request(0, write(4096 + 8, 8, 5));
    assert_eq!(bench.broker.counters().accesses, 0);
    assert_eq!(bench.broker.counters().lost_pieces, 2);
    // A read across the border has both parts.
    let low = u64::from(u32::from_le_bytes(bench.pages[&0][4092..].try_into().unwrap()));
    assert_eq!(bench.request(0, read(4096 - 4, 8)), low);
    bench.request(0, copy_out(4096, RAM, 8, 4));
    assert_eq!(bench.xen.inner.ram[&8][..32], [0; 32]);
}

#[test]
fn an_access_that_the_lender_cannot_do_ends_by_the_loss_policy_for_once() {
    let mut bench = bench();
    bench.lost_for_the_lender = vec![0];
    assert_eq!(bench.request(0, read(8, 8)), 0);
    bench.request(0, write(8, 8, 5));
    bench.lost_for_the_lender.clear();
    check_against_model(&mut bench, read(8, 8));
}

/// `wants_page` of every access of a request.
fn wishes(bench: &mut Bench, claim: IoreqClaim) -> Vec<bool> {
    bench.xen.inner.send_request(0, claim);
    let wishes = bench
        .serve()
        .into_iter()
        .map(|access| match access {
            FromBroker::Access { wants_page, .. } => wants_page,
            other => panic!("{other:?}"),
        })
        .collect();
    bench.xen.inner.take_response(0).expect("the request is completed");
    wishes
}

#[test]
fn a_page_is_wanted_once_for_each_request_and_never_under_a_repeated_write() {
    let mut bench = bench();
    assert_eq!(wishes(&mut bench, read(0, 8)), [true]);
    assert_eq!(wishes(&mut bench, write(0, 1, 1)), [true]);
    assert_eq!(wishes(&mut bench, read(4096 - 4, 8)), [true, true], "two pages");
    assert_eq!(wishes(&mut bench, copy_in(0, RAM, 8, 96)), [true, false, false]);
    assert_eq!(wishes(&mut bench, copy_out(0, RAM, 8, 96)), [true, false, false]);
    assert_eq!(wishes(&mut bench, downwards(copy_in(8, RAM + 8, 8, 2))), [true]);
    // Xen re-emulates these in another shape once the page is there, and kills the borrower.
    assert_eq!(wishes(&mut bench, fill(0, 8, 1, 2)), [false]);
    assert_eq!(wishes(&mut bench, fill(0, 1, 1, 1024)), [false; 4]);
    assert_eq!(wishes(&mut bench, downwards(write(0, 8, 1))), [false]);
    assert_eq!(wishes(&mut bench, write(4096 - 1, 2, 1)), [false, false], "one element across a border");
    // A page that is there, for which Xen still sends what it had begun.
    bench.present(lease(0, 1), 0, &[extent(0, 0x700, 1)]);
    assert_eq!(wishes(&mut bench, read(0, 8)), [false]);
    assert_eq!(wishes(&mut bench, read(4096 - 4, 8)), [false, true]);
}

#[test]
fn one_access_of_a_vcpu_is_outstanding_at_a_time() {
    let mut bench = bench();
    bench.xen.inner.send_request(0, copy_in(0, RAM, 8, 512));
    bench.xen.inner.send_request(1, copy_out(4096, RAM + 4096, 8, 512));
    let mut ids = BTreeSet::new();
    loop {
        bench.run();
        bench.run();
        let asked: Vec<_> = bench.link.to_lender.drain(..).collect();
        if asked.is_empty() {
            break;
        }
        assert_eq!(asked.len(), 2, "one for each vCPU, however often it is given turns");
        for access in asked {
            let answer = bench.do_access(&access);
            let ToBroker::Completed { id, .. } = answer else { panic!("{answer:?}") };
            assert!(ids.insert(id), "an id is used once");
            bench.link.to_broker.push_back(answer);
        }
    }
    assert_eq!(ids.len(), 32);
    assert_eq!(bench.xen.inner.completions.len(), 2);
    assert_eq!(bench.pages[&0], page_of(8));
    assert_eq!(bench.xen.inner.ram[&9], page_of(101));
}

#[test]
fn work_of_a_turn_is_bounded_however_long_the_request() {
    let mut bench = bench();
    // Every byte pair outside every lease and with RAM pages on both sides of a border.
    bench.xen.inner.send_request(0, copy_out(3 * 4096, 64 * 4096, 8, 4096));
    let mut turns = 0;
    while bench.xen.inner.take_response(0).is_none() {
        let _ = bench.turn();
        turns += 1;
    }
    assert!((2..100).contains(&turns), "{turns}");
}

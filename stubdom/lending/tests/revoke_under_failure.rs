// SPDX-License-Identifier: MIT OR Apache-2.0
//! Revocation whatever fails: nothing is acknowledged that is still mapped, the answer
//! names the page, and trying again converges.

mod support;

use proptest::prelude::*;
use support::bench::{extent, invalidate, lease, present, set_region, Bench};
use support::fake_hypervisor::{Call, EINVAL, ENOMEM, EPERM};
use support::fault_injector::Fault;
use xenlend_protocol::extent::ClaimedExtent;
use xenlend_protocol::frame::AperturePage;
use xenlend_protocol::message::{FromBroker, PresentOutcome, ToBroker, MAX_INVALIDATIONS};
use xenlend_protocol::refusal::{Blame, Breach, BreachKind, RemoveFailure};

const EXTENTS: [ClaimedExtent; 5] = [
    extent_of(3, 0x703, 5),
    extent_of(8, 0x9000, 2),
    extent_of(512, 0x1_0000, 1024),
    extent_of(1536, 0x1_0400, 7),
    extent_of(1600, 0x1_0440, 3),
];
const PRESENT_PAGES: u32 = 5 + 2 + 1024 + 7 + 3;

const fn extent_of(page: u32, mfn: u64, count: u32) -> ClaimedExtent {
    ClaimedExtent { page: AperturePage(page), mfn: xenlend_protocol::frame::Mfn(mfn), count }
}

fn bench() -> (Bench, xenlend_protocol::lease_id::LeaseId) {
    let (mut bench, id) = Bench::with_lease(2048, 1);
    let outcome = bench.present(id, 0, &EXTENTS);
    assert_eq!(outcome, PresentOutcome::Added { entries_2mib: 2, entries_4kib: PRESENT_PAGES - 1024 });
    bench.xen.inner.calls.clear();
    (bench, id)
}

#[test]
fn runs_go_in_as_few_calls_as_frames_follow_each_other() {
    let (mut bench, id) = bench();
    assert_eq!(bench.invalidate(1, id, 0, 2048), Ok(PRESENT_PAGES));
    let expected = [
        Call::Remove { first: 3, mfn: 0x703, count: 5 },
        Call::Remove { first: 8, mfn: 0x9000, count: 2 },
        Call::Remove { first: 512, mfn: 0x1_0000, count: 1031 },
        Call::Remove { first: 1600, mfn: 0x1_0440, count: 3 },
    ];
    assert_eq!(bench.xen.inner.calls, expected);
    bench.check();
}

#[test]
fn only_the_pages_named_go_and_2mib_goes_whole() {
    for (first, count, removed) in [
        (0, 3, 0),
        (5, 1, 1),
        (5, 100, 5),
        (600, 1, 512),
        (1023, 1, 512),
        (1023, 2, 1024),
        (511, 1, 0),
        (1535, 2, 513),
        (1536, 2, 2),
        (7, 506, 1 + 2 + 512),
        (0, 0, 0),
        (2047, u32::MAX, 0),
        (u32::MAX, 1, 0),
    ] {
        let (mut bench, id) = bench();
        // No page table is left: removing part of a 2 MiB entry would fail.
        bench.xen.inner.tables_left = 0;
        assert_eq!(bench.invalidate(1, id, first, count), Ok(removed), "{first} {count}");
        for page in first..first.saturating_add(count).min(2048) {
            assert!(!bench.xen.inner.lent().contains_key(&page));
        }
        bench.check();
    }
}

#[test]
fn an_invalidation_reaches_no_other_lease() {
    let mut bench = Bench::new(64, 1);
    let (low, high) = (lease(0, 1), lease(1, 1));
    bench.ask(set_region(low, 0, 32));
    bench.ask(set_region(high, 32, 32));
    bench.present(low, 0, &[extent(31, 0x731, 1)]);
    bench.present(high, 0, &[extent(32, 0x732, 1)]);
    assert_eq!(bench.invalidate(1, low, 0, 64), Ok(1));
    assert_eq!(bench.xen.inner.lent().into_keys().collect::<Vec<_>>(), [32]);
    assert_eq!(
        bench.ask(ToBroker::DropRegion { lease: low }),
        [FromBroker::RegionDropped { lease: low, result: Ok(0) }]
    );
    bench.check();
    assert_eq!(bench.xen.inner.lent().len(), 1);
}

#[test]
fn whatever_remove_fails_the_answer_names_the_page_and_a_retry_converges() {
    for errno in [EPERM, ENOMEM, EINVAL] {
        for nth in 0..4 {
            for done in [0, 1, 2, 511, 512, 1000, u32::MAX] {
                let (mut bench, id) = bench();
                bench.xen.removes_to_fail.insert(nth, Fault { done, errno });
                let failure = bench.invalidate(1, id, 0, 2048).expect_err("a remove has failed");
                assert_eq!(failure.errno, errno);
                let lent = bench.xen.inner.lent();
                assert_eq!(lent.keys().next(), Some(&failure.page.0), "the first page still mapped");
                bench.check();
                // Frames looked up before are as stale as if it had been acknowledged.
                let again = bench.present(id, 0, &[extent(0, 0x700, 1)]);
                assert_eq!(again, PresentOutcome::Stale);
                // The lender has put right what was wrong.
                assert_eq!(bench.invalidate(2, id, 0, 2048), Ok(lent.len() as u32));
                assert!(bench.xen.inner.lent().is_empty());
                bench.check();
            }
        }
    }
}

#[test]
fn a_failure_is_never_taken_for_a_whole_removal() {
    let (mut bench, id) = bench();
    bench.xen.removes_exaggerate = true;
    bench.xen.fail_next_remove(0, EPERM);
    let failure = RemoveFailure { page: AperturePage(7), errno: EPERM };
    assert_eq!(bench.invalidate(1, id, 3, 5), Err(failure));
    assert!(bench.broker.table().is_present(7), "the page that was named counts as present");
}

#[test]
fn a_lease_whose_end_failed_ends_by_another_drop() {
    let (mut bench, id) = bench();
    for done in [0, 300, 900] {
        bench.xen.fail_next_remove(done, EPERM);
        let answer = bench.ask(ToBroker::DropRegion { lease: id });
        let [FromBroker::RegionDropped { result: Err(RemoveFailure { page, .. }), .. }] = answer[..] else {
            panic!("{answer:?}");
        };
        assert_eq!(bench.xen.inner.lent().keys().next(), Some(&page.0));
        bench.check();
    }
    let left = bench.xen.inner.lent().len() as u32;
    let dropped = FromBroker::RegionDropped { lease: id, result: Ok(left) };
    assert_eq!(bench.ask(ToBroker::DropRegion { lease: id }), [dropped]);
    assert!(bench.xen.inner.lent().is_empty());
    bench.check();
}

#[test]
fn an_invalidation_between_the_lenders_own_removal_and_forced_is_not_acknowledged() {
    let (mut bench, id) = bench();
    bench.xen.inner.remove_all_from_outside();
    bench.link.to_broker.push_back(invalidate(4, id, 0, 2048));
    bench.link.to_broker.push_back(ToBroker::Forced { sequence: 4 });
    bench.run();
    // Xen has no entry there. Whether that is well is the lender's to know.
    let failure = RemoveFailure { page: AperturePage(3), errno: EINVAL };
    assert_eq!(bench.link.to_lender, [FromBroker::Invalidated { sequence: 4, result: Err(failure) }]);
    bench.link.to_lender.clear();
    bench.check();
    assert!(matches!(
        bench.ask(present(1, id, 4, &EXTENTS))[..],
        [FromBroker::Presented { outcome: PresentOutcome::Added { .. }, .. }]
    ));
    bench.check();
}

#[test]
fn a_sequence_that_does_not_rise_ends_the_link_with_nothing_lent() {
    for (message, ok) in [
        (invalidate(7, lease(0, 1), 0, 1), false),
        (invalidate(6, lease(9, 9), 0, 1), false),
        (invalidate(8, lease(9, 9), 0, 1), true),
        (ToBroker::Forced { sequence: 6 }, false),
    ] {
        let (mut bench, id) = bench();
        assert!(bench.invalidate(7, id, 2040, 1).is_ok());
        let answer = bench.ask(message);
        assert_eq!(bench.is_closed(), !ok);
        if !ok {
            let breach = Breach { blame: Blame::Lender, kind: BreachKind::SequenceBackwards };
            assert_eq!(answer, [FromBroker::Closed { breach }]);
            assert!(bench.xen.inner.lent().is_empty());
        }
        bench.check();
    }
}

#[test]
fn forced_raises_the_sequence_that_the_next_invalidation_must_exceed() {
    for (sequence, ok) in [(8, false), (9, false), (10, true)] {
        let (mut bench, id) = bench();
        bench.xen.inner.remove_all_from_outside();
        assert_eq!(bench.ask(ToBroker::Forced { sequence: 9 }), []);
        bench.ask(invalidate(sequence, id, 0, 1));
        assert_eq!(bench.is_closed(), !ok, "{sequence}");
        bench.check();
    }
}

#[test]
fn acknowledgements_find_their_reserved_room_and_wait_for_nothing_else() {
    let (mut bench, id) = bench();
    bench.link.room = bench.link.to_lender.len();
    for sequence in 1..=MAX_INVALIDATIONS as u64 {
        bench.link.to_broker.push_back(invalidate(sequence, id, 3, 1));
    }
    bench.run();
    assert_eq!(bench.link.to_lender.len(), MAX_INVALIDATIONS);
    bench.check();
    // One more is more than the lender may have outstanding.
    let answers = bench.ask(invalidate(9, id, 4, 1));
    assert!(bench.is_closed());
    bench.run();
    assert_eq!(answers.len(), MAX_INVALIDATIONS, "nothing that was said is lost");
    bench.link.room = usize::MAX / 2;
    bench.run();
    let breach = Breach { blame: Blame::Lender, kind: BreachKind::TooManyOutstanding };
    let last = [FromBroker::Invalidated { sequence: 9, result: Ok(1) }, FromBroker::Closed { breach }];
    assert_eq!(bench.link.to_lender, last, "nor what was owed");
    bench.check();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn an_acknowledged_page_is_absent_whatever_failed_before(
        ranges in prop::collection::vec((0_u32..2048, 0_u32..700), 1..12),
        faults in prop::collection::btree_map(0_u32..20, (0_u32..1100, prop::sample::select(vec![EPERM, ENOMEM])), 0..10),
    ) {
        let (mut bench, id) = bench();
        bench.xen.removes_to_fail =
            faults.into_iter().map(|(nth, (done, errno))| (nth, Fault { done, errno })).collect();
        for (sequence, (first, count)) in (1..).zip(ranges) {
            let before = bench.xen.inner.lent();
            let acknowledged = bench.invalidate(sequence, id, first, count);
            let after = bench.xen.inner.lent();
            let left = after.keys().find(|page| (first..first + count).contains(page));
            match acknowledged {
                Ok(removed) => {
                    prop_assert_eq!(left, None);
                    prop_assert_eq!(before.len() - after.len(), removed as usize);
                }
                Err(failure) => prop_assert!(after.contains_key(&failure.page.0)),
            }
            bench.check();
        }
        bench.xen.removes_to_fail.clear();
        prop_assert!(bench.invalidate(100, id, 0, 2048).is_ok());
        prop_assert!(bench.xen.inner.lent().is_empty());
    }
}

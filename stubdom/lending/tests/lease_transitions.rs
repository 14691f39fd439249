// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every state of a lease against everything that can happen to it: the table itself,
//! and what each message of the lender gets for an answer in each state.

mod support;

use support::bench::{extent, invalidate, lease, lost, present, read, set_region, Bench};
use support::fake_hypervisor::EPERM;
use xenlend_lending::lease::{LeaseEvent, LeaseState, NotInThisState};
use xenlend_lending::lending_table::PageState;
use xenlend_protocol::frame::AperturePage;
use xenlend_protocol::label::ClaimedLabel;
use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::message::{CacheMode, FromBroker, LossPolicy, PresentOutcome, Rights, ToBroker};
use xenlend_protocol::refusal::{Refusal, RemoveFailure};

const STATES: [LeaseState; 3] = [LeaseState::Vacant, LeaseState::Active, LeaseState::Revoking];
const EVENTS: [LeaseEvent; 7] = [
    LeaseEvent::Granted,
    LeaseEvent::Presented,
    LeaseEvent::Invalidated,
    LeaseEvent::PagesLost,
    LeaseEvent::Dropped,
    LeaseEvent::Emptied,
    LeaseEvent::Forced,
];

#[test]
fn every_state_answers_every_event() {
    use LeaseState::{Active, Revoking, Vacant};
    let no = Err(NotInThisState);
    #[rustfmt::skip]
    let expected = [
        // Granted     Presented   Invalidated   PagesLost   Dropped       Emptied     Forced
        [Ok(Active),   no,         no,           no,         no,           no,         Ok(Vacant)],
        [no,           Ok(Active), Ok(Active),   Ok(Active), Ok(Revoking), no,         Ok(Active)],
        [no,           no,         Ok(Revoking), no,         Ok(Revoking), Ok(Vacant), Ok(Vacant)],
    ];
    for (state, row) in STATES.into_iter().zip(expected) {
        for (event, after) in EVENTS.into_iter().zip(row) {
            assert_eq!(state.after(event), after, "{state:?} and {event:?}");
        }
    }
}

/// Where the lease `lease(0, 5)` over pages 0 to 15 can stand when a message comes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stage {
    Never,
    Active,
    /// Dropped, but page 3 could not be removed.
    Revoking,
    Gone,
}

const STAGES: [Stage; 4] = [Stage::Never, Stage::Active, Stage::Revoking, Stage::Gone];

fn id() -> LeaseId {
    lease(0, 5)
}

fn bench_at(stage: Stage) -> Bench {
    let mut bench = Bench::new(64, 1);
    if stage == Stage::Never {
        return bench;
    }
    assert_eq!(bench.ask(set_region(id(), 0, 16)), [FromBroker::RegionSet { lease: id(), result: Ok(()) }]);
    let added = PresentOutcome::Added { entries_2mib: 0, entries_4kib: 1 };
    assert_eq!(bench.present(id(), 0, &[extent(3, 0x703, 1)]), added);
    assert_eq!(bench.ask(lost(id(), 7, 1)), []);
    if stage == Stage::Revoking {
        bench.xen.fail_next_remove(0, EPERM);
        let failure = RemoveFailure { page: AperturePage(3), errno: EPERM };
        let dropped = FromBroker::RegionDropped { lease: id(), result: Err(failure) };
        assert_eq!(bench.ask(ToBroker::DropRegion { lease: id() }), [dropped]);
    }
    if stage == Stage::Gone {
        let dropped = FromBroker::RegionDropped { lease: id(), result: Ok(1) };
        assert_eq!(bench.ask(ToBroker::DropRegion { lease: id() }), [dropped]);
    }
    bench.check();
    bench
}

#[test]
fn a_lease_is_granted_only_at_a_vacant_place_and_under_a_new_generation() {
    let answers = |stage, message| {
        let mut bench = bench_at(stage);
        let answer = bench.ask(message);
        bench.check();
        let [FromBroker::RegionSet { result, .. }] = answer[..] else { panic!("{answer:?}") };
        result
    };
    for (stage, same, newer, elsewhere) in [
        (Stage::Never, Ok(()), Ok(()), Ok(())),
        (
            Stage::Active,
            Err(Refusal::IndexInUse),
            Err(Refusal::IndexInUse),
            Err(Refusal::Overlap { index: 0 }),
        ),
        (
            Stage::Revoking,
            Err(Refusal::IndexInUse),
            Err(Refusal::IndexInUse),
            Err(Refusal::Overlap { index: 0 }),
        ),
        (Stage::Gone, Err(Refusal::IndexInUse), Ok(()), Ok(())),
    ] {
        assert_eq!(answers(stage, set_region(id(), 0, 16)), same, "{stage:?}");
        assert_eq!(answers(stage, set_region(lease(0, 6), 0, 16)), newer, "{stage:?}");
        assert_eq!(answers(stage, set_region(lease(1, 1), 15, 2)), elsewhere, "{stage:?}");
    }
}

#[test]
fn frames_become_present_only_in_an_active_lease() {
    for (stage, expected) in [
        (Stage::Never, PresentOutcome::Refused(Refusal::NoSuchLease)),
        (Stage::Active, PresentOutcome::Added { entries_2mib: 0, entries_4kib: 2 }),
        (Stage::Revoking, PresentOutcome::Stale),
        (Stage::Gone, PresentOutcome::Stale),
    ] {
        let mut bench = bench_at(stage);
        assert_eq!(bench.present(id(), 0, &[extent(4, 0x904, 2)]), expected, "{stage:?}");
        bench.check();
    }
}

#[test]
fn a_generation_that_is_not_the_leases_is_stale_or_unknown() {
    let mut bench = bench_at(Stage::Active);
    assert_eq!(bench.present(lease(0, 4), 0, &[extent(4, 0x904, 1)]), PresentOutcome::Stale);
    let unknown = PresentOutcome::Refused(Refusal::NoSuchLease);
    assert_eq!(bench.present(lease(0, 6), 0, &[extent(4, 0x904, 1)]), unknown);
    assert_eq!(bench.present(lease(64, 5), 0, &[extent(4, 0x904, 1)]), unknown);
    assert_eq!(
        bench.ask(ToBroker::DropRegion { lease: lease(0, 4) }),
        [FromBroker::RegionDropped { lease: lease(0, 4), result: Ok(0) }]
    );
    assert_eq!(bench.invalidate(1, lease(0, 4), 0, 16), Ok(0));
    assert!(bench.broker.table().is_present(3), "a stale id removed a page of the new lease");
    bench.check();
}

#[test]
fn an_invalidation_is_acknowledged_in_every_state() {
    for (stage, removed) in [(Stage::Never, 0), (Stage::Active, 1), (Stage::Revoking, 1), (Stage::Gone, 0)] {
        let mut bench = bench_at(stage);
        assert_eq!(bench.invalidate(1, id(), 0, 16), Ok(removed), "{stage:?}");
        assert!(bench.xen.inner.lent().is_empty());
        bench.check();
    }
}

#[test]
fn dropping_answers_in_every_state_and_leaves_nothing_present() {
    for (stage, removed) in [(Stage::Never, 0), (Stage::Active, 1), (Stage::Revoking, 1), (Stage::Gone, 0)] {
        let mut bench = bench_at(stage);
        let dropped = FromBroker::RegionDropped { lease: id(), result: Ok(removed) };
        assert_eq!(bench.ask(ToBroker::DropRegion { lease: id() }), [dropped], "{stage:?}");
        assert!(bench.xen.inner.lent().is_empty());
        assert_eq!(bench.broker.leases().living().count(), 0);
        bench.check();
        // Neither pages nor losses outlive it.
        assert_eq!(bench.broker.table().page(7), PageState::Absent, "{stage:?}");
        let set = FromBroker::RegionSet { lease: lease(0, 6), result: Ok(()) };
        assert_eq!(bench.ask(set_region(lease(0, 6), 0, 16)), [set], "{stage:?}");
    }
}

#[test]
fn pages_are_lost_only_in_an_active_lease() {
    for stage in STAGES {
        let mut bench = bench_at(stage);
        assert_eq!(bench.ask(lost(id(), 2, 3)), [], "{stage:?}");
        let expected = if stage == Stage::Active { PageState::Lost } else { PageState::Absent };
        assert_eq!(bench.broker.table().page(2), expected, "{stage:?}");
        if stage == Stage::Active {
            assert_eq!(bench.broker.table().page(3), PageState::Lost, "a present page is removed, then lost");
            let outcome = bench.present(id(), 0, &[extent(2, 0x902, 1)]);
            assert_eq!(outcome, PresentOutcome::Refused(Refusal::BadExtent));
        }
        assert_eq!(bench.broker.table().page(5), PageState::Absent);
        bench.check();
    }
}

#[test]
fn a_page_that_cannot_be_removed_is_not_lost_but_present() {
    let mut bench = bench_at(Stage::Active);
    bench.xen.fail_next_remove(0, EPERM);
    assert_eq!(bench.ask(lost(id(), 2, 3)), []);
    assert_eq!(bench.broker.table().page(2), PageState::Lost);
    assert!(bench.broker.table().is_present(3));
    bench.check();
    assert_eq!(bench.invalidate(1, id(), 3, 1), Ok(1));
    bench.check();
}

#[test]
fn accesses_are_asked_for_only_in_an_active_lease() {
    for (stage, asked, datum) in [
        (Stage::Never, 0, u64::MAX),
        (Stage::Active, 1, 0x0101_0101_0101_0101),
        (Stage::Revoking, 0, 0),
        (Stage::Gone, 0, u64::MAX),
    ] {
        let mut bench = bench_at(stage);
        bench.pages.insert(2, vec![1; 4096]);
        assert_eq!(bench.request(0, read(2 * 4096, 8)), datum, "{stage:?}");
        assert_eq!(bench.broker.counters().accesses, asked, "{stage:?}");
    }
}

#[test]
fn forced_empties_every_lease_and_ends_those_being_revoked() {
    for (stage, living) in [(Stage::Never, 0), (Stage::Active, 1), (Stage::Revoking, 0), (Stage::Gone, 0)] {
        let mut bench = bench_at(stage);
        bench.xen.inner.remove_all_from_outside();
        let calls = bench.xen.inner.calls.len();
        assert_eq!(bench.ask(ToBroker::Forced { sequence: 9 }), [], "{stage:?}");
        assert_eq!(bench.xen.inner.calls.len(), calls, "Forced makes no hypercall");
        assert_eq!(bench.broker.leases().living().count(), living, "{stage:?}");
        bench.check();
        if stage == Stage::Active {
            assert_eq!(bench.broker.table().page(7), PageState::Lost, "a loss is for good");
            assert_eq!(bench.present(id(), 8, &[extent(4, 0x904, 1)]), PresentOutcome::Stale);
            let added = PresentOutcome::Added { entries_2mib: 0, entries_4kib: 1 };
            assert_eq!(bench.present(id(), 9, &[extent(4, 0x904, 1)]), added);
        }
    }
}

#[test]
fn what_no_lease_can_be_is_refused_with_the_number() {
    let mut bench = Bench::new(64, 1);
    let mut refusal = |message| {
        let answer = bench.ask(message);
        let [FromBroker::RegionSet { result: Err(refusal), .. }] = answer[..] else { panic!("{answer:?}") };
        refusal
    };
    let outside = Refusal::OutsideAperture { aperture_pages: 64 };
    assert_eq!(refusal(set_region(lease(64, 1), 0, 1)), Refusal::TableFull { capacity: 64 });
    assert_eq!(refusal(set_region(lease(0, 1), 0, 0)), outside);
    assert_eq!(refusal(set_region(lease(0, 1), 0, 65)), outside);
    assert_eq!(refusal(set_region(lease(0, 1), 64, 1)), outside);
    assert_eq!(refusal(set_region(lease(0, 1), u32::MAX, 2)), outside);
    let kind = |rights, cache| ToBroker::SetRegion {
        lease: lease(0, 1),
        first: AperturePage(0),
        count: 1,
        rights,
        loss: LossPolicy::Zeros,
        cache,
        label: ClaimedLabel::default(),
    };
    assert_eq!(refusal(kind(Rights::ReadOnly, CacheMode::WriteCombining)), Refusal::Unsupported);
    assert_eq!(refusal(kind(Rights::ReadWrite, CacheMode::WriteBack)), Refusal::Unsupported);
    assert_eq!(bench.broker.leases().living().count(), 0);
}

#[test]
fn leases_may_touch_but_not_overlap_on_either_side() {
    for (first, count, fits) in [
        (0, 8, true),
        (16, 8, true),
        (0, 9, false),
        (15, 9, false),
        (8, 8, false),
        (10, 2, false),
        (0, 64, false),
    ] {
        let mut bench = Bench::new(64, 1);
        bench.ask(set_region(lease(3, 1), 8, 8));
        let result = if fits { Ok(()) } else { Err(Refusal::Overlap { index: 3 }) };
        let set = FromBroker::RegionSet { lease: lease(1, 1), result };
        assert_eq!(bench.ask(set_region(lease(1, 1), first, count)), [set], "{first} {count}");
    }
}

#[test]
fn the_whole_capacity_can_be_granted_and_no_more() {
    let mut bench = Bench::new(64, 1);
    for index in 0..64 {
        let id = lease(index, 1);
        let set = FromBroker::RegionSet { lease: id, result: Ok(()) };
        assert_eq!(bench.ask(set_region(id, u32::from(index), 1)), [set]);
    }
    assert_eq!(bench.broker.leases().living().count(), 64);
}

#[test]
fn nothing_of_the_lender_is_a_breach_in_any_state_of_a_lease() {
    for stage in STAGES {
        let mut bench = bench_at(stage);
        bench.ask(present(1, id(), 0, &[]));
        bench.ask(invalidate(1, id(), 0, u32::MAX));
        bench.ask(lost(id(), u32::MAX, u32::MAX));
        bench.ask(ToBroker::DropRegion { lease: id() });
        assert!(!bench.is_closed(), "{stage:?}");
        bench.check();
    }
}

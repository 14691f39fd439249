// SPDX-License-Identifier: MIT OR Apache-2.0
//! When frames become present, and when not: nothing that would kill the borrower or
//! show a frame that was taken away is ever tried.

mod support;

use support::bench::{copy_in, extent, fill, invalidate, lease, present, read, set_region, write, Bench};
use support::fake_hypervisor::{Call, Entry, ENOMEM, EPERM};
use xenlend_lending::broker::LinkState;
use xenlend_lending::hypervisor::IoreqClaim;
use xenlend_lending::lending_table::{EntrySize, PageState};
use xenlend_protocol::extent::ClaimedExtent;
use xenlend_protocol::frame::{AperturePage, Mfn};
use xenlend_protocol::message::{FromBroker, PresentOutcome};
use xenlend_protocol::refusal::{AddFailure, Blame, Breach, BreachKind, Refusal};

const NOTHING_NEW: PresentOutcome = PresentOutcome::Added { entries_2mib: 0, entries_4kib: 0 };

fn added(entries_2mib: u16, entries_4kib: u32) -> PresentOutcome {
    PresentOutcome::Added { entries_2mib, entries_4kib }
}

#[test]
fn entries_are_of_2mib_exactly_where_page_and_frame_allow_it() {
    let (mut bench, id) = Bench::with_lease(4096, 1);
    // 2 up to the border, twice 512, 3 behind; and frames that are not aligned as the pages are.
    let outcome = bench.present(id, 0, &[extent(510, 0x1_01fe, 2 + 1024 + 3), extent(2048, 0x5001, 600)]);
    assert_eq!(outcome, added(2, 2 + 3 + 600));
    let size_at = |page| match bench.broker.table().page(page) {
        PageState::Present { size, .. } => size,
        other => panic!("{other:?}"),
    };
    for (page, size) in [
        (511, EntrySize::FourKib),
        (512, EntrySize::TwoMib),
        (1535, EntrySize::TwoMib),
        (1536, EntrySize::FourKib),
        (2048, EntrySize::FourKib),
        (2600, EntrySize::FourKib),
    ] {
        assert_eq!(size_at(page), size, "page {page}");
    }
    bench.check();
}

#[test]
fn an_identical_present_adds_nothing_and_calls_nobody() {
    let (mut bench, id) = Bench::with_lease(2048, 1);
    let extents = [extent(512, 0x1_0000, 512), extent(3, 0x777, 4)];
    assert_eq!(bench.present(id, 0, &extents), added(1, 4));
    let calls = bench.xen.inner.calls.len();
    assert_eq!(bench.present(id, 0, &extents), NOTHING_NEW);
    assert_eq!(bench.xen.inner.calls.len(), calls);
    // With new neighbours, only these are added.
    assert_eq!(bench.present(id, 0, &[extent(1, 0x775, 8)]), added(0, 4));
    let new = [Call::Add { first: 1, mfn: 0x775, count: 2 }, Call::Add { first: 7, mfn: 0x77b, count: 2 }];
    assert_eq!(bench.xen.inner.calls[calls..], new);
    bench.check();
}

#[test]
fn a_present_page_is_never_replaced() {
    let (mut bench, id) = Bench::with_lease(2048, 1);
    assert_eq!(bench.present(id, 0, &[extent(512, 0x1_0000, 512), extent(1030, 0x777, 4)]), added(1, 4));
    let refusals: [(&[ClaimedExtent], u32); 7] = [
        (&[extent(1030, 0x778, 1)], 1030),
        (&[extent(1028, 0x800, 8)], 1030),
        (&[extent(10, 0x900, 2), extent(1033, 0x999, 1)], 1033),
        // The same frames, but as entries of another size.
        (&[extent(600, 0x1_0058, 1)], 600),
        (&[extent(512, 0x1_0000, 511)], 512),
        // 2 MiB over something that is 4 KiB, in the right frames even.
        (&[extent(1024, 0x771 + 0x200, 512)], 1030),
        (&[extent(512, 0x1_0200, 512)], 512),
    ];
    for (extents, page) in refusals {
        let refused = PresentOutcome::Refused(Refusal::AlreadyPresent { page: AperturePage(page) });
        assert_eq!(bench.present(id, 0, extents), refused, "{extents:?}");
        assert_eq!(bench.xen.inner.lent().len(), 516, "a refusal changes nothing");
        bench.check();
    }
}

#[test]
fn two_mib_that_is_partly_present_in_4kib_is_refused() {
    for present_page in [0, 17, 511] {
        let (mut bench, id) = Bench::with_lease(1024, 1);
        assert_eq!(bench.present(id, 0, &[extent(present_page, u64::from(present_page), 1)]), added(0, 1));
        let refused = PresentOutcome::Refused(Refusal::AlreadyPresent { page: AperturePage(present_page) });
        assert_eq!(bench.present(id, 0, &[extent(0, 0, 1024)]), refused);
        assert_eq!(bench.xen.inner.lent().len(), 1);
        bench.check();
    }
}

#[test]
fn each_2mib_of_an_extent_is_looked_at_alone() {
    let (mut bench, id) = Bench::with_lease(2048, 1);
    assert_eq!(bench.present(id, 0, &[extent(512, 0x1_0200, 512)]), added(1, 0));
    assert_eq!(bench.present(id, 0, &[extent(0, 0x1_0000, 2048)]), added(3, 0));
    bench.check();
}

#[test]
fn extents_that_cannot_be_are_refused_before_anything_is_added() {
    let mut bench = Bench::new(2048, 1);
    let id = lease(0, 1);
    bench.ask(set_region(id, 100, 1000));
    let bad: [&[ClaimedExtent]; 9] = [
        &[extent(100, 1, 0)],
        &[extent(99, 1, 1)],
        &[extent(1099, 1, 2)],
        &[extent(1100, 1, 1)],
        &[extent(u32::MAX, 1, 2)],
        &[extent(100, 1, u32::MAX)],
        &[extent(100, (1 << 40) - 1, 2)],
        &[extent(100, u64::MAX, 2)],
        &[extent(100, 1, 4), extent(103, 4, 2)],
    ];
    for claims in bad {
        let mut extents = vec![extent(500, 0x900, 2)];
        extents.extend_from_slice(claims);
        assert_eq!(bench.present(id, 0, &extents), PresentOutcome::Refused(Refusal::BadExtent), "{claims:?}");
        assert_eq!(bench.xen.inner.calls, []);
    }
    assert_eq!(bench.present(id, 0, &[extent(100, (1 << 40) - 1, 1), extent(1099, 1, 1)]), added(0, 2));
    bench.check();
}

#[test]
fn a_present_older_than_an_invalidation_of_its_pages_is_stale() {
    let (mut bench, id) = Bench::with_lease(64, 1);
    assert_eq!(bench.invalidate(5, id, 10, 4), Ok(0));
    assert_eq!(bench.present(id, 4, &[extent(13, 0x700, 1)]), PresentOutcome::Stale);
    assert_eq!(bench.present(id, 4, &[extent(30, 0x900, 1), extent(8, 0x700, 3)]), PresentOutcome::Stale);
    assert_eq!(bench.xen.inner.calls, []);
    // Looked up after it, or of other pages: fine.
    assert_eq!(bench.present(id, 5, &[extent(13, 0x700, 1)]), added(0, 1));
    assert_eq!(bench.present(id, 4, &[extent(14, 0x701, 1), extent(9, 0x800, 1)]), added(0, 2));
    bench.check();
}

#[test]
fn an_invalidation_that_has_been_forgotten_still_makes_older_presents_stale() {
    let (mut bench, id) = Bench::with_lease(256, 1);
    for sequence in 1..=100_u64 {
        assert_eq!(bench.invalidate(sequence, id, sequence as u32, 1), Ok(0));
    }
    for sequence in 0..100_u64 {
        for page in sequence + 1..=100 {
            let outcome = bench.present(id, sequence, &[extent(page as u32, 0x700, 1)]);
            assert_eq!(outcome, PresentOutcome::Stale, "page {page}, sequence {sequence}");
        }
    }
    // Older than all that is remembered: it may have been of these pages.
    assert_eq!(bench.present(id, 35, &[extent(200, 0x700, 1)]), PresentOutcome::Stale);
    // The newest are remembered with their pages: an unrelated present is spared.
    assert_eq!(bench.present(id, 36, &[extent(200, 0x700, 1)]), added(0, 1));
    bench.check();
}

#[test]
fn frames_wait_while_a_repeated_write_is_outstanding_on_their_page() {
    let deadly = [
        fill(4096, 8, 1, 2),
        fill(4096 * 2 - 16, 8, 1, 2),
        IoreqClaim { downwards: true, ..write(4096, 8, 1) },
        IoreqClaim { downwards: true, ..fill(4096 + 64, 4, 1, 3) },
    ];
    for claim in deadly {
        let (mut bench, id) = Bench::with_lease(1024, 3);
        bench.pages.insert(1, vec![0; 4096]);
        let page = [extent(1, 0x701, 1)];
        // As it comes, before the broker has looked at it.
        bench.xen.inner.send_request(2, claim);
        bench.link.to_broker.push_back(present(1, id, 0, &page));
        bench.run();
        let later = FromBroker::Presented { ticket: 1, outcome: PresentOutcome::Later };
        assert_eq!(bench.link.to_lender.pop_front(), Some(later), "{claim:x?}");
        // While the lender does it.
        let access = bench.link.to_lender.pop_front().unwrap();
        assert_eq!(bench.present(id, 0, &page), PresentOutcome::Later);
        assert_eq!(bench.present(id, 0, &[extent(5, 0x900, 1), extent(0, 0x700, 3)]), PresentOutcome::Later);
        // Completed, but Xen has not taken it up: it has yet to re-emulate.
        let answer = bench.do_access(&access);
        assert_eq!(bench.ask(answer), []);
        assert_eq!(bench.present(id, 0, &page), PresentOutcome::Later);
        assert_eq!(bench.xen.inner.calls, []);
        // Other pages need not wait.
        assert_eq!(bench.present(id, 0, &[extent(0, 0x700, 1), extent(2, 0x702, 1)]), added(0, 2));
        assert!(bench.xen.inner.take_response(2).is_some());
        assert_eq!(bench.present(id, 0, &page), added(0, 1));
        bench.check();
    }
}

#[test]
fn frames_wait_while_one_element_of_a_repeated_write_lies_across_their_border() {
    let (mut bench, id) = Bench::with_lease(8, 1);
    bench.xen.inner.send_request(0, write(4096 * 2 - 1, 2, 1));
    bench.run();
    bench.link.to_lender.clear();
    assert_eq!(bench.present(id, 0, &[extent(1, 0x701, 1)]), PresentOutcome::Later);
    assert_eq!(bench.present(id, 0, &[extent(0, 0x700, 1)]), added(0, 1), "its neighbour need not wait");
    bench.check();
}

#[test]
fn a_repeated_write_on_a_page_that_is_there_already_holds_nothing_up() {
    let (mut bench, id) = Bench::with_lease(8, 1);
    assert_eq!(bench.present(id, 0, &[extent(1, 0x701, 1)]), added(0, 1));
    bench.xen.inner.send_request(0, fill(4096, 8, 1, 2));
    bench.run();
    bench.link.to_lender.clear();
    assert_eq!(bench.present(id, 0, &[extent(0, 0x700, 3)]), added(0, 2));
    bench.check();
}

#[test]
fn other_outstanding_requests_do_not_hold_frames_up() {
    let harmless = [
        read(4096, 8),
        write(4096, 8, 1),
        IoreqClaim { downwards: true, ..read(4096, 8) },
        copy_in(4096, 0x8000, 8, 100),
        IoreqClaim { downwards: true, ..copy_in(4096 + 64, 0x8040, 8, 4) },
        IoreqClaim { kind: 8, ..read(4096, 8) },
        fill(3 * 4096, 8, 1, 2),
    ];
    for claim in harmless {
        let (mut bench, id) = Bench::with_lease(8, 1);
        bench.xen.inner.ram.insert(8, vec![1; 4096]);
        bench.xen.inner.send_request(0, claim);
        bench.run();
        bench.link.to_lender.clear();
        assert_eq!(bench.present(id, 0, &[extent(1, 0x701, 1)]), added(0, 1), "{claim:x?}");
        bench.check();
    }
}

#[test]
fn what_a_failed_present_had_added_is_removed_again() {
    for nth in 0..4 {
        for done in [0, 1, 512, 600] {
            let (mut bench, id) = Bench::with_lease(4096, 1);
            assert_eq!(bench.present(id, 0, &[extent(4, 0x704, 2)]), added(0, 2));
            bench
                .xen
                .adds_to_fail
                .insert(bench.xen.adds + nth, support::fault_injector::Fault { done, errno: ENOMEM });
            let extents = [extent(3, 0x703, 4), extent(512, 0x1_0000, 1024), extent(2000, 0x9999, 3)];
            let outcome = bench.present(id, 0, &extents);
            let (first, count) = [(3, 1), (6, 1), (512, 1024), (2000, 3)][nth as usize];
            let page = AperturePage(first + done.min(count - 1));
            assert_eq!(outcome, PresentOutcome::Failed(AddFailure { page, errno: ENOMEM }));
            let left: Vec<_> = bench.xen.inner.lent().into_iter().collect();
            assert_eq!(left, [(4, 0x704), (5, 0x705)], "what was there before stays, nothing else");
            bench.check();
            // And it can be had later.
            assert!(matches!(bench.present(id, 0, &extents), PresentOutcome::Added { .. }));
            bench.check();
        }
    }
}

#[test]
fn a_page_table_that_the_borrower_has_used_up_is_a_failure_and_no_harm() {
    let (mut bench, id) = Bench::with_lease(2048, 1);
    bench.xen.inner.tables_left = 1;
    let outcome = bench.present(id, 0, &[extent(510, 0x1fe0, 4)]);
    assert_eq!(outcome, PresentOutcome::Failed(AddFailure { page: AperturePage(512), errno: ENOMEM }));
    assert!(bench.xen.inner.lent().is_empty());
    bench.check();
}

#[test]
fn ram_that_the_borrower_put_there_is_replaced_and_makes_no_part_removable() {
    let (mut bench, id) = Bench::with_lease(1024, 1);
    bench.xen.inner.place(7, Entry::BorrowerRam);
    assert_eq!(bench.present(id, 0, &[extent(0, 0x1_0000, 512)]), added(1, 0));
    // Xen made entries of 4 KiB of it; lender and broker still take it for one.
    assert_eq!(
        bench.broker.table().page(9),
        PageState::Present { mfn: Mfn(0x1_0009), size: EntrySize::TwoMib }
    );
    bench.check();
    assert_eq!(bench.invalidate(1, id, 3, 1), Ok(512));
    bench.check();
}

/// Xen has entries of 4 KiB there, since the block has a page table, and stops a removal inside it.
#[test]
fn two_mib_of_which_a_part_is_gone_is_not_completed() {
    let (mut bench, id) = Bench::with_lease(2048, 1);
    bench.xen.inner.place(700, Entry::BorrowerRam);
    let whole = [extent(512, 0x1_0000, 512)];
    assert_eq!(bench.present(id, 0, &whole), added(1, 0));
    bench.xen.inner.place(600, Entry::BorrowerRam);
    let failure = bench.invalidate(1, id, 512, 512).unwrap_err();
    assert_eq!(failure.page, AperturePage(600));
    let already = PresentOutcome::Refused(Refusal::AlreadyPresent { page: AperturePage(600) });
    assert_eq!(bench.present(id, 1, &whole), already);
    assert!(!bench.broker.table().is_present(599) && bench.broker.table().is_present(600));
}

#[test]
fn a_borrower_that_maps_something_foreign_into_its_aperture_harms_itself_only() {
    let (mut bench, id) = Bench::with_lease(1024, 1);
    bench.xen.inner.place(7, Entry::Foreign);
    let failed = PresentOutcome::Failed(AddFailure { page: AperturePage(7), errno: EPERM });
    assert_eq!(bench.present(id, 0, &[extent(0, 0x1_0000, 512)]), failed);
    assert!(bench.xen.inner.death.is_some());
    assert!(bench.xen.inner.lent().is_empty());
    bench.check_table();
}

#[test]
fn a_failure_that_cannot_be_undone_is_never_called_undone() {
    let (mut bench, id) = Bench::with_lease(1024, 1);
    bench.xen.fail_next_add(2, ENOMEM);
    bench.xen.removes_to_fail.insert(0, support::fault_injector::Fault { done: 0, errno: EPERM });
    bench.xen.removes_to_fail.insert(1, support::fault_injector::Fault { done: 0, errno: EPERM });
    let breach = Breach { blame: Blame::Broker, kind: BreachKind::StillMapped };
    let answers = bench.ask(present(1, id, 0, &[extent(3, 0x703, 4)]));
    assert_eq!(answers, [FromBroker::Closed { breach }], "and no answer to the Present");
    assert_eq!(bench.broker.link_state(), LinkState::Closed(breach));
    bench.check();
    // The broker goes on trying.
    bench.run();
    assert!(bench.xen.inner.lent().is_empty());
    bench.check();
}

#[test]
fn what_is_left_of_a_failed_present_is_recorded_in_the_size_that_it_has() {
    let (mut bench, id) = Bench::with_lease(2048, 1);
    bench.xen.fail_next_add(512 + 100, ENOMEM);
    for nth in 0..2 {
        bench.xen.removes_to_fail.insert(nth, support::fault_injector::Fault { done: 0, errno: EPERM });
    }
    bench.ask(present(1, id, 0, &[extent(512, 0x1_0000, 1024)]));
    assert!(bench.is_closed());
    let page = |page: u32, size| {
        let mfn = Mfn(0x1_0000 + u64::from(page) - 512);
        assert_eq!(bench.broker.table().page(page), PageState::Present { mfn, size }, "page {page}");
    };
    page(512, EntrySize::TwoMib);
    page(1023, EntrySize::TwoMib);
    page(1024, EntrySize::FourKib);
    page(1123, EntrySize::FourKib);
    assert_eq!(bench.broker.table().page(1124), PageState::Absent);
    bench.check();
}

#[test]
fn a_present_behind_its_own_invalidation_adds_nothing() {
    let (mut bench, id) = Bench::with_lease(64, 1);
    bench.link.to_broker.push_back(invalidate(3, id, 0, 8));
    bench.link.to_broker.push_back(present(1, id, 2, &[extent(4, 0x704, 1)]));
    bench.run();
    let outcome = PresentOutcome::Stale;
    assert_eq!(
        bench.link.to_lender,
        [
            FromBroker::Invalidated { sequence: 3, result: Ok(0) },
            FromBroker::Presented { ticket: 1, outcome }
        ]
    );
}

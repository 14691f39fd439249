// SPDX-License-Identifier: MIT OR Apache-2.0
//! An aperture of 4 GiB with 33,000 pages of it present at once: what it needs, what it costs, and that all of
//! it goes.

mod support;

use support::bench::{extent, lease, set_region, wait_for, Bench};
use xenlend_lending::lending_table::PageSlot;
use xenlend_protocol::frame::AperturePage;
use xenlend_protocol::frontend::{FromBorrower, ToBorrower};
use xenlend_protocol::message::{FromBroker, PresentOutcome, ToBroker};

/// Pages of 4 GiB.
const APERTURE: u32 = 1 << 20;
const PRESENT: u32 = 33_000;
/// One page in so many.
const EVERY: u32 = APERTURE / PRESENT;
/// Memory of the broker's domain, and what of it may go to the table: the image and the stack need some.
const BROKER_BYTES: usize = 16 << 20;

/// The frame of a page: never next to another's.
fn frame(page: u32) -> u64 {
    0x10_0000 + u64::from(page)
}

#[test]
fn a_sparse_aperture_of_4_gib_fits_and_goes() {
    let need = APERTURE as usize * size_of::<PageSlot>();
    println!("{APERTURE} pages need {need} bytes of the broker's memory, whatever is present");
    assert!(need * 2 <= BROKER_BYTES, "{need} bytes");

    let (mut bench, id) = Bench::with_lease(APERTURE, 1);
    bench.attach();
    let pages: Vec<u32> = (0..PRESENT).map(|number| number * EVERY).collect();
    for group in pages.chunks(8) {
        let extents: Vec<_> = group.iter().map(|page| extent(*page, frame(*page), 1)).collect();
        let outcome = bench.present(id, 0, &extents);
        assert_eq!(outcome, PresentOutcome::Added { entries_2mib: 0, entries_4kib: group.len() as u32 });
    }
    bench.check();
    assert_eq!(bench.xen.inner.lent().len(), PRESENT as usize);

    // A task waits for the last of them: the answer is known, and the lender is not asked.
    let last = (PRESENT - 1) * EVERY;
    assert_eq!(
        bench.hear(wait_for(id, last, 1))[..],
        [ToBorrower::Present { lease: id, first: AperturePage(last), count: 1 }]
    );

    let removes = bench.xen.removes;
    assert_eq!(bench.invalidate(1, id, 0, APERTURE), Ok(PRESENT));
    assert_eq!(bench.xen.removes - removes, PRESENT, "one call for each: no two are neighbours");
    assert!(bench.xen.inner.lent().is_empty());
    let (first, count) = (AperturePage(0), APERTURE);
    // The borrower hears of it once, and not 33,000 times.
    assert_eq!(bench.told(), [ToBorrower::Revoked { sequence: 1, lease: id, first, count, ended: false }]);
    bench.check();
}

#[test]
fn the_place_of_a_sparse_lease_is_used_again_only_after_the_zap() {
    let (mut bench, id) = Bench::with_lease(APERTURE, 1);
    bench.attach();
    assert_eq!(
        bench.present(id, 0, &[extent(APERTURE - 1, frame(0), 1)]),
        PresentOutcome::Added { entries_2mib: 0, entries_4kib: 1 }
    );
    let dropped = bench.ask(ToBroker::DropRegion { lease: id });
    assert!(matches!(dropped[..], [FromBroker::RegionDropped { result: Ok(_), .. }]), "{dropped:?}");
    let next = lease(1, 1);
    assert!(matches!(
        bench.ask(set_region(next, 0, APERTURE))[..],
        [FromBroker::RegionSet { result: Err(_), .. }]
    ));
    let ended = bench.told().into_iter().find_map(|message| match message {
        ToBorrower::Revoked { sequence, ended: true, .. } => Some(sequence),
        _ => None,
    });
    bench.hear(FromBorrower::ZapDone { sequence: ended.expect("the borrower is told of the end") });
    assert_eq!(
        bench.ask(set_region(next, 0, APERTURE)),
        [FromBroker::RegionSet { lease: next, result: Ok(()) }]
    );
}

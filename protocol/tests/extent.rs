// SPDX-License-Identifier: MIT OR Apache-2.0
//! Extents: every claim that cannot be is refused, and the cut into entries is Xen's.

use proptest::prelude::*;
use xenlend_protocol::extent::{ClaimedExtent, Extent, Granule, GranuleSize, MFN_LIMIT};
use xenlend_protocol::frame::{AperturePage, Mfn};
use xenlend_protocol::refusal::Refusal;

fn check(page: u32, mfn: u64, count: u32, lease_first: u32, lease_count: u32) -> Result<Extent, Refusal> {
    let claim = ClaimedExtent { page: AperturePage(page), mfn: Mfn(mfn), count };
    Extent::check(&claim, AperturePage(lease_first), lease_count)
}

fn granules(page: u32, mfn: u64, count: u32) -> Vec<(u32, u64, GranuleSize)> {
    let extent = check(page, mfn, count, 0, u32::MAX).unwrap();
    extent.granules().map(|Granule { page, mfn, size }| (page.0, mfn.0, size)).collect()
}

#[test]
fn an_extent_inside_its_lease_is_taken() {
    let extent = check(10, 0xfd3e8, 5, 10, 5).unwrap();
    assert_eq!((extent.page(), extent.mfn(), extent.count()), (AperturePage(10), Mfn(0xfd3e8), 5));
    check(14, MFN_LIMIT - 1, 1, 10, 5).unwrap();
    check(u32::MAX - 1, 1, 1, 0, u32::MAX).unwrap();
}

#[test]
fn an_extent_that_cannot_be_is_refused() {
    for (page, mfn, count, first, lease_count) in [
        (10, 1, 0, 10, 5),             // empty
        (9, 1, 1, 10, 5),              // before the lease
        (9, 1, 2, 10, 5),              // begins before it
        (15, 1, 1, 10, 5),             // behind the lease
        (14, 1, 2, 10, 5),             // ends behind it
        (10, 1, u32::MAX, 10, 5),      // pages overflow
        (u32::MAX, 1, 1, 0, u32::MAX), // pages end beyond u32
        (10, MFN_LIMIT, 1, 10, 5),     // no such frame
        (10, MFN_LIMIT - 1, 2, 10, 5), // ends behind the last frame
        (10, u64::MAX, 1, 10, 5),      // frames overflow
        (10, u64::MAX - 2, 5, 10, 5),  // frames overflow inside
        (u32::MAX, 1, 1, u32::MAX, 1), // a lease that itself overflows
    ] {
        let refused = check(page, mfn, count, first, lease_count);
        assert_eq!(refused, Err(Refusal::BadExtent), "{page:#x} {mfn:#x} {count}");
    }
}

#[test]
fn entries_are_cut_as_xen_cuts_them() {
    use GranuleSize::{FourKib, TwoMib};
    assert_eq!(granules(0, 0, 1), [(0, 0, FourKib(1))]);
    assert_eq!(granules(0, 0, 511), [(0, 0, FourKib(511))]);
    assert_eq!(granules(0, 0, 512), [(0, 0, TwoMib(1))]);
    assert_eq!(granules(512, 1024, 1536), [(512, 1024, TwoMib(3))]);
    // Unaligned together: up to the boundary, whole ones, the rest.
    assert_eq!(
        granules(511, 1023, 1026),
        [(511, 1023, FourKib(1)), (512, 1024, TwoMib(2)), (1536, 2048, FourKib(1))]
    );
    assert_eq!(granules(1, 513, 600), [(1, 513, FourKib(511)), (512, 1024, FourKib(89))]);
    // Page aligned and frame not, frame aligned and page not: never 2 MiB.
    assert_eq!(granules(0, 1, 2048), [(0, 1, FourKib(2048))]);
    assert_eq!(granules(1, 512, 2048), [(1, 512, FourKib(2048))]);
    assert_eq!(granules(0, 256, 1024), [(0, 256, FourKib(1024))]);
}

/// How Xen itself walks a call (`map_mmio_regions` with `mmio_order`): entry by entry.
fn xen_entries(page: u64, mfn: u64, count: u64) -> Vec<(u64, u64, u64)> {
    let (mut done, mut entries) = (0, Vec::new());
    while done < count {
        let whole = ((page + done) | (mfn + done)).trailing_zeros() >= 9 && count - done >= 512;
        let size = if whole { 512 } else { 1 };
        entries.push((page + done, mfn + done, size));
        done += size;
    }
    entries
}

proptest! {
    /// Handing each granule to Xen in one call, and the whole extent in one call, give
    /// the same entries as the granules say.
    #[test]
    fn granules_are_what_xen_makes(
        page in 0u32..3000, shift in prop_oneof![Just(0u64), Just(512), 0u64..1024], count in 1u32..3000,
    ) {
        let mfn = u64::from(page) + shift;
        let mut said = Vec::new();
        let mut by_call = Vec::new();
        for (page, mfn, size) in granules(page, mfn, count) {
            let (each, entries) = match size {
                GranuleSize::FourKib(entries) => (1, entries),
                GranuleSize::TwoMib(entries) => (512, entries),
            };
            for entry in 0..u64::from(entries) {
                said.push((u64::from(page) + entry * each, mfn + entry * each, each));
            }
            by_call.extend(xen_entries(u64::from(page), mfn, u64::from(entries) * each));
        }
        prop_assert_eq!(&said, &xen_entries(u64::from(page), mfn, u64::from(count)));
        prop_assert_eq!(&said, &by_call);
    }
}

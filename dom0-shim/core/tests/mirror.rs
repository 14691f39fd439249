// SPDX-License-Identifier: MIT OR Apache-2.0
//! The mirror against a plain model of what Xen would have mapped.
#![allow(missing_docs)]

use std::collections::BTreeMap;

use proptest::prelude::*;
use xenlend_protocol::extent::{ClaimedExtent, Extent};
use xenlend_protocol::frame::{AperturePage, Mfn};
use xenlend_shim_core::mirror::{chunk_count, Mirror, Run};
use xenlend_shim_core::storage::Storage;

struct Vectors;
impl Storage for Vectors {
    type Slice<T> = Vec<T>;
}

fn mirror(first: u32, count: u32) -> Mirror<Vectors> {
    let page = AperturePage(first);
    Mirror::new(page, vec![0; count as usize], vec![0; chunk_count(page, count)])
}

fn extent(page: u32, mfn: u64, count: u32) -> Extent {
    let claim = ClaimedExtent { page: AperturePage(page), mfn: Mfn(mfn), count };
    Extent::check(&claim, AperturePage(0), u32::MAX).unwrap()
}

#[test]
fn a_2mib_entry_is_found_and_cleared_whole_from_any_of_its_pages() {
    let mut mirror = mirror(0, 2048);
    let entries = mirror.set(&extent(512, 4096, 512));
    assert_eq!((entries.of_2mib, entries.of_4kib), (1, 0));
    for page in [512, 700, 1023] {
        let run = mirror.find(AperturePage(page), 1).unwrap();
        assert_eq!(
            run,
            Run { page: AperturePage(512), mfn: Mfn(4096), count: 512, large: true, zeros: false }
        );
    }
    assert!(!mirror.has_present(AperturePage(0), 512));
    assert!(!mirror.has_present(AperturePage(1024), 1024));
    mirror.take(AperturePage(1023), 1).unwrap();
    assert_eq!(mirror.present_pages(), 0);
}

#[test]
fn four_kib_entries_are_taken_in_runs_that_stay_in_range() {
    let mut mirror = mirror(100, 600);
    mirror.set(&extent(100, 7, 50));
    mirror.set(&extent(150, 1000, 50));
    let run = mirror.take(AperturePage(120), 100).unwrap();
    assert_eq!((run.page.0, run.mfn.0, run.count, run.large), (120, 27, 30, false));
    let run = mirror.take(AperturePage(120), 40).unwrap();
    assert_eq!((run.page.0, run.mfn.0, run.count), (150, 1000, 10));
    assert!(!mirror.has_present(AperturePage(120), 40));
    assert!(mirror.has_present(AperturePage(160), 1));
    assert_eq!(mirror.frame_at(AperturePage(119)), Some(Mfn(26)));
    assert_eq!(mirror.frame_at(AperturePage(120)), None);
}

#[test]
fn a_region_that_starts_inside_2mib_counts_its_chunks() {
    assert_eq!(chunk_count(AperturePage(511), 2), 2);
    assert_eq!(chunk_count(AperturePage(512), 512), 1);
    assert_eq!(chunk_count(AperturePage(0), 513), 2);
}

proptest! {
    /// Whatever is set and taken: the mirror knows exactly the pages of the model, and
    /// taking a range leaves nothing in it.
    #[test]
    fn the_mirror_has_what_the_model_has(
        first in 0u32..1024,
        steps in proptest::collection::vec((any::<bool>(), 0u32..2048, 1u32..1100, any::<u16>()), 1..24),
    ) {
        let count = 2600;
        let mut mirror = mirror(first, count);
        let mut model = BTreeMap::new();
        for (add, offset, length, mfn) in steps {
            let page = first + offset.min(count - 1);
            let length = length.min(first + count - page);
            if add {
                if (page..page + length).any(|page| model.contains_key(&page)) {
                    continue;
                }
                // Half of them aligned so that 2 MiB entries come up.
                let mfn = if mfn % 2 == 0 { u64::from(mfn) * 512 + u64::from(page % 512) } else { u64::from(mfn) };
                mirror.set(&extent(page, mfn, length));
                for step in 0..length {
                    model.insert(page + step, mfn + u64::from(step));
                }
            } else {
                while let Some(run) = mirror.take(AperturePage(page), length) {
                    prop_assert!(run.large || run.page.0 >= page && run.page.0 + run.count <= page + length);
                    for step in 0..run.count {
                        prop_assert_eq!(model.remove(&(run.page.0 + step)), Some(run.mfn.0 + u64::from(step)));
                    }
                }
                for step in 0..length {
                    prop_assert!(!model.contains_key(&(page + step)));
                }
            }
        }
        prop_assert_eq!(mirror.present_pages() as usize, model.len());
        for page in first..first + count {
            prop_assert_eq!(mirror.frame_at(AperturePage(page)).map(|mfn| mfn.0), model.get(&page).copied());
            prop_assert_eq!(mirror.has_present(AperturePage(page), 1), model.contains_key(&page));
        }
    }
}

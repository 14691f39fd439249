// SPDX-License-Identifier: MIT OR Apache-2.0
//! A lease of 4 GiB with 33,000 pages of it present at once.

mod support;

use support::{driver, lease, present, revoked, wait_for, Bench};
use xenlend_front_core::frontend::Turn;
use xenlend_front_core::link::{Answer, Touch};
use xenlend_front_core::page_set::{words_for, Pages};
use xenlend_protocol::frontend::FromBorrower;
use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::message::LossPolicy;

/// Pages of 4 GiB.
const APERTURE: u32 = 1 << 20;
const PRESENT: u32 = 33_000;
/// One page in so many.
const EVERY: u32 = APERTURE / PRESENT;

#[test]
fn a_sparse_lease_of_4_gib_is_mapped_page_by_page_and_forgotten_at_once() {
    let need = 3 * words_for(APERTURE) * size_of::<u64>();
    println!("{APERTURE} pages need {need} bytes of the borrower's memory");
    assert_eq!(need, 3 * (APERTURE as usize / 8), "a bit for each set");

    let mut bench = Bench::with_aperture(driver(), APERTURE);
    bench.welcome();
    let id = LeaseId { index: 0, generation: 1 };
    bench.say(lease(id, 0, APERTURE, LossPolicy::Zeros));
    let serial = bench.serial_of(id);
    let pages = || (0..PRESENT).map(|number| number * EVERY);
    for page in pages() {
        assert_eq!(bench.say(present(id, page, 1)), Turn::More);
    }
    let all = Pages { first: 0, end: APERTURE };
    let mut touch = |page| bench.driver.touch(&Touch { serial, page, mapping: all }, false);
    for page in pages() {
        assert_eq!(touch(page), Answer::Insert(Pages { first: page, end: page + 1 }), "and no neighbour");
    }
    // One that is not there is asked for, with none of those around it.
    assert_eq!(touch(EVERY + 1), Answer::Wait);
    assert_eq!(bench.said(), Some(wait_for(id, EVERY + 1, 1)));

    assert_eq!(bench.say(revoked(1, id, 0, APERTURE, false)), Turn::Zap(all, Some(1)), "in one zap");
    assert_eq!(bench.said(), Some(FromBorrower::ZapDone { sequence: 1 }));
    let last = (PRESENT - 1) * EVERY;
    let mut touch = |page| bench.driver.touch(&Touch { serial, page, mapping: all }, false);
    assert_eq!(touch(last), Answer::Wait);
    assert_eq!(bench.said(), Some(wait_for(id, last, 1)));
}

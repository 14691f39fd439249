// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the borrower is told of pages comes in the order in which it happened, whenever there is room: an answer
//! is behind the word of everything that was taken before it.

mod support;

use support::bench::{extent, wait_for, Bench};
use xenlend_protocol::frame::AperturePage;
use xenlend_protocol::frontend::ToBorrower;
use xenlend_protocol::lease_id::LeaseId;

/// A borrower that was told of a lease, and that pages 0 to 7 of it are present.
fn informed() -> (Bench, LeaseId) {
    let (mut bench, id) = Bench::with_lease(64, 1);
    let _ = bench.attach();
    bench.present(id, 0, &[extent(0, 100, 8)]);
    assert_eq!(bench.hear(wait_for(id, 0, 8)), [present(id, 0, 8)]);
    (bench, id)
}

fn present(lease: LeaseId, first: u32, count: u32) -> ToBorrower {
    ToBorrower::Present { lease, first: AperturePage(first), count }
}

fn revoked(lease: LeaseId, first: u32, count: u32) -> ToBorrower {
    ToBorrower::Revoked { sequence: 1, lease, first: AperturePage(first), count, ended: false }
}

#[test]
fn who_asks_for_a_page_that_is_there_hears_first_what_is_gone() {
    let (mut bench, id) = informed();
    assert_eq!(bench.invalidate(1, id, 4, 4), Ok(4));
    // Before anything was told of it.
    assert_eq!(bench.hear(wait_for(id, 0, 1)), [revoked(id, 4, 4), present(id, 0, 4)]);
}

#[test]
fn an_answer_that_finds_no_room_does_not_overtake_what_goes_meanwhile() {
    let (mut bench, id) = informed();
    bench.borrower.room = 0;
    assert_eq!(bench.hear(wait_for(id, 0, 8)), [], "taken, and not answered");
    assert_eq!(bench.invalidate(1, id, 4, 4), Ok(4));
    bench.borrower.room = usize::MAX;
    let told = bench.told();
    assert_eq!(told.get(..2), Some([revoked(id, 4, 4), present(id, 0, 4)].as_slice()), "{told:?}");
}

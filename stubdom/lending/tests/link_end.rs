// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a link that is over costs the turns that follow: others may be served by the same domain.

mod support;

use support::bench::{extent, hello, Bench};
use support::fake_hypervisor::EINVAL;
use support::fault_injector::Fault;
use xenlend_lending::broker::Turn;

/// Pages of 4 GiB.
const APERTURE: u32 = 1 << 20;
const TURNS: u64 = 1000;

/// A large aperture whose first, middle and last page are present.
fn bench() -> Bench {
    let (mut bench, id) = Bench::with_lease(APERTURE, 1);
    bench.present(
        id,
        0,
        &[0, APERTURE / 2, APERTURE - 1].map(|page| extent(page, 0x1000 + u64::from(page), 1)),
    );
    bench
}

/// Pages that so many turns look at, with the domain's question whether it may leave in each.
fn searched_in_turns(bench: &mut Bench) -> u64 {
    let before = bench.broker.table().searched();
    for _ in 0..TURNS {
        assert_eq!(bench.turn(), (Turn::Idle, Turn::Idle));
        let _ = bench.broker.is_finished(&mut bench.xen);
    }
    bench.broker.table().searched() - before
}

#[test]
fn turns_after_the_end_of_a_link_search_for_nothing() {
    for closed in [false, true] {
        let mut bench = bench();
        if closed {
            // Hello comes once.
            bench.ask(hello());
            assert!(bench.is_closed());
        } else {
            bench.broker.lender_gone(&mut bench.xen);
        }
        assert!(bench.xen.inner.lent().is_empty());
        assert_eq!(searched_in_turns(&mut bench), 0);
        assert_eq!(bench.broker.is_finished(&mut bench.xen), !closed);
    }
}

#[test]
fn what_cannot_be_removed_is_tried_in_each_turn_and_searched_for_once() {
    let mut bench = bench();
    // The last one; the two before it go.
    let refused = Fault { done: 0, errno: EINVAL };
    bench.xen.removes_to_fail.extend((2..3 + TURNS as u32).map(|call| (bench.xen.removes + call, refused)));
    bench.broker.lender_gone(&mut bench.xen);
    assert_eq!(bench.xen.inner.lent().len(), 1);
    let removes = bench.xen.removes;
    assert_eq!(searched_in_turns(&mut bench), TURNS, "the page itself");
    assert_eq!(u64::from(bench.xen.removes - removes), TURNS);
    assert!(!bench.broker.is_finished(&mut bench.xen), "something is lent");
    bench.check();

    assert_eq!(bench.turn(), (Turn::Idle, Turn::Idle));
    assert!(bench.xen.inner.lent().is_empty());
    assert!(bench.broker.is_finished(&mut bench.xen));
    bench.check();
}

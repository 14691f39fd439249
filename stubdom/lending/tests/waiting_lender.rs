// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pages that the lender itself waits for: nothing else of the borrower's waits behind them.

mod support;

use support::bench::{extent, lease, wait_for, Bench};
use xenlend_protocol::frame::AperturePage;
use xenlend_protocol::frontend::ToBorrower;
use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::message::{FromBroker, ToBroker, WantedOutcome, MAX_WANTED};

fn revoked(sequence: u64, lease: LeaseId, first: u32, count: u32, ended: bool) -> ToBorrower {
    ToBorrower::Revoked { sequence, lease, first: AperturePage(first), count, ended }
}

fn ask_again(lease: LeaseId, first: u32, count: u32) -> ToBroker {
    ToBroker::AskAgain { lease, first: AperturePage(first), count }
}

/// A lease over the whole aperture and a borrower that has been told of it.
fn connected(pages: u32) -> (Bench, LeaseId) {
    let (mut bench, id) = Bench::with_lease(pages, 1);
    let _ = bench.attach();
    (bench, id)
}

#[test]
fn what_the_lender_itself_waits_for_takes_no_place_and_is_asked_for_again() {
    let (mut bench, id) = connected(64);
    for page in 0..MAX_WANTED as u32 {
        assert_eq!(bench.hear(wait_for(id, page * 2, 1)), []);
    }
    let asked: Vec<_> = bench.link.to_lender.drain(..).collect();
    for asked in asked {
        let FromBroker::Want { ticket, .. } = asked else { panic!("{asked:?}") };
        assert_eq!(bench.ask(ToBroker::Wanted { ticket, outcome: WantedOutcome::Waits }), []);
    }
    assert_eq!(bench.told(), [], "nobody can say anything of them");
    // Another task's page is asked for and comes, and another lease may be confirmed.
    assert_eq!(bench.hear(wait_for(id, 40, 1)), []);
    let [FromBroker::Want { ticket, first: AperturePage(40), .. }] =
        bench.link.to_lender.drain(..).collect::<Vec<_>>()[..]
    else {
        panic!()
    };
    bench.present(id, 0, &[extent(40, 100, 1)]);
    let _ = bench.ask(ToBroker::Wanted { ticket, outcome: WantedOutcome::Present });
    assert_eq!(bench.told(), [ToBorrower::Present { lease: id, first: AperturePage(40), count: 1 }]);
    assert_eq!(bench.ask(ask_again(id, 0, 64)), []);
    let last = 2 * MAX_WANTED as u32 - 1;
    assert_eq!(bench.told(), [revoked(1, id, 0, last, false)]);
    // Once is enough, and a lease of which nothing waits is no breach.
    assert_eq!(bench.ask(ask_again(id, 0, 64)), []);
    assert_eq!(bench.ask(ask_again(lease(9, 9), 0, 64)), []);
    assert_eq!(bench.told(), []);
    assert!(!bench.is_closed());
}

#[test]
fn asking_again_overtakes_no_answer() {
    let (mut bench, id) = connected(64);
    let _ = bench.hear(wait_for(id, 3, 1));
    let [FromBroker::Want { ticket, .. }] = bench.link.to_lender.drain(..).collect::<Vec<_>>()[..] else {
        panic!()
    };
    // Both are taken from the lender's ring before the borrower's link has its turn.
    bench.link.to_broker.push_back(ToBroker::Wanted { ticket, outcome: WantedOutcome::Waits });
    bench.link.to_broker.push_back(ask_again(id, 0, 64));
    bench.run();
    assert_eq!(bench.told(), [revoked(1, id, 3, 1, false)]);
}

#[test]
fn a_lease_that_ends_while_the_lender_waits_ends_the_wait() {
    let (mut bench, id) = connected(64);
    let _ = bench.hear(wait_for(id, 3, 1));
    let [FromBroker::Want { ticket, .. }] = bench.link.to_lender.drain(..).collect::<Vec<_>>()[..] else {
        panic!()
    };
    let _ = bench.ask(ToBroker::Wanted { ticket, outcome: WantedOutcome::Waits });
    let _ = bench.ask(ToBroker::DropRegion { lease: id });
    assert_eq!(bench.told(), [revoked(1, id, 0, 64, true)]);
    let _ = bench.ask(ask_again(id, 0, 64));
    assert_eq!(bench.told(), []);
}

#[test]
fn only_the_pages_that_are_named_are_asked_for_again() {
    let (mut bench, id) = connected(64);
    for page in [4, 8, 12] {
        let _ = bench.hear(wait_for(id, page, 1));
        let [FromBroker::Want { ticket, .. }] = bench.link.to_lender.drain(..).collect::<Vec<_>>()[..] else {
            panic!()
        };
        let _ = bench.ask(ToBroker::Wanted { ticket, outcome: WantedOutcome::Waits });
    }
    let _ = bench.ask(ask_again(id, 20, 4));
    assert_eq!(bench.told(), [], "nothing waits there");
    let _ = bench.ask(ask_again(id, 4, 1));
    assert_eq!(bench.told(), [revoked(1, id, 4, 1, false)]);
    let _ = bench.ask(ask_again(id, 8, 1));
    assert_eq!(bench.told(), [revoked(2, id, 8, 1, false)]);
    let _ = bench.ask(ask_again(id, 0, 64));
    let told = bench.told();
    let [ToBorrower::Revoked { first, count, .. }] = told[..] else { panic!("{told:?}") };
    assert!((first.0..first.0 + count).contains(&12), "{told:?}");
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the borrower is told when something goes wrong on the way: of a loss, of a removal that failed, of the
//! end of a lease by force, of the end of a link. What it is not told it goes on using.

mod support;

use support::bench::{extent, fault, lease, lost, set_region, wait_for, Bench, ATTACHMENT};
use support::fake_hypervisor::EINVAL;
use xenlend_lending::fault::FAULT_READ;
use xenlend_protocol::frame::AperturePage;
use xenlend_protocol::frontend::{FromBorrower, ToBorrower};
use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::message::{CacheMode, FromBroker, Rights, ToBroker, WantedOutcome, MAX_WANTED};
use xenlend_protocol::refusal::Refusal;

fn revoked(sequence: u64, lease: LeaseId, first: u32, count: u32, ended: bool) -> ToBorrower {
    ToBorrower::Revoked { sequence, lease, first: AperturePage(first), count, ended }
}

fn lost_notice(lease: LeaseId, first: u32, count: u32) -> ToBorrower {
    ToBorrower::Lost { lease, first: AperturePage(first), count }
}

/// A lease of 64 pages that the borrower knows; the first eight are present.
fn connected() -> (Bench, LeaseId) {
    let (mut bench, id) = Bench::with_lease(64, 1);
    bench.attach();
    bench.present(id, 0, &[extent(0, 0x100, 8)]);
    assert_eq!(bench.told(), []);
    (bench, id)
}

#[test]
fn revoked_and_lost_pages_side_by_side_are_told_as_what_they_are() {
    let (mut bench, id) = connected();
    // While there is no room, news of the same kind that touch each other become one.
    bench.borrower.room = 0;
    assert_eq!(bench.invalidate(1, id, 0, 3), Ok(3));
    assert_eq!(bench.invalidate(2, id, 3, 5), Ok(5));
    assert_eq!(bench.ask(lost(id, 8, 4)), []);
    assert_eq!(bench.ask(lost(id, 12, 4)), []);
    bench.borrower.room = 100;
    assert_eq!(bench.told(), [revoked(1, id, 0, 8, false), lost_notice(id, 8, 8)]);
    // The other way round.
    bench.present(id, 2, &[extent(20, 0x200, 2)]);
    bench.borrower.room = 0;
    assert_eq!(bench.ask(lost(id, 18, 2)), []);
    assert_eq!(bench.invalidate(3, id, 20, 2), Ok(2));
    bench.borrower.room = 100;
    assert_eq!(bench.told(), [lost_notice(id, 18, 2), revoked(2, id, 20, 2, false)]);
}

#[test]
fn the_loss_of_present_pages_is_a_revocation_first() {
    let (mut bench, id) = connected();
    assert_eq!(bench.ask(lost(id, 6, 4)), []);
    assert_eq!(bench.told(), [revoked(1, id, 6, 4, false), lost_notice(id, 6, 4)]);
    assert_eq!(bench.ask(lost(id, 20, 4)), []);
    assert_eq!(bench.told(), [lost_notice(id, 20, 4)], "nothing of it was there");
    bench.check();
}

#[test]
fn a_revocation_that_xen_refuses_half_way_is_told_whole() {
    for done in [0, 3] {
        let (mut bench, id) = connected();
        bench.xen.fail_next_remove(done, EINVAL);
        assert_eq!(bench.invalidate(1, id, 0, 8).unwrap_err().page, AperturePage(done));
        assert_eq!(bench.told(), [revoked(1, id, 0, 8, false)], "{done} removed");

        let (mut bench, id) = connected();
        bench.xen.fail_next_remove(done, EINVAL);
        let dropped = bench.ask(ToBroker::DropRegion { lease: id });
        assert!(matches!(dropped[..], [FromBroker::RegionDropped { result: Err(_), .. }]), "{dropped:?}");
        assert_eq!(bench.told(), [revoked(1, id, 0, 64, false)], "{done} removed");
        assert_eq!(bench.broker.quarantined(), 0, "the lease lives until it is empty");
    }
}

#[test]
fn a_lease_that_force_ends_is_quarantined_as_any_other() {
    let (mut bench, id) = connected();
    bench.xen.fail_next_remove(0, EINVAL);
    let _ = bench.ask(ToBroker::DropRegion { lease: id });
    assert_eq!(bench.told(), [revoked(1, id, 0, 64, false)]);
    bench.xen.inner.remove_all_from_outside();
    assert_eq!(bench.ask(ToBroker::Forced { sequence: 1 }), []);
    assert_eq!(bench.told(), [revoked(2, id, 0, 64, true)]);
    assert_eq!(bench.broker.quarantined(), 1);
    let again = lease(1, 1);
    let set = |bench: &mut Bench| match bench.ask(set_region(again, 0, 8))[..] {
        [FromBroker::RegionSet { result, .. }] => result,
        ref other => panic!("{other:?}"),
    };
    assert_eq!(set(&mut bench), Err(Refusal::Quarantined { index: 0 }));
    assert_eq!(bench.hear(FromBorrower::ZapDone { sequence: 1 }), []);
    assert_eq!(set(&mut bench), Err(Refusal::Quarantined { index: 0 }), "of the revocation, not of the end");
    assert_eq!(bench.hear(FromBorrower::ZapDone { sequence: 2 }), []);
    assert_eq!(set(&mut bench), Ok(()));
    bench.check();
}

/// Tasks' questions whose answers nobody waits for any more, since the borrower broke its contract.
#[test]
fn questions_of_a_link_that_was_broken_off_make_room_when_they_are_answered() {
    let (mut bench, id) = Bench::lend_aware(64, MAX_WANTED, Rights::ReadWrite, CacheMode::WriteBack);
    bench.attach();
    for task in 0..MAX_WANTED as u32 / 2 {
        bench.borrower.to_broker.push_back(wait_for(id, task * 2, 1));
    }
    bench.run();
    let asked: Vec<_> = bench.link.to_lender.drain(..).collect();
    assert_eq!(asked.len(), MAX_WANTED / 2);
    bench.hear(wait_for(id, 0, 0));
    assert!(matches!(bench.link.to_lender.pop_front(), Some(FromBroker::BorrowerClosed { .. })));
    for want in asked {
        let FromBroker::Want { ticket, .. } = want else { panic!("{want:?}") };
        assert_eq!(bench.ask(ToBroker::Wanted { ticket, outcome: WantedOutcome::Unavailable }), []);
    }
    for vcpu in 0..MAX_WANTED as u16 {
        bench.xen.inner.send_request(vcpu, fault(u64::from(32 + vcpu) * 4096, FAULT_READ));
    }
    bench.run();
    assert_eq!(bench.link.to_lender.len(), MAX_WANTED, "every place is a vCPU's");
}

#[test]
fn the_end_of_the_lender_answers_no_question_of_another_link_or_of_a_vcpu() {
    let (mut bench, id) = Bench::lend_aware(64, 1, Rights::ReadWrite, CacheMode::WriteBack);
    bench.attach();
    bench.hear(wait_for(id, 5, 1));
    let detached = bench.ask(ToBroker::DetachBorrower { attachment: ATTACHMENT });
    assert!(matches!(detached.last(), Some(FromBroker::BorrowerDetached { .. })), "{detached:?}");
    bench.attach();
    bench.xen.inner.send_request(0, fault(7 * 4096, FAULT_READ));
    bench.run();
    assert!(matches!(bench.link.to_lender.pop_front(), Some(FromBroker::Want { vcpu: true, .. })));
    assert_eq!(bench.told(), []);
    bench.broker.lender_gone(&mut bench.xen);
    assert_eq!(bench.told(), [revoked(1, id, 0, 64, false), lost_notice(id, 0, 64)]);
}

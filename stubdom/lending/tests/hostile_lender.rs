// SPDX-License-Identifier: MIT OR Apache-2.0
//! On both kinds of Xen: random messages of a lender that keeps to nothing. The table says what Xen has, nothing is present
//! outside a lease, the borrower lives, and every request is completed once.

mod support;

use proptest::prelude::*;
use support::aperture_pages::{count, page, PAGES};
use support::bench::{attach, extent, fault, fill, invalidate, lease, lost, present, set_region, Bench};
use support::fake_hypervisor::EPERM;
use xenlend_lending::broker::LinkState;
use xenlend_lending::capabilities::Capabilities;
use xenlend_lending::fault::{FAULT_SAME_INSTRUCTION, FAULT_WRITE};
use xenlend_protocol::frame::AperturePage;
use xenlend_protocol::message::{AccessOutcome, FromBroker, PresentOutcome, ToBroker, WantedOutcome};

const VCPUS: u16 = 3;

fn any_message() -> impl Strategy<Value = ToBroker> {
    let id = (0_u16..66, 0_u32..4).prop_map(|(index, generation)| lease(index % 3 * 33, generation));
    let range = (prop_oneof![page(), any::<u32>()], prop_oneof![count(), any::<u32>()]);
    let small = (page(), 0_u32..1100);
    let mfn = prop_oneof![Just(0_u64), 0_u64..2048, any::<u64>()];
    let claims = prop::collection::vec((small.clone(), mfn), 0..16);
    let outcome = prop_oneof![
        Just(WantedOutcome::Present),
        Just(WantedOutcome::Lost),
        Just(WantedOutcome::Unavailable),
        Just(WantedOutcome::Waits),
        Just(WantedOutcome::Failed)
    ];
    prop_oneof![
        1 => (0_u16..3, 0_u16..3).prop_map(|(oldest, newest)| ToBroker::Hello { oldest, newest, features: 1 }),
        6 => (id.clone(), small).prop_map(|(id, (first, count))| set_region(id, first, count)),
        2 => id.clone().prop_map(|lease| ToBroker::DropRegion { lease }),
        12 => (id.clone(), 0_u64..6, claims).prop_map(|(id, sequence, claims)| {
            let claims: Vec<_> = claims.into_iter().map(|((first, count), mfn)| extent(first, mfn, count)).collect();
            present(1, id, sequence, &claims)
        }),
        3 => (id.clone(), range.clone(), 0_u64..60)
            .prop_map(|(id, (first, count), sequence)| invalidate(sequence, id, first, count)),
        1 => (0_u64..60).prop_map(|sequence| ToBroker::Forced { sequence }),
        1 => (id, range).prop_map(|(id, (first, count))| lost(id, first, count)),
        1 => any::<u32>().prop_map(|id| ToBroker::Completed { id, outcome: AccessOutcome::Written }),
        1 => (0_u32..3).prop_map(attach),
        1 => (0_u32..3).prop_map(|attachment| ToBroker::DetachBorrower { attachment }),
        2 => (0_u32..6, outcome).prop_map(|(ticket, outcome)| ToBroker::Wanted { ticket, outcome }),
        1 => (0_u32..4).prop_map(|generation| ToBroker::AskAgain {
            lease: lease(0, generation),
            first: AperturePage(0),
            count: u32::MAX,
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_lender_that_says_anything_harms_no_one(
        lend_aware: bool,
        messages in prop::collection::vec((any_message(), 0_u16..VCPUS, page()), 1..80),
        failures in prop::collection::btree_set((any::<bool>(), 0_u32..30, 0_u32..700), 0..6),
    ) {
        let kind = if lend_aware { Capabilities::LEND_AWARE } else { Capabilities::STOCK };
        let mut bench = Bench::new_on(kind, PAGES as usize, usize::from(VCPUS));
        for (is_add, nth, done) in failures {
            let plan = if is_add { &mut bench.xen.adds_to_fail } else { &mut bench.xen.removes_to_fail };
            plan.insert(nth, support::fault_injector::Fault { done, errno: EPERM });
        }
        let mut requests = 0_usize;
        for (message, vcpu, page) in messages {
            if bench.xen.inner.take_response(vcpu).is_some() || bench.xen.inner.ioreqs[usize::from(vcpu)].is_none() {
                let at = u64::from(page) * 4096;
                let bits = FAULT_WRITE | (u64::from(requests % 2 == 0) * FAULT_SAME_INSTRUCTION);
                let claim = if lend_aware { fault(at, bits) } else { fill(at, 8, 1, 200) };
                bench.xen.inner.send_request(vcpu, claim);
                requests += 1;
            }
            if matches!(message, ToBroker::Forced { .. }) {
                // The one claim that cannot be checked: the lender has done it or harms itself.
                bench.xen.inner.remove_all_from_outside();
            }
            let answers = bench.ask(message);
            for answer in &answers {
                if let FromBroker::Presented { outcome: PresentOutcome::Added { .. }, .. } = answer {
                    prop_assert!(!bench.is_closed());
                }
            }
            if !matches!(bench.broker.link_state(), LinkState::Closed(_)) || bench.xen.removes_to_fail.is_empty() {
                bench.check();
            } else {
                bench.check_table();
            }
            for page in bench.xen.inner.lent().into_keys() {
                prop_assert!(bench.broker.leases().at_page(page).is_some());
            }
        }
        bench.xen.removes_to_fail.clear();
        bench.broker.lender_gone(&mut bench.xen);
        bench.run();
        bench.check();
        prop_assert!(bench.xen.inner.lent().is_empty());
        prop_assert_eq!(bench.xen.inner.completions.len(), requests);
    }
}

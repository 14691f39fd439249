// SPDX-License-Identifier: MIT OR Apache-2.0
//! The lender's own removal against a Xen that does a part of what it is asked for, or refuses.
#![allow(missing_docs)]

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;
use xenlend_protocol::frame::{AperturePage, Mfn};
use xenlend_shim_core::mirror::Run;
use xenlend_shim_core::removal::{remove, Found, Removed};

const PAGES: u32 = 200;
const EPERM: u16 = 1;
const ENOMEM: u16 = 12;

/// Xen: what is mapped, how much each call does, which calls it refuses.
#[derive(Clone, Debug, Default)]
struct Xen {
    entries: BTreeMap<u32, u64>,
    /// Pages that the next calls do at most.
    steps: VecDeque<u32>,
    /// Calls, counted from 0, that are refused.
    refusals: BTreeMap<u32, u16>,
    /// Whether the borrower has the permission.
    is_permitted: bool,
    calls: u32,
    permissions: u32,
}

impl Xen {
    fn with(pages: impl IntoIterator<Item = u32>) -> Self {
        let entries = pages.into_iter().map(|page| (page, 0x700 + u64::from(page))).collect();
        Self { entries, is_permitted: true, ..Self::default() }
    }

    fn call(&mut self, page: AperturePage, mfn: Mfn, left: u32) -> Removed<u16> {
        assert!(left > 0 && page.0 + left <= PAGES, "outside the run");
        assert_eq!(mfn.0, 0x700 + u64::from(page.0), "page and frame go together");
        let call = self.calls;
        self.calls += 1;
        assert!(call < 10 * PAGES, "no end");
        if !self.is_permitted {
            return Removed::Refused(EPERM);
        }
        if let Some(errno) = self.refusals.get(&call) {
            return Removed::Refused(*errno);
        }
        let most = self.steps.pop_front().unwrap_or(64).min(left);
        let mapped = (page.0..page.0 + most).take_while(|page| self.entries.remove(page).is_some()).count();
        if mapped == 0 {
            Removed::Absent
        } else {
            Removed::Pages(mapped as u32)
        }
    }

    fn remove_all(&mut self) -> Found<u16> {
        let run = Run { page: AperturePage(0), mfn: Mfn(0x700), count: PAGES, large: false, zeros: false };
        let xen = std::cell::RefCell::new(std::mem::take(self));
        let found = remove(
            &run,
            |page, mfn, left| xen.borrow_mut().call(page, mfn, left),
            || {
                let mut xen = xen.borrow_mut();
                xen.permissions += 1;
                xen.is_permitted = true;
            },
        );
        *self = xen.into_inner();
        found
    }
}

#[test]
fn a_whole_run_takes_as_few_calls_as_xen_allows() {
    let mut xen = Xen::with(0..PAGES);
    assert_eq!(xen.remove_all(), Found::Mapped(PAGES));
    assert_eq!((xen.calls, xen.permissions), (4, 0), "64 pages a call");
}

#[test]
fn a_missing_permission_is_given_once() {
    let mut xen = Xen { is_permitted: false, ..Xen::with(0..PAGES) };
    assert_eq!(xen.remove_all(), Found::Mapped(PAGES));
    assert_eq!(xen.permissions, 1);
}

#[test]
fn a_page_that_xen_keeps_is_never_taken_for_removed() {
    for errno in [EPERM, ENOMEM] {
        let mut xen = Xen::with(0..PAGES);
        xen.refusals = [(2, errno), (3, errno)].into();
        assert_eq!(xen.remove_all(), Found::Stuck(errno));
        assert_eq!(xen.entries.keys().next(), Some(&128), "two calls were done");
    }
}

#[test]
fn a_borrower_that_is_gone_has_nothing_mapped() {
    let run = Run { page: AperturePage(0), mfn: Mfn(0x700), count: PAGES, large: false, zeros: false };
    let mut calls = 0;
    let found = remove::<u16>(
        &run,
        |_, _, _| {
            calls += 1;
            if calls == 1 {
                Removed::Pages(5)
            } else {
                Removed::DomainGone
            }
        },
        || panic!("nothing to permit"),
    );
    assert_eq!((found, calls), (Found::DomainGone, 2));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is mapped, however much Xen does at a time, wherever it refuses: what is called removed is.
    #[test]
    fn what_is_called_removed_is(
        mapped in prop::collection::btree_set(0..PAGES, 0..PAGES as usize),
        steps in prop::collection::vec(1_u32..=64, 0..80),
        refusals in prop::collection::btree_map(0_u32..40, prop::sample::select(vec![EPERM, ENOMEM]), 0..3),
        is_permitted: bool,
    ) {
        let mut xen = Xen { steps: steps.into(), refusals, is_permitted, ..Xen::with(mapped.clone()) };
        match xen.remove_all() {
            Found::Mapped(pages) => {
                prop_assert_eq!(pages as usize, mapped.len());
                prop_assert!(xen.entries.is_empty());
            }
            Found::Stuck(_) => prop_assert!(xen.permissions == 1 && xen.calls > 1),
            Found::DomainGone => prop_assert!(false, "it is not"),
        }
        prop_assert!(xen.permissions <= 1);
    }
}

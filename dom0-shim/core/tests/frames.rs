// SPDX-License-Identifier: MIT OR Apache-2.0
//! Frames on a lend-aware Xen: what is released, withdrawn and removed, against a Xen in memory.
#![allow(missing_docs)]

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use proptest::prelude::*;
use xenlend_protocol::extent::ClaimedExtent;
use xenlend_protocol::frame::{AperturePage, Mfn};
use xenlend_shim_core::dm_op::{DmOp, MAX_RUNS, NOBODY};
use xenlend_shim_core::frames::{Counts, DmOps, Frames, LendAware};
use xenlend_shim_core::mirror::Run;
use xenlend_shim_core::removal::Found;

const BORROWER: u16 = 7;
const LENDER: u16 = 0;
const FIRST_GFN: u64 = 0x4_0000;
const EPERM: u16 = 1;
const ENOMEM: u16 = 12;
const ESRCH: u16 = 3;
const EEXIST: u16 = 17;

/// What such a Xen knows of one borrower.
#[derive(Debug, Default)]
struct Xen {
    broker: Option<u16>,
    /// Frames, and whether they may be written.
    released: BTreeMap<u64, bool>,
    /// Pages where something is lent.
    lent: BTreeSet<u64>,
    /// Frames that cannot be released.
    bad: BTreeSet<u64>,
    /// Frames that cannot be withdrawn.
    never: BTreeSet<u64>,
    is_gone: bool,
    calls: u32,
}

#[derive(Clone, Default)]
struct Handle(Rc<RefCell<Xen>>);

impl DmOps for Handle {
    fn dm_op(&mut self, call: &mut DmOp) -> Result<(), u16> {
        let mut xen = self.0.borrow_mut();
        xen.calls += 1;
        assert_eq!(call.borrower, BORROWER);
        if xen.is_gone {
            return Err(ESRCH);
        }
        let (count, flags) = (call.words[1] as u32 as usize, call.words[1] >> 32);
        match call.words[0] {
            65 => {
                let (broker, lender) = (call.words[1] as u16, (call.words[1] >> 16) as u16);
                assert_eq!((lender, flags), (LENDER, u64::from(broker == NOBODY)));
                xen.broker = (broker != NOBODY).then_some(broker);
            }
            66 => {
                assert_eq!(call.list_words, count * 2);
                for run in call.list[..count * 2].chunks(2) {
                    for frame in run[0]..run[0] + run[1] {
                        if flags & 1 != 0 && xen.never.contains(&frame) {
                            return Err(EPERM);
                        } else if flags & 1 != 0 {
                            xen.released.remove(&frame);
                        } else if xen.bad.contains(&frame) {
                            return Err(ENOMEM);
                        } else {
                            xen.released.insert(frame, flags & 2 == 0);
                        }
                        call.words[2] += 1;
                    }
                }
            }
            67 => {
                assert_eq!((count, flags, call.list_words), (1, 0, 5));
                let [gfn, pages, old, new, lenders] = call.list[..5] else { panic!() };
                assert_eq!((new, lenders), (u64::MAX, 0));
                for page in gfn - FIRST_GFN..gfn - FIRST_GFN + pages {
                    if old == u64::MAX - 1 {
                        xen.lent.remove(&page);
                    } else if xen.lent.contains(&page) {
                        return Err(EEXIST);
                    }
                    call.words[2] += 1;
                }
            }
            other => panic!("call {other}"),
        }
        Ok(())
    }
}

fn frames() -> (Handle, LendAware<Handle>) {
    let xen = Handle::default();
    (xen.clone(), LendAware::new(xen, BORROWER, LENDER, FIRST_GFN))
}

const ALL: fn(AperturePage) -> bool = |_| true;

fn extent(page: u32, mfn: u64, count: u32) -> ClaimedExtent {
    ClaimedExtent { page: AperturePage(page), mfn: Mfn(mfn), count }
}

fn run(page: u32, count: u32) -> Run {
    Run { page: AperturePage(page), mfn: Mfn(1), count, large: false, zeros: false }
}

fn frame_run(mfn: u64, count: u32) -> Run {
    Run { mfn: Mfn(mfn), ..run(0, count) }
}

fn released(xen: &Handle) -> Vec<(u64, bool)> {
    xen.0.borrow().released.iter().map(|(frame, writable)| (*frame, *writable)).collect()
}

#[test]
fn the_broker_is_named_and_dismissed() {
    let (xen, mut frames) = frames();
    assert_eq!(frames.name_parties(8), Ok(()));
    assert_eq!(xen.0.borrow().broker, Some(8));
    assert_eq!(frames.dismiss_parties(), Ok(()));
    assert_eq!(xen.0.borrow().broker, None);
}

#[test]
fn frames_are_released_for_what_they_are_lent_for_and_withdrawn() {
    let (xen, mut frames) = frames();
    assert_eq!(frames.release(&[extent(3, 100, 2), extent(9, 300, 1)], false, &ALL), Ok(()));
    assert_eq!(frames.release(&[extent(7, 200, 1)], true, &ALL), Ok(()));
    assert_eq!(released(&xen), [(100, true), (101, true), (200, false), (300, true)]);
    assert_eq!(xen.0.borrow().calls, 2, "one for each Present");
    assert_eq!(frames.withdraw(&[frame_run(101, 100)]), 0, "also what was never released");
    assert_eq!(released(&xen), [(100, true), (300, true)]);
    assert_eq!(frames.take_back(&[extent(3, 100, 2), extent(9, 300, 1)], &ALL), 0);
    assert_eq!(released(&xen), []);
}

#[test]
fn withdrawing_takes_a_call_for_each_list() {
    let (xen, mut frames) = frames();
    let runs: Vec<_> = (0..=MAX_RUNS as u64).map(|index| frame_run(100 + 2 * index, 1)).collect();
    xen.0.borrow_mut().released.extend(runs.iter().map(|run| (run.mfn.0, true)));
    assert_eq!(frames.withdraw(&runs), 0);
    assert_eq!((released(&xen), xen.0.borrow().calls), (vec![], 2));
}

#[test]
fn a_run_to_which_xen_says_no_keeps_no_other() {
    let (xen, mut frames) = frames();
    xen.0.borrow_mut().released.extend([(1, true), (3, true), (5, true)]);
    xen.0.borrow_mut().never.insert(3);
    let runs = [1, 3, 5].map(|frame| frame_run(frame, 1));
    assert_eq!(frames.withdraw(&runs), 1);
    assert_eq!(released(&xen), [(3, true)]);
}

#[test]
fn a_release_that_fails_leaves_nothing_released() {
    let (xen, mut frames) = frames();
    xen.0.borrow_mut().bad.insert(301);
    assert_eq!(frames.release(&[extent(3, 100, 2), extent(9, 300, 4)], false, &ALL), Err(ENOMEM));
    assert_eq!(released(&xen), []);
}

#[test]
fn a_borrower_that_is_gone_has_nothing() {
    let (xen, mut frames) = frames();
    xen.0.borrow_mut().is_gone = true;
    assert_eq!(frames.withdraw(&[frame_run(1, 5)]), 0);
    assert_eq!(frames.remove(&run(0, 5)), Found::DomainGone);
    assert_eq!(frames.verify(&run(0, 5)), Found::DomainGone);
}

#[test]
fn entries_go_in_one_call_whatever_is_there() {
    let (xen, mut frames) = frames();
    frames.release(&[extent(5, 1, 4), extent(9, 5, 1)], false, &ALL).unwrap();
    xen.0.borrow_mut().lent.extend([4, 5, 8, 9]);
    assert_eq!(frames.remove(&run(5, 4)), Found::Mapped(4));
    assert_eq!(xen.0.borrow().lent, BTreeSet::from([4, 9]));
    assert_eq!(released(&xen), [(5, true)], "none of them can be added again");
    assert_eq!(frames.take_counts(), Counts { calls: 1, failures: 0 });
    assert_eq!(frames.take_counts(), Counts::default());
}

#[test]
fn honesty_costs_a_withdrawal_and_one_call() {
    let (xen, mut frames) = frames();
    assert_eq!(frames.verify(&run(0, 512)), Found::Mapped(0));
    assert_eq!(xen.0.borrow().calls, 2);
    assert_eq!(frames.take_counts(), Counts { calls: 1, failures: 0 });
}

#[test]
fn what_is_verified_cannot_be_added_again() {
    let (xen, mut frames) = frames();
    frames.release(&[extent(5, 1, 4), extent(9, 5, 1)], false, &ALL).unwrap();
    assert_eq!(frames.verify(&run(5, 4)), Found::Mapped(0));
    assert_eq!(released(&xen), [(5, true)]);
}

proptest! {
    #[test]
    fn every_page_that_was_left_is_counted_and_goes(
        left in proptest::collection::btree_set(0u64..60, 0..60),
        first in 0u32..30,
        count in 1u32..30,
    ) {
        let (xen, mut frames) = frames();
        xen.0.borrow_mut().lent = left.clone();
        let range = u64::from(first)..u64::from(first + count);
        let expected = left.iter().filter(|page| range.contains(page)).count() as u32;
        prop_assert_eq!(frames.verify(&run(first, count)), Found::Mapped(expected));
        let rest: BTreeSet<u64> = left.into_iter().filter(|page| !range.contains(page)).collect();
        prop_assert_eq!(&xen.0.borrow().lent, &rest);
    }
}

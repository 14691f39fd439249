// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can happen in random traffic, as data: each step is one thing that somebody does.

use proptest::prelude::*;
use xenlend_protocol::message::WantedOutcome;

use super::aperture_pages::{count, page};

/// vCPUs of the borrower.
pub const VCPUS: u16 = 3;
/// Indices that leases have.
pub const INDICES: u16 = 4;

#[derive(Clone, Copy, Debug)]
pub enum Step {
    Set {
        index: u16,
        first: u32,
        count: u32,
    },
    Drop {
        index: u16,
    },
    Present {
        index: u16,
        first: u32,
        count: u32,
        aligned: bool,
        again: bool,
    },
    Invalidate {
        index: u16,
        first: u32,
        count: u32,
    },
    Lost {
        index: u16,
        first: u32,
        count: u32,
    },
    Forced,
    Request {
        vcpu: u16,
        kind: u8,
        page: u32,
        offset: u64,
        count: u32,
        downwards: bool,
    },
    TakeResponse {
        vcpu: u16,
    },
    Answer {
        lost: bool,
    },
    Drain,
    Turn,
    Room(usize),
    FailAdd {
        done: u32,
    },
    FailRemove {
        done: u32,
    },
    PageTables(u32),
    PlaceRam {
        page: u32,
    },
    /// A task of the borrower waits for pages of a lease that its driver knows.
    Wait {
        index: u16,
        first: u32,
        count: u32,
    },
    /// The driver takes up to so many messages, and confirms its zaps.
    Listen {
        messages: usize,
    },
    BorrowerRoom(usize),
    AnswerWant {
        outcome: WantedOutcome,
    },
}

pub fn step() -> impl Strategy<Value = Step> {
    let index = 0..INDICES;
    prop_oneof![
        2 => (index.clone(), page(), prop_oneof![Just(512_u32), Just(1536_u32), 1_u32..64])
            .prop_map(|(index, first, count)| Step::Set { index, first, count }),
        1 => index.clone().prop_map(|index| Step::Drop { index }),
        6 => (index.clone(), page(), count(), any::<bool>(), any::<bool>())
            .prop_map(|(index, first, count, aligned, again)| Step::Present { index, first, count, aligned, again }),
        3 => (index.clone(), page(), count())
            .prop_map(|(index, first, count)| Step::Invalidate { index, first, count }),
        1 => (index, page(), 1_u32..4).prop_map(|(index, first, count)| Step::Lost { index, first, count }),
        1 => Just(Step::Forced),
        5 => (0..VCPUS, 0_u8..7, page(), 0_u64..4096, 1_u32..600, any::<bool>()).prop_map(
            |(vcpu, kind, page, offset, count, downwards)| Step::Request { vcpu, kind, page, offset, count, downwards }
        ),
        4 => (0..VCPUS).prop_map(|vcpu| Step::TakeResponse { vcpu }),
        5 => prop::bool::weighted(0.1).prop_map(|lost| Step::Answer { lost }),
        3 => Just(Step::Drain),
        10 => Just(Step::Turn),
        2 => prop_oneof![0_usize..4, Just(1000_usize)].prop_map(Step::Room),
        1 => (0_u32..700).prop_map(|done| Step::FailAdd { done }),
        1 => (0_u32..700).prop_map(|done| Step::FailRemove { done }),
        1 => prop_oneof![Just(0_u32), Just(2_u32), Just(1000_u32)].prop_map(Step::PageTables),
        1 => page().prop_map(|page| Step::PlaceRam { page }),
        4 => (0..INDICES, page(), 1_u32..40).prop_map(|(index, first, count)| Step::Wait { index, first, count }),
        4 => (0_usize..20).prop_map(|messages| Step::Listen { messages }),
        2 => prop_oneof![0_usize..4, Just(1000_usize)].prop_map(Step::BorrowerRoom),
        3 => prop_oneof![
            Just(WantedOutcome::Present), Just(WantedOutcome::Lost), Just(WantedOutcome::Unavailable),
            Just(WantedOutcome::Failed)
        ].prop_map(|outcome| Step::AnswerWant { outcome }),
    ]
}

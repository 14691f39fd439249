// SPDX-License-Identifier: MIT OR Apache-2.0
//! What happens to a page, and how things stand with it in the borrower's driver then.

use xenlend_front_core::link::Standing;

use crate::coverage::{Machine, Table};

/// What happens to a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageEvent {
    /// A program touches it.
    Touched,
    /// The broker says that it is present.
    Present,
    /// That it cannot be had.
    Unavailable,
    /// That it will never come back.
    Lost,
    /// That it is gone.
    Revoked,
    /// That its lease is over.
    Ended,
    /// The link goes.
    Closed,
}

/// A page of a lease, as the borrower's driver sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfPages;

impl Machine for OfPages {
    type State = Standing;
    type Event = PageEvent;
    const STATES: &'static [Standing] =
        &[Standing::Absent, Standing::Wanted, Standing::Present, Standing::Lost];
    const EVENTS: &'static [PageEvent] = &[
        PageEvent::Touched,
        PageEvent::Present,
        PageEvent::Unavailable,
        PageEvent::Lost,
        PageEvent::Revoked,
        PageEvent::Ended,
        PageEvent::Closed,
    ];
    const IMPOSSIBLE: &'static [(Standing, PageEvent, &'static str)] = &[
        (
            Standing::Lost,
            PageEvent::Present,
            "a lease is lost as a whole, and the lender brings nothing in for one that is lost",
        ),
        (Standing::Lost, PageEvent::Unavailable, "a wait for a page that is lost is answered with its loss"),
    ];
    const RARE: &'static [(Standing, PageEvent, &'static str)] = &[(
        Standing::Lost,
        PageEvent::Revoked,
        "rare: by force, behind the loss; a_lost_page_reads_as_zeros_or_faults_as_the_lease_says has it",
    )];
}

/// Events and pages.
pub type PageCoverage = Table<OfPages>;

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which event has met which standing of a page with the borrower's driver, and what cannot happen.

use std::fmt;

use xenlend_front_core::link::Standing;

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

const STANDINGS: [Standing; 4] = [Standing::Absent, Standing::Wanted, Standing::Present, Standing::Lost];
const EVENTS: [PageEvent; 7] = [
    PageEvent::Touched,
    PageEvent::Present,
    PageEvent::Unavailable,
    PageEvent::Lost,
    PageEvent::Revoked,
    PageEvent::Ended,
    PageEvent::Closed,
];

/// Cells of the table that no history reaches, each with its reason.
pub const IMPOSSIBLE: [(Standing, PageEvent, &str); 2] = [
    (
        Standing::Lost,
        PageEvent::Present,
        "a lease is lost as a whole, and the lender brings nothing in for one that is lost",
    ),
    (Standing::Lost, PageEvent::Unavailable, "a wait for a page that is lost is answered with its loss"),
];

/// Cells that take some ten million steps, each with the test that has it at once.
pub const RARE: [(Standing, PageEvent, &str); 1] = [(
    Standing::Lost,
    PageEvent::Revoked,
    "rare: by force, behind the loss; a_lost_page_reads_as_zeros_or_faults_as_the_lease_says has it",
)];

/// How often each event has met each standing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageCoverage {
    met: [[u64; EVENTS.len()]; STANDINGS.len()],
}

impl PageCoverage {
    /// An event has met a standing.
    pub fn record(&mut self, standing: Standing, event: PageEvent) {
        let standing = STANDINGS.iter().position(|other| *other == standing);
        let event = EVENTS.iter().position(|other| *other == event);
        if let (Some(standing), Some(event)) = (standing, event) {
            self.met[standing][event] += 1;
        }
    }

    /// Adds another history's.
    pub fn add(&mut self, other: &Self) {
        let pairs = self.met.iter_mut().flatten().zip(other.met.iter().flatten());
        pairs.for_each(|(sum, more)| *sum += more);
    }

    /// Cells that can be reached and were not; and cells that were reached and cannot be.
    pub fn gaps(&self) -> Vec<(Standing, PageEvent)> {
        let cells = STANDINGS.iter().zip(&self.met);
        let cells =
            cells.flat_map(|(of, row)| EVENTS.iter().zip(row).map(move |(with, met)| (*of, *with, *met)));
        cells
            .filter(|(of, with, _)| !RARE.iter().any(|cell| (cell.0, cell.1) == (*of, *with)))
            .filter(|(of, with, met)| {
                let impossible = IMPOSSIBLE.iter().any(|cell| (cell.0, cell.1) == (*of, *with));
                (*met > 0) == impossible
            })
            .map(|(of, with, _)| (of, with))
            .collect()
    }
}

impl fmt::Display for PageCoverage {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{:<10}", "")?;
        EVENTS.iter().try_for_each(|event| write!(to, "{:>13}", format!("{event:?}")))?;
        writeln!(to)?;
        for (standing, row) in STANDINGS.iter().zip(&self.met) {
            write!(to, "{:<10}", format!("{standing:?}"))?;
            for (event, met) in EVENTS.iter().zip(row) {
                let impossible =
                    *met == 0 && IMPOSSIBLE.iter().any(|cell| (cell.0, cell.1) == (*standing, *event));
                write!(to, "{:>13}", if impossible { "impossible".to_owned() } else { met.to_string() })?;
            }
            writeln!(to)?;
        }
        IMPOSSIBLE
            .iter()
            .chain(&RARE)
            .try_for_each(|(standing, event, why)| writeln!(to, "{standing:?} x {event:?}: {why}"))
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pages of zeros that are lent where there is nothing of a process.
//!
//! The kernel tells nobody when something is mapped where nothing was. So such a page is lent for a moment
//! only: long enough for the access that asked for it, and then taken again, for the next access to look anew.
//! So are those of a process that has ended, where nothing will ever be: a borrower that touches all that it
//! has lost has no more of this kernel's memory than the list has places, and one.

use crate::kernel_api::memory::KernelSlice;
use crate::kernel_api::now_ms;
use crate::link::Link;
use crate::revoke::{self, Pages};

/// Places of the list; when it is full the visits end at once.
const PLACES: usize = 64;
/// Milliseconds of a visit. The vCPU that asked has been let go on before it begins; if this is too short for
/// it, it asks again.
const LENGTH_MS: u64 = 20;

/// Those that are lent now.
pub struct Visits {
    // Not in the link itself, which is moved over kernel stacks.
    pages: KernelSlice<Option<Pages>>,
    ends: u64,
}

impl Visits {
    /// None yet. `None` if memory is short.
    pub fn new() -> Option<Self> {
        Some(Self { pages: KernelSlice::new(PLACES, || None)?, ends: 0 })
    }

    fn is_empty(&self) -> bool {
        self.pages.iter().all(Option::is_none)
    }

    /// False if there is no place.
    fn add(&mut self, page: Pages) -> bool {
        let place = self.pages.iter_mut().find(|place| place.is_none());
        place.map(|place| *place = Some(page)).is_some()
    }

    fn take(&mut self) -> Option<Pages> {
        self.pages.iter_mut().find_map(Option::take)
    }
}

/// A page of zeros has been lent.
pub fn begin(link: &Link, page: Pages) {
    let is_listed = {
        let mut visits = link.visits.lock();
        if visits.is_empty() {
            visits.ends = now_ms().saturating_add(LENGTH_MS);
        }
        visits.add(page)
    };
    if !is_listed {
        end(link);
        revoke::revoke(link, &page);
    }
}

/// Ends them when their time has come. Gives the time that is left: 0 if none is lent.
pub fn turn(link: &Link) -> u32 {
    let left = {
        let visits = link.visits.lock();
        if visits.is_empty() {
            return 0;
        }
        visits.ends.saturating_sub(now_ms())
    };
    if left == 0 {
        end(link);
    }
    left as u32
}

fn end(link: &Link) {
    loop {
        // Not in the head of a loop: the lock would be held while the page is revoked.
        let page = link.visits.lock().take();
        let Some(page) = page else { return };
        revoke::revoke(link, &page);
    }
}

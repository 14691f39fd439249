// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pages of zeros that are lent where there is nothing of a process.
//!
//! The kernel tells nobody when something is mapped where nothing was. So such a page is lent for a moment
//! only: long enough for the access that asked for it, and then taken again, for the next access to look anew.
//! So are those of a process that has ended, where nothing will ever be: a borrower that touches all that it
//! has lost has no more of this kernel's memory than the list has places, and one.

use heapless::Vec;

use crate::kernel_api::now_ms;
use crate::link::Link;
use crate::revoke::{self, Pages};

/// Places of the list; when it is full the visits end at once.
const PLACES: usize = 64;
/// Milliseconds of a visit. The vCPU that asked has been let go on before it begins; if this is too short for
/// it, it asks again.
const LENGTH_MS: u64 = 20;

/// Those that are lent now.
#[derive(Default)]
pub struct Visits {
    pages: Vec<Pages, PLACES>,
    ends: u64,
}

impl Visits {
    /// A page of zeros has been lent.
    pub fn begin(&mut self, link: &Link, page: Pages) {
        if self.pages.is_full() {
            self.end(link);
        }
        if self.pages.is_empty() {
            self.ends = now_ms().saturating_add(LENGTH_MS);
        }
        // There is room.
        let _ = self.pages.push(page);
    }

    /// Ends them when their time has come. Gives the time that is left: 0 if none is lent.
    pub fn turn(&mut self, link: &Link) -> u32 {
        if self.pages.is_empty() {
            return 0;
        }
        let left = self.ends.saturating_sub(now_ms());
        if left == 0 {
            self.end(link);
        }
        left as u32
    }

    fn end(&mut self, link: &Link) {
        while let Some(page) = self.pages.pop() {
            revoke::revoke(link, &page);
        }
    }
}

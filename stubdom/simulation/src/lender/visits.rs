// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pages of zeros that are lent where a process has nothing: `dom0-shim/module/src/visits.rs`.

use super::revoke::{self, Pages};
use crate::world::{Sim, LOOK_MS};

/// Places of the list; when it is full the visits end at once.
pub const PLACES: usize = 64;

/// Those that are lent now.
#[derive(Default)]
pub struct Visits {
    pages: Vec<Pages>,
    ends: u64,
}

impl Visits {
    /// A page of zeros has been lent.
    pub async fn begin(&mut self, sim: &Sim, page: Pages) {
        if self.pages.len() == PLACES {
            self.end(sim).await;
        }
        if self.pages.is_empty() {
            self.ends = sim.now_ms.get() + LOOK_MS;
        }
        self.pages.push(page);
    }

    /// Ends them when their time has come. Gives the time that is left: 0 if none is lent.
    pub async fn turn(&mut self, sim: &Sim) -> u32 {
        if self.pages.is_empty() {
            return 0;
        }
        let left = self.ends.saturating_sub(sim.now_ms.get());
        if left == 0 {
            self.end(sim).await;
        }
        left as u32
    }

    async fn end(&mut self, sim: &Sim) {
        while let Some(page) = self.pages.pop() {
            revoke::revoke(sim, &page).await;
        }
    }
}

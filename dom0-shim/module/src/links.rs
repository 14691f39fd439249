// SPDX-License-Identifier: MIT OR Apache-2.0
//! The table of links.

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use heapless::Vec;

use crate::errno::{Errno, EEXIST, ENOENT, ENOSPC};
use crate::kernel_api::lock::Mutex;
use crate::kernel_api::shared::Shared;
use crate::link::Link;

/// Links that one kernel can have.
const MAX_LINKS: usize = 128;

/// The table.
pub struct Links {
    table: Mutex<Vec<Shared<Link>, MAX_LINKS>>,
    next_descriptor: AtomicU32,
    /// The machine is about to sleep: new links are held too. Changed with the table locked.
    held: AtomicBool,
}

impl Links {
    /// An empty table; `None` if memory is short.
    pub fn new() -> Option<Self> {
        Some(Self {
            table: Mutex::new(Vec::new())?,
            next_descriptor: AtomicU32::new(0),
            held: AtomicBool::new(false),
        })
    }

    /// A number for a new descriptor.
    pub fn number_descriptor(&self) -> u32 {
        self.next_descriptor.fetch_add(1, Ordering::Relaxed)
    }

    /// The link of a borrower.
    pub fn find(&self, borrower: u16) -> Option<Shared<Link>> {
        self.table.lock().iter().find(|link| link.borrower == borrower).cloned()
    }

    /// The link of the first borrower from this one on.
    pub fn find_from(&self, borrower: u16) -> Option<Shared<Link>> {
        let links = self.table.lock();
        links.iter().filter(|link| link.borrower >= borrower).min_by_key(|link| link.borrower).cloned()
    }

    /// Makes a link and adds it, with the table locked, so that there is one for each borrower. `make` may sleep.
    pub fn add(
        &self,
        borrower: u16,
        make: impl FnOnce() -> Result<Shared<Link>, Errno>,
    ) -> Result<Shared<Link>, Errno> {
        let mut links = self.table.lock();
        if links.iter().any(|link| link.borrower == borrower) {
            return Err(EEXIST);
        }
        if links.is_full() {
            return Err(ENOSPC);
        }
        let link = make()?;
        if self.held.load(Ordering::Relaxed) {
            link.locked(|state| state.core.hold());
        }
        links.push(link.clone()).map_err(|_| ENOSPC)?;
        Ok(link)
    }

    /// Holds all links, also those to come, or releases all.
    pub fn hold(&self, held: bool) {
        let links = self.table.lock();
        self.held.store(held, Ordering::Relaxed);
        for link in links.iter() {
            link.locked(|state| if held { state.core.hold() } else { state.core.release() });
        }
    }

    /// Takes a link out.
    pub fn remove(&self, link: &Shared<Link>) -> Result<(), Errno> {
        let mut links = self.table.lock();
        let place = links.iter().position(|other| other.borrower == link.borrower).ok_or(ENOENT)?;
        let removed = links.swap_remove(place);
        drop(links);
        drop(removed);
        Ok(())
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The worker threads of a link: starting them, and telling one in a region to come back.

use xenlend_protocol::lease_id::LeaseId;
use xenlend_shim_core::regions::Phase;

use crate::errno::{Errno, ENOMEM, ENOSPC};
use crate::kernel_api::shared::Shared;
use crate::kernel_api::worker::Worker;
use crate::link::{Link, State};
use crate::{log_warning, worker};

/// What a worker thread is told when it starts.
pub struct Post {
    link: Shared<Link>,
    number: u32,
}

impl Post {
    /// The thread's main function.
    pub fn run(&self) {
        worker::work(&self.link, self.number);
        let thread = self.link.locked(|state| {
            state.core.dismiss(self.number);
            state.threads.get_mut(self.number as usize).and_then(Option::take)
        });
        drop(thread);
    }

    /// For whoever starts the thread.
    pub fn link(&self) -> &Link {
        &self.link
    }
}

/// Starts the first workers of a link: one to lead, and one to take the lead from it.
pub fn start(link: &Shared<Link>) -> Result<(), Errno> {
    for _ in 0..2 {
        let number = link.locked(|state| state.core.recruit()).ok_or(ENOSPC)?;
        start_one(link, number)?;
    }
    Ok(())
}

/// Starts a worker because nobody is left to lead. Without memory for it the link goes on with
/// those that it has, and whoever goes into a region next tries again.
pub fn reinforce(link: &Shared<Link>, number: u32) {
    if start_one(link, number).is_err() {
        log_warning!("dom{}: no memory for one more worker thread", link.borrower);
    }
}

fn start_one(link: &Shared<Link>, number: u32) -> Result<(), Errno> {
    let post = Shared::new(Post { link: link.clone(), number });
    let thread = post.ok_or(ENOMEM).and_then(|post| Worker::start(&post));
    let (unused, result) = link.locked(|state| match thread {
        Ok(thread) => (state.keep(number, thread), Ok(())),
        Err(error) => {
            state.core.dismiss(number);
            (None, Err(error))
        }
    });
    drop(unused);
    result
}

impl State {
    /// Keeps the handle of a thread that may have done much meanwhile: it may have ended, or be in
    /// a region whose end could not tell it to come back. Gives a handle to be dropped without the
    /// lock.
    fn keep(&mut self, number: u32, thread: Worker) -> Option<Worker> {
        if self.core.is_free(number) {
            return Some(thread);
        }
        let lease = self.core.region_of_worker(number);
        let is_active = |lease| self.core.region(lease).is_some_and(|region| region.phase == Phase::Active);
        if self.stopping || lease.is_some_and(|lease| !is_active(lease)) {
            thread.interrupt();
        }
        self.threads.get_mut(number as usize).and_then(|place| place.replace(thread))
    }

    /// Has the worker in a region come back: it may be at a page that never comes. Under the lock,
    /// so that it is this region's fault that is interrupted and no other. Gives the access that it
    /// owes an answer to, which is the caller's to give now.
    pub fn recall_worker(&mut self, lease: LeaseId) -> Option<u32> {
        let (number, access) = self.core.recall(lease)?;
        if let Some(thread) = self.threads.get(number as usize).and_then(Option::as_ref) {
            thread.interrupt();
        }
        access
    }

    /// The same for all of them, when the link ends.
    pub fn interrupt_workers(&self) {
        self.threads.iter().flatten().for_each(Worker::interrupt);
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! A link while the lender's machine sleeps: nothing is made present, and whoever asks waits.

use xenlend_protocol::ring::RingMemory;

use super::Link;
use crate::request_queue::Request;
use crate::storage::Storage;

impl<R: RingMemory, S: Storage> Link<R, S> {
    /// From now on no page is made present; what the borrower asks for is kept until
    /// [`Self::release`]. What is present already is the caller's to revoke.
    pub fn hold(&mut self) {
        self.held = true;
    }

    /// Goes on with what was kept.
    pub fn release(&mut self) {
        self.held = false;
        self.wake();
    }

    /// Whether it is held.
    pub fn is_held(&self) -> bool {
        self.held
    }

    /// The next request that may be worked on now.
    pub fn next_request(&mut self) -> Option<Request> {
        if self.held {
            None
        } else {
            self.pop_request()
        }
    }

    /// Whether pages may be made present now.
    pub(super) fn may_add(&mut self) -> bool {
        !self.held && self.is_lending()
    }
}

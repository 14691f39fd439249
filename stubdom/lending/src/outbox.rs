// SPDX-License-Identifier: MIT OR Apache-2.0
//! Answers that found no room in the ring: kept, in order, until there is.

use heapless::Deque;
use xenlend_protocol::message::FromBroker;
use xenlend_protocol::refusal::BreachKind;

use crate::counters::{count, Counters};
use crate::hypervisor::{LenderLink, SendError};

/// One answer, one about the borrower's link and one about its end, and the last word of a link that ends
/// while those are kept.
const CAPACITY: usize = 4;

/// How far a flush came.
pub(crate) enum Flushed {
    /// Nothing is owed any more.
    All,
    /// The first message owed finds no room.
    Waits,
    /// So does an acknowledgement of an invalidation, which the ring reserves room for.
    ReserveUsedUp,
    /// The lender broke the ring's contract: nothing can be sent any more.
    Broken(BreachKind),
}

/// What is owed to the lender. While something is, no message of the lender is taken.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    owed: Deque<FromBroker, CAPACITY>,
}

impl Outbox {
    /// Owes a message. It is sent by the next [`Self::flush`].
    pub(crate) fn owe(&mut self, message: FromBroker) {
        // Always room: nothing is taken from the lender while something is owed, and
        // the last word is said once.
        let _ = self.owed.push_back(message);
    }

    /// Sends what finds room.
    pub(crate) fn flush(&mut self, link: &mut impl LenderLink, counters: &mut Counters) -> Flushed {
        while let Some(message) = self.owed.front() {
            match link.send(message) {
                Ok(()) => {
                    self.owed.pop_front();
                }
                Err(SendError::Full) => {
                    count(&mut counters.ring_full, 1);
                    let reserved = matches!(message, FromBroker::Invalidated { .. });
                    return if reserved { Flushed::ReserveUsedUp } else { Flushed::Waits };
                }
                Err(SendError::Breach(kind)) => return Flushed::Broken(kind),
            }
        }
        Flushed::All
    }

    /// Owes nothing to a lender that is gone.
    pub(crate) fn clear(&mut self) {
        self.owed.clear();
    }
}

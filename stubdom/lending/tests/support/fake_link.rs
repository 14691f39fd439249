// SPDX-License-Identifier: MIT OR Apache-2.0
//! A link whose room the test decides.

use std::collections::VecDeque;

use xenlend_lending::hypervisor::{LenderLink, SendError};
use xenlend_protocol::message::{FromBroker, ToBroker, MAX_INVALIDATIONS};
use xenlend_protocol::refusal::BreachKind;

/// The fake.
#[derive(Debug)]
pub struct FakeLink {
    pub to_broker: VecDeque<ToBroker>,
    pub to_lender: VecDeque<FromBroker>,
    /// Messages of normal priority that find room. `MAX_INVALIDATIONS` acknowledgements
    /// always do.
    pub room: usize,
    pub send_breach: Option<BreachKind>,
    pub receive_breach: Option<BreachKind>,
}

impl FakeLink {
    pub fn new() -> Self {
        Self {
            to_broker: VecDeque::new(),
            to_lender: VecDeque::new(),
            room: usize::MAX / 2,
            send_breach: None,
            receive_breach: None,
        }
    }
}

impl LenderLink for FakeLink {
    fn send(&mut self, message: &FromBroker) -> Result<(), SendError> {
        if let Some(kind) = self.send_breach {
            return Err(SendError::Breach(kind));
        }
        let is_reserved = |message: &&FromBroker| matches!(message, FromBroker::Invalidated { .. });
        let reserved = self.to_lender.iter().filter(is_reserved).count();
        let has_room = if is_reserved(&message) {
            reserved < MAX_INVALIDATIONS
        } else {
            self.to_lender.len() - reserved < self.room
        };
        if !has_room {
            return Err(SendError::Full);
        }
        self.to_lender.push_back(message.clone());
        Ok(())
    }

    fn receive(&mut self) -> Result<Option<ToBroker>, BreachKind> {
        self.receive_breach.map_or_else(|| Ok(self.to_broker.pop_front()), Err)
    }
}

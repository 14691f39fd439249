// SPDX-License-Identifier: MIT OR Apache-2.0
//! The two rings shared with the lender, and the one notification for all that a turn did to them.

use xenlend_lending::hypervisor::{LenderLink, SendError};
use xenlend_lending::revocation_work::RevocationWork;
use xenlend_protocol::message::{FromBroker, ToBroker};
use xenlend_protocol::refusal::BreachKind;
use xenlend_protocol::ring::shared_page::{Direction, SharedRing};
use xenlend_protocol::ring::{self, Consumer, Priority, Producer};
use xenlend_xen_abi::event_channel::Port;

use super::event_channel;
#[cfg(feature = "faults")]
use crate::attack::Pages;
use crate::turn::LenderEnd;
use crate::window::WindowFrame;
use crate::work;

/// The link with the lender.
pub struct Link {
    to_lender: Producer<SharedRing>,
    from_lender: Consumer<SharedRing>,
    port: Port,
    sent: bool,
    revocations: RevocationWork,
    /// For a broker that attacks.
    #[cfg(feature = "faults")]
    pub pages: Pages,
}

impl Link {
    /// The link over three granted pages: control, lender to broker, broker to lender.
    ///
    /// # Safety
    /// The pages are shown at these frames for good, and nothing else here touches them.
    pub unsafe fn new(pages: [WindowFrame; 3], port: Port) -> Self {
        // SAFETY: as the caller promises; it uses atomics, as the rings do.
        #[cfg(feature = "faults")]
        let shared = unsafe { Pages::new(pages, port) };
        let [control, to_broker, to_lender] = pages.map(WindowFrame::pointer);
        // SAFETY: as the caller promises.
        let from_lender = Consumer::new(unsafe { SharedRing::new(control, to_broker, Direction::ToBroker) });
        // SAFETY: as above.
        let to_lender = Producer::new(unsafe { SharedRing::new(control, to_lender, Direction::ToLender) });
        Self {
            to_lender,
            from_lender,
            port,
            sent: false,
            revocations: RevocationWork::new(),
            #[cfg(feature = "faults")]
            pages: shared,
        }
    }

    /// What the acknowledgements so far have taken.
    pub fn revocations(&self) -> &RevocationWork {
        &self.revocations
    }

    /// The port to wait for.
    pub fn port(&self) -> Port {
        self.port
    }
}

impl LenderLink for Link {
    fn send(&mut self, message: &FromBroker) -> Result<(), SendError> {
        let priority = match message {
            FromBroker::Invalidated { .. } => Priority::Reserved,
            _ => Priority::Normal,
        };
        match self.to_lender.send(message, priority) {
            Ok(()) => {
                self.sent = true;
                work::message();
                if priority == Priority::Reserved {
                    self.revocations.acknowledged(work::done());
                }
                Ok(())
            }
            Err(ring::SendError::Full) => Err(SendError::Full),
            Err(ring::SendError::Breach(kind)) => Err(SendError::Breach(kind)),
            Err(ring::SendError::TooLong) => unreachable!("no message is longer than the protocol allows"),
        }
    }

    fn receive(&mut self) -> Result<Option<ToBroker>, BreachKind> {
        let received = self.from_lender.receive();
        match received {
            Ok(Some(_)) => work::message(),
            Ok(None) => self.revocations.found_empty(work::done()),
            Err(_) => {}
        }
        received
    }
}

impl LenderEnd for Link {
    fn finish_turn(&mut self) {
        let wanted = self.from_lender.take_wakeup();
        if core::mem::take(&mut self.sent) || wanted {
            event_channel::notify(self.port);
        }
    }

    fn is_connected(&self) -> bool {
        event_channel::is_connected(self.port)
    }
}

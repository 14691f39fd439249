// SPDX-License-Identifier: MIT OR Apache-2.0
//! The two rings shared with the borrower, while its frontend is attached.
//!
//! The frames of the window are this link's from the start; only what appears there changes.

use xenlend_lending::hypervisor::{BorrowerLink, SendError};
use xenlend_protocol::frontend::{FromBorrower, ToBorrower};
use xenlend_protocol::refusal::{AttachFailure, BreachKind};
use xenlend_protocol::ring::shared_page::{Direction, SharedRing};
use xenlend_protocol::ring::{self, Consumer, Priority, Producer};
use xenlend_xen_abi::event_channel::Port;
use xenlend_xen_abi::grant_table::status_errno;
use xenlend_xen_abi::DomainId;

use super::event_channel;
use super::grant_table::{self, Mapping};
use crate::log;
use crate::turn::BorrowerEnd;
use crate::window::WindowFrame;
use crate::work;

/// The link with the borrower.
pub struct BorrowerRings {
    borrower: DomainId,
    frames: [WindowFrame; 3],
    attached: Option<Attached>,
    /// Xen has not ended a mapping at one of the frames. To map over it would crash this domain.
    is_stuck: bool,
}

struct Attached {
    to_borrower: Producer<SharedRing>,
    from_borrower: Consumer<SharedRing>,
    mappings: [Mapping; 3],
    port: Port,
    sent: bool,
}

impl BorrowerRings {
    /// A link that nothing is attached to. The frames are for it alone.
    pub fn new(borrower: DomainId, frames: [WindowFrame; 3]) -> Self {
        Self { borrower, frames, attached: None, is_stuck: false }
    }

    /// The port to wait for, while there is one.
    pub fn port(&self) -> Option<Port> {
        self.attached.as_ref().map(|attached| attached.port)
    }

    /// The frames, for another's link; none while one of them is stuck.
    pub fn into_frames(mut self) -> Option<[WindowFrame; 3]> {
        self.detach();
        (!self.is_stuck).then_some(self.frames)
    }

    fn map_all(&mut self, references: [u32; 3]) -> Result<[Mapping; 3], AttachFailure> {
        let mut mappings = heapless::Vec::<Mapping, 3>::new();
        for (reference, frame) in references.into_iter().zip(self.frames) {
            match grant_table::map(self.borrower, reference, frame) {
                // Always room: there are three.
                Ok(mapping) => drop(mappings.push(mapping)),
                Err(refused) => {
                    self.unmap_all(&mappings);
                    let errno = match refused {
                        grant_table::Refused::Call(errno) => errno,
                        grant_table::Refused::Grant(status) => status_errno(status),
                    };
                    return Err(AttachFailure::Grant { errno });
                }
            }
        }
        Ok([mappings[0], mappings[1], mappings[2]])
    }

    /// A mapping that Xen does not end stays at its frame, and nothing is attached there any more.
    fn unmap_all(&mut self, mappings: &[Mapping]) {
        for mapping in mappings {
            if let Err(refused) = grant_table::unmap(*mapping) {
                log!("a page of the borrower stays mapped: {refused:?}");
                self.is_stuck = true;
            }
        }
    }
}

impl BorrowerLink for BorrowerRings {
    fn attach(&mut self, ring_refs: [u32; 3], event_channel: u32) -> Result<(), AttachFailure> {
        if self.attached.is_some() || self.is_stuck {
            return Err(AttachFailure::InUse);
        }
        let mappings = self.map_all(ring_refs)?;
        let port = match event_channel::bind(self.borrower, event_channel) {
            Ok(port) => port,
            Err(errno) => {
                self.unmap_all(&mappings);
                return Err(AttachFailure::EventChannel { errno });
            }
        };
        let [control, to_borrower, from_borrower] = self.frames.map(WindowFrame::pointer);
        // SAFETY: the pages have just been mapped at these frames and stay until `detach`, which drops the
        // rings first; nothing else here touches the frames.
        let to_borrower =
            Producer::new(unsafe { SharedRing::new(control, to_borrower, Direction::ToBorrower) });
        // SAFETY: as above.
        let from_borrower =
            Consumer::new(unsafe { SharedRing::new(control, from_borrower, Direction::FromBorrower) });
        self.attached = Some(Attached { to_borrower, from_borrower, mappings, port, sent: false });
        Ok(())
    }

    fn detach(&mut self) {
        let Some(attached) = self.attached.take() else { return };
        let Attached { mappings, port, .. } = attached;
        event_channel::close(port);
        self.unmap_all(&mappings);
    }

    fn send(&mut self, message: &ToBorrower) -> Result<(), SendError> {
        let Some(attached) = &mut self.attached else { return Err(SendError::Full) };
        match attached.to_borrower.send(message, Priority::Reserved) {
            Ok(()) => {
                attached.sent = true;
                work::message();
                Ok(())
            }
            Err(ring::SendError::Full) => Err(SendError::Full),
            Err(ring::SendError::Breach(kind)) => Err(SendError::Breach(kind)),
            Err(ring::SendError::TooLong) => unreachable!("no message is longer than the protocol allows"),
        }
    }

    fn receive(&mut self) -> Result<Option<FromBorrower>, BreachKind> {
        let Some(attached) = &mut self.attached else { return Ok(None) };
        let received = attached.from_borrower.receive();
        if matches!(received, Ok(Some(_))) {
            work::message();
        }
        received
    }
}

impl BorrowerEnd for BorrowerRings {
    fn finish_turn(&mut self) {
        let Some(attached) = &mut self.attached else { return };
        let wanted = attached.from_borrower.take_wakeup();
        if core::mem::take(&mut attached.sent) || wanted {
            event_channel::notify(attached.port);
        }
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! How a broker without a lender leaves a borrower that lives on.
//!
//! A server that stays on the borrower keeps a reference to this domain, which would stay as a zombie, and has
//! every later touch of the aperture wait for ever. Only this domain may take it off.

use xenlend_lending::broker::{Broker, LinkState};
use xenlend_lending::hypervisor::Hypervisor;

/// When to look again whether the last vCPU has taken its answer, in nanoseconds: Xen sends no event for that.
const LOOK_NS: u64 = 10_000_000;

/// The broker's ioreq server on the borrower.
pub trait Server {
    /// No new requests from now on.
    ///
    /// # Errors
    /// Xen's error number.
    fn disable(&self) -> Result<(), u16>;

    /// Takes it off the borrower; no vCPU may have a request in it.
    ///
    /// # Errors
    /// Xen's error number.
    fn destroy(&self) -> Result<(), u16>;

    /// Whether Xen can take the server off by itself.
    fn can_dismiss(&self) -> bool;

    /// Whether this answer to a call says that Xen has removed the server, since this domain is not the
    /// borrower's broker any more, or there is no borrower any more.
    fn is_dismissed(&self, errno: u16) -> bool;
}

/// How far it has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Departure {
    /// Nobody has left yet.
    #[default]
    NotBegun,
    /// There are no new requests any more.
    Begun,
    /// Xen refused a step, with this error number: the domain stays and completes requests.
    Refused(u16),
    /// Nothing of this domain is on the borrower any more; why.
    Left(&'static str),
}

impl Departure {
    /// Goes on as far as it can be done now.
    pub fn advance(&mut self, broker: &Broker<'_>, hypervisor: &mut (impl Hypervisor + Server)) {
        if broker.link_state() != LinkState::LenderGone {
            return;
        }
        let finished = *self == Self::Begun && broker.is_finished(hypervisor);
        let step = match *self {
            Self::NotBegun => hypervisor.disable().map(|()| Self::Begun),
            Self::Begun if finished => hypervisor.destroy().map(|()| Self::Left("the lender is gone")),
            // To be dismissed now would leave it waiting for what nobody does any more.
            Self::Begun if hypervisor.can_dismiss() => hypervisor.disable().map(|()| Self::Begun),
            unchanged => Ok(unchanged),
        };
        *self = match step {
            Ok(next) => next,
            // The control domain has named another broker or none: Xen has taken the server off, and woken
            // whoever waited.
            Err(errno) if hypervisor.is_dismissed(errno) => {
                Self::Left("the lender has dismissed this broker")
            }
            Err(errno) => Self::Refused(errno),
        };
    }

    /// When to look again, in system time (0: at the next event); none if that is not up to it.
    pub fn next_look(self, state: LinkState, now: u64) -> Option<u64> {
        match self {
            Self::Begun => Some(now.saturating_add(LOOK_NS)),
            Self::Refused(_) | Self::Left(_) => Some(0),
            Self::NotBegun => (state == LinkState::LenderGone).then_some(0),
        }
    }
}

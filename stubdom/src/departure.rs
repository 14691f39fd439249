// SPDX-License-Identifier: MIT OR Apache-2.0
//! How a broker without a lender leaves a borrower that lives on.
//!
//! A server that stays on the borrower keeps a reference to this domain, which would stay as a zombie, and has
//! every later touch of the aperture wait for ever. Only this domain may take it off.

use xenlend_lending::broker::{Broker, LinkState};

use crate::arguments::{self, ServedHypervisor};
use crate::{log, panic};

/// When to look again whether the last vCPU has taken its answer: Xen sends no event for that.
const LOOK_NS: u64 = 10_000_000;

/// How far it has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Departure {
    /// Nobody has left yet.
    #[default]
    NotBegun,
    /// There are no new requests any more.
    Begun,
    /// Xen refused a step: the domain stays and completes requests.
    Refused,
}

impl Departure {
    /// Goes on as far as it can be done now; at its end the domain ends.
    pub fn advance(&mut self, broker: &Broker<'_>, hypervisor: &mut ServedHypervisor) {
        if broker.link_state() != LinkState::LenderGone {
            return;
        }
        let requests = arguments::sound_hypervisor(hypervisor).requests();
        let step = match self {
            Self::NotBegun => match requests.disable() {
                // The control domain has named another broker or none: Xen has taken the server off, and
                // woken whoever waited.
                Err(errno) if arguments::sound_hypervisor(hypervisor).is_dismissed(errno) => {
                    panic::power_off(format_args!(
                        "the lender has dismissed this broker: leaving the borrower"
                    ))
                }
                asked => asked.map(|()| *self = Self::Begun),
            },
            Self::Begun if broker.is_finished(hypervisor) => {
                match arguments::sound_hypervisor(hypervisor).requests().destroy() {
                    Ok(()) => panic::power_off(format_args!("the lender is gone: leaving the borrower")),
                    refused => refused,
                }
            }
            _ => Ok(()),
        };
        if let Err(errno) = step {
            log!("cannot leave the borrower: Xen's error {errno}");
            *self = Self::Refused;
        }
    }

    /// When to look again, in system time (0: at the next event); none if that is not up to it.
    pub fn next_look(self, state: LinkState, now: u64) -> Option<u64> {
        match self {
            Self::Begun => Some(now.saturating_add(LOOK_NS)),
            Self::Refused => Some(0),
            Self::NotBegun => (state == LinkState::LenderGone).then_some(0),
        }
    }
}

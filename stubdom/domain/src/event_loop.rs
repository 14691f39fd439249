// SPDX-License-Identifier: MIT OR Apache-2.0
//! The borrowers of one domain: a turn for each, one more that joins, one that has been left.

use heapless::Vec;
use xenlend_lending::lending_table::PageSlot;
use xenlend_xen_abi::sched::POLL_PORTS_MAX;
use xenlend_xen_abi::DomainId;

use crate::config::Config;
use crate::more_borrowers::{self, MoreBorrowers, XenstoreLink};
use crate::start_error::StartError;
use crate::turn::Step;

/// Borrowers that one domain serves at a time.
pub const MAX_BORROWERS: usize = 8;

/// All of one borrower.
pub trait Service {
    /// The borrower.
    fn borrower(&self) -> DomainId;

    /// Does what there is to do, within bounds for each side.
    fn turn(&mut self) -> Step;

    /// Event channels that it waits for now: at most [`ports_of`] its vCPUs.
    fn port_count(&self) -> usize;
}

/// What serving one more takes of the domain.
pub trait Machine {
    /// All of one borrower.
    type Service: Service;

    /// The borrower's vCPUs.
    ///
    /// # Errors
    /// Xen's.
    fn vcpu_count(&mut self, config: &Config) -> Result<u16, StartError>;

    /// Bytes of the heap that are free.
    fn free_bytes(&self) -> usize;

    /// Takes up the service of a borrower besides the first, with so many vCPUs as the configuration says.
    ///
    /// # Errors
    /// If a step of it fails: nothing of it is left then.
    fn open(&mut self, config: &Config) -> Result<Self::Service, StartError>;

    /// A borrower that joins cannot be served; why.
    fn refuse(&mut self, borrower: DomainId, error: &StartError);

    /// Lets go of a borrower that has been left, and says why.
    fn close(&mut self, service: Self::Service, why: &'static str);
}

/// What a turn of all has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// There is more to do.
    Busy,
    /// Nothing until an event, or this system time (0: none).
    Rests(u64),
    /// The last borrower has been left; why. The domain's work is done.
    Over(&'static str),
}

/// Everything that the event loop serves.
pub struct Borrowers<M: Machine, X> {
    services: Vec<M::Service, MAX_BORROWERS>,
    /// Where more than one borrower can be had.
    more: Option<MoreBorrowers<X>>,
    machine: M,
}

impl<M: Machine, X: XenstoreLink> Borrowers<M, X> {
    /// The first one is served.
    pub fn new(first: M::Service, more: Option<MoreBorrowers<X>>, machine: M) -> Self {
        let mut services = Vec::new();
        // There is room.
        let _ = services.push(first);
        Self { services, more, machine }
    }

    /// Those that are served.
    pub fn services(&self) -> &[M::Service] {
        &self.services
    }

    /// Xenstore's link, where more can be had.
    pub fn xenstore(&self) -> Option<&X> {
        self.more.as_ref().map(MoreBorrowers::link)
    }

    /// A turn of everything: bounded work for each.
    pub fn turn(&mut self) -> Turn {
        let mut turn = Turn::Rests(0);
        let mut index = 0;
        while let Some(service) = self.services.get_mut(index) {
            match service.turn() {
                Step::Busy => turn = Turn::Busy,
                Step::Rests(until) => turn = turn.and_rest(until),
                Step::Left(why) => {
                    if self.services.len() == 1 {
                        return Turn::Over(why);
                    }
                    self.leave(index, why);
                    continue;
                }
            }
            index += 1;
        }
        match self.more.as_mut().map_or(more_borrowers::Turn::Idle, MoreBorrowers::turn) {
            more_borrowers::Turn::Idle => turn,
            more_borrowers::Turn::More => Turn::Busy,
            more_borrowers::Turn::Join(config) => {
                self.join(&config);
                Turn::Busy
            }
        }
    }

    fn leave(&mut self, index: usize, why: &'static str) {
        let service = self.services.remove(index);
        let borrower = service.borrower();
        self.machine.close(service, why);
        if let Some(more) = &mut self.more {
            more.say(borrower, "left", None);
        }
    }

    /// One more borrower is to be served.
    fn join(&mut self, config: &Config) {
        // The node was touched again.
        if self.services.iter().any(|service| service.borrower() == config.borrower) {
            return;
        }
        let result = self.open(config);
        if let Err(error) = &result {
            self.machine.refuse(config.borrower, error);
        }
        let Some(more) = &mut self.more else { return };
        match result {
            Ok(()) => more.say(config.borrower, "connected", None),
            Err(error) => more.say(config.borrower, "failed", Some(&error)),
        }
    }

    fn open(&mut self, config: &Config) -> Result<(), StartError> {
        if self.services.is_full() {
            return Err(StartError::NotForMore("this broker has 8 already"));
        }
        let vcpus = self.machine.vcpu_count(config)?;
        let used: usize = self.services.iter().map(Service::port_count).sum();
        // One for xenstore, and one for the link of each borrower that has none now.
        if used + self.services.len() + 1 + ports_of(vcpus) > POLL_PORTS_MAX {
            return Err(StartError::NotForMore("the vCPUs of all have more than 128 event channels"));
        }
        // The guest may have chosen the size.
        if table_bytes(config.aperture_pages) > self.machine.free_bytes() / 2 {
            return Err(StartError::NotForMore(
                "its aperture takes more than half of the memory that is left",
            ));
        }
        let service = self.machine.open(&Config { vcpus, ..*config })?;
        // There is room: it is not full.
        let _ = self.services.push(service);
        Ok(())
    }
}

impl Turn {
    /// The earlier of two rests, 0 being never; busy stays busy.
    fn and_rest(self, until: u64) -> Self {
        match (self, until) {
            (Self::Rests(0), time) | (Self::Rests(time), 0) => Self::Rests(time),
            (Self::Rests(one), other) => Self::Rests(one.min(other)),
            (turn, _) => turn,
        }
    }
}

/// The most ports that a borrower of so many vCPUs can take: one each, and one for either link.
pub fn ports_of(vcpus: u16) -> usize {
    usize::from(vcpus) + 2
}

/// Bytes of the heap that the pages of an aperture take.
pub fn table_bytes(pages: u32) -> usize {
    size_of::<PageSlot>().saturating_mul(pages as usize)
}

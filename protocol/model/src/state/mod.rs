// SPDX-License-Identifier: MIT OR Apache-2.0
//! The state of everybody at once: memory, lender, both rings, broker, Xen and the borrower.

use heapless::Vec;

mod lender;

pub use lender::{
    Cause, Force, ForceStep, Link, Listed, Pending, Reason, Region, Request, Revoker, Revoking, Shim,
    Standing, Who, Worker, Working,
};

/// Pages of the one region.
pub const PAGES: usize = 2;
/// vCPUs of the borrower.
pub const VCPUS: usize = 2;
/// Who can revoke: two notifiers, and the end of the region.
pub const REVOKERS: usize = 3;
/// The revoker that ends the region.
pub const CLOSER: usize = 2;
/// Invalidations that may be unacknowledged, and that the ring has reserved room for.
pub const PLACES: usize = 1;

/// A page of the region, from 0.
pub type Page = usize;
/// A set of pages, one bit each.
pub type PageSet = u8;
/// The frames of a page are numbered in the order in which the page moves through them. A page never
/// comes back to a frame: that one belongs to somebody else.
pub type Frame = u8;
/// Number of an invalidation.
pub type Sequence = u8;

/// A message of the lender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ToBroker {
    /// This frame is behind that page.
    Present { page: Page, frame: Frame, sequence: Sequence },
    /// Remove, then acknowledge.
    Invalidate { sequence: Sequence, pages: PageSet },
    /// Everything was removed.
    Forced { sequence: Sequence },
    /// The answer to an access.
    Completed { vcpu: usize, id: u8 },
    /// The region is over.
    Drop,
}

/// A message of the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ToLender {
    /// Answers the Present.
    Presented(Outcome),
    /// Acknowledges an Invalidate, or says that Xen refused.
    Invalidated { sequence: Sequence, removed: bool },
    /// An access to be done.
    Access(Access),
    /// Answers the Drop.
    Dropped { removed: bool },
}

/// An access that the lender has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Access {
    /// Whose.
    pub vcpu: usize,
    /// Its number among those of the vCPU.
    pub id: u8,
    /// Where.
    pub page: Page,
    /// Whether the page is wanted too.
    pub wants_page: bool,
}

/// What became of a Present.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It is in the second stage.
    Added,
    /// A repeated write is outstanding.
    Later,
    /// Overtaken by an invalidation.
    Stale,
    /// The page is present in another frame.
    AlreadyPresent,
    /// Xen refused.
    Failed,
}

/// Why Xen killed the borrower.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Crash {
    /// An entry appeared between the exit and the lock.
    Fault,
    /// The page of a `rep stos` appeared before its re-emulation.
    RepeatedStore,
    /// An add over another entry.
    Replaced,
}

/// What a request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RequestState {
    /// `STATE_IOREQ_READY`
    Ready,
    /// `STATE_IOREQ_INPROCESS`
    InProcess,
    /// `STATE_IORESP_READY`
    Answered,
}

/// Where a vCPU is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Vcpu {
    /// In the guest, or descheduled there.
    InGuest,
    /// On a processor, in Xen, between the exit for an absent page and the second stage's lock.
    Exiting { page: Page, repeats: bool },
    /// Blocked; its request is in the broker's ioreq server.
    Waiting { page: Page, repeats: bool, state: RequestState },
    /// On a processor, in Xen, with the answer taken (state NONE), before the re-emulation.
    Emulating { page: Page, repeats: bool },
}

/// The broker's ioreq server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Server {
    /// Takes requests.
    Enabled,
    /// Takes no new ones.
    Disabled,
    /// Is gone.
    Destroyed,
}

/// Xen and the borrower.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Xen {
    /// The borrower's second stage.
    pub entries: [Option<Frame>; PAGES],
    /// Frame permissions, which a removal needs before 4.22.
    pub permitted: [bool; PAGES],
    /// The borrower's vCPUs.
    pub vcpus: [Vcpu; VCPUS],
    /// Paused by the lender.
    pub paused: bool,
    /// Not destroyed.
    pub alive: bool,
    /// Killed by Xen.
    pub crash: Option<Crash>,
    /// See [`Server`].
    pub server: Server,
}

/// What the broker is in the middle of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Doing {
    /// Nothing: the top of its loop.
    Nothing,
    /// A Present has passed every check; the hypercall comes next.
    Adding { page: Page, frame: Frame },
    /// These are still to be removed.
    Removing { left: PageSet, then: Then },
    /// The effect is there, the answer is not sent.
    Answering { message: ToLender, then_remove: PageSet },
}

/// What follows a removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Then {
    /// The acknowledgement.
    Acknowledge(Sequence),
    /// The end of the lease.
    Dropped,
    /// Nothing: there is no lender any more, or it was acknowledged before (seeded).
    Nothing,
}

/// The broker's lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lease {
    /// Lends.
    Active,
    /// Takes no Present any more.
    Revoking,
    /// Is no more.
    Vacant,
}

/// The broker's record of a vCPU's request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Slot {
    /// None.
    Idle,
    /// The lender was asked.
    Asked { id: u8 },
    /// It can be completed.
    Answered,
}

/// The broker's domain.
// Each is a fact of its own, and all of them occur together.
#[allow(clippy::struct_excessive_bools)]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Broker {
    /// Not crashed, destroyed or gone.
    pub alive: bool,
    /// It has left by itself.
    pub has_left: bool,
    /// Paused by the lender.
    pub held: bool,
    /// Paused by an administrator.
    pub stopped: bool,
    /// It has noticed that there is no lender any more.
    pub is_alone: bool,
    /// Program counter.
    pub doing: Doing,
    /// The lending table.
    pub table: [Option<Frame>; PAGES],
    /// Newest invalidation of each page.
    pub invalidated: [Sequence; PAGES],
    /// Newest Forced.
    pub floor: Sequence,
    /// See [`Lease`].
    pub lease: Lease,
    /// See [`Slot`].
    pub slots: [Slot; VCPUS],
    /// Accesses asked for so far.
    pub asked: [u8; VCPUS],
    /// Ids whose answers are to be ignored, one bit each.
    pub given_up: [u8; VCPUS],
}

impl Broker {
    /// Whether its vCPU can run.
    pub fn can_run(&self) -> bool {
        self.alive && !self.held && !self.stopped
    }
}

/// What may still happen, and what did.
// Each is a fact of its own, and all of them occur together.
#[allow(clippy::struct_excessive_bools)]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    /// Touches of absent pages that each vCPU has left.
    pub touches: [u8; VCPUS],
    /// Notifier calls left.
    pub notifiers: u8,
    /// Times that a running broker may be so slow that a deadline passes.
    pub delays: u8,
    /// Times that an administrator may pause the broker.
    pub stops: u8,
    /// The broker may die.
    pub broker_dies: bool,
    /// The borrower may be destroyed.
    pub borrower_dies: bool,
    /// The region may be closed.
    pub closes: bool,
    /// The link may be detached behind that.
    pub detaches: bool,
    /// Any of the misfortunes above has happened.
    pub misfortune: bool,
    /// The supervisor has destroyed the borrower.
    pub supervised: bool,
}

/// Everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// The frame that each page is in. Those before it belong to others.
    pub frames: [Frame; PAGES],
    /// See [`Shim`].
    pub shim: Shim,
    /// The ring towards the broker.
    pub to_broker: Vec<ToBroker, 16>,
    /// The ring towards the lender.
    pub to_lender: Vec<ToLender, 16>,
    /// See [`Broker`].
    pub broker: Broker,
    /// See [`Xen`].
    pub xen: Xen,
    /// See [`World`].
    pub world: World,
}

/// Whether a set has a page.
pub fn has(set: PageSet, page: Page) -> bool {
    set & (1 << page) != 0
}

/// The pages of a set.
pub fn pages_of(set: PageSet) -> impl Iterator<Item = Page> {
    (0..PAGES).filter(move |page| has(set, *page))
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! One vCPU's request on its way through its pieces.
//!
//! A piece that the lender has to do is built anew whenever it is tried: one that found
//! no room in the ring has had no effect, and nothing of it is kept.

use heapless::Vec;
use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::message::{AccessOperation, AccessOutcome, FromBroker, LossPolicy, MAX_ACCESS_BYTES};
use xenlend_protocol::refusal::BreachKind;

use crate::aperture::Aperture;
use crate::counters::{count, Counters};
use crate::fault::FaultSlot;
use crate::hypervisor::{Hypervisor, LenderLink, SendError};
use crate::ioreq::{Access, Movement, Piece, ALL_ONES};
use crate::lease_registry::LeaseRegistry;
use crate::lending_table::{LendingTable, PageState};

/// Pieces of one vCPU that are done in one turn without the lender.
const PIECES_PER_TURN: u32 = 32;
/// Accesses of one vCPU that the broker has given up and the lender has yet to answer.
const MAX_GIVEN_UP: usize = 4;
/// Low bits of an access id: the vCPU.
const VCPU_BITS: u32 = 8;

type Bytes = Vec<u8, MAX_ACCESS_BYTES>;

/// Progress of one vCPU's request. The storage starts with `VcpuSlot::default()`.
#[derive(Debug, Default)]
pub struct VcpuSlot {
    serving: Option<Serving>,
    /// Its fault, on lend-aware Xen.
    pub(crate) fault: FaultSlot,
    /// Access ids used so far.
    id_counter: u32,
    /// Ids whose answer is still to come, and no longer matters.
    given_up: Vec<u32, MAX_GIVEN_UP>,
}

#[derive(Debug)]
struct Serving {
    access: Access,
    /// Bytes of the access that are done.
    done: u32,
    /// Value read so far.
    value: u64,
    /// Page that the lender has been asked to make present for this access.
    wanted_page: Option<u32>,
    outstanding: Option<Outstanding>,
}

#[derive(Debug)]
struct Outstanding {
    id: u32,
    piece: Piece,
    lease: LeaseId,
    loss: LossPolicy,
}

/// What a slot reads of the rest of the broker.
pub(crate) struct View<'v, 't> {
    pub(crate) aperture: Aperture,
    pub(crate) table: &'v LendingTable<'t>,
    pub(crate) leases: &'v LeaseRegistry,
    /// Whether the lender can be asked.
    pub(crate) connected: bool,
}

/// Where a slot stopped.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The request is done: complete it with this datum.
    Finished(u64),
    /// The lender has to answer first, or there is no request.
    Waits,
    /// No room in the ring.
    Full,
    /// As many pages are asked for as may be.
    NoPlace,
    /// Enough for one turn.
    TurnOver,
    /// The lender broke the ring's contract.
    Breach(BreachKind),
}

/// Who does a piece.
enum Doer {
    Nobody,
    LossPolicy(LossPolicy),
    Lender { lease: LeaseId, loss: LossPolicy },
}

impl VcpuSlot {
    /// Whether there is no request in it.
    pub(crate) fn is_idle(&self) -> bool {
        self.serving.is_none() && self.fault.is_idle()
    }

    /// Takes a request up.
    pub(crate) fn start(&mut self, access: Access) {
        self.serving = Some(Serving { access, done: 0, value: 0, wanted_page: None, outstanding: None });
    }

    /// Goes on as far as it can be done now.
    pub(crate) fn advance(
        &mut self,
        vcpu: u16,
        view: &View<'_, '_>,
        hypervisor: &mut impl Hypervisor,
        link: &mut impl LenderLink,
        counters: &mut Counters,
    ) -> Stop {
        for _ in 0..PIECES_PER_TURN {
            let Some(serving) = self.serving.as_mut().filter(|serving| serving.outstanding.is_none()) else {
                return Stop::Waits;
            };
            let Some(piece) = serving.access.piece_at(serving.done) else {
                let datum = serving.access.datum(serving.value);
                self.serving = None;
                return Stop::Finished(datum);
            };
            match view.doer_of(&piece) {
                Doer::Nobody => {
                    count(&mut counters.unleased_pieces, 1);
                    serving.finish_piece(&piece, Source::Ones, hypervisor, counters);
                }
                Doer::LossPolicy(policy) => serving.lose_piece(&piece, policy, hypervisor, counters),
                Doer::Lender { lease, loss } => {
                    if self.given_up.is_full() {
                        // The answer to one of them makes room, and the next turn.
                        return Stop::Waits;
                    }
                    while self.given_up.contains(&access_id(self.id_counter, vcpu)) {
                        self.id_counter = self.id_counter.wrapping_add(1);
                    }
                    let id = access_id(self.id_counter, vcpu);
                    let Some(message) = serving.ask(&piece, id, lease, view, hypervisor) else {
                        count(&mut counters.borrower_memory_errors, 1);
                        serving.skip_piece(&piece);
                        continue;
                    };
                    match link.send(&message) {
                        Ok(()) => {}
                        Err(SendError::Full) => return Stop::Full,
                        Err(SendError::Breach(kind)) => return Stop::Breach(kind),
                    }
                    count(&mut counters.accesses, 1);
                    self.id_counter = self.id_counter.wrapping_add(1);
                    if let FromBroker::Access { page, wants_page: true, .. } = message {
                        serving.wanted_page = Some(page.0);
                    }
                    serving.outstanding = Some(Outstanding { id, piece, lease, loss });
                    return Stop::Waits;
                }
            }
        }
        Stop::TurnOver
    }

    /// Takes the lender's answer.
    ///
    /// # Errors
    /// If nothing was asked so, or the answer does not fit what was asked.
    pub(crate) fn answer(
        &mut self,
        id: u32,
        outcome: &AccessOutcome,
        hypervisor: &mut impl Hypervisor,
        counters: &mut Counters,
    ) -> Result<(), BreachKind> {
        if let Some(position) = self.given_up.iter().position(|given_up| *given_up == id) {
            self.given_up.swap_remove(position);
            return Ok(());
        }
        let serving = self.serving.as_mut().ok_or(BreachKind::UnexpectedAnswer)?;
        let outstanding = serving
            .outstanding
            .take_if(|outstanding| outstanding.id == id)
            .ok_or(BreachKind::UnexpectedAnswer)?;
        let piece = outstanding.piece;
        match (outcome, serving.access.is_write()) {
            (AccessOutcome::Lost, _) => serving.lose_piece(&piece, outstanding.loss, hypervisor, counters),
            (AccessOutcome::Written, true) => serving.skip_piece(&piece),
            (AccessOutcome::Read { bytes }, false) if bytes.len() == usize::from(piece.length) => {
                serving.finish_piece(&piece, Source::Bytes(bytes), hypervisor, counters);
            }
            _ => {
                serving.outstanding = Some(outstanding);
                return Err(BreachKind::UnexpectedAnswer);
            }
        }
        Ok(())
    }

    /// Ends an outstanding piece by its lease's loss policy, without its answer, if the
    /// lease is the one given, or whatever it is if none is given.
    pub(crate) fn give_up(
        &mut self,
        lease: Option<LeaseId>,
        hypervisor: &mut impl Hypervisor,
        counters: &mut Counters,
    ) {
        let Some(serving) = self.serving.as_mut() else { return };
        let concerned = |outstanding: &mut Outstanding| lease.is_none_or(|lease| lease == outstanding.lease);
        let Some(outstanding) = serving.outstanding.take_if(concerned) else { return };
        serving.lose_piece(&outstanding.piece, outstanding.loss, hypervisor, counters);
        // Always room: nothing is asked while there is none.
        let _ = self.given_up.push(outstanding.id);
    }
}

/// The vCPU that an access id names.
pub(crate) fn vcpu_of(id: u32) -> u16 {
    (id % (1 << VCPU_BITS)) as u16
}

fn access_id(id_counter: u32, vcpu: u16) -> u32 {
    id_counter.wrapping_shl(VCPU_BITS) | u32::from(vcpu)
}

/// Where the bytes of a piece that is read come from.
#[derive(Clone, Copy)]
enum Source<'s> {
    Bytes(&'s [u8]),
    Zeros,
    Ones,
}

impl Serving {
    /// Builds the message that asks the lender; none if the borrower has no RAM to write
    /// from.
    fn ask(
        &self,
        piece: &Piece,
        id: u32,
        lease: LeaseId,
        view: &View<'_, '_>,
        hypervisor: &mut impl Hypervisor,
    ) -> Option<FromBroker> {
        let (page, offset) = view.aperture.locate(piece.address)?;
        let operation = if self.access.is_write() {
            AccessOperation::Write { bytes: self.bytes_to_write(piece, hypervisor)? }
        } else {
            AccessOperation::Read { length: piece.length }
        };
        let wants_page = !self.access.kills_if_added()
            && self.wanted_page != Some(page.0)
            && !view.table.is_present(page.0);
        Some(FromBroker::Access { id, lease, page, offset, operation, wants_page })
    }

    fn bytes_to_write(&self, piece: &Piece, hypervisor: &mut impl Hypervisor) -> Option<Bytes> {
        let mut bytes = Bytes::new();
        bytes.resize_default(usize::from(piece.length)).ok()?;
        match (self.access.movement(), piece.memory) {
            (Movement::WriteValue(value), _) => self.access.fill(value, piece, &mut bytes),
            (_, Some(memory)) => hypervisor.read_borrower(memory, &mut bytes).ok()?,
            (_, None) => return None,
        }
        Some(bytes)
    }

    /// Ends a piece whose bytes, if it is a read, are at hand.
    fn finish_piece(
        &mut self,
        piece: &Piece,
        source: Source<'_>,
        hypervisor: &mut impl Hypervisor,
        counters: &mut Counters,
    ) {
        if !self.access.is_write() {
            let mut bytes = [0; MAX_ACCESS_BYTES];
            let length = usize::from(piece.length).min(MAX_ACCESS_BYTES);
            let (bytes, _) = bytes.split_at_mut(length);
            match source {
                Source::Bytes(read) => bytes.iter_mut().zip(read).for_each(|(to, from)| *to = *from),
                Source::Zeros => {}
                Source::Ones => bytes.fill(ALL_ONES as u8),
            }
            match piece.memory {
                Some(memory) => {
                    if hypervisor.write_borrower(memory, bytes).is_err() {
                        count(&mut counters.borrower_memory_errors, 1);
                    }
                }
                None => self.place_in_value(piece, bytes),
            }
        }
        self.skip_piece(piece);
    }

    fn lose_piece(
        &mut self,
        piece: &Piece,
        policy: LossPolicy,
        hypervisor: &mut impl Hypervisor,
        counters: &mut Counters,
    ) {
        count(&mut counters.lost_pieces, 1);
        if policy == LossPolicy::Fault {
            count(&mut counters.faults_not_raised, 1);
        }
        self.finish_piece(piece, Source::Zeros, hypervisor, counters);
    }

    fn place_in_value(&mut self, piece: &Piece, bytes: &[u8]) {
        let mut value = self.value.to_le_bytes();
        for (to, from) in value.iter_mut().skip(piece.start as usize).zip(bytes) {
            *to = *from;
        }
        self.value = u64::from_le_bytes(value);
    }

    fn skip_piece(&mut self, piece: &Piece) {
        self.done = self.done.saturating_add(u32::from(piece.length));
    }
}

impl View<'_, '_> {
    fn doer_of(&self, piece: &Piece) -> Doer {
        let page = self.aperture.locate(piece.address).map(|(page, _)| page.0);
        let Some((page, lease)) = page.and_then(|page| Some((page, self.leases.at_page(page)?))) else {
            return Doer::Nobody;
        };
        if !self.connected || !lease.is_active() || self.table.page(page) == PageState::Lost {
            return Doer::LossPolicy(lease.loss());
        }
        Doer::Lender { lease: lease.id(), loss: lease.loss() }
    }
}

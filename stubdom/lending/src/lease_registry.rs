// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every lease of the aperture: capacity is fixed, no two that live overlap.

use heapless::Vec;
use xenlend_protocol::frame::AperturePage;
use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::refusal::Refusal;

use crate::lease::{Lease, LeaseState, Terms};
use crate::lending_table::PageRange;

/// Leases that can exist at once.
pub const LEASE_CAPACITY: u16 = 64;

/// Every lease, by index. A place that was never used holds nothing.
#[derive(Debug, Default)]
pub struct LeaseRegistry {
    places: Vec<Option<Lease>, { LEASE_CAPACITY as usize }>,
}

/// What an id names.
#[derive(Debug)]
pub enum Named<'r> {
    /// A lease that lives: it is active or being revoked.
    Living(&'r mut Lease),
    /// A lease that is gone.
    Gone,
    /// Nothing, so far.
    Unknown,
}

impl LeaseRegistry {
    /// A registry without leases.
    pub fn new() -> Self {
        let mut places = Vec::new();
        // Always room: both are of the capacity.
        let _ = places.resize(LEASE_CAPACITY as usize, None);
        Self { places }
    }

    /// Grants a lease.
    ///
    /// # Errors
    /// Why not; nothing has changed then.
    pub fn grant(
        &mut self,
        id: LeaseId,
        first: AperturePage,
        count: u32,
        aperture_pages: u32,
        terms: Terms,
    ) -> Result<(), Refusal> {
        let place =
            self.places.get(id.index as usize).ok_or(Refusal::TableFull { capacity: LEASE_CAPACITY })?;
        // A generation that has been used would let stale messages name the new lease.
        if place.as_ref().is_some_and(|old| lives(old) || old.id().generation >= id.generation) {
            return Err(Refusal::IndexInUse);
        }
        let fits = first.checked_add(count).is_some_and(|end| end.0 <= aperture_pages);
        if count == 0 || !fits {
            return Err(Refusal::OutsideAperture { aperture_pages });
        }
        let pages = PageRange::new(first, count);
        if let Some(other) = self.living().find(|lease| lease.pages().overlaps(&pages)) {
            return Err(Refusal::Overlap { index: other.id().index });
        }
        if let Some(place) = self.places.get_mut(id.index as usize) {
            *place = Some(Lease::granted(id, pages, terms));
        }
        Ok(())
    }

    /// What an id names.
    pub fn find(&mut self, id: LeaseId) -> Named<'_> {
        let Some(Some(lease)) = self.places.get_mut(id.index as usize) else { return Named::Unknown };
        if lease.id() == id && lives(lease) {
            Named::Living(lease)
        } else if lease.id().generation >= id.generation {
            Named::Gone
        } else {
            Named::Unknown
        }
    }

    /// The lease that lives at an index.
    pub fn at_index(&self, index: u16) -> Option<&Lease> {
        self.places.get(usize::from(index))?.as_ref().filter(|lease| lives(lease))
    }

    /// The lease that a page belongs to.
    pub fn at_page(&self, page: u32) -> Option<&Lease> {
        self.living().find(|lease| lease.pages().contains(page))
    }

    /// Every lease that lives.
    pub fn living(&self) -> impl Iterator<Item = &Lease> {
        self.places.iter().flatten().filter(|lease| lives(lease))
    }

    /// Every lease that lives.
    pub(crate) fn living_mut(&mut self) -> impl Iterator<Item = &mut Lease> {
        self.places.iter_mut().flatten().filter(|lease| lives(lease))
    }
}

fn lives(lease: &Lease) -> bool {
    lease.state() != LeaseState::Vacant
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The regions of a link, under the rules of KVM's call of that name.

use core::ops::DerefMut;

use xenlend_protocol::frame::{AperturePage, PAGE_SIZE};
use xenlend_protocol::label::{Label, Unprintable};
use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::refusal::{Refusal, RemoveFailure};

use crate::given_up::GivenUp;
use crate::in_flight::overlap;
use crate::lendable::FrameKind;
use crate::mirror::Mirror;
use crate::storage::Storage;
use crate::uapi::{RegionRequest, REGION_LOSS_FAULT, REGION_READONLY, REGION_WRITE_BACK};

/// Slots of a link: `XENLEND_MAX_REGIONS`.
pub const MAX_REGIONS: usize = 64;

/// Where a region stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The broker has been asked for a lease, and may have refused it.
    Setting(Option<Refusal>),
    /// Pages may be lent.
    Active,
    /// Nothing is lent any more.
    Ending,
    /// The broker has been asked to drop the lease.
    Dropping(Option<Result<u32, RemoveFailure>>),
}

/// Names an address space for as long as a region holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessId(pub u64);

/// Who makes a region call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The descriptor.
    pub descriptor: u32,
    /// The process.
    pub process: ProcessId,
    /// One more than the highest byte that a process of this kernel can have.
    pub user_limit: u64,
}

/// A region.
#[allow(clippy::struct_excessive_bools, reason = "beside the phase, and of their own")]
pub struct Region<S: Storage> {
    /// Its lease.
    pub lease: LeaseId,
    /// The descriptor that made it; none if that was closed before the broker could be asked to drop it.
    pub owner: Option<u32>,
    /// The process that made it.
    pub process: ProcessId,
    /// The first that was heard of that process's death.
    pub dies_since_ms: Option<u64>,
    /// First page.
    pub first: AperturePage,
    /// Number of pages.
    pub count: u32,
    /// First byte in the process.
    pub user_address: u64,
    /// `REGION_*`
    pub flags: u32,
    /// What the borrower is told that it is called.
    pub label: Label,
    /// Where it stands.
    pub phase: Phase,
    /// What is present.
    pub mirror: Mirror<S>,
    /// Where its first page was when it was looked up last.
    pub first_page_kind: Option<FrameKind>,
    /// Declared lost for good.
    pub is_lost: bool,
    /// Its process is gone and the lender presents zeros instead.
    pub is_zeroed: bool,
    /// Answers about the lease that the broker owes.
    pub answers_due: u32,
    /// The broker was told to wait for pages that found no place among those waited for, and has to
    /// ask again.
    pub asks_again: bool,
    /// Changes whenever the kernel invalidates something of it.
    pub changes: u32,
    /// Nobody waits for these pages: its process has said so.
    pub given_up: GivenUp,
}

/// One place of the table.
pub struct Slot<S: Storage> {
    generation: u32,
    region: Option<Region<S>>,
}

impl<S: Storage> Slot<S> {
    /// An empty place.
    pub const EMPTY: Self = Self { generation: 0, region: None };
}

/// Why a region call is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegionError {
    /// `EINVAL`
    Invalid,
    /// `EEXIST`: overlaps another slot, or the slot is another descriptor's.
    Exists,
    /// `EOPNOTSUPP`
    Unsupported,
    /// `EILSEQ`
    BadLabel,
    /// `EIO`: it is so already, but of another process, or of one that is gone.
    OtherProcess,
}

/// What a checked call comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Make a region.
    Create(NewRegion),
    /// End that lease.
    Delete(LeaseId),
    /// It is so already.
    Nothing,
}

/// A region to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewRegion {
    /// Its lease.
    pub lease: LeaseId,
    /// First page.
    pub first: AperturePage,
    /// Number of pages.
    pub count: u32,
    /// First byte in the process.
    pub user_address: u64,
    /// `REGION_*`
    pub flags: u32,
    /// What it is called.
    pub label: Label,
    /// Who makes it.
    pub caller: Caller,
}

/// The aperture in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aperture {
    /// First byte in the borrower's address space.
    pub address: u64,
    /// Bytes.
    pub size: u64,
}

impl Aperture {
    /// Pages.
    pub fn pages(&self) -> u32 {
        u32::try_from(self.size / PAGE_SIZE).unwrap_or(u32::MAX)
    }

    /// Frame number of its first page, as the borrower counts.
    pub fn first_gfn(&self) -> u64 {
        self.address / PAGE_SIZE
    }

    /// The byte at which a page starts.
    pub fn address_of(&self, page: AperturePage) -> u64 {
        self.address.saturating_add(u64::from(page.0).saturating_mul(PAGE_SIZE))
    }

    fn page_at(&self, address: u64, size: u64) -> Option<AperturePage> {
        let offset = address.checked_sub(self.address)?;
        let inside = offset.checked_add(size)? <= self.size;
        inside.then(|| u32::try_from(offset / PAGE_SIZE).ok().map(AperturePage))?
    }
}

/// The table.
pub struct Regions<S: Storage> {
    slots: S::Slice<Slot<S>>,
}

impl<S: Storage> Regions<S> {
    /// A table over [`MAX_REGIONS`] empty places.
    pub fn new(slots: S::Slice<Slot<S>>) -> Self {
        Self { slots }
    }

    /// Checks a call against the rules.
    ///
    /// # Errors
    /// What it breaks; nothing is changed in any case.
    pub fn plan(
        &self,
        request: &RegionRequest,
        aperture: &Aperture,
        caller: Caller,
        unsupported: u32,
    ) -> Result<Plan, RegionError> {
        let index = u16::try_from(request.slot).map_err(|_| RegionError::Invalid)?;
        let slot = self.slots.get(usize::from(index)).ok_or(RegionError::Invalid)?;
        // A call that asks for what nobody here knows is not done in part, also if it deletes.
        if request.flags & !(REGION_READONLY | REGION_LOSS_FAULT | REGION_WRITE_BACK) != 0 {
            return Err(RegionError::Invalid);
        }
        let label = request.label.check().map_err(|Unprintable| RegionError::BadLabel)?;
        if let Some(region) = slot.region.as_ref() {
            if region.owner != Some(caller.descriptor) {
                return Err(RegionError::Exists);
            }
            // Ending: a call that was interrupted before it could ask the broker. It is made again.
            if request.memory_size == 0 && matches!(region.phase, Phase::Active | Phase::Ending) {
                return Ok(Plan::Delete(region.lease));
            }
            if region.phase != Phase::Active {
                return Err(RegionError::Exists);
            }
            let same = request.flags == region.flags
                && label == region.label
                && request.guest_phys_addr == aperture.address_of(region.first)
                && request.memory_size == u64::from(region.count).saturating_mul(PAGE_SIZE)
                && request.userspace_addr == region.user_address;
            if !same {
                return Err(RegionError::Invalid);
            }
            // The caller believes that its own memory is lent from now on.
            let is_callers = region.process == caller.process && !region.is_lost && !region.is_zeroed;
            return if is_callers { Ok(Plan::Nothing) } else { Err(RegionError::OtherProcess) };
        }
        if request.flags & unsupported != 0 {
            return Err(RegionError::Unsupported);
        }
        let aligned =
            (request.guest_phys_addr | request.memory_size | request.userspace_addr) % PAGE_SIZE == 0;
        let user_end = request.userspace_addr.checked_add(request.memory_size);
        if request.memory_size == 0 || !aligned || user_end.is_none_or(|end| end > caller.user_limit) {
            return Err(RegionError::Invalid);
        }
        let first =
            aperture.page_at(request.guest_phys_addr, request.memory_size).ok_or(RegionError::Invalid)?;
        let count = u32::try_from(request.memory_size / PAGE_SIZE).map_err(|_| RegionError::Invalid)?;
        if self.iter().any(|other| overlap(other.first, other.count, first, count)) {
            return Err(RegionError::Exists);
        }
        let lease = LeaseId { index, generation: slot.generation.wrapping_add(1) };
        let user_address = request.userspace_addr;
        let flags = request.flags;
        Ok(Plan::Create(NewRegion { lease, first, count, user_address, flags, label, caller }))
    }

    /// Puts a planned region into its slot. Its mirror is empty.
    pub fn insert(&mut self, new: &NewRegion, mirror: Mirror<S>) {
        if let Some(slot) = self.slots.get_mut(usize::from(new.lease.index)) {
            slot.generation = new.lease.generation;
            slot.region = Some(Region {
                lease: new.lease,
                owner: Some(new.caller.descriptor),
                process: new.caller.process,
                dies_since_ms: None,
                first: new.first,
                count: new.count,
                user_address: new.user_address,
                flags: new.flags,
                label: new.label,
                phase: Phase::Setting(None),
                mirror,
                first_page_kind: None,
                is_lost: false,
                is_zeroed: false,
                answers_due: 0,
                asks_again: false,
                changes: 0,
                given_up: GivenUp::default(),
            });
        }
    }

    /// Takes a region out. The caller drops it outside the lock: that frees memory.
    pub fn remove(&mut self, lease: LeaseId) -> Option<Region<S>> {
        let slot = self.slots.get_mut(usize::from(lease.index))?;
        slot.region.take_if(|region| region.lease == lease)
    }

    /// The region of a lease, unless it is stale.
    pub fn get(&self, lease: LeaseId) -> Option<&Region<S>> {
        let region = self.slots.get(usize::from(lease.index))?.region.as_ref()?;
        (region.lease == lease).then_some(region)
    }

    /// The same, to change it.
    pub fn get_mut(&mut self, lease: LeaseId) -> Option<&mut Region<S>> {
        let region = self.slots.get_mut(usize::from(lease.index))?.region.as_mut()?;
        (region.lease == lease).then_some(region)
    }

    /// Every region.
    pub fn iter(&self) -> impl Iterator<Item = &Region<S>> {
        self.slots.iter().filter_map(|slot| slot.region.as_ref())
    }

    /// Every region, to change it.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Region<S>> {
        self.slots.deref_mut().iter_mut().filter_map(|slot| slot.region.as_mut())
    }
}

impl<S: Storage> Region<S> {
    /// Lent for reading only.
    pub fn is_read_only(&self) -> bool {
        self.flags & REGION_READONLY != 0
    }

    /// The pages whose bytes in the process overlap `start .. end`.
    pub fn pages_of(&self, start: u64, end: u64) -> Option<(AperturePage, u32)> {
        let size = u64::from(self.count).saturating_mul(PAGE_SIZE);
        let from = start.saturating_sub(self.user_address).min(size) / PAGE_SIZE;
        let to = end.saturating_sub(self.user_address).min(size).div_ceil(PAGE_SIZE);
        let count = to.checked_sub(from).filter(|count| *count > 0)?;
        Some((self.first.checked_add(from as u32)?, count as u32))
    }

    /// The pages at `size` bytes from an address of the borrower's on, if all of them are in the
    /// region.
    pub fn pages_at(&self, aperture: &Aperture, address: u64, size: u64) -> Option<(AperturePage, u32)> {
        let count = u32::try_from(size / PAGE_SIZE).ok().filter(|count| *count > 0)?;
        let first = aperture.page_at(address, size).filter(|_| (address | size) % PAGE_SIZE == 0)?;
        let end = first.0.checked_add(count)?;
        let is_inside = first >= self.first && end <= self.first.0.saturating_add(self.count);
        is_inside.then_some((first, count))
    }

    /// The byte of the process that backs the first byte of a page of the region.
    pub fn user_address_of(&self, page: AperturePage) -> Option<u64> {
        let offset = page.0.checked_sub(self.first.0).filter(|offset| *offset < self.count)?;
        self.user_address.checked_add(u64::from(offset).saturating_mul(PAGE_SIZE))
    }
}

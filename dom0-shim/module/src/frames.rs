// SPDX-License-Identifier: MIT OR Apache-2.0
//! Frames on their way in and out of the borrower, on the kind of Xen that there is.
//!
//! Always under the link's mutex of that name. Nothing here allocates: reclaim can be
//! waiting, in a notifier, for this mutex.

use xenlend_protocol::extent::ClaimedExtent;
use xenlend_protocol::frame::AperturePage;
use xenlend_shim_core::bars::FrameRun;
use xenlend_shim_core::frames::{Counts, Frames as AnyFrames, LendAware};
use xenlend_shim_core::kind::Kind;
use xenlend_shim_core::mirror::Run;
use xenlend_shim_core::permits::Permit;
use xenlend_shim_core::regions::Aperture;
use xenlend_shim_core::removal::{self, Found};

use crate::errno::{Errno, ENOENT, ESRCH};
use crate::hypervisor::Hypervisor;
use crate::kernel_api::memory::KernelSlice;
use crate::kernel_api::xen;
use crate::log_warning;
use crate::permissions::Permissions;

/// The lender's domain.
const DOM0: u16 = 0;

/// One link's frames.
// One for each link, in its own memory.
#[allow(clippy::large_enum_variant)]
pub enum Frames {
    /// Permissions, and removal as MMIO.
    Stock(Stock),
    /// Releases, and removal as what they are.
    LendAware(LendAware<Hypervisor>),
}

/// On stock Xen.
pub struct Stock {
    permissions: Permissions,
    hypervisor: Hypervisor,
    borrower: u16,
    first_gfn: u64,
    counts: Counts,
}

impl Frames {
    /// Prepares Xen for a link of these domains.
    pub fn new(
        hypervisor: Hypervisor,
        kind: Kind,
        borrower: u16,
        broker: u16,
        aperture: &Aperture,
    ) -> Result<Self, Errno> {
        let first_gfn = aperture.first_gfn();
        if kind.is_lend_aware() {
            let mut frames = LendAware::new(hypervisor, borrower, DOM0, first_gfn);
            frames.name_parties(broker).map_err(Errno)?;
            return Ok(Self::LendAware(frames));
        }
        let mut permissions = Permissions::new(hypervisor, borrower, broker)?;
        hypervisor.set_target(broker, borrower)?;
        permissions.give_dummy(xen::physical_address_bits())?;
        Ok(Self::Stock(Stock { permissions, hypervisor, borrower, first_gfn, counts: Counts::default() }))
    }

    /// The part that is alike on both.
    pub fn any(&mut self) -> &mut dyn AnyFrames {
        match self {
            Self::Stock(stock) => stock,
            Self::LendAware(frames) => frames,
        }
    }

    /// How large a table has to be before so many pages may be lent; `None` if there is one.
    pub fn places_missing(&self, pages: u32) -> Option<usize> {
        match self {
            Self::Stock(stock) => stock.permissions.places_missing(pages),
            Self::LendAware(_) => None,
        }
    }

    /// Takes that table. What comes back is to be freed when the mutex is free again.
    pub fn grow(&mut self, places: KernelSlice<Permit>) -> KernelSlice<Permit> {
        match self {
            Self::Stock(stock) => stock.permissions.grow(places),
            Self::LendAware(_) => places,
        }
    }

    /// Permits runs of a BAR until they are taken back: all of them or none. On a lend-aware Xen
    /// they are released like all others.
    pub fn give(&mut self, runs: &[FrameRun]) -> Result<(), Errno> {
        match self {
            Self::Stock(stock) => stock.permissions.give_bar(runs),
            Self::LendAware(_) => Ok(()),
        }
    }

    /// Takes them back. Gives how often Xen said no.
    pub fn take(&mut self, runs: &[FrameRun]) -> u64 {
        match self {
            Self::Stock(stock) => stock.permissions.take_bar(runs),
            Self::LendAware(_) => 0,
        }
    }

    /// On a lend-aware Xen: the broker may lend nothing any more, and no vCPU waits for it.
    pub fn dismiss_broker(&mut self) {
        if let Self::LendAware(frames) = self {
            match frames.dismiss_parties() {
                // A borrower that has died needs none, and one dismissal is enough.
                Ok(()) => {}
                Err(error) if matches!(Errno(error), ENOENT | ESRCH) => {}
                Err(error) => log_warning!("Xen does not dismiss a broker: error {error}"),
            }
        }
    }

    /// Takes back what the link had from its beginning on. Gives how often Xen said no.
    pub fn end(&mut self) -> u64 {
        self.dismiss_broker();
        match self {
            Self::Stock(stock) => stock.permissions.take_bars() + stock.permissions.take_dummy(),
            Self::LendAware(_) => 0,
        }
    }
}

impl AnyFrames for Stock {
    fn release(
        &mut self,
        extents: &[ClaimedExtent],
        _read_only: bool,
        is_ram: &dyn Fn(AperturePage) -> bool,
    ) -> Result<(), u16> {
        // Frames of BARs are permitted while the BAR is named.
        for (index, extent) in extents.iter().enumerate() {
            if !is_ram(extent.page) {
                continue;
            }
            if let Err(error) = self.permissions.acquire(extent) {
                let earlier = extents.get(..index).unwrap_or_default();
                self.take_back(earlier, is_ram);
                return Err(error.0);
            }
        }
        Ok(())
    }

    fn take_back(&mut self, extents: &[ClaimedExtent], is_ram: &dyn Fn(AperturePage) -> bool) -> u64 {
        let ram = extents.iter().filter(|extent| is_ram(extent.page));
        ram.map(|extent| self.permissions.withdraw(extent.mfn, extent.count)).sum()
    }

    fn withdraw(&mut self, runs: &[Run]) -> u64 {
        runs.iter().map(|run| self.permissions.withdraw(run.mfn, run.count)).sum()
    }

    fn remove(&mut self, run: &Run) -> Found<u16> {
        let call = |page: AperturePage, mfn, left| {
            self.counts.calls += 1;
            let gfn = self.first_gfn.saturating_add(u64::from(page.0));
            self.hypervisor.remove(self.borrower, gfn, mfn, left)
        };
        let whole = FrameRun { first: run.mfn, count: u64::from(run.count) };
        let mut permitted = false;
        let permit = || {
            permitted = true;
            let _ = self.permissions.give_borrower(whole);
        };
        let found = removal::remove(run, call, permit);
        if permitted {
            self.counts.failures += self.permissions.take_spare(whole);
        }
        match found {
            Found::Mapped(pages) => Found::Mapped(pages),
            Found::DomainGone => Found::DomainGone,
            Found::Stuck(error) => Found::Stuck(error.0),
        }
    }

    fn verify(&mut self, run: &Run) -> Found<u16> {
        self.remove(run)
    }

    fn take_counts(&mut self) -> Counts {
        core::mem::take(&mut self.counts)
    }
}

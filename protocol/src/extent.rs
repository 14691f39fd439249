// SPDX-License-Identifier: MIT OR Apache-2.0
//! Extents: runs of frames, as claimed by a peer and as checked, and the one rule
//! for cutting them into second-stage entries.

use serde::{Deserialize, Serialize};

use crate::frame::{AperturePage, Mfn, FRAMES_PER_2MIB};
use crate::refusal::Refusal;

/// One more than the highest frame number of an x86 machine (52 bits of address).
pub const MFN_LIMIT: u64 = 1 << 40;

/// A run of frames as a peer wrote it: nothing about it has been checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimedExtent {
    /// First page of the aperture.
    pub page: AperturePage,
    /// First machine frame.
    pub mfn: Mfn,
    /// Number of frames.
    pub count: u32,
}

/// A run of frames that is not empty, lies in its lease and overflows nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    page: AperturePage,
    mfn: Mfn,
    count: u32,
}

/// Entries of one size for consecutive pages: what one call to Xen maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granule {
    /// First page.
    pub page: AperturePage,
    /// First frame.
    pub mfn: Mfn,
    /// Size and number of the entries.
    pub size: GranuleSize,
}

/// Size and number of second-stage entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GranuleSize {
    /// So many entries of 4 KiB.
    FourKib(u32),
    /// So many entries of 2 MiB, each of which is only ever removed whole.
    TwoMib(u32),
}

impl Extent {
    /// Checks a claim against the lease of `lease_count` pages from `lease_first` on.
    ///
    /// # Errors
    /// [`Refusal::BadExtent`] if it is empty, leaves the lease, or overflows.
    pub fn check(
        claim: &ClaimedExtent,
        lease_first: AperturePage,
        lease_count: u32,
    ) -> Result<Self, Refusal> {
        let end = claim.page.checked_add(claim.count).ok_or(Refusal::BadExtent)?;
        let lease_end = lease_first.checked_add(lease_count).ok_or(Refusal::BadExtent)?;
        let mfn_end = claim.mfn.checked_add(u64::from(claim.count)).ok_or(Refusal::BadExtent)?;
        if claim.count == 0 || claim.page < lease_first || end > lease_end || mfn_end.0 > MFN_LIMIT {
            return Err(Refusal::BadExtent);
        }
        Ok(Self { page: claim.page, mfn: claim.mfn, count: claim.count })
    }

    /// First page.
    pub fn page(&self) -> AperturePage {
        self.page
    }

    /// First frame.
    pub fn mfn(&self) -> Mfn {
        self.mfn
    }

    /// Number of frames, at least 1.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The entries that Xen makes of this extent, in order.
    ///
    /// Xen takes 2 MiB where page and frame are both aligned to it and enough are left
    /// (`arch/x86/mm/p2m.c:mmio_order`). The aperture starts at a multiple of 2 MiB, so
    /// that the alignment of a page is that of its gfn. Broker and lender both use this
    /// rule: what was one entry is then removed as one.
    pub fn granules(&self) -> Granules {
        Granules { page: self.page.0, mfn: self.mfn.0, left: self.count }
    }
}

impl Granule {
    /// Number of frames.
    pub fn frame_count(&self) -> u32 {
        match self.size {
            GranuleSize::FourKib(entries) => entries,
            GranuleSize::TwoMib(entries) => entries.saturating_mul(FRAMES_PER_2MIB),
        }
    }
}

/// Iterator over the entries of an extent; made by [`Extent::granules`].
#[derive(Clone, Debug)]
pub struct Granules {
    page: u32,
    mfn: u64,
    left: u32,
}

impl Iterator for Granules {
    type Item = Granule;

    fn next(&mut self) -> Option<Granule> {
        if self.left == 0 {
            return None;
        }
        let page_in_2mib = AperturePage(self.page).in_2mib();
        let congruent = page_in_2mib == Mfn(self.mfn).in_2mib();
        let size = if !congruent {
            GranuleSize::FourKib(self.left)
        } else if page_in_2mib != 0 {
            GranuleSize::FourKib(self.left.min(FRAMES_PER_2MIB.saturating_sub(page_in_2mib)))
        } else if self.left >= FRAMES_PER_2MIB {
            GranuleSize::TwoMib(self.left / FRAMES_PER_2MIB)
        } else {
            GranuleSize::FourKib(self.left)
        };
        let granule = Granule { page: AperturePage(self.page), mfn: Mfn(self.mfn), size };
        let count = granule.frame_count();
        // An extent was checked to overflow neither; only the end can be reached.
        self.page = self.page.saturating_add(count);
        self.mfn = self.mfn.saturating_add(u64::from(count));
        self.left = self.left.saturating_sub(count);
        Some(granule)
    }
}

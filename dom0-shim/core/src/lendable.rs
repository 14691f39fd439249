// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether a frame may be lent: the one place that says yes.
//!
//! A lender's process is not trusted with the machine. Only two kinds pass: ordinary
//! RAM of the lender's own domain, and frames of a BAR that the administrator named.

use xenlend_protocol::extent::MFN_LIMIT;
use xenlend_protocol::frame::Mfn;

use crate::bars::{Bars, Device};

/// Bits of a PV domain's p2m entry (Linux `asm/xen/page.h`).
const P2M_INVALID: u64 = u64::MAX;
const P2M_FOREIGN: u64 = 1 << 63;
const P2M_IDENTITY: u64 = 1 << 62;

/// Where a lent frame lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// In a BAR.
    Bar,
    /// In RAM of the lender's domain.
    Ram,
}

/// `enum xenlend_frame_refusal`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FrameRefusal {
    /// Belongs to another domain.
    Foreign = 1,
    /// MMIO outside every allowed BAR.
    OtherMmio = 2,
    /// Holds an MSI-X table.
    Msix = 3,
    /// No frame of ordinary RAM.
    Special = 4,
    /// The mapping is not writable.
    ReadOnly = 5,
    /// Nothing can be faulted in there.
    Unmapped = 6,
    /// The process has hidden it from everybody.
    Secret = 7,
}

/// What the kernel says about a frame that a page-table entry names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "facts of their own: each combination occurs")]
pub struct FrameFacts {
    /// Linux's number of it.
    pub pfn: u64,
    /// The raw p2m entry of that number, with its flag bits.
    pub p2m_entry: u64,
    /// What Xen's machine-to-physical table says about the machine frame.
    pub m2p_pfn: u64,
    /// Whether Xen translates this domain's frames: then it has neither of the two, and names frames by its own
    /// numbers. What is not its own behind one Xen refuses to release.
    pub is_translated: bool,
    /// Whether Linux has a page structure for it.
    pub has_page: bool,
    /// Whether that page is reserved, a page table, or of an allocator.
    pub is_special: bool,
    /// Whether it is the kernel's page of zeros.
    pub is_zero_page: bool,
    /// Whether it is inside some device's memory, as this kernel knows it.
    pub is_device_memory: bool,
}

/// Judges a frame. The kernel's page of zeros may be lent for reading: all that a process has not written to is
/// that page.
///
/// # Errors
/// Why it may not be lent.
pub fn judge<D: Device>(
    facts: &FrameFacts,
    bars: &Bars<D>,
    read_only: bool,
) -> Result<(Mfn, FrameKind), FrameRefusal> {
    if facts.pfn >= MFN_LIMIT {
        // A page-table entry that names a frame of another domain reads as no number of ours.
        return Err(FrameRefusal::Foreign);
    }
    if facts.is_translated {
        return judge_translated(facts, bars, read_only);
    }
    if facts.p2m_entry == P2M_INVALID {
        return Err(FrameRefusal::Special);
    }
    if facts.p2m_entry & P2M_FOREIGN != 0 {
        return Err(FrameRefusal::Foreign);
    }
    let mfn = Mfn(facts.p2m_entry & !(P2M_FOREIGN | P2M_IDENTITY));
    if mfn.0 >= MFN_LIMIT {
        return Err(FrameRefusal::Special);
    }
    if facts.p2m_entry & P2M_IDENTITY != 0 {
        return judge_mmio(mfn, facts.is_device_memory, bars);
    }
    if facts.m2p_pfn != facts.pfn {
        return Err(FrameRefusal::Foreign);
    }
    judge_ram(mfn, facts, read_only)
}

fn judge_translated<D: Device>(
    facts: &FrameFacts,
    bars: &Bars<D>,
    read_only: bool,
) -> Result<(Mfn, FrameKind), FrameRefusal> {
    let gfn = Mfn(facts.pfn);
    if facts.has_page {
        judge_ram(gfn, facts, read_only)
    } else {
        judge_mmio(gfn, facts.is_device_memory, bars)
    }
}

fn judge_ram(mfn: Mfn, facts: &FrameFacts, read_only: bool) -> Result<(Mfn, FrameKind), FrameRefusal> {
    if facts.is_zero_page && facts.has_page && read_only {
        return Ok((mfn, FrameKind::Ram));
    }
    if !facts.has_page || facts.is_special || facts.is_zero_page {
        return Err(FrameRefusal::Special);
    }
    Ok((mfn, FrameKind::Ram))
}

fn judge_mmio<D: Device>(
    mfn: Mfn,
    is_device_memory: bool,
    bars: &Bars<D>,
) -> Result<(Mfn, FrameKind), FrameRefusal> {
    if bars.excludes(mfn) {
        Err(FrameRefusal::Msix)
    } else if bars.allows(mfn) {
        Ok((mfn, FrameKind::Bar))
    } else if !is_device_memory {
        // RAM that this domain has no number for: mapped from another domain.
        Err(FrameRefusal::Foreign)
    } else {
        Err(FrameRefusal::OtherMmio)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bars::{FrameRun, Named, Place};

    fn ram(pfn: u64, mfn: u64) -> FrameFacts {
        FrameFacts {
            pfn,
            p2m_entry: mfn,
            m2p_pfn: pfn,
            is_translated: false,
            has_page: true,
            is_special: false,
            is_zero_page: false,
            is_device_memory: false,
        }
    }

    fn mmio(mfn: u64) -> FrameFacts {
        FrameFacts { p2m_entry: mfn | P2M_IDENTITY, has_page: false, is_device_memory: true, ..ram(mfn, 0) }
    }

    /// A device that stays where it is.
    #[derive(PartialEq)]
    struct Card;

    const CARD: Place = Place { address: 0xfd00_0000, bytes: 0x200_0000 };

    impl Device for Card {
        fn place(&self, _number: u8) -> Option<Place> {
            Some(CARD)
        }
    }

    fn bars() -> Bars<Card> {
        let mut bars = Bars::default();
        let table = FrameRun { first: Mfn(0xfe000), count: 1 };
        bars.allow(Named::new(Card, 0, CARD, [Some(table), None]).unwrap())
            .unwrap_or_else(|_| unreachable!());
        bars
    }

    #[test]
    fn own_ram_and_named_bars_pass() {
        assert_eq!(judge(&ram(5, 0x1234), &bars(), false), Ok((Mfn(0x1234), FrameKind::Ram)));
        assert_eq!(judge(&mmio(0xfd3e8), &bars(), false), Ok((Mfn(0xfd3e8), FrameKind::Bar)));
    }

    #[test]
    fn a_translated_lender_names_its_own_numbers() {
        let translated = |facts| FrameFacts { is_translated: true, ..facts };
        // There is no table behind these two.
        let ram = translated(FrameFacts { m2p_pfn: u64::MAX, p2m_entry: 5 | P2M_IDENTITY, ..ram(5, 0) });
        assert_eq!(judge(&ram, &bars(), false), Ok((Mfn(5), FrameKind::Ram)));
        let special = FrameFacts { is_special: true, ..ram };
        assert_eq!(judge(&special, &bars(), false), Err(FrameRefusal::Special));
        let zeros = FrameFacts { is_zero_page: true, is_special: true, ..ram };
        assert_eq!(judge(&zeros, &bars(), false), Err(FrameRefusal::Special));
        assert_eq!(judge(&zeros, &bars(), true), Ok((Mfn(5), FrameKind::Ram)));
        let bar = |pfn| translated(FrameFacts { pfn, ..mmio(0) });
        assert_eq!(judge(&bar(0xfd3e8), &bars(), false), Ok((Mfn(0xfd3e8), FrameKind::Bar)));
        assert_eq!(judge(&bar(0xfe000), &bars(), false), Err(FrameRefusal::Msix));
        assert_eq!(judge(&bar(0xfc000), &bars(), false), Err(FrameRefusal::OtherMmio));
        let nowhere = FrameFacts { is_device_memory: false, ..bar(0xfc000) };
        assert_eq!(judge(&nowhere, &bars(), false), Err(FrameRefusal::Foreign));
        let no_number_of_ours = FrameFacts { pfn: u64::MAX >> 12, ..ram };
        assert_eq!(judge(&no_number_of_ours, &bars(), false), Err(FrameRefusal::Foreign));
    }

    #[test]
    fn frames_of_other_domains_do_not() {
        let granted = FrameFacts { p2m_entry: 0x1234 | P2M_FOREIGN, ..ram(5, 0) };
        assert_eq!(judge(&granted, &bars(), false), Err(FrameRefusal::Foreign));
        let moved = FrameFacts { m2p_pfn: 6, ..ram(5, 0x1234) };
        assert_eq!(judge(&moved, &bars(), false), Err(FrameRefusal::Foreign));
        let mapped_by_frame = FrameFacts { is_device_memory: false, ..mmio(0x12_3456) };
        assert_eq!(judge(&mapped_by_frame, &bars(), false), Err(FrameRefusal::Foreign));
        let no_number_of_ours = FrameFacts { pfn: u64::MAX >> 12, ..ram(5, 0x1234) };
        assert_eq!(judge(&no_number_of_ours, &bars(), false), Err(FrameRefusal::Foreign));
    }

    #[test]
    fn special_frames_do_not() {
        assert_eq!(
            judge(&FrameFacts { is_special: true, ..ram(5, 9) }, &bars(), false),
            Err(FrameRefusal::Special)
        );
        assert_eq!(
            judge(&FrameFacts { has_page: false, ..ram(5, 9) }, &bars(), false),
            Err(FrameRefusal::Special)
        );
        let ballooned = FrameFacts { p2m_entry: P2M_INVALID, ..ram(5, 9) };
        assert_eq!(judge(&ballooned, &bars(), false), Err(FrameRefusal::Special));
    }

    #[test]
    fn the_page_of_zeros_is_for_reading_only() {
        let zero_page = FrameFacts { is_special: true, is_zero_page: true, ..ram(5, 9) };
        assert_eq!(judge(&zero_page, &bars(), false), Err(FrameRefusal::Special));
        assert_eq!(judge(&zero_page, &bars(), true), Ok((Mfn(9), FrameKind::Ram)));
        let foreign = FrameFacts { m2p_pfn: 6, ..zero_page };
        assert_eq!(judge(&foreign, &bars(), true), Err(FrameRefusal::Foreign));
        let special = FrameFacts { is_zero_page: false, ..zero_page };
        assert_eq!(judge(&special, &bars(), true), Err(FrameRefusal::Special));
    }

    #[test]
    fn other_mmio_and_msix_tables_do_not() {
        assert_eq!(judge(&mmio(0xfcfff), &bars(), false), Err(FrameRefusal::OtherMmio));
        assert_eq!(judge(&mmio(0xfe000), &bars(), false), Err(FrameRefusal::Msix));
        // RAM whose number lies in a BAR is judged as RAM.
        assert_eq!(judge(&ram(0xfd000, 7), &bars(), false), Ok((Mfn(7), FrameKind::Ram)));
    }
}

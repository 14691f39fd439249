// SPDX-License-Identifier: MIT OR Apache-2.0
//! A Xen that behaves as the real one does where lending is concerned, deadly parts
//! included: an add over another special entry kills the borrower, a remove does not
//! look at the frame, part of a 2 MiB entry needs a page table that may not be there.

use std::collections::{BTreeMap, BTreeSet};

use xenlend_lending::hypervisor::{one_by_one, Errno, Hypervisor, IoreqClaim, Partial};
use xenlend_lending::ioreq::{KIND_COPY, STATE_INPROCESS, STATE_READY, STATE_RESPONSE_READY};
use xenlend_lending::lending_table::FrameRun;
use xenlend_protocol::message::Rights;

/// `-EPERM`.
pub const EPERM: u16 = 1;
/// `-ENOMEM`.
pub const ENOMEM: u16 = 12;
/// `-EFAULT`.
pub const EFAULT: u16 = 14;
/// `-EINVAL`.
pub const EINVAL: u16 = 22;

/// Guest-physical address of the aperture in all tests.
pub const APERTURE: u64 = 0x10_0000_0000;

/// What is at a page of the aperture, in pages of 4 KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// `p2m_mmio_direct`, and whether it is part of a 2 MiB entry.
    Lent { mfn: u64, in_2mib: bool },
    /// RAM that the borrower has put there: an add silently replaces it.
    BorrowerRam,
    /// A grant or foreign mapping that the borrower has put there: an add kills it.
    Foreign,
}

/// A call that changed the second stage, as it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Add { first: u32, mfn: u64, count: u32 },
    Remove { first: u32, mfn: u64, count: u32 },
}

/// The fake.
#[derive(Debug)]
pub struct FakeXen {
    pub entries: BTreeMap<u32, Entry>,
    pub calls: Vec<Call>,
    /// Why the borrower was killed, if it was.
    pub death: Option<String>,
    /// Page tables left in the borrower's pool.
    pub tables_left: u32,
    /// 2 MiB blocks that have one. Xen does not free it when its last entry goes, and
    /// never makes a 2 MiB entry of such a block again.
    blocks_with_table: BTreeSet<u32>,
    /// The ioreq page: state NONE is `None`.
    pub ioreqs: Vec<Option<IoreqClaim>>,
    /// Every completion: vCPU and datum.
    pub completions: Vec<(u16, u64)>,
    /// The borrower's RAM, by gfn.
    pub ram: BTreeMap<u64, Vec<u8>>,
    pub forgets: u32,
    /// Removals name no frame, and one of nothing is none.
    pub lend_aware: bool,
}

impl FakeXen {
    pub fn new(vcpus: usize) -> Self {
        Self {
            entries: BTreeMap::new(),
            calls: Vec::new(),
            death: None,
            tables_left: u32::MAX,
            blocks_with_table: BTreeSet::new(),
            ioreqs: vec![None; vcpus],
            completions: Vec::new(),
            ram: BTreeMap::new(),
            forgets: 0,
            lend_aware: false,
        }
    }

    /// The same, lend-aware or not.
    pub fn of_kind(self, lend_aware: bool) -> Self {
        Self { lend_aware, ..self }
    }

    /// Pages lent now, with their frames.
    pub fn lent(&self) -> BTreeMap<u32, u64> {
        let lent = |(page, entry): (&u32, &Entry)| match entry {
            Entry::Lent { mfn, .. } => Some((*page, *mfn)),
            _ => None,
        };
        self.entries.iter().filter_map(lent).collect()
    }

    /// What the lender's own domain does when it falls back: every entry goes.
    pub fn remove_all_from_outside(&mut self) {
        self.entries.retain(|_, entry| !matches!(entry, Entry::Lent { .. }));
    }

    /// The borrower puts something of its own at a page, which takes a page table.
    pub fn place(&mut self, page: u32, entry: Entry) {
        self.blocks_with_table.insert(page / 512);
        self.entries.insert(page, entry);
    }

    /// A vCPU sends a request.
    pub fn send_request(&mut self, vcpu: u16, mut claim: IoreqClaim) {
        claim.state = STATE_READY;
        let slot = &mut self.ioreqs[usize::from(vcpu)];
        assert!(slot.is_none(), "vCPU {vcpu} has a request outstanding");
        *slot = Some(claim);
    }

    /// Xen takes a completed request up, if it is completed; gives the datum.
    pub fn take_response(&mut self, vcpu: u16) -> Option<u64> {
        let slot = &mut self.ioreqs[usize::from(vcpu)];
        slot.take_if(|claim| claim.state == STATE_RESPONSE_READY).map(|claim| claim.data)
    }

    fn kill(&mut self, why: String) {
        self.death.get_or_insert(why);
    }

    /// Whether Xen would take a step of 2 MiB here.
    fn step(page: u32, mfn: u64, left: u32) -> u32 {
        if page % 512 == 0 && mfn % 512 == 0 && left >= 512 {
            512
        } else {
            1
        }
    }

    fn take_table(&mut self, page: u32) -> Result<(), Errno> {
        let block = page / 512;
        if self.blocks_with_table.contains(&block) {
            return Ok(());
        }
        self.tables_left = self.tables_left.checked_sub(1).ok_or(Errno(ENOMEM))?;
        self.blocks_with_table.insert(block);
        Ok(())
    }

    fn add_4kib(&mut self, page: u32, mfn: u64) -> Result<(), Errno> {
        match self.entries.get(&page) {
            Some(Entry::Lent { mfn: old, .. }) if *old == mfn => return Ok(()),
            Some(Entry::Lent { mfn: old, .. }) => {
                self.kill(format!("add of {mfn:#x} over {old:#x} at page {page}"));
                return Err(Errno(EPERM));
            }
            Some(Entry::Foreign) => {
                self.kill(format!("add over a foreign mapping at page {page}"));
                return Err(Errno(EPERM));
            }
            Some(Entry::BorrowerRam) | None => {}
        }
        self.take_table(page)?;
        self.check_reemulation(page);
        self.entries.insert(page, Entry::Lent { mfn, in_2mib: false });
        Ok(())
    }

    /// One step of an add: how many pages it did.
    fn add_step(&mut self, page: u32, mfn: u64, left: u32) -> Result<u32, Errno> {
        if Self::step(page, mfn, left) == 512 && !self.blocks_with_table.contains(&(page / 512)) {
            let in_the_way = self.entries.get(&page).copied();
            match in_the_way {
                None => {}
                Some(Entry::Lent { mfn: old, .. }) if old == mfn => return Ok(512),
                Some(old) => {
                    self.kill(format!("add of 2 MiB of {mfn:#x} over {old:?} at page {page}"));
                    return Err(Errno(EPERM));
                }
            }
            for (page, mfn) in (page..page + 512).zip(mfn..) {
                self.check_reemulation(page);
                self.entries.insert(page, Entry::Lent { mfn, in_2mib: true });
            }
            return Ok(512);
        }
        // There is a table: Xen goes on page by page.
        self.add_4kib(page, mfn).map(|()| 1)
    }

    fn remove_step(&mut self, page: u32, mfn: u64, left: u32) -> Result<u32, Errno> {
        let in_2mib = match self.entries.get(&page) {
            Some(Entry::Lent { in_2mib, .. }) => *in_2mib,
            _ if self.lend_aware => return Ok(1),
            _ => return Err(Errno(EINVAL)),
        };
        if in_2mib && Self::step(page, mfn, left) == 512 {
            for page in page..page + 512 {
                self.entries.remove(&page);
            }
            return Ok(512);
        }
        if in_2mib {
            self.take_table(page)?;
            let first = page - page % 512;
            for (_, entry) in self.entries.range_mut(first..first + 512) {
                if let Entry::Lent { in_2mib, .. } = entry {
                    *in_2mib = false;
                }
            }
        }
        self.entries.remove(&page);
        Ok(1)
    }

    /// A page that appears under a repeated write kills the borrower when Xen re-emulates.
    fn check_reemulation(&mut self, page: u32) {
        for (vcpu, claim) in self.ioreqs.clone().into_iter().enumerate() {
            let Some(claim) = claim else { continue };
            let crosses_page = claim.address % 4096 + u64::from(claim.size) > 4096;
            let repeated = claim.count > 1 || claim.downwards || crosses_page;
            if claim.kind == KIND_COPY && !claim.is_read && !claim.data_is_pointer && repeated {
                let written = (0..u64::from(claim.count)).any(|element| {
                    let offset = element * u64::from(claim.size);
                    let at = if claim.downwards { claim.address - offset } else { claim.address + offset };
                    [at, at + u64::from(claim.size) - 1].iter().any(|byte| {
                        byte.checked_sub(APERTURE).map(|byte| byte / 4096) == Some(u64::from(page))
                    })
                });
                if written {
                    self.kill(format!("page {page} appeared under a repeated write of vCPU {vcpu}"));
                }
            }
        }
    }

    fn borrower_bytes(&mut self, address: u64, length: usize) -> Result<&mut [u8], Errno> {
        let offset = (address % 4096) as usize;
        assert!(offset + length <= 4096, "an access to borrower RAM crosses a page");
        let page = self.ram.get_mut(&(address / 4096)).ok_or(Errno(EFAULT))?;
        Ok(&mut page[offset..offset + length])
    }
}

impl Hypervisor for FakeXen {
    fn add(&mut self, runs: &[FrameRun], _rights: Rights) -> Result<(), Partial> {
        one_by_one(runs, |FrameRun { pages, mfn }| {
            let (first, count) = (pages.first, pages.page_count());
            self.calls.push(Call::Add { first, mfn: mfn.0, count });
            let mut done = 0;
            while done < count {
                let step = self.add_step(first + done, mfn.0 + u64::from(done), count - done);
                done += step.map_err(|errno| Partial { done, errno })?;
            }
            Ok(())
        })
    }

    fn remove(&mut self, runs: &[FrameRun]) -> Result<(), Partial> {
        one_by_one(runs, |FrameRun { pages, mfn }| {
            let (first, count) = (pages.first, pages.page_count());
            self.calls.push(Call::Remove { first, mfn: mfn.0, count });
            let mut done = 0;
            while done < count {
                let step = self.remove_step(first + done, mfn.0 + u64::from(done), count - done);
                done += step.map_err(|errno| Partial { done, errno })?;
            }
            Ok(())
        })
    }

    fn request(&mut self, vcpu: u16) -> Option<IoreqClaim> {
        self.ioreqs[usize::from(vcpu)]
    }

    fn accept(&mut self, vcpu: u16) {
        match &mut self.ioreqs[usize::from(vcpu)] {
            Some(claim) if claim.state == STATE_READY => claim.state = STATE_INPROCESS,
            other => panic!("accepted {other:?}"),
        }
    }

    fn complete(&mut self, vcpu: u16, data: u64) {
        match &mut self.ioreqs[usize::from(vcpu)] {
            Some(claim) if claim.state == STATE_INPROCESS => {
                claim.state = STATE_RESPONSE_READY;
                claim.data = data;
            }
            other => panic!("completed {other:?}"),
        }
        self.completions.push((vcpu, data));
    }

    fn read_borrower(&mut self, address: u64, bytes: &mut [u8]) -> Result<(), Errno> {
        bytes.copy_from_slice(self.borrower_bytes(address, bytes.len())?);
        Ok(())
    }

    fn write_borrower(&mut self, address: u64, bytes: &[u8]) -> Result<(), Errno> {
        self.borrower_bytes(address, bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }

    fn forget_borrower_memory(&mut self) {
        self.forgets += 1;
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! A Xen that behaves as the real one does where lending is concerned, the deadly parts included: an add
//! over another special entry kills the borrower, a call does 64 entries at most and a positive return
//! says how many, a remove does not look at the frame but wants the borrower's permission, part of a
//! 2 MiB entry needs a page table that may not be there.
//!
//! What a lend-aware one does instead is in `lending.rs`.
//!
//! Two domains call it, so it is at the level of domctl; `stubdom/lending`'s fake is at that of the
//! `Hypervisor` trait, behind which there are no permissions, no pauses and no second caller.

use xenlend_lending::hypervisor::IoreqClaim;
use xenlend_lending::ioreq::{STATE_READY, STATE_RESPONSE_READY};

use crate::lending::Lending;

/// `EPERM`.
pub const EPERM: u16 = 1;
/// `ESRCH`.
pub const ESRCH: u16 = 3;
/// `ENOMEM`.
pub const ENOMEM: u16 = 12;
/// `EFAULT`.
pub const EFAULT: u16 = 14;
/// `EINVAL`.
pub const EINVAL: u16 = 22;

/// Guest-physical address of the aperture.
pub const APERTURE: u64 = 0x10_0000_0000;
/// Pages of the aperture: two blocks of 2 MiB.
pub const PAGES: u32 = 1024;
/// Pages of a 2 MiB entry.
pub const BLOCK: u32 = 512;
/// Entries that one call changes at most (`MAP_MMIO_MAX_ITER`).
const STEPS: u32 = 64;

/// RAM frames of the lender.
pub const RAM_FRAMES: u64 = 24;
const RAM_BASE: u64 = 0x1000;
/// Places in the BAR that a buffer of 2 MiB can be in.
pub const SPANS: u64 = 3;
const BAR_BASE: u64 = 0x10_0000;
/// Frames that the lender's kernel has for pages of zeros: one for each page that can be lost, and more.
pub const ZERO_FRAMES: u64 = 1100;
const ZERO_BASE: u64 = 0x8000;

/// The RAM frame of that number.
pub fn ram_frame(number: u64) -> u64 {
    RAM_BASE + number
}

/// The first frame of a place in the BAR.
pub fn bar_frame(span: u64) -> u64 {
    BAR_BASE + span * u64::from(BLOCK)
}

/// The frame of that number for a page of zeros.
pub fn zero_frame(number: u64) -> u64 {
    ZERO_BASE + number
}

/// Whether a frame is in the BAR.
pub fn is_in_bar(mfn: u64) -> bool {
    mfn >= BAR_BASE
}

/// Frames that exist.
pub const FRAMES: usize = (RAM_FRAMES + SPANS * BLOCK as u64 + ZERO_FRAMES) as usize;

/// A frame's place in tables of [`FRAMES`].
pub fn frame_index(mfn: u64) -> Option<usize> {
    let index = match mfn.checked_sub(BAR_BASE) {
        Some(offset) => (offset < SPANS * u64::from(BLOCK)).then(|| RAM_FRAMES + offset),
        None => match mfn.checked_sub(ZERO_BASE) {
            Some(number) => (number < ZERO_FRAMES).then(|| RAM_FRAMES + SPANS * u64::from(BLOCK) + number),
            None => mfn.checked_sub(RAM_BASE).filter(|number| *number < RAM_FRAMES),
        },
    };
    index.map(|index| index as usize)
}

/// What is at a page of the aperture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Nothing.
    Absent,
    /// `p2m_mmio_direct`, or a lent page of a lend-aware Xen.
    Lent {
        /// The frame.
        mfn: u64,
        /// Part of a 2 MiB entry.
        large: bool,
        /// Writes fault.
        read_only: bool,
    },
    /// RAM that the borrower has put there: an add silently replaces it.
    BorrowerRam,
    /// A grant that the borrower has mapped there: an add kills it.
    Foreign,
}

impl Entry {
    /// The frame that is lent there.
    pub fn frame(&self) -> Option<u64> {
        match self {
            Self::Lent { mfn, .. } => Some(*mfn),
            _ => None,
        }
    }
}

/// What Xen knows of a domain.
#[derive(Debug, Default)]
pub struct Domain {
    /// Pauses that nobody has undone.
    pub pauses: u32,
    /// Destroyed.
    pub dying: bool,
    /// Why Xen has crashed it.
    pub crashed: Option<String>,
    /// Permitted frames, by index.
    permitted: Vec<bool>,
}

impl Domain {
    /// Whether its vCPUs can run.
    pub fn runs(&self) -> bool {
        self.pauses == 0 && !self.dying && self.crashed.is_none()
    }
}

/// Where an injected failure strikes: after so many steps, with that error.
#[derive(Clone, Copy, Debug)]
pub struct Failure {
    /// Steps done before.
    pub after: u32,
    /// Positive.
    pub errno: u16,
}

/// The fake.
#[derive(Debug)]
pub struct Xen {
    /// The borrower's second stage, in the aperture.
    pub entries: Vec<Entry>,
    /// Blocks of 2 MiB that have a page table, which they never lose.
    has_table: Vec<bool>,
    /// Page tables left in the borrower's pool.
    pub tables_left: u32,
    /// The borrower.
    pub borrower: Domain,
    /// The broker.
    pub broker: Domain,
    /// The ioreq page: state NONE is `None`.
    pub requests: Vec<Option<IoreqClaim>>,
    /// RAM of the borrower, one page for each vCPU, unless it was given away.
    pub ram: Vec<Option<Vec<u8>>>,
    /// Changes with every change of an entry.
    pub version: u64,
    /// The version at which each page was last lent.
    pub lent_at: Vec<u64>,
    /// Removals of a part of a 2 MiB entry.
    pub splits: u32,
    /// Every frame is permitted, whatever its number.
    pub permits_all: bool,
    /// What a lend-aware Xen keeps; none on stock Xen.
    pub lending: Option<Lending>,
}

/// Which domain a call is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The borrower.
    Borrower,
    /// The broker.
    Broker,
}

impl Xen {
    /// A borrower of so many vCPUs, and its broker.
    pub fn new(vcpus: usize) -> Self {
        let mut permitted = vec![false; FRAMES];
        permitted.iter_mut().skip(RAM_FRAMES as usize).for_each(|of_bar| *of_bar = true);
        let domain = || Domain { permitted: permitted.clone(), ..Domain::default() };
        Self {
            entries: vec![Entry::Absent; PAGES as usize],
            has_table: vec![false; (PAGES / BLOCK) as usize],
            tables_left: u32::MAX,
            borrower: domain(),
            broker: domain(),
            requests: vec![None; vcpus],
            ram: vec![Some(vec![0; 4096]); vcpus],
            version: 1,
            lent_at: vec![0; PAGES as usize],
            splits: 0,
            permits_all: false,
            lending: None,
        }
    }

    /// A domain.
    pub fn domain(&mut self, which: Which) -> &mut Domain {
        match which {
            Which::Borrower => &mut self.borrower,
            Which::Broker => &mut self.broker,
        }
    }

    /// What is at a page; nothing outside the aperture.
    pub fn entry(&self, page: u32) -> Entry {
        self.entries.get(page as usize).copied().unwrap_or(Entry::Absent)
    }

    /// Crashes the borrower.
    pub fn crash(&mut self, why: String) {
        self.borrower.crashed.get_or_insert(why);
    }

    /// Destroys a domain. A borrower's second stage goes with it, a broker's work stays.
    pub fn destroy(&mut self, which: Which) {
        self.domain(which).dying = true;
        if which == Which::Borrower {
            self.entries.fill(Entry::Absent);
            self.requests.fill(None);
            self.version += 1;
        } else {
            self.end_server();
        }
    }

    /// Whether a frame is permitted.
    pub fn is_permitted(&self, mfn: u64) -> bool {
        let of = |domain: &Domain| frame_index(mfn).is_some_and(|at| domain.permitted[at]);
        self.permits_all || of(&self.borrower) && of(&self.broker)
    }

    /// RAM frames that either domain has the permission of.
    pub fn permitted_ram(&self) -> usize {
        let of = |at: &usize| self.borrower.permitted[*at] || self.broker.permitted[*at];
        (0..RAM_FRAMES as usize).filter(of).count()
    }

    /// `XEN_DOMCTL_iomem_permission`, by the lender.
    pub fn permit(&mut self, which: Which, first: u64, count: u64, allow: bool) -> Result<(), u16> {
        let domain = self.domain(which);
        if domain.dying {
            return Err(ESRCH);
        }
        for at in (first..first + count).filter_map(frame_index) {
            domain.permitted[at] = allow;
        }
        Ok(())
    }

    /// The borrower puts something of its own at a page where nothing is, which takes a page table.
    pub fn place(&mut self, page: u32, entry: Entry) {
        if self.entry(page) == Entry::Absent && self.take_table(page).is_ok() {
            self.entries[page as usize] = entry;
            self.version += 1;
        }
    }

    /// `XEN_DOMCTL_memory_mapping`, add, by the broker: how many pages were done.
    pub fn add(&mut self, first: u32, mfn: u64, count: u32, failure: Option<Failure>) -> Result<u32, u16> {
        if self.borrower.dying {
            return Err(ESRCH);
        }
        if !(mfn..mfn + u64::from(count)).all(|mfn| self.is_permitted(mfn)) {
            return Err(EPERM);
        }
        self.in_steps(count, failure, |xen, done| {
            xen.add_step(first + done, mfn + u64::from(done), count - done)
        })
    }

    /// The same, remove, by the broker or the lender.
    pub fn remove(&mut self, first: u32, mfn: u64, count: u32, failure: Option<Failure>) -> Result<u32, u16> {
        if self.borrower.dying {
            return Err(ESRCH);
        }
        let of = |at: usize| self.borrower.permitted[at];
        let permitted = |mfn| self.permits_all || frame_index(mfn).is_some_and(of);
        if !(mfn..mfn + u64::from(count)).all(permitted) {
            return Err(EPERM);
        }
        self.in_steps(count, failure, |xen, done| {
            xen.remove_step(first + done, mfn + u64::from(done), count - done)
        })
    }

    /// Whether the broker is permitted what a remove wants of its caller.
    pub fn broker_may_remove(&self, mfn: u64, count: u32) -> bool {
        let of = |mfn| self.permits_all || frame_index(mfn).is_some_and(|at| self.broker.permitted[at]);
        (mfn..mfn + u64::from(count)).all(of)
    }

    fn in_steps(
        &mut self,
        count: u32,
        failure: Option<Failure>,
        mut step: impl FnMut(&mut Self, u32) -> Result<u32, u16>,
    ) -> Result<u32, u16> {
        let mut done = 0;
        for taken in 0..STEPS {
            if done == count {
                break;
            }
            let result = match failure {
                Some(Failure { after, errno }) if after == taken => Err(errno),
                _ => step(self, done),
            };
            match result {
                Ok(pages) => done += pages,
                Err(errno) if done == 0 => return Err(errno),
                // The error of a later step is not told: the number is.
                Err(_) => break,
            }
        }
        self.version += 1;
        Ok(done)
    }

    fn is_2mib(page: u32, mfn: u64, left: u32) -> bool {
        page % BLOCK == 0 && mfn % u64::from(BLOCK) == 0 && left >= BLOCK
    }

    fn take_table(&mut self, page: u32) -> Result<(), u16> {
        let block = (page / BLOCK) as usize;
        if !self.has_table[block] {
            self.tables_left = self.tables_left.checked_sub(1).ok_or(ENOMEM)?;
            self.has_table[block] = true;
        }
        Ok(())
    }

    /// The block of a page has no page table any more.
    pub(crate) fn drop_table(&mut self, page: u32) {
        let had = std::mem::take(&mut self.has_table[(page / BLOCK) as usize]);
        self.tables_left = self.tables_left.saturating_add(u32::from(had));
    }

    /// Gives the block of a page a page table: what is one entry becomes 512.
    pub(crate) fn split(&mut self, page: u32) -> Result<(), u16> {
        self.take_table(page)?;
        let first = (page - page % BLOCK) as usize;
        for entry in &mut self.entries[first..first + BLOCK as usize] {
            if let Entry::Lent { large, .. } = entry {
                *large = false;
            }
        }
        Ok(())
    }

    fn add_step(&mut self, page: u32, mfn: u64, left: u32) -> Result<u32, u16> {
        let large = Self::is_2mib(page, mfn, left) && !self.has_table[(page / BLOCK) as usize];
        match self.entry(page) {
            Entry::Lent { mfn: old, .. } if old == mfn => return Ok(if large { BLOCK } else { 1 }),
            Entry::Lent { mfn: old, .. } => {
                self.crash(format!("add of {mfn:#x} over {old:#x} at page {page}"));
                return Err(EPERM);
            }
            Entry::Foreign => {
                self.crash(format!("add over the borrower's own grant at page {page}"));
                return Err(EPERM);
            }
            Entry::BorrowerRam | Entry::Absent => {}
        }
        if !large {
            self.take_table(page)?;
        }
        let pages = if large { BLOCK } else { 1 };
        for (page, mfn) in (page..page + pages).zip(mfn..) {
            self.set_lent(page, Entry::Lent { mfn, large, read_only: false });
        }
        Ok(pages)
    }

    /// Lends a page; the version is that of the change that is being made.
    pub(crate) fn set_lent(&mut self, page: u32, entry: Entry) {
        self.entries[page as usize] = entry;
        self.lent_at[page as usize] = self.version + 1;
    }

    fn remove_step(&mut self, page: u32, mfn: u64, left: u32) -> Result<u32, u16> {
        let Entry::Lent { large, .. } = self.entry(page) else { return Err(EINVAL) };
        if large && Self::is_2mib(page, mfn, left) {
            self.entries[page as usize..(page + BLOCK) as usize].fill(Entry::Absent);
            return Ok(BLOCK);
        }
        if large {
            // Works while there are page tables, which nobody may rely on.
            self.splits += 1;
            self.split(page)?;
        }
        self.entries[page as usize] = Entry::Absent;
        Ok(1)
    }

    /// A vCPU sends a request.
    pub fn send_request(&mut self, vcpu: usize, mut claim: IoreqClaim) {
        claim.state = STATE_READY;
        self.requests[vcpu] = Some(claim);
    }

    /// Xen takes a completed request up, if it is completed; gives the datum.
    pub fn take_response(&mut self, vcpu: usize) -> Option<u64> {
        let taken = self.requests[vcpu].take_if(|claim| claim.state == STATE_RESPONSE_READY);
        taken.map(|claim| claim.data)
    }

    /// The bytes of the borrower's RAM at an address: one page for each vCPU, from gfn 0x100 on.
    pub fn ram_at(&mut self, address: u64, length: usize) -> Result<&mut [u8], u16> {
        let vcpu = (address / 4096).checked_sub(0x100).ok_or(EFAULT)? as usize;
        let page = self.ram.get_mut(vcpu).and_then(Option::as_mut).ok_or(EFAULT)?;
        let offset = (address % 4096) as usize;
        page.get_mut(offset..offset + length).ok_or(EFAULT)
    }
}

/// Guest-physical address of a vCPU's page of RAM.
pub fn ram_address(vcpu: usize) -> u64 {
    (0x100 + vcpu as u64) * 4096
}

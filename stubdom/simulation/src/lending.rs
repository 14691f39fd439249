// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a lend-aware Xen does besides: `XEN_DMOP_lend_*` with their strict comparison, and faults that wait, as
//! the patches of `boot/xen/` do them. A call that is not finished says so, and anybody may go first.

use xenlend_lending::fault::{Reply, FAULT_READ, FAULT_READ_ONLY_ENTRY, FAULT_SAME_INSTRUCTION, FAULT_WRITE};
use xenlend_lending::hypervisor::IoreqClaim;
use xenlend_lending::ioreq::{STATE_INPROCESS, STATE_READY, STATE_RESPONSE_READY};
use xenlend_shim_core::dm_op::{DmOp, NOBODY};
use xenlend_xen_abi::lend;

use crate::fault::Fault;
use crate::xen::{frame_index, Entry, Failure, Xen, APERTURE, BLOCK, EINVAL, EPERM, ESRCH, FRAMES, PAGES};

/// `EEXIST`: something is lent where nothing was expected.
pub const EEXIST: u16 = 17;
const EBUSY: u16 = 16;
const ENOENT: u16 = 2;
const ENOTEMPTY: u16 = 39;

/// The borrower's domain.
pub const BORROWER: u16 = 1;
/// The broker's.
pub const BROKER: u16 = 2;
/// The lender's, which is the control domain.
pub const LENDER: u16 = 0;

/// Units that a call changes before somebody else may go first.
const UNITS: u32 = 64;

/// What of a frame is released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Released {
    /// Nothing.
    No,
    /// It may be lent for reading.
    ReadOnly,
    /// It may be lent.
    ReadWrite,
}

/// What Xen keeps for a borrower.
#[derive(Debug)]
pub struct Lending {
    broker: bool,
    lender: bool,
    released: Vec<Released>,
    /// The broker's server for the aperture.
    server: bool,
    /// A bug that is switched on.
    fault: Option<Fault>,
}

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// The lender, whose domain is the control domain too.
    Lender,
    /// The broker.
    Broker,
}

impl Lending {
    /// Both parties are named, and the broker has its server.
    pub fn new(fault: Option<Fault>) -> Self {
        let released = vec![Released::No; FRAMES];
        Self { broker: true, lender: true, released, server: true, fault }
    }

    /// What of a frame is released; nothing of one that does not exist.
    pub fn released(&self, mfn: u64) -> Released {
        frame_index(mfn).map_or(Released::No, |at| self.released[at])
    }
}

impl Xen {
    fn allows(&self, mfn: u64, read_only: bool) -> bool {
        let released = self.lending.as_ref().map_or(Released::No, |lending| lending.released(mfn));
        self.permits_all || released == Released::ReadWrite || read_only && released == Released::ReadOnly
    }

    /// Whether a frame is released, where Xen knows of such.
    pub fn is_released_or_stock(&self, mfn: u64) -> bool {
        self.lending.is_none() || self.allows(mfn, true)
    }

    /// Whether a broker can lend a frame now.
    pub fn can_be_lent(&self, mfn: u64) -> bool {
        self.lending.as_ref().is_some_and(|lending| lending.broker) && self.allows(mfn, true)
    }

    /// `XEN_DMOP_lend_change`, from page `done` on. False: not finished, call again.
    ///
    /// # Errors
    /// Of the first page that could not be changed; `done` says which.
    pub fn lend_change(
        &mut self,
        caller: Caller,
        entries: &[lend::Entry],
        done: &mut u64,
        failure: Option<Failure>,
    ) -> Result<bool, u16> {
        let Some(lending) = &self.lending else { return Err(ESRCH) };
        if caller == Caller::Broker && !lending.broker {
            return Err(EPERM);
        }
        if self.borrower.dying {
            return Err(ESRCH);
        }
        for taken in 0..UNITS {
            let Some((entry, offset)) = locate(entries, *done) else { return Ok(true) };
            let result = match failure {
                Some(Failure { after, errno }) if after == taken => Err(errno),
                _ => self.change_unit(caller, entry, offset),
            };
            *done += u64::from(result?);
            self.version += 1;
        }
        Ok(locate(entries, *done).is_none())
    }

    fn change_unit(&mut self, caller: Caller, entry: &lend::Entry, offset: u64) -> Result<u32, u16> {
        let page = (entry.gfn + offset).checked_sub(APERTURE / 4096).ok_or(EINVAL)?;
        let page = u32::try_from(page).ok().filter(|page| *page < PAGES).ok_or(EINVAL)?;
        let whole = page % BLOCK == 0 && entry.nr - offset >= u64::from(BLOCK);
        if entry.new_frame == lend::ABSENT {
            // A lender that finds a lie takes page by page what the broker should have taken.
            let may_split = caller == Caller::Lender && entry.nr == 1;
            let splits = self.splits;
            let done = self.revoke_unit(page, whole, entry.old_frame, offset);
            self.splits = if may_split { splits } else { self.splits };
            return done;
        }
        if entry.old_frame == lend::ANY {
            return Err(EINVAL);
        }
        let frame = entry.new_frame + offset;
        let read_only = entry.flags & lend::ENTRY_READ_ONLY != 0;
        let mut block = page..(page + if whole { BLOCK } else { 1 });
        let large = whole
            && frame % u64::from(BLOCK) == 0
            && block.all(|page| self.entry(page) == Entry::Absent)
            && (frame..frame + u64::from(BLOCK)).all(|mfn| self.allows(mfn, read_only));
        let compares_nothing = self.lending.as_ref().is_some_and(|of| of.fault == Some(Fault::LendOver));
        match (self.entry(page), entry.old_frame) {
            (Entry::BorrowerRam | Entry::Foreign, _) => return Err(ENOTEMPTY),
            (Entry::Lent { .. }, _) if compares_nothing => {}
            (Entry::Absent, lend::ABSENT) => {}
            (Entry::Absent, _) => return Err(ENOENT),
            (Entry::Lent { .. }, lend::ABSENT) => return Err(EEXIST),
            (Entry::Lent { mfn, .. }, old) if mfn != old + offset => return Err(EBUSY),
            (Entry::Lent { .. }, _) => {}
        }
        if !self.allows(frame, read_only) {
            return Err(EPERM);
        }
        if large {
            // A page table that is there goes.
            self.drop_table(page);
            for (page, mfn) in (page..page + BLOCK).zip(frame..) {
                self.set_lent(page, Entry::Lent { mfn, large, read_only });
            }
            return Ok(BLOCK);
        }
        self.split(page)?;
        self.set_lent(page, Entry::Lent { mfn: frame, large, read_only });
        Ok(1)
    }

    /// Revokes, or only compares. Without memory for a page table all of a 2 MiB entry goes.
    fn revoke_unit(&mut self, page: u32, whole: bool, old: u64, offset: u64) -> Result<u32, u16> {
        let Entry::Lent { mfn, large, .. } = self.entry(page) else { return Ok(1) };
        match old {
            lend::ABSENT => return Err(EEXIST),
            lend::ANY => {}
            old if mfn != old + offset => return Err(EBUSY),
            _ => {}
        }
        let all = (page - page % BLOCK) as usize..(page - page % BLOCK + BLOCK) as usize;
        if large && whole {
            self.entries[all].fill(Entry::Absent);
            return Ok(BLOCK);
        }
        if large {
            self.splits += 1;
            if self.split(page).is_err() {
                self.entries[all].fill(Entry::Absent);
                return Ok(1);
            }
        }
        self.entries[page as usize] = Entry::Absent;
        Ok(1)
    }

    /// Any of the calls, by the lender, as its module makes them. False: not finished, call again.
    ///
    /// # Errors
    /// Xen's.
    pub fn dm_op(&mut self, call: &mut DmOp, failure: Option<Failure>) -> Result<bool, u16> {
        let (operation, first) = (call.words[0] as u32, call.words[1]);
        let (nr, flags) = (first as u32 as usize, (first >> 32) as u32);
        match operation {
            lend::PARTIES => {
                let (broker, lender) = (first as u16, (first >> 16) as u16);
                self.lend_parties(broker, lender, flags)?;
                Ok(true)
            }
            lend::RELEASE => {
                let extents = call.list[..call.list_words].chunks(2).take(nr);
                let extents: Vec<_> = extents.map(|words| (words[0], words[1])).collect();
                self.lend_release(&extents, flags, failure)?;
                call.words[2] = extents.iter().map(|(_, count)| count).sum();
                Ok(true)
            }
            lend::CHANGE => {
                let entries = call.list[..call.list_words].chunks(5).take(nr).map(entry_of);
                let entries: Vec<_> = entries.collect();
                self.lend_change(Caller::Lender, &entries, &mut call.words[2], failure)
            }
            _ => Err(EINVAL),
        }
    }

    fn lend_parties(&mut self, broker: u16, lender: u16, flags: u32) -> Result<(), u16> {
        if self.borrower.dying {
            return Err(ESRCH);
        }
        let Some(lending) = &mut self.lending else { return Err(ESRCH) };
        if broker != NOBODY {
            lending.broker = true;
        } else if lending.broker {
            lending.broker = false;
            self.end_server();
        }
        let Some(lending) = &mut self.lending else { return Err(ESRCH) };
        if flags & lend::PARTIES_REMOVE_LENDER == 0 {
            lending.lender |= lender == LENDER;
            return Ok(());
        }
        if !std::mem::take(&mut lending.lender) {
            return Err(ENOENT);
        }
        lending.released.fill(Released::No);
        for entry in &mut self.entries {
            if let Entry::Lent { .. } = entry {
                *entry = Entry::Absent;
            }
        }
        self.version += 1;
        Ok(())
    }

    fn lend_release(
        &mut self,
        extents: &[(u64, u64)],
        flags: u32,
        failure: Option<Failure>,
    ) -> Result<(), u16> {
        if self.borrower.dying {
            return Err(ESRCH);
        }
        let Some(lending) = self.lending.as_mut().filter(|lending| lending.lender) else { return Err(EPERM) };
        let what = match flags {
            lend::RELEASE_WITHDRAW => Released::No,
            lend::RELEASE_READ_ONLY => Released::ReadOnly,
            _ => Released::ReadWrite,
        };
        let frames = extents.iter().flat_map(|(first, count)| *first..first + count);
        for (taken, at) in (0..).zip(frames.filter_map(frame_index)) {
            if let Some(Failure { errno, .. }) = failure.filter(|failure| failure.after == taken) {
                return Err(errno);
            }
            lending.released[at] = what;
        }
        self.version += 1;
        Ok(())
    }

    /// A broker's server is no more: vCPUs that wait for it go on.
    pub fn end_server(&mut self) {
        let Some(lending) = &mut self.lending else { return };
        lending.server = false;
        if lending.fault != Some(Fault::LeaveWaiter) {
            for claim in self.requests.iter_mut().flatten() {
                if claim.state != STATE_RESPONSE_READY {
                    (claim.state, claim.data) = (STATE_RESPONSE_READY, Reply::Retry as u64);
                }
            }
        }
    }

    /// Whether somebody is there to whom faults can be told.
    pub fn has_server(&self) -> bool {
        self.lending.as_ref().is_none_or(|lending| lending.server)
    }

    /// Whether a request waits for the broker.
    pub fn awaits_broker(&self, vcpu: usize) -> bool {
        let state = self.requests.get(vcpu).copied().flatten().map(|claim| claim.state);
        matches!(state, Some(STATE_READY | STATE_INPROCESS))
    }
}

/// The words of an entry.
fn entry_of(words: &[u64]) -> lend::Entry {
    lend::Entry {
        gfn: words[0],
        nr: words[1],
        old_frame: words[2],
        new_frame: words[3],
        old_lender: words[4] as u16,
        new_lender: (words[4] >> 16) as u16,
        flags: (words[4] >> 32) as u32,
    }
}

/// The entry, and the place in it, of a page of a call.
fn locate(entries: &[lend::Entry], page: u64) -> Option<(&lend::Entry, u64)> {
    let mut left = page;
    entries.iter().find_map(|entry| match left.checked_sub(entry.nr) {
        Some(rest) => {
            left = rest;
            None
        }
        None => Some((entry, left)),
    })
}

/// A fault as Xen tells it.
pub fn fault(address: u64, writes: bool, is_same: bool, present: bool) -> IoreqClaim {
    let bit = |is_set, bit| if is_set { bit } else { 0 };
    IoreqClaim {
        address,
        data: bit(!writes, FAULT_READ)
            | bit(writes, FAULT_WRITE)
            | bit(is_same, FAULT_SAME_INSTRUCTION)
            | bit(present, FAULT_READ_ONLY_ENTRY),
        count: 1,
        size: 1,
        state: 0,
        data_is_pointer: false,
        is_read: !writes,
        downwards: false,
        kind: lend::IOREQ_TYPE_FAULT,
    }
}
